"""Forks of a process whose torch has used several threads: children compute, and the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sksae

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")

ROOT = Path(sksae.__file__).parents[1]

# A process of two threads; `in_child` returns what a function gives in one that os.fork makes.
BEGIN = """
import os, pickle, sys, warnings
import numpy as np
import sksae
assert "torch" not in sys.modules
warnings.simplefilter("ignore")

def in_child(function, *args):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, pickle.dumps(function(*args)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pickle.loads(pipe.read())

def n_threads():
    import torch
    return torch.get_num_threads()

X = np.random.default_rng(0).random((3000, 64))
y = X[:, 0] > 0.5

def made():
    return sksae.SparseAutoencoderTransformer(64, max_iter=2, random_state=0)
"""
# Nothing that has threads is inherited.
WITHOUT_TORCH = "assert in_child(n_threads) == 2\n"
# torch's threads begin.
TORCH_ALONE = """
import torch
torch.set_num_threads(2)
torch.ones(1000, 1000) @ torch.ones(1000, 1000)
torch.ones(10**6).exp()
"""
COMPUTING = """
import sklearn.model_selection
from sksae.model_selection import BatchedGridSearchCV

def transformed():
    return model.transform(X)

def fitted(_=None):
    return made().fit(X).transform(X)

def searched(kind):
    search = kind(made(), {"rho": [0.05, 0.2]}, cv=2, n_jobs=1).fit(X)
    return search.cv_results_["mean_test_score"]

def classified():
    return sksae.SparseAutoencoderClassifier([made()], max_iter=2, random_state=0).fit(X, y).loss_

def grandchild():
    return in_child(fitted)

model = made().fit(X)
here = fitted(), model.transform(X)
assert n_threads() == 2
"""
AFTER_SKSAE = """
np.testing.assert_allclose(in_child(transformed), here[1], atol=1e-4)
np.testing.assert_allclose(in_child(fitted), here[0], atol=1e-2)
np.testing.assert_allclose(in_child(grandchild), here[0], atol=1e-2)
assert np.isclose(in_child(classified), classified(), rtol=0.01)
for kind in (sklearn.model_selection.GridSearchCV, BatchedGridSearchCV):
    np.testing.assert_allclose(in_child(searched, kind), searched(kind), atol=1e-3)
assert in_child(n_threads) == 1
assert n_threads() == 2
"""
POOLS = """
import joblib, multiprocessing

with multiprocessing.get_context("fork").Pool(2) as pool:
    for codes in pool.map(fitted, range(2)):
        np.testing.assert_allclose(codes, here[0], atol=1e-2)
with joblib.parallel_config("multiprocessing", n_jobs=2):
    for codes in joblib.Parallel()(joblib.delayed(fitted)() for _ in range(2)):
        np.testing.assert_allclose(codes, here[0], atol=1e-2)
    kind = sklearn.model_selection.GridSearchCV
    search = kind(made(), {"rho": [0.05, 0.2]}, cv=2, error_score="raise").fit(X)
np.testing.assert_allclose(search.cv_results_["mean_test_score"], searched(kind), atol=1e-3)
"""
# As another thread leaves them that fits at the moment of the fork, and is not there in the child.
OTHER_THREADS = """
from sksae.engine import batches

class Others:
    n_bytes = batches.RESIDENT_BYTES

def room():
    made().fit(X)
    return batches.RESIDENT_BYTES - sum(rows.n_bytes for rows in batches._RESIDENT)

others = Others()
batches._RESIDENT.add(others)
with batches._COUNTING:
    assert in_child(room) == batches.RESIDENT_BYTES
assert others in batches._RESIDENT
"""


SCRIPTS = {
    "os.fork": WITHOUT_TORCH
    + TORCH_ALONE
    + "assert in_child(n_threads) == 2\n"
    + COMPUTING
    + AFTER_SKSAE,
    "torch alone before": TORCH_ALONE
    + COMPUTING.partition("model =")[0]
    + "assert len(in_child(fitted)) == 3000\n",
    "pools": COMPUTING + POOLS,
    "other threads": COMPUTING + OTHER_THREADS,
}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, id=name, marks=() if name == "os.fork" else pytest.mark.slow)
        for name, script in SCRIPTS.items()
    ],
)
def test_children_compute(script):
    two = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    environment = os.environ | two | {"OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        # With the children, who wait.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, errors
