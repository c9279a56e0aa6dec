"""How much memory fits, scores and searches take besides X and what they return."""

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from batched import assert_same_results
from plans import plan_of
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from tracing import traced

from sksae import SparseAutoencoderTransformer, StackedSparseAutoencoder
from sksae.engine import batches, threads
from sksae.engine.batches import Rows, kept_resident
from sksae.engine.losses import SquaredError
from sksae.engine.training import train
from sksae.model.failure import NonFiniteLossError
from sksae.model.slices import chunk_slices
from sksae.model_selection import BatchedGridSearchCV
from sksae.training.fit import rows_of as rows_of_plan

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MB = 1e6


def make(**params):
    defaults = {"n_components": 4, "batch_size": 250, "max_iter": 1, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def few_per_row(n_rows, n_columns, per_row=20):
    """Return a CSR matrix."""
    rng = np.random.default_rng(0)
    X = sp.csr_array(
        (
            rng.random(n_rows * per_row),
            rng.integers(0, n_columns, (n_rows, per_row)).ravel(),
            np.arange(0, n_rows * per_row + 1, per_row),
        ),
        shape=(n_rows, n_columns),
    )
    X.sum_duplicates()
    return X


def rows_of(n_bytes, dtype=torch.float32, n_features=50):
    """Return rows whose prepared copy takes so many bytes."""
    X = np.zeros((n_bytes // dtype.itemsize // n_features, n_features), np.float32)
    centre = np.zeros(n_features)
    return Rows(X, centre=centre, scale=1.0, dtype=dtype, device=torch.device("cpu"))


# Walks over all rows.


@pytest.mark.parametrize("widest", [64, 784, 5_000, 16_384])
def test_chunks_are_as_long_as_products_want_them(widest):
    longest = max(which.stop - which.start for which in chunk_slices(10**6, widest))
    assert longest >= 256
    assert longest * widest <= 2**22


@pytest.mark.parametrize("widest", [16_385, 50_000, 10**6, 10**7])
def test_chunks_of_wide_rows_are_short(widest):
    longest = max(which.stop - which.start for which in chunk_slices(100_000, widest))
    assert longest == max(1, 2**22 // widest)


SCORES = """
import sys
sys.path.insert(0, sys.argv[1])
from resource import RUSAGE_SELF, getrusage
import numpy as np
from sksae import SparseAutoencoderTransformer, StackedSparseAutoencoder
from test_memory import few_per_row

X = few_per_row(int(sys.argv[2]), int(sys.argv[3]))
members = [SparseAutoencoderTransformer(n, max_iter=1) for n in (40, 20)]
model = StackedSparseAutoencoder(members, max_iter=1, batch_size=16, random_state=0).fit(X[:50])
before = getrusage(RUSAGE_SELF).ru_maxrss
assert np.isfinite(getattr(model, sys.argv[4])(X)).all()
print(1024 * (getrusage(RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
@pytest.mark.parametrize("method", ["score", "score_samples", "transform"])
def test_a_stack_scores_wide_sparse_rows_a_few_at_a_time(method):
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCORES, here, "8000", "50000", method],
        env=os.environ | {"PYTHONPATH": os.path.dirname(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 * MB  # dense they are 3200 MB


def test_a_stack_makes_no_dense_copy_of_sparse_rows():
    X = few_per_row(1_000, 20_000)
    model = StackedSparseAutoencoder([make(), make()], max_iter=1, random_state=0).fit(X[:50])
    with traced() as numpy_memory:
        model.score(X)
        model.score_samples(X)
        assert numpy_memory.peak < 10 * MB  # dense they are 160 MB


# Prepared copies of rows.


def test_all_prepared_copies_share_one_budget(monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 10_000_000)
    training, held_out, other = rows_of(6_000_000), rows_of(4_000_000), rows_of(2_000_000)
    with traced() as numpy_memory, kept_resident(training, held_out):
        assert numpy_memory.now == pytest.approx(10 * MB, rel=0.01)
        with kept_resident(other):
            assert numpy_memory.now == pytest.approx(10 * MB, rel=0.01)
        training.let_go()
        with kept_resident(other):
            assert numpy_memory.now == pytest.approx(6 * MB, rel=0.01)
            held_out.keep_resident()
            assert numpy_memory.now == pytest.approx(6 * MB, rel=0.01)


def test_a_copy_that_does_not_fit_leaves_room_for_others(monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 5_000_000)
    with traced() as numpy_memory:
        with kept_resident(rows_of(6_000_000), rows_of(4_000_000)):
            assert numpy_memory.now == pytest.approx((6 + 4 + 4) * MB, rel=0.01)
        with kept_resident(rows_of(5_000_000)):
            assert numpy_memory.now == pytest.approx((5 + 5) * MB, rel=0.01)


def test_rows_that_are_forgotten_count_no_more(monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 4_000_000)
    rows_of(4_000_000).keep_resident()
    later = rows_of(4_000_000)
    with traced() as numpy_memory, kept_resident(later):
        assert numpy_memory.now == pytest.approx(4 * MB, rel=0.01)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_early_stopping_keeps_no_second_copy_beyond_the_budget(solver, dtype, monkeypatch):
    X = np.random.default_rng(0).normal(size=(60_000, 100)).astype(dtype)
    monkeypatch.setattr(batches, "RESIDENT_BYTES", int(0.7 * X.nbytes))
    model = make(solver=solver, dtype=dtype, early_stopping=True, validation_fraction=0.4)
    with traced() as numpy_memory:
        model.fit(X)
        # Besides a chunk of rows that are being prepared.
        assert numpy_memory.peak < 0.7 * X.nbytes + 2**20 * X.itemsize


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_failed_training_keeps_no_rows(solver):
    X = 1e25 * np.random.default_rng(0).normal(size=(60, 5))
    model = make(solver=solver, learning_rate=1e30, scale_data=False, sparsity=None)
    plan = plan_of(model, X, None)
    rows = rows_of_plan(plan, X, None, None)
    known = weakref.ref(rows)
    (outcome,) = train(plan.architecture, [plan.task()], rows, SquaredError())
    assert isinstance(outcome, NonFiniteLossError)
    del rows
    gc.collect()
    assert known() is None


# Searches.


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Rows of 16 MB on disk."""
    path = tmp_path_factory.mktemp("rows") / "X.npy"
    np.save(path, np.random.default_rng(0).normal(size=(40_000, 100)).astype(np.float32))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize(
    ("n_threads", "budget"),
    [
        pytest.param(1, 14_000_000, marks=pytest.mark.slow),
        (3, 0),
        (3, 14_000_000),
        pytest.param(3, 100_000_000, marks=pytest.mark.slow),
    ],
)
def test_a_search_keeps_no_copy_of_each_fold(mapped, n_threads, budget, monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_BYTES", budget)
    monkeypatch.setattr(threads, "n_cores", lambda: n_threads)
    search = BatchedGridSearchCV(make(), {"rho": [0.1, 0.2]}, cv=5, refit=False)
    with traced() as numpy_memory:
        search.fit(mapped)
        # What scikit-learn takes of X to fit one candidate, and of the next one; the search itself
        # is to take no more, however many folds and threads there are.
        folds = 1.2 * mapped.nbytes
        assert numpy_memory.peak < max(folds, min(budget, 3 * mapped.nbytes)) + 8 * MB


@pytest.mark.parametrize("container", [np.asarray, lambda X: X], ids=["array", "memmap"])
def test_a_search_that_reads_rows_in_place_finds_what_one_fit_after_another_does(mapped, container):
    X = container(mapped[:600, :8])
    options = {"cv": ShuffleSplit(3, random_state=0), "return_train_score": True}
    ours, theirs = (
        kind(make(early_stopping=True), {"rho": [0.1, 0.2]}, **options).fit(X)
        for kind in (BatchedGridSearchCV, GridSearchCV)
    )
    assert_same_results(ours, theirs, atol=1e-5)
