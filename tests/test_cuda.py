"""On a CUDA device: all estimators, codes and solvers agree with the CPU, and come back from it.

Where torch sees no such device the tests are skipped. On a machine that has one:

    python -m pytest tests/test_cuda*.py -m "slow or not slow" -ra

`SKSAE_TEST_DEVICE` names another device. With "cpu" the same tests run without a GPU, which shows
that they can pass; those that need a GPU's memory are skipped.
"""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from on_device import (
    DEVICE,
    IS_CUDA,
    LABELS,
    OF_LBFGS,
    ON_DEVICE,
    WEIGHT,
    X,
    assert_close,
    learnt,
    made_of,
    make,
    members,
    needs_cuda,
    on_cpu,
    tolerance,
)
from sklearn.model_selection import GridSearchCV
from ways_to_train import COMMON

from sksae import (
    Checkpoint,
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    StackedSparseAutoencoder,
)
from sksae.engine.device import has_half_products
from sksae.model_selection import BatchedGridSearchCV

pytestmark = ON_DEVICE

# Those that draw on the device are compared apart: a GPU draws other numbers than a CPU.
TRANSFORMERS = {
    **COMMON,
    "topk": {"sparsity": "topk", "rho": 2},
    "topk deep": {"sparsity": "topk", "rho": 2, "hidden_layer_sizes": (9,)},
    "topk tied": {"sparsity": "topk", "rho": 2, "tied_weights": True},
    "topk dead": {"sparsity": "topk", "rho": 1, "n_components": 60, "max_iter": 30},
    "batchtopk": {"sparsity": "batchtopk", "rho": 2},
    "prefixes": {"sparsity": "batchtopk", "rho": 2, "prefixes": (4, 8)},
    "jumprelu": {"sparsity": "jumprelu", "rho": 0.3},
    "jumprelu auto": {"sparsity": "jumprelu", "rho": 0.3, "beta": "auto"},
    "gated": {"sparsity": "gated"},
    "sgd topk": {"solver": "sgd", "sparsity": "topk", "rho": 2},
    "auto l1": {"beta": "auto", "sparsity": "l1", "max_iter": 30},
    "deep tied prelu": {
        "hidden_layer_sizes": (9,),
        "hidden_activation": "prelu",
        "tied_weights": True,
    },
}
DRAWING = {
    "gaussian": {"noise": "gaussian"},
    "masking": {"noise": "masking"},
    "masking lbfgs": {"noise": "masking", "solver": "lbfgs"},
    "topk gaussian": {"noise": "gaussian", "sparsity": "topk", "rho": 2},
}
each_transformer = pytest.mark.parametrize("name", TRANSFORMERS)
# One autoencoder.


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
@each_transformer
def test_float64_agrees_with_the_cpu(name, weight):
    model = make(**TRANSFORMERS[name])
    expected = on_cpu(model, X, sample_weight=weight)
    model.fit(X, sample_weight=weight)
    assert all(type(each) is np.ndarray for each in (*model.coefs_, *model.intercepts_))
    assert_close(learnt(model), learnt(expected), tolerance(name))
    assert_close(made_of(model, X), made_of(expected, X), tolerance(name))


@each_transformer
def test_inference_agrees_with_the_cpu(name):
    model = on_cpu(make(**TRANSFORMERS[name]), X)
    expected = made_of(model, X)
    model.set_params(device=DEVICE)
    assert_close(made_of(model, X), expected, 1e-9)
    found = made_of(model, X.astype(np.float32))
    assert found[0].dtype == np.float32
    if TRANSFORMERS[name].get("sparsity") not in ("topk", "batchtopk", "jumprelu", "gated"):
        # Where float32 decides which units are active, a code may jump.
        assert_close(found, expected, 1e-3)


@each_transformer
def test_float32_comes_to_about_the_same_loss(name):
    params = TRANSFORMERS[name] | {"dtype": "float32"}
    model = make(**params)
    expected = on_cpu(model, X)
    model.fit(X)
    assert model.loss_ == pytest.approx(expected.loss_, rel=0.02)
    assert model.score(X) == pytest.approx(expected.score(X), abs=0.02)


def test_products_of_float32_are_not_rounded_to_fewer_digits():
    # TF32 has three digits.
    model = on_cpu(make(dtype="float32"), X)
    expected = model.transform(X)
    model.set_params(device=DEVICE)
    np.testing.assert_allclose(model.transform(X.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize("params", [{}, {"sparsity": "topk", "rho": 2}], ids=["kl", "topk"])
def test_bfloat16(params):
    if IS_CUDA and torch.cuda.get_device_capability(DEVICE) < (8, 0):
        with pytest.raises(ValueError, match="Ampere"):
            make(dtype="bfloat16", **params).fit(X)
        return
    if not IS_CUDA and not has_half_products():
        pytest.skip("this processor has no products in bfloat16")
    model = make(dtype="bfloat16", max_iter=30, **params).fit(X)
    exact = make(dtype="float32", max_iter=30, **params).fit(X)
    assert model.coefs_[0].dtype == np.float32
    assert model.score(X) == pytest.approx(exact.score(X), abs=0.05)


@pytest.mark.parametrize("name", DRAWING)
def test_noise_is_drawn_on_the_device(name):
    model, again = (make(**DRAWING[name]).fit(X) for _ in range(2))
    assert_close(learnt(model), learnt(again), 1e-9)
    clean = make(**{key: value for key, value in DRAWING[name].items() if key != "noise"}).fit(X)
    assert not np.allclose(model.coefs_[0], clean.coefs_[0])
    # Other numbers than the CPU's, and as many.
    expected = on_cpu(make(**DRAWING[name]), X)
    assert model.loss_ == pytest.approx(expected.loss_, rel=0.2)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sparsity", ["kl", "l1", "topk", "batchtopk", "jumprelu", "gated"])
def test_the_same_seed_gives_the_same_bits(sparsity, dtype, solver):
    params = {"sparsity": sparsity, "dtype": dtype, "solver": solver}
    if sparsity in ("topk", "batchtopk"):
        params["rho"] = 2
    if solver == "lbfgs" and sparsity not in ("kl", "l1"):
        pytest.skip("lbfgs trains no such code")
    first, second = (make(**params).fit(X) for _ in range(2))
    for ours, theirs in zip(
        (*first.coefs_, *first.intercepts_, first.transform(X)),
        (*second.coefs_, *second.intercepts_, second.transform(X)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    # Sums that are only reported may be added up in another order on a GPU.
    assert_close(learnt(first), learnt(second), 1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("sparsity", ["kl", "topk"])
def test_sparse_rows(sparsity, solver):
    if (sparsity, solver) == ("topk", "lbfgs"):
        pytest.skip("lbfgs trains no such code")
    params = {"sparsity": sparsity, "solver": solver} | ({"rho": 2} if sparsity == "topk" else {})
    rows = sp.csr_array(X)
    model = make(**params).fit(rows)
    expected = on_cpu(make(**params), rows)
    assert_close(learnt(model), learnt(expected), tolerance(solver))
    assert_close(made_of(model, rows), made_of(expected, rows), tolerance(solver))
    if sparsity == "topk":
        sparse = model.set_params(sparse_output=True).transform(rows)
        assert sp.issparse(sparse)
        assert_close([sparse.toarray()], [expected.transform(rows)], tolerance(solver))


@pytest.mark.parametrize("sparsity", ["kl", "topk", "batchtopk"])
def test_partial_fit_agrees_with_the_cpu(sparsity):
    params = {"sparsity": sparsity} | ({} if sparsity == "kl" else {"rho": 2})
    model, expected = make(**params), make(**params | {"device": "cpu"})
    for weight in (None, WEIGHT, None):
        for each in (model, expected):
            each.partial_fit(X, sample_weight=weight)
    assert_close([*model.coefs_, model.loss_], [*expected.coefs_, expected.loss_], 1e-6)
    # What was begun on the device goes on without it.
    model.set_params(device="cpu").partial_fit(X)
    expected.partial_fit(X)
    assert_close([*model.coefs_], [*expected.coefs_], 1e-6)


# Several autoencoders.


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["stack", "classifier", "regressor"])
def test_stacks_agree_with_the_cpu(kind, solver):
    options = {"max_iter": 6, "random_state": 0, "solver": solver, "dtype": "float64"}

    def fitted(device):
        parts = members(device=device)
        if kind == "stack":
            model = StackedSparseAutoencoder(parts, device=device, **options).fit(X)
            return [model.transform(X), model.inverse_transform(model.transform(X))]
        if kind == "classifier":
            model = SparseAutoencoderClassifier(parts, device=device, **options).fit(X, LABELS)
            return [model.transform(X), model.predict_proba(X)]
        model = SparseAutoencoderRegressor(parts, device=device, **options).fit(X, X[:, :2])
        return [model.transform(X), model.predict(X)]

    assert_close(fitted(DEVICE), fitted("cpu"), OF_LBFGS if solver == "lbfgs" else 1e-6)


def test_dropout_gives_the_same_bits_again():
    def fitted():
        model = SparseAutoencoderClassifier(
            members(), max_iter=6, random_state=0, dropout=0.3, device=DEVICE
        )
        return model.fit(X, LABELS).predict_proba(X)

    np.testing.assert_array_equal(fitted(), fitted())


GRID = {"rho": [0.1, 0.3], "learning_rate": [0.01, 0.02]}


def test_a_batched_search_agrees_with_one_fit_after_another():
    batched = BatchedGridSearchCV(make(), GRID, cv=2).fit(X)
    one_by_one = GridSearchCV(make(), GRID, cv=2).fit(X)
    name = "mean_test_score"
    assert_close([batched.cv_results_[name]], [one_by_one.cv_results_[name]], 1e-6)
    assert batched.best_params_ == one_by_one.best_params_
    assert_close(batched.best_estimator_.coefs_, one_by_one.best_estimator_.coefs_, 1e-6)


@pytest.mark.slow
def test_workers_of_a_search_share_the_device():
    found, expected = (GridSearchCV(make(), GRID, cv=2, n_jobs=n).fit(X) for n in (2, 1))
    name = "mean_test_score"
    assert_close([found.cv_results_[name]], [expected.cv_results_[name]], 1e-9)


# Away from the device.

ELSEWHERE = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    model, X = pickle.load(file)
assert "torch" not in sys.modules
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    codes = model.transform(X)
import torch
assert not torch.cuda.is_available()
with open(sys.argv[1], "wb") as file:
    pickle.dump((codes, [str(each.message) for each in told]), file)
"""


@pytest.mark.parametrize("device", ["auto", DEVICE])
def test_a_model_goes_to_a_machine_without_a_gpu(device, tmp_path):
    model = make(device=DEVICE, sparsity="topk", rho=2).fit(X).set_params(device=device)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps((model, X)))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(path)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    codes, told = pickle.loads(path.read_bytes())
    assert_close([codes], [model.transform(X)], 1e-9)
    assert [each for each in told if "computing on the CPU" in each] == (
        told if device.startswith("cuda") else []
    )
    assert bool(told) == device.startswith("cuda")


# Checkpoints.


class Killed(BaseException):
    """Stands for the end of a process."""


class KilledAfter:
    """A callback that ends a fit after some epochs."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id + 1 == self.n_epochs:
            raise Killed
        return False


@pytest.mark.parametrize("name", ["kl", "topk dead", "auto l1", "lbfgs", "auto lbfgs"])
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(name, tmp_path):
    path = tmp_path / "checkpoint"
    expected = make(**TRANSFORMERS[name]).fit(X)
    with pytest.raises(Killed):
        make(**TRANSFORMERS[name]).set_callbacks(Checkpoint(path, every=1), KilledAfter(4)).fit(X)
    # On the CPU it comes to the same up to rounding.
    elsewhere = make(**(TRANSFORMERS[name] | {"device": "cpu"}))
    elsewhere.set_callbacks(Checkpoint(path.with_suffix(".copy"), resume=True))
    shutil.copy(path, path.with_suffix(".copy"))
    assert_close(learnt(elsewhere.fit(X)), learnt(expected), tolerance(name))
    found = make(**TRANSFORMERS[name]).set_callbacks(Checkpoint(path, resume=True)).fit(X)
    assert found.n_iter_ == expected.n_iter_
    for ours, theirs in zip(learnt(found), learnt(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@needs_cuda
def test_auto_takes_the_gpu():
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    make(device="auto").fit(X)
    assert torch.cuda.max_memory_allocated() > before
