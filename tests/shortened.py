"""What estimators do where a process may take little more memory: a line for each task and limit.

Run as ``python tests/shortened.py NAME,NAME MB,MB``; no name stands for all tasks.
"""

import sys
import traceback
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from limiting import memory_limit

import sksae
from sksae.model_selection import BatchedGridSearchCV

MB = 10**6
N_ROWS = 20_000
rng = np.random.default_rng(0)
X = rng.random((N_ROWS, 300), dtype=np.float32)
FEW, BATCH = X[:500], {"batch_size": 10_000}
LABELS = np.arange(N_ROWS) % 2


def make(n_components=2_000, **params):
    return sksae.SparseAutoencoderTransformer(
        n_components, **({"max_iter": 1, "random_state": 0} | params)
    )


def make_exact(**params):
    return make(sparsity="topk", rho=10, **params)


def make_stack():
    return sksae.StackedSparseAutoencoder([make(), make(1_500)], max_iter=1, **BATCH)


def make_classifier():
    return sksae.SparseAutoencoderClassifier([make()], max_iter=1, **BATCH)


def make_wide(kind="csr"):
    return sp.random_array((N_ROWS, 50_000), density=1e-3, rng=rng, format=kind)


def fit(model, rows=X, y=None) -> Callable[[], object]:
    return lambda: model.fit(rows, y)


def work(model, method, rows=X, y=None) -> Callable[[], object]:
    model.fit(FEW, y)
    return lambda: getattr(model, method)(rows)


# Each prepares what it needs, and returns what may then run out of memory.
TASKS: dict[str, Callable[[], Callable[[], object]]] = {
    "fit": lambda: fit(make(**BATCH)),
    "fit by small batches": lambda: fit(make(50)),
    "fit in float64": lambda: fit(make(dtype="float64", **BATCH)),
    "fit of many units": lambda: fit(make(100_000), FEW),
    "fit by lbfgs": lambda: fit(make(solver="lbfgs")),
    "fit of topk": lambda: fit(make_exact(**BATCH)),
    "fit of batchtopk": lambda: fit(make(sparsity="batchtopk", rho=10, **BATCH)),
    "fit of gated": lambda: fit(make(sparsity="gated", **BATCH)),
    "fit with hidden layers": lambda: fit(make(50, hidden_layer_sizes=(4_000,), **BATCH)),
    "fit with held-out rows": lambda: fit(make(early_stopping=True)),
    "fit with noise": lambda: fit(make(noise="gaussian", **BATCH)),
    "fit of a list": lambda: fit(make(50), X.tolist()),
    "fit of integers": lambda: fit(make(50), (9 * X).astype(np.int64)),
    "fit of wide rows": lambda: fit(make(500, batch_size=5_000), make_wide()),
    "fit of a CSC array": lambda: fit(make(5), make_wide("csc")),
    "partial_fit": lambda: work(make(**BATCH), "partial_fit"),
    "transform": lambda: work(make(), "transform"),
    "transform in float64": lambda: work(make(), "transform", X.astype(np.float64)),
    "transform to sparse": lambda: work(make_exact(sparse_output=True), "transform"),
    "transform by omp": lambda: work(make_exact(transform_algorithm="omp"), "transform", FEW),
    "inverse_transform": lambda: work(make(300), "inverse_transform"),
    "score": lambda: work(make(), "score"),
    "score_samples": lambda: work(make(), "score_samples"),
    "fit of a stack": lambda: fit(make_stack()),
    "transform of a stack": lambda: work(make_stack(), "transform"),
    "score of a stack": lambda: work(make_stack(), "score"),
    "fit of a classifier": lambda: fit(make_classifier(), y=LABELS),
    "predict_proba": lambda: work(make_classifier(), "predict_proba", y=LABELS[:500]),
    "search": lambda: fit(
        BatchedGridSearchCV(make(500, batch_size=4_000), {"rho": [0.1, 0.2, 0.3]}, cv=2)
    ),
}


def outcome(task: Callable[[], object], limit: int) -> str:
    """Return how a task ends that may take so many bytes more than are in use."""
    try:
        with memory_limit(limit):
            task()
    except Exception as error:
        if not isinstance(error, MemoryError):
            traceback.print_exc()
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    return "worked"


def main(names: list[str], limits: list[int]) -> None:
    """Print the name and the limit before each task, so that a crash tells which, and its end."""
    warnings.simplefilter("ignore")
    # torch is loaded, and has its threads.
    make(5).fit(FEW)
    for name in names or TASKS:
        task = TASKS[name]()
        for limit in limits:
            print(f"{name}|{limit}|", end="", flush=True)
            print(outcome(task, limit * MB), flush=True)


if __name__ == "__main__":
    main(
        [name for name in sys.argv[1].split(",") if name],
        [int(limit) for limit in sys.argv[2].split(",")],
    )
