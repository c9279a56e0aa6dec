"""Rows of any dtype and byte order are converted some at a time, never all at once."""

import tracemalloc

import numpy as np
import pytest

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
    metrics,
)
from sksae.engine import batches
from sksae.model_selection.arrays import KnownArrays

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

N_ROWS, N_FEATURES = 60_000, 100
# What scikit-learn's own checks and the chunks may take; a copy in float64 is 46 MiB.
MOST = 30 * 2**20
DTYPES = ["float16", "uint8", "int16", "bool", ">f4", ">f8", "<i8", "longdouble"]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def make(size=3, **params):
    return SparseAutoencoderTransformer(size, **({"max_iter": 2, "random_state": 0} | params))


def composed(kind, **params):
    return kind([make(), make(2)], max_iter=1, random_state=0, **params)


@pytest.fixture(scope="module")
def few():
    return np.random.default_rng(0).integers(0, 2, (60, N_FEATURES))


@pytest.fixture(scope="module")
def models(few):
    """Models of every class that are fitted to a few rows, by name."""
    y = np.arange(len(few)) % 2
    return {
        "transformer": make().fit(few),
        "stack": composed(StackedSparseAutoencoder).fit(few),
        "classifier": composed(SparseAutoencoderClassifier).fit(few, y),
        "regressor": composed(SparseAutoencoderRegressor).fit(few, y),
    }


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Return a function that maps many rows of a dtype from a file."""
    folder = tmp_path_factory.mktemp("rows")

    def of(dtype, n_features=N_FEATURES):
        path = folder / f"{np.dtype(dtype).name}-{n_features}-{dtype[0] == '>'}.npy"
        if not path.exists():
            rows = np.random.default_rng(0).integers(0, 2, (N_ROWS, n_features), dtype=np.uint8)
            np.save(path, rows.astype(dtype))
        return np.load(path, mmap_mode="r")

    return of


def growth(do):
    """Return what `do` takes at most beyond its result, in bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = do()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return peak - getattr(result, "nbytes", 0)


METHODS = [
    ("transformer", "transform"),
    ("transformer", "score"),
    ("transformer", "score_samples"),
    ("stack", "transform"),
    ("stack", "score"),
    ("stack", "score_samples"),
    ("classifier", "transform"),
    ("classifier", "predict"),
    ("classifier", "predict_proba"),
    ("regressor", "transform"),
    ("regressor", "predict"),
]


@pytest.mark.each_once
@pytest.mark.parametrize("dtype", ["float16", "uint8", ">f4"])
@pytest.mark.parametrize(("name", "method"), METHODS, ids=map("-".join, METHODS))
def test_maps_of_any_dtype_are_never_copied_whole(models, mapped, name, method, dtype):
    X = mapped(dtype)
    assert growth(lambda: getattr(models[name], method)(X)) < MOST


def test_codes_in_between_are_never_there_all_at_once(few, mapped):
    members = [make(100), make(2)]
    stack = StackedSparseAutoencoder(members, finetune=False, random_state=0).fit(few)
    X = mapped("uint8")
    for method in ("transform", "score", "score_samples"):
        assert growth(lambda method=method: getattr(stack, method)(X)) < MOST


@pytest.mark.parametrize("name", ["transformer", "stack"])
def test_codes_of_any_dtype_are_never_copied_whole(few, mapped, name):
    sizes = (N_FEATURES, N_FEATURES)
    model = (
        make(N_FEATURES)
        if name == "transformer"
        else StackedSparseAutoencoder(
            [make(size) for size in sizes], finetune=False, random_state=0
        )
    )
    model.fit(few[:, :20])
    codes = mapped("float16")
    assert growth(lambda: model.inverse_transform(codes)) < MOST


@pytest.mark.each_once
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("dtype", ["float16", "uint8", ">f4"])
def test_training_copies_no_more_than_it_keeps(mapped, monkeypatch, method, dtype):
    X = mapped(dtype)
    model = make(max_iter=1, batch_size=4096)
    resident = N_ROWS * N_FEATURES * 4
    assert growth(lambda: getattr(model, method)(X)) < resident + MOST
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 2**20)
    assert growth(lambda: getattr(model, method)(X)) < MOST


@pytest.mark.parametrize("kind", [StackedSparseAutoencoder, SparseAutoencoderClassifier])
def test_trainings_of_stacks_copy_no_more_than_they_keep(mapped, kind):
    X, y = mapped("float16"), np.arange(N_ROWS) % 2
    model = kind([make(max_iter=1, batch_size=4096)], max_iter=1, batch_size=4096, random_state=0)
    assert growth(lambda: model.fit(X, y)) < N_ROWS * N_FEATURES * 4 + MOST


METRICS = {
    "l0": metrics.l0,
    "relative l0": lambda codes: metrics.l0(codes, threshold=0.1, relative=True),
    "mean": metrics.mean_activation,
    "kl": lambda codes: metrics.kl_sparsity(codes, 0.1),
    "dead": metrics.dead_units,
    "hoyer": metrics.hoyer_sparsity,
    "treves_rolls": lambda codes: metrics.treves_rolls_sparseness(codes, axis=0),
    "explained variance": lambda codes: metrics.explained_variance(codes, codes[::-1]),
}
each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@each_metric
@pytest.mark.parametrize("dtype", ["float16", "uint8", ">f4"])
def test_metrics_convert_codes_some_at_a_time(mapped, metric, dtype):
    codes = mapped(dtype)
    assert growth(lambda: metric(codes)) < MOST


@each_metric
@each_dtype
def test_metrics_of_any_dtype_are_those_of_floats(few, metric, dtype):
    np.testing.assert_array_equal(metric(few.astype(dtype)), metric(few.astype(np.float64)))


def test_metrics_take_integers_without_a_magnitude_of_their_own():
    codes = np.array([[-128, 0], [1, 2]], dtype=np.int8)
    for metric in (metrics.hoyer_sparsity, metrics.l0):
        np.testing.assert_array_equal(metric(codes), metric(codes.astype(np.float64)))


@pytest.mark.parametrize("dtype", ["float16", ">f4"])
def test_metrics_name_what_is_not_finite(few, dtype):
    codes = few.astype(dtype)
    codes[-1, -1] = np.nan
    with pytest.raises(ValueError, match="codes contains NaN"):
        metrics.l0(codes)


def test_searches_compare_rows_some_at_a_time(mapped):
    known, X = KnownArrays(), mapped(">f8")
    number = known.number(X)
    assert growth(lambda: known.find(X[:])) < MOST
    assert known.find(X[:]) == number
    assert known.find(np.asarray(X)[::-1].copy()) is None


# The same bits as of rows that were converted before.


@pytest.mark.each_once
@each_dtype
@pytest.mark.parametrize("params", [{}, {"dtype": "float64"}, {"scale_data": False}])
def test_rows_of_any_dtype_give_the_bits_of_rows_converted_before(few, dtype, params):
    rows, y = few.astype(dtype), np.arange(len(few)) % 2
    wide = rows.astype(np.float64)
    weight = np.arange(len(few)) % 3.0
    models = [make(**params).fit(given, sample_weight=weight) for given in (rows, wide)]
    for method in ("transform", "score", "score_samples"):
        found, expected = (getattr(models[0], method)(given) for given in (rows, wide))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(found, getattr(models[1], method)(wide))
    assert models[0].transform(rows).dtype == np.float64
    codes = few[:, :3].astype(dtype)
    np.testing.assert_array_equal(
        models[0].inverse_transform(codes), models[0].inverse_transform(codes.astype(np.float64))
    )
    if params:
        return
    for kind in (StackedSparseAutoencoder, SparseAutoencoderClassifier, SparseAutoencoderRegressor):
        found, expected = (composed(kind).fit(given, y) for given in (rows, wide))
        np.testing.assert_array_equal(found.transform(rows), expected.transform(wide))
        assert found.score(rows, y) == expected.score(wide, y)


@pytest.mark.parametrize("dtype", ["float16", ">f4", ">f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score", "score_samples"])
def test_rows_of_any_dtype_must_be_finite(few, method, bad, dtype):
    rows = few.astype(dtype)
    model = make().fit(rows)
    rows[50, 7] = bad
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        getattr(model, method)(rows)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        model.inverse_transform(rows[:, 5:8])


@each_dtype
def test_rows_of_any_dtype_must_have_the_width_of_those_fitted(few, dtype):
    model = make().fit(few.astype(dtype))
    assert model.n_features_in_ == N_FEATURES
    with pytest.raises(ValueError, match="X has 99 features, but SparseAutoencoderTransformer"):
        model.transform(few[:, 1:].astype(dtype))
    with pytest.raises(ValueError, match="Expected 2D array"):
        model.transform(few[0].astype(dtype))
    with pytest.raises(ValueError, match="0 sample"):
        model.transform(few[:0].astype(dtype))
