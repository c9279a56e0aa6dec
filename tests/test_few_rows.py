"""A few rows, which go a shorter way than many: the same codes, rows and errors."""

import numpy as np
import pytest
from test_extremes import each_unit
from test_layouts import each_layout

from sksae import SparseAutoencoderTransformer
from sksae.engine.inference import few_rows, layers
from sksae.engine.products import NumpyProducts, TorchProducts
from sksae.engine.threads import Crew, n_cores

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

METHODS = ("transform", "inverse_transform")
EPS = {"float32": 1e-6, "float64": 1e-12}
each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(1.0, 3.0, (40, 6))


def fit(X, **params):
    defaults = {"n_components": 6, "sparsity": None, "activation": "relu", "max_iter": 3}
    return SparseAutoencoderTransformer(**(defaults | params), random_state=0).fit(X)


@pytest.fixture(scope="module")
def model(X):
    return fit(X, hidden_layer_sizes=(8,), hidden_activation="prelu")


def done(model, method, rows):
    """Return what a method makes of rows, or the words of its error."""
    try:
        return getattr(model, method)(rows)
    except ValueError as error:
        return str(error)


def done_as_many(monkeypatch, *args):
    with monkeypatch.context() as patched:
        patched.setattr(few_rows, "MOST_ROWS", 0)
        return done(*args)


def counting(monkeypatch):
    """Return a list that grows with every product of a few rows."""
    calls, product = [], few_rows._product
    monkeypatch.setattr(few_rows, "_product", lambda *args: calls.append(0) or product(*args))
    return calls


@each_method
@pytest.mark.parametrize("n_rows", [1, few_rows.MOST_ROWS])
def test_few_rows_go_the_shorter_way(X, model, monkeypatch, method, n_rows):
    calls = counting(monkeypatch)
    getattr(model, method)(X[:n_rows])
    assert len(calls) == 2
    getattr(model, method)(X[: few_rows.MOST_ROWS + 1])
    assert len(calls) == 2


@each_method
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30], ids=["ordinary", "small", "large"])
@each_unit
def test_rows_of_any_size_are_as_among_many(X, monkeypatch, method, dtype, unit, scale):
    with np.errstate(all="ignore"):
        rows = (X * unit).astype(dtype)
        others = (rows[:3].astype(np.float64) * scale).astype(dtype)
    if not np.isfinite(others).all():
        pytest.skip("beyond the range")
    model = fit(rows)
    found = done(model, method, others)
    expected = done_as_many(monkeypatch, model, method, others)
    if isinstance(expected, str):
        assert found == expected
    else:
        size = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=EPS[np.dtype(dtype).name] * size)


@each_method
@each_layout
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_lie_in_memory_as_they_like(X, model, method, layout, dtype):
    rows = X[:3].astype(dtype)
    expected = getattr(model, method)(rows)
    np.testing.assert_allclose(getattr(model, method)(layout(rows)), expected, rtol=1e-5)


@each_method
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.longdouble])
def test_rows_of_other_numbers_are_those_of_floats(X, model, method, dtype):
    rows = np.abs(X[:3]).astype(dtype)
    expected = getattr(model, method)(rows.astype(np.float64))
    np.testing.assert_array_equal(getattr(model, method)(rows), expected)


@each_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("products", [NumpyProducts(), TorchProducts()], ids=["numpy", "torch"])
def test_either_library_multiplies(X, model, monkeypatch, method, dtype, products):
    rows = X[:3].astype(dtype)
    expected = done_as_many(monkeypatch, model, method, rows)
    monkeypatch.setattr(layers, "products_for", lambda device: products)
    np.testing.assert_allclose(getattr(model, method)(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("far", [0.0, 1e2, 1e4, 1e6])
def test_rows_far_from_zero_keep_their_digits(X, far):
    rows = (far + X).astype(np.float32)
    model = fit(rows, scale_data=False)
    precise = model.transform(rows[:3].astype(np.float64))
    np.testing.assert_allclose(
        model.transform(rows[:3]), precise, rtol=0, atol=2e-6 * np.abs(precise).max()
    )


@each_method
def test_rows_may_be_read_only_and_stay_what_they_are(X, method):
    model = fit(X, activation="identity", scale_data=False)
    rows = X[:3].copy()
    rows.flags.writeable = False
    found = getattr(model, method)(rows)
    found[...] = 0.0
    np.testing.assert_array_equal(rows, X[:3])


@each_method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_refused(X, model, method, bad, dtype):
    rows = X[:3].astype(dtype)
    rows[1, 2] = bad
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        getattr(model, method)(rows)


def test_as_many_cores_are_left_as_were_there(X, model):
    before = n_cores()
    model.transform(X[:3])
    assert n_cores() == before
    with Crew(1):
        model.transform(X[:3])
        assert n_cores() == 1


def test_many_rows_that_are_not_finite_are_refused_wherever_it_is(X, model):
    rows = np.tile(X, (60, 1)).astype(np.float32)
    rows[1, 2], rows[-1, 3] = np.inf, np.nan
    with pytest.raises(ValueError, match=r"Input X contains NaN\.\nSparseAutoencoderTransformer"):
        model.transform(rows)
