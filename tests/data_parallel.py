"""Fits in several processes, for the tests of these: cases, processes to run them, comparisons.

As a program it is one of the processes: `run` starts them, and each runs all cases one after
another, as torch takes seconds to be imported.
"""

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from hashlib import blake2b
from pathlib import Path

import numpy as np
from filelock import FileLock  # which torch brings
from record_outputs import flattened
from scipy.sparse import csr_array

import sksae
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

HERE = Path(__file__).parent
BATCH, N_BATCHES, N_FEATURES = 96, 5, 10
SECONDS = 120


def make_rows(dtype=np.float64):
    draws = np.random.default_rng(0)
    atoms = draws.normal(size=(16, N_FEATURES))
    codes = draws.exponential(size=(BATCH * N_BATCHES, 16)) * (draws.random((480, 16)) < 0.15)
    return (codes @ atoms + 0.1 * draws.normal(size=(480, N_FEATURES)) + 3.0).astype(dtype)


def weights():
    return np.random.default_rng(1).integers(1, 5, BATCH * N_BATCHES).astype(float)


def dealt(rank, size):
    """Return which rows a process has when each minibatch is dealt to all."""
    return np.concatenate(
        [np.arange(start + rank, start + BATCH, size) for start in range(0, 480, BATCH)]
    )


def sae(**params):
    usual = {
        "n_components": 12,
        "batch_size": BATCH,
        "max_iter": 6,
        "tol": 0.0,
        "shuffle": False,
        "dtype": "float64",
        "random_state": 3,
    }
    return SparseAutoencoderTransformer(**(usual | params))


TOPK = {"sparsity": "topk", "rho": 3}
BATCHTOPK = {"sparsity": "batchtopk", "rho": 3}
# What one process learns of all rows, and several of rows that were dealt to them.
ALIKE = {
    "kl": {},
    "kl float32": {"dtype": "float32"},
    "kl sgd": {"solver": "sgd"},
    "kl deep": {"hidden_layer_sizes": (14,)},
    "kl tied": {"tied_weights": True},
    "kl alpha": {"alpha": 0.1},
    "kl weighted": {"weighted": True},
    "kl auto": {"beta": "auto", "max_iter": 30},
    "kl lbfgs": {"solver": "lbfgs"},
    "kl lbfgs weighted": {"solver": "lbfgs", "weighted": True},
    "kl lbfgs auto": {"solver": "lbfgs", "beta": "auto", "max_iter": 20},
    "kl csr": {"csr": True},
    "unscaled": {"scale_data": False, "X_scale": 0.1},
    "cross entropy": {"loss": "cross_entropy", "unit": True},
    "l1": {"sparsity": "l1"},
    "l1 auto": {"sparsity": "l1", "beta": "auto", "max_iter": 40, "n_components": 40},
    "l1 auto weighted": {"sparsity": "l1", "beta": "auto", "max_iter": 20, "weighted": True},
    "l1 lbfgs auto": {"sparsity": "l1", "solver": "lbfgs", "beta": "auto", "max_iter": 20},
    "l2": {"sparsity": "l2"},
    "none": {"sparsity": None},
    "topk": TOPK,
    "topk float32": TOPK | {"dtype": "float32"},
    "topk deep": TOPK | {"hidden_layer_sizes": (14,)},
    "topk weighted": TOPK | {"weighted": True},
    "topk dead": TOPK | {"n_components": 60, "max_iter": 30, "rho": 1},
    "batchtopk": BATCHTOPK | {"prefixes": [6, 12]},
    "batchtopk weighted": BATCHTOPK | {"weighted": True},
    "jumprelu": {"sparsity": "jumprelu"},
    "jumprelu auto": {"sparsity": "jumprelu", "beta": "auto", "max_iter": 20},
    "gated": {"sparsity": "gated"},
    "gated weighted": {"sparsity": "gated", "beta": "auto", "weighted": True},
}


def fit_alike(rank, size, params):
    """Fit one of `ALIKE` on the rows of a process."""
    params = dict(params)
    X, weight = make_rows() * params.pop("X_scale", 1.0), weights()
    if params.pop("unit", False):
        X = (X - X.min()) / np.ptp(X)
    if params.pop("csr", False):
        X = np.where(np.abs(X - 3.0) < 0.3, 0.0, X)
        X = csr_array(X)
    weight = weight if params.pop("weighted", False) else None
    own = dealt(rank, size)
    model = sae(data_parallel=size > 1, **params)
    return model.fit(X[own], sample_weight=None if weight is None else weight[own])


def labels_of(X):
    return np.array(["a", "b", "c"])[
        np.digitize(X.sum(axis=1), np.quantile(X.sum(axis=1), [0.3, 0.6]))
    ]


def numbers_of(X):
    return np.column_stack([X[:, 0] * X[:, 1], X.sum(axis=1)])


def members(**params):
    return [sae(n_components=8, max_iter=3, **params), sae(n_components=6, max_iter=3, rho=0.2)]


TUNED = {"batch_size": BATCH, "shuffle": False, "dtype": "float64", "random_state": 5}
CLASSIFIER = {"kind": SparseAutoencoderClassifier, "max_iter": 4, **TUNED}
REGRESSOR = {"kind": SparseAutoencoderRegressor, "max_iter": 4, **TUNED}
# Likewise, of estimators that are made of several autoencoders.
STACKS = {
    "stack": {"kind": StackedSparseAutoencoder, "max_iter": 4, **TUNED},
    "stack lbfgs": {"kind": StackedSparseAutoencoder, "max_iter": 4, "solver": "lbfgs", **TUNED},
    "classifier": CLASSIFIER,
    "classifier balanced": CLASSIFIER | {"class_weight": "balanced", "weighted": True},
    "classifier frozen": CLASSIFIER | {"freeze": 2},
    "classifier lbfgs": CLASSIFIER | {"solver": "lbfgs"},
    "regressor": REGRESSOR,
    "regressor weighted": REGRESSOR | {"weighted": True},
    "regressor unlabeled": REGRESSOR | {"unlabeled": np.nan, "max_iter": 30, "solver": "lbfgs"},
}


def fit_stack(rank, size, params):
    """Fit one of `STACKS` on the rows of a process."""
    params, X = dict(params), make_rows()
    kind, weight = params.pop("kind"), weights() if params.pop("weighted", False) else None
    y = None
    if kind is SparseAutoencoderClassifier:
        y = labels_of(X)
    elif kind is SparseAutoencoderRegressor:
        y = numbers_of(X)
    if "unlabeled" in params:
        y[::3] = np.nan
    own = dealt(rank, size)
    weight = {} if weight is None else {"sample_weight": weight[own]}
    model = kind(members(), data_parallel=size > 1, **params)
    return model.fit(X[own], None if y is None else y[own], **weight)


def attributes_of(model):
    """Return fitted attributes, those of members too, as arrays by name."""
    found = {}
    for name, value in sorted(vars(model).items()):
        if name in model.get_params(deep=False) or name.startswith("_skl"):
            continue
        if name == "autoencoders_":
            for at, member in enumerate(value):
                found |= {f"{at} {key}": each for key, each in attributes_of(member).items()}
        else:
            found[name] = value
    return found


def digest_of(model):
    """Return a checksum of all that was fitted."""
    digest = blake2b(digest_size=8)
    for name, array in flattened(attributes_of(model), ""):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def start(cases, size, folder, *, n_threads=1):
    """Start so many processes that run cases; see `run`."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(n_threads),
        "PYTHONPATH": os.pathsep.join([str(Path(sksae.__file__).parents[1]), str(HERE)]),
    }
    return [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(size), str(folder), *cases],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def run(cases, size, folder, *, seconds=SECONDS, n_threads=1):
    """Run cases in so many processes; return for each process what each case gave, or its error.

    Parameters
    ----------
    cases : list of str
        As "module/name", for a name in ``CASES`` of a module.
    size : int
        Processes.
    folder : path
        An empty one, in which processes meet.
    """
    workers, found = start(cases, size, folder, n_threads=n_threads), []
    try:
        for rank, worker in enumerate(workers):
            _, errors = worker.communicate(timeout=seconds)
            assert worker.returncode == 0, errors
            found.append(pickle.loads((Path(folder) / f"found {rank}").read_bytes()))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return found


def run_once(tmp_path_factory, name, cases, size, **options):
    """Do so once for all that pytest-xdist starts, which would have the same cases run again.

    Parameters
    ----------
    tmp_path_factory : fixture
        pytest's.
    name : str
        Of the folder in which it is kept.
    cases, size, **options
        As in `run`.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    kept = folder.with_suffix(".pickle")
    with FileLock(folder.with_suffix(".lock")):
        if not kept.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            kept.write_bytes(pickle.dumps(run(cases, size, folder, **options)))
        return pickle.loads(kept.read_bytes())


def main(rank, size, folder, *names):
    from datetime import timedelta
    from importlib import import_module

    import torch.distributed as dist

    rank, size = int(rank), int(size)
    store = dist.FileStore(str(Path(folder) / "store"), size)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=20)
    )
    found = {}
    for name in names:
        module, _, case = name.partition("/")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found[name] = import_module(module).CASES[case](rank, size)
            except Exception as error:
                found[name] = error
        found[f"{name}: warnings"] = [str(each.message) for each in warned]
    (Path(folder) / f"found {rank}").write_bytes(pickle.dumps(found))
    # Not by a barrier: one that has passed it may be gone before the other has.
    store.set(f"bye {rank}", "")
    store.wait([f"bye {each}" for each in range(size)])
    dist.destroy_process_group()


def _case(fit, params):
    def case(rank, size):
        model = fit(rank, size, params)
        return attributes_of(model) if rank == 0 else {}, digest_of(model)

    return case


CASES = {name: _case(fit_alike, params) for name, params in ALIKE.items()}
CASES |= {name: _case(fit_stack, params) for name, params in STACKS.items()}

if __name__ == "__main__":
    main(*sys.argv[1:])
