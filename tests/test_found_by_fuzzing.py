"""Bugs that cases of test_fuzz.py found, each in a small form of its own."""

import numpy as np
import polars as pl
import pytest

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::UserWarning")

rng = np.random.default_rng(0)
X, LABELS = rng.random((40, 5)), np.arange(40) % 2


def make(**params):
    return SparseAutoencoderTransformer(**({"n_components": 4, "max_iter": 2} | params))


# Numbers.


@pytest.mark.parametrize(
    "params",
    [
        {"alpha": 10**400},
        {"batch_size": 10**400},
        {"beta": 10**400},
        {"hidden_layer_sizes": (3, 10**400)},
        {"learning_rate": 10**400},
        {"max_iter": 10**400},
        {"n_components": 10**400},
        {"noise_level": 10**400, "noise": "gaussian"},
        {"tol": 10**400},
    ],
    ids=lambda params: next(iter(params)),
)
def test_an_int_that_no_float_can_hold_is_refused(params):
    with pytest.raises(ValueError, match=f"{next(iter(params))} has an int of 1329 bits"):
        make(**params).fit(X)


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
@pytest.mark.parametrize("name", ["alpha", "batch_size", "learning_rate", "max_iter", "tol"])
def test_so_it_is_above_a_stack(kind, name):
    with pytest.raises(ValueError, match=f"{name} has an int of 1329 bits"):
        kind([make()], **{name: 10**400}).fit(X, LABELS)


@pytest.mark.parametrize("params", [{"n_components": 10**19}, {"hidden_layer_sizes": (10**19,)}])
def test_more_units_than_an_array_can_have_are_out_of_memory(params):
    with pytest.raises(MemoryError, match=r"Out of memory\. .*n_components"):
        make(**params).fit(X)


# Names in errors.


@pytest.mark.parametrize(
    "weight", [["a"] * 40, np.ones((40, 2)), np.zeros(40)], ids=["text", "a table", "zeros"]
)
def test_bad_weights_are_named(weight):
    with pytest.raises(ValueError, match=r"(?i)sample[ _]weight"):
        make().fit(X, sample_weight=weight)


@pytest.mark.parametrize("method", ["fit", "transform", "inverse_transform"])
def test_text_among_rows_is_named(method):
    model, rows = make().fit(X), np.full((40, 5), "a", dtype=object)
    with pytest.raises(ValueError, match=r"X.*could not convert"):
        getattr(model, method)(rows if method != "inverse_transform" else rows[:, :4])


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
@pytest.mark.parametrize("method", ["fit", "score"])
def test_targets_of_another_number_are_named(kind, method):
    model = kind([make()], max_iter=1).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"\by\b.*inconsistent numbers"):
        getattr(model, method)(X, LABELS[:-1])


def test_labels_of_too_many_dimensions_are_named():
    with pytest.raises(ValueError, match=r"\by\b"):
        SparseAutoencoderClassifier([make()], max_iter=1).fit(X, np.ones((40, 2, 2)))


@pytest.mark.parametrize("method", ["fit", "score"])
@pytest.mark.parametrize("y", [["a"] * 40, np.ones((40, 2, 2))], ids=["text", "too deep"])
def test_targets_that_are_no_numbers_are_named(method, y):
    model = SparseAutoencoderRegressor([make()], max_iter=1).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"\by\b"):
        getattr(model, method)(X, y)


# Forms of rows.


def test_float32_of_polars_stays_float32():
    rows = X.astype(np.float32)
    frame = pl.DataFrame(rows, schema=list("abcde"))
    model = make().fit(frame)
    codes = model.transform(frame)
    assert codes.dtype == np.float32
    mixed = frame.with_columns(pl.col("a").cast(pl.Float64))
    assert model.transform(mixed).dtype == np.float64
    assert model.inverse_transform(pl.DataFrame(codes)).dtype == np.float32


# Pieces.


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
@pytest.mark.parametrize("unit", [5e-324, 1e308])
def test_the_unit_of_weights_is_that_of_the_fit_before(kind, unit):
    def trained(unit):
        model = kind([make(random_state=0)], max_iter=1, random_state=0)
        model.fit(X, LABELS, sample_weight=np.full(40, unit))
        model.partial_fit(2.0 * X[:9], LABELS[:9], sample_weight=np.full(9, unit))
        return model.coef_

    np.testing.assert_allclose(trained(unit), trained(1.0), rtol=1e-5)


def test_the_first_piece_after_a_fit_may_weigh_next_to_nothing():
    model = make(random_state=0).fit(X, sample_weight=np.full(40, 1e290))
    before = model.transform(X)
    with np.errstate(all="raise"):
        model.partial_fit(X, sample_weight=np.full(40, 1e-290))
    np.testing.assert_allclose(model.transform(X), before, atol=1e-5)


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
def test_a_piece_beyond_the_reach_of_biases_is_refused(kind):
    rows, y = rng.random((150, 5)), np.arange(150) % 2
    model = kind([make()], max_iter=1, random_state=0).fit(rows * 1e-70, y)
    before = model.predict(rows * 1e-70)
    # A row that weighs next to nothing does not change the scale.
    with pytest.raises(ValueError, match="X holds rows so far from mean_"):
        model.partial_fit(rows[:2], y[:2], sample_weight=np.array([1e-300, 0.0]))
    np.testing.assert_array_equal(model.predict(rows * 1e-70), before)
