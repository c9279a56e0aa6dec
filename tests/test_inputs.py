"""Whatever holds the rows, the model is the same, and the rows stay as they are."""

import json
import os
import subprocess
import sys
import tracemalloc

import joblib
import numpy as np
import pytest
import scipy.sparse as sp

from sksae import SparseAutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(scope="module")
def X():
    """Counts, so that integers hold them too."""
    return np.random.default_rng(0).poisson(0.7, (50, 9)).astype(np.float64)


def make(**params):
    defaults = {"n_components": 4, "batch_size": 12, "max_iter": 8, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def as_memmap(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def with_duplicates(X):
    """Return X as a COO matrix in which every entry is the sum of two, in no order."""
    rows, columns = np.nonzero(X)
    order = np.random.default_rng(1).permutation(2 * len(rows))
    values = np.concatenate([X[rows, columns] - 5.0, np.full(len(rows), 5.0)])
    where = np.tile(rows, 2)[order], np.tile(columns, 2)[order]
    return sp.coo_array((values[order], where), shape=X.shape)


def with_long_indices(X):
    csr = sp.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


def noncanonical_csr(X):
    """Return a CSR matrix whose rows are out of order and hold two parts of every entry."""
    rows, columns = np.nonzero(X)
    lengths = np.bincount(rows, minlength=len(X))
    indices, data = [], []
    for row in range(len(X)):
        mine = columns[rows == row][::-1]
        indices += [*mine, *mine]
        data += [*(X[row, mine] - 5.0), *np.full(len(mine), 5.0)]
    indptr = np.concatenate([[0], np.cumsum(2 * lengths)])
    return sp.csr_array((np.array(data), np.array(indices, np.int32), indptr), shape=X.shape)


def pandas_frame(X):
    return pytest.importorskip("pandas").DataFrame(X, columns=[f"x{k}" for k in range(9)])


def polars_frame(X):
    return pytest.importorskip("polars").DataFrame(X, schema=[f"x{k}" for k in range(9)])


DENSE = {
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X: X[::-1].copy()[::-1],
    "integers": lambda X: X.astype(np.int32),
    "bytes": lambda X: X.astype(np.uint8),
    "big endian": lambda X: X.astype(">f8"),
    "lists": lambda X: X.tolist(),
    "pandas": pandas_frame,
    "polars": polars_frame,
}
SPARSE = {
    "csr": sp.csr_array,
    "csr matrix": sp.csr_matrix,
    "csc": sp.csc_array,
    "coo with duplicates": with_duplicates,
    "csr out of order with duplicates": noncanonical_csr,
    "csr with 64-bit indices": with_long_indices,
    "csr of integers": lambda X: sp.csr_array(X.astype(np.int64)),
    "lil": sp.lil_array,
}


@pytest.mark.each_once
@pytest.mark.parametrize("convert", DENSE.values(), ids=DENSE)
@each_dtype
@each_solver
def test_dense_rows_in_any_form_give_the_same_bits(X, solver, dtype, convert):
    expected = make(solver=solver, dtype=dtype).fit(X)
    given = convert(X)
    model = make(solver=solver, dtype=dtype).fit(given)
    for coef, same in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(coef, same)
    np.testing.assert_allclose(model.transform(given), expected.transform(X), rtol=1e-12)
    assert model.score(given) == pytest.approx(expected.score(X), rel=1e-12)


@pytest.mark.each_once
@pytest.mark.parametrize("convert", SPARSE.values(), ids=SPARSE)
@each_solver
def test_sparse_rows_in_any_form_give_the_model_of_dense_rows(X, solver, convert):
    expected = make(solver=solver, dtype="float64").fit(X)
    given = convert(X)
    model = make(solver=solver, dtype="float64").fit(given)
    for coef, same in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(coef, same, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(model.transform(given), expected.transform(X), rtol=1e-8)
    np.testing.assert_allclose(model.score_samples(given), expected.score_samples(X), rtol=1e-8)
    assert model.score(given) == pytest.approx(expected.score(X), abs=1e-8)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-8)


@pytest.mark.parametrize(
    "params",
    [
        {"scale_data": False},
        {"output_activation": "sigmoid"},
        {"hidden_layer_sizes": (5,)},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"shuffle": False},
        {"sparsity": "l1"},
    ],
    ids=lambda params: "-".join(params),
)
def test_sparse_rows_give_the_model_of_dense_rows_with(X, params):
    weight = np.random.default_rng(2).integers(0, 3, 50)
    models = [
        make(dtype="float64", **params).fit(rows, sample_weight=weight)
        for rows in (X, sp.csr_array(X))
    ]
    np.testing.assert_allclose(models[0].transform(X), models[1].transform(X), rtol=1e-8, atol=1e-8)
    assert models[0].loss_ == pytest.approx(models[1].loss_, rel=1e-8)


@each_solver
def test_float32_sparse_rows_give_nearly_the_model_of_dense_rows(X, solver):
    dense, sparse = (
        make(solver=solver).fit(rows.astype(np.float32)) for rows in (X, sp.csr_array(X))
    )
    # L-BFGS makes more of a rounding on its way than minibatches do.
    assert sparse.loss_ == pytest.approx(dense.loss_, rel=1e-3 if solver == "lbfgs" else 1e-4)
    assert sparse.transform(sp.csr_array(X, dtype=np.float32)).dtype == np.float32


@each_dtype
@each_solver
def test_a_read_only_memmap_is_trained_on_in_place(X, tmp_path, solver, dtype):
    given = as_memmap(X.astype(dtype), tmp_path)
    model = make(solver=solver).fit(given)
    expected = make(solver=solver).fit(X.astype(dtype))
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(model.transform(given), expected.transform(X.astype(dtype)))
    assert model.score(given) == expected.score(X.astype(dtype))
    codes = as_memmap(model.transform(given), tmp_path)
    assert model.inverse_transform(codes).shape == X.shape


@pytest.mark.each_once
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@each_dtype
@each_solver
def test_rows_too_many_to_be_kept_give_the_same_model(
    X, solver, dtype, container, resident, monkeypatch
):
    expected = make(solver=solver, dtype=dtype).fit(X)
    if not resident:
        monkeypatch.setattr("sksae.engine.batches.RESIDENT_BYTES", 0)
        monkeypatch.setattr("sksae.training.moments.CHUNK_ENTRIES", 30)
    model = make(solver=solver, dtype=dtype).fit(container(X))
    rtol = {"float32": 1e-3, "float64": 1e-8}[dtype]
    assert model.loss_ == pytest.approx(expected.loss_, rel=rtol)
    np.testing.assert_allclose(model.mean_, expected.mean_, rtol=1e-12)
    assert model.scale_ == pytest.approx(expected.scale_, rel=1e-12)


def arrays_of(X):
    return [X.data, X.indices, X.indptr] if sp.issparse(X) else [X]


@pytest.mark.each_once
@pytest.mark.parametrize(
    "convert",
    [np.copy, np.asfortranarray, sp.csr_array, noncanonical_csr],
    ids=["dense", "fortran", "csr", "noncanonical csr"],
)
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@each_dtype
@each_solver
def test_rows_are_never_written_to(X, solver, dtype, precision, convert):
    given = convert(X).astype(precision)
    weight = np.random.default_rng(2).random(50)
    arrays = [*arrays_of(given), weight]
    before = [array.copy() for array in arrays]
    model = make(solver=solver, dtype=dtype).fit(given, sample_weight=weight)
    codes = model.transform(given)
    kept = codes.copy()
    model.score(given, sample_weight=weight)
    model.score_samples(given)
    model.inverse_transform(codes)
    if solver != "lbfgs":
        model.partial_fit(given, sample_weight=weight)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(codes, kept)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_locked_rows_can_be_trained_on(X, container):
    given = container(X.copy())
    for array in arrays_of(given):
        array.flags.writeable = False
    model = make().fit(given)
    assert np.isfinite(model.transform(given)).all()


def test_codes_do_not_share_memory_with_rows_or_weights(X):
    model = make(n_components=9, sparsity=None, activation="identity").fit(X)
    codes = model.transform(X)
    assert not np.shares_memory(codes, X)
    assert not any(np.shares_memory(codes, coef) for coef in model.coefs_)


@pytest.mark.parametrize("library", [pandas_frame, polars_frame])
def test_names_of_a_frame_are_kept_and_checked(X, library):
    frame = library(X)
    model = make().fit(frame)
    assert model.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list(frame.columns)[::-1]])
    with pytest.warns(UserWarning, match="feature names"):
        model.transform(X)


def test_memmaps_made_by_joblib_are_rows_too(X, tmp_path):
    path = tmp_path / "X.joblib"
    joblib.dump(X, path)
    given = joblib.load(path, mmap_mode="r")
    assert isinstance(given, np.memmap)
    np.testing.assert_array_equal(make().fit(given).coefs_[0], make().fit(X).coefs_[0])


# Memory: a sparse matrix is never made dense as a whole.

SPARSE_SCRIPT = """
import json, resource, sys
import numpy as np, scipy.sparse as sp
from sksae import SparseAutoencoderTransformer

n_rows, n_columns, per_row, n_components = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
X = sp.csr_array(
    (
        rng.random(n_rows * per_row, dtype=np.float32),
        rng.integers(0, n_columns, (n_rows, per_row), dtype=np.int32).ravel(),
        np.arange(0, n_rows * per_row + 1, per_row, dtype=np.int32),
    ),
    shape=(n_rows, n_columns),
)
X.sum_duplicates()
model = SparseAutoencoderTransformer(n_components, max_iter=1, random_state=0)
model.fit(X[:300])  # imports torch
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model.fit(X)
after_fit = peak()
codes = model.transform(X)
score = model.score(X[:40_000])
json.dump(
    {
        "fit": after_fit - before,
        "all": peak() - before,
        "finite": bool(np.isfinite(codes).all() and np.isfinite(score)),
    },
    sys.stdout,
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
@pytest.mark.parametrize(
    ("n_rows", "n_columns", "limit"),
    [
        (20_000, 5_000, 120e6),
        pytest.param(200_000, 50_000, 500e6, marks=pytest.mark.slow),
    ],
)
def test_a_sparse_matrix_is_not_made_dense(n_rows, n_columns, limit):
    dense = 4 * n_rows * n_columns
    assert limit < dense / 3
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPARSE_SCRIPT]
        + [str(number) for number in (n_rows, n_columns, 50, 8)],
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(__file__))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout)
    assert grown["finite"]
    assert grown["fit"] < limit
    assert grown["all"] < limit


@pytest.mark.parametrize("scale_data", [True, False])
def test_numpy_makes_no_dense_copy_of_a_sparse_matrix(scale_data):
    X = sp.random_array(
        (4_000, 5_000), density=0.002, random_state=np.random.default_rng(0), format="csr"
    )
    model = make(scale_data=scale_data, batch_size=100, max_iter=1)
    model.fit(X[:200])
    tracemalloc.start()
    try:
        model.fit(X)
        model.score(X)
        model.transform(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.15 * 8 * np.prod(X.shape)
