"""SparseAutoencoderRegressor: numbers in any units, of one output or several."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from stacking import (
    chain,
    encode,
    make_rows,
    pair,
    supervised_loss,
)

from sksae import SparseAutoencoderRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_rows()
y = 3.0 * X[:, 0] - X[:, 1] ** 2
Y = np.c_[y, np.cos(4.0 * X[:, 2]), X[:, 3]]
WEIGHT = np.random.default_rng(0).uniform(0.0, 2.0, 60)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def make(members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return SparseAutoencoderRegressor(pair() if members is None else members, **(defaults | params))


def standardised(target, weight=None):
    target = target.reshape(60, -1)
    mean = np.average(target, axis=0, weights=weight)
    return (target - mean) / np.sqrt(np.average((target - mean) ** 2, axis=0, weights=weight))


# Outputs.


@pytest.mark.each_once
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", [y, y[:, None], Y], ids=["flat", "one column", "three"])
def test_predictions_have_the_shape_and_the_units_of_the_targets(target, dtype):
    rows, n_outputs = X.astype(dtype), target.reshape(60, -1).shape[1]
    model = make().fit(rows, target)
    found = model.predict(rows)
    assert found.shape == target.shape
    assert found.dtype == dtype
    if target.ndim == 1:
        assert model.coef_.shape == (4,)
        assert type(model.intercept_) is float
    else:
        assert model.coef_.shape == (n_outputs, 4)
        assert model.intercept_.shape == (n_outputs,)
    codes = encode(model.autoencoders_, rows)
    by_hand = codes @ np.atleast_2d(model.coef_).T + model.intercept_
    tolerance = 1e-5 if dtype == np.float32 else 1e-10
    by_hand = by_hand.reshape(found.shape)
    np.testing.assert_allclose(found, by_hand, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(model.target_mean_, target.reshape(60, -1).mean(axis=0))
    np.testing.assert_allclose(model.target_scale_, target.reshape(60, -1).std(axis=0))


@pytest.mark.each_once
@pytest.mark.parametrize("decay", ["top", "all"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@each_solver
def test_loss_of_several_outputs_is_the_formula(solver, weight, decay):
    params = {"solver": solver, "decay": decay, "alpha": 0.1, "dtype": "float64"}
    model = make(pair(dtype="float64"), **params).fit(X, Y, sample_weight=weight)
    expected = supervised_loss(model, X, standardised(Y, weight), "numbers", weight)
    assert model.loss_ == pytest.approx(expected, rel=1e-9)


def test_several_outputs_are_learnt_together_but_frozen_each_on_its_own():
    params = {"freeze": 2, "alpha": 1e-4, "tol": 0.0, "n_iter_no_change": 50, "dtype": "float64"}
    together = make(**params).fit(X, Y).predict(X)
    for column in range(3):
        alone = make(**params).fit(X, Y[:, column]).predict(X)
        np.testing.assert_allclose(together[:, column], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", [y, Y], ids=["one", "three"])
def test_with_all_layers_frozen_it_is_ridge_on_the_codes(target):
    members = chain(pair(), X)
    params = {"dtype": "float64", "tol": 0.0, "n_iter_no_change": 50, "max_iter": 1000}
    model = make(members, pretrain=False, freeze=2, alpha=1e-3, **params).fit(X, target)
    codes = encode(members, X)
    ridge = Ridge(alpha=1e-3 * 60).fit(codes, standardised(target))
    # In the units of the target.
    expected = ridge.predict(codes).reshape(60, -1) * model.target_scale_ + model.target_mean_
    np.testing.assert_allclose(model.predict(X).reshape(60, -1), expected, rtol=1e-5, atol=1e-6)
    weighted = make(members, pretrain=False, freeze=2, alpha=1e-3, **params)
    weighted.fit(X, target, sample_weight=WEIGHT)
    ridge = Ridge(alpha=1e-3 * WEIGHT.sum())
    ridge.fit(codes, standardised(target, WEIGHT), sample_weight=WEIGHT)
    found = standardised_like(weighted, weighted.predict(X))
    np.testing.assert_allclose(found, ridge.predict(codes).reshape(60, -1), rtol=1e-5, atol=1e-6)


def standardised_like(model, found):
    return (found.reshape(60, -1) - model.target_mean_) / model.target_scale_


# Units.


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("dtype", "freeze"), [("float32", None), ("float64", None), ("float32", 2)]
)
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1000.0, 5.0), (-2.0, 0.0), (1e-40, 0.0), (1e40, 0.0), (1.0, 1e4)],
)
def test_units_of_the_targets_do_not_matter(scale, shift, dtype, freeze):
    members = chain(pair(), X)
    for target in (y, Y):
        params = {"dtype": dtype, "freeze": freeze, "pretrain": False}
        model, other = make(members, **params).fit(X, target), make(members, **params)
        other.fit(X, scale * target + shift)
        expected = scale * model.predict(X) + shift
        tolerance = 1e-4 if dtype == "float32" else 1e-6
        # As far as the shift leaves digits.
        np.testing.assert_allclose(
            (other.predict(X) - shift) / scale, (expected - shift) / scale, atol=tolerance
        )
        assert other.loss_ == pytest.approx(model.loss_, rel=1e-4)


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 5.0), (1e-40, 0.0), (1e40, 0.0)])
def test_nor_do_they_in_passes(scale, shift):
    model, other = make(), make()
    for _ in range(3):
        model.partial_fit(X, Y)
        other.partial_fit(X, scale * Y + shift)
    found = (other.predict(X) - shift) / scale
    np.testing.assert_allclose(found, model.predict(X), atol=1e-4)


def test_outputs_of_very_different_units_count_alike():
    model = make(max_iter=30).fit(X, Y)
    other = make(max_iter=30).fit(X, Y * [1.0, 1e6, 1e-6])
    np.testing.assert_allclose(
        other.predict(X) / [1.0, 1e6, 1e-6], model.predict(X), rtol=1e-3, atol=1e-4
    )


def test_a_target_without_deviation_is_predicted():
    np.testing.assert_allclose(make().fit(X, np.full(60, 3.0)).predict(X), 3.0, atol=1e-5)
    found = make().fit(X, np.c_[y, np.full(60, 1e9)])
    np.testing.assert_allclose(found.predict(X)[:, 1], 1e9)
    assert found.target_scale_[1] == 1.0
    assert np.isfinite(make().fit(X[:1], y[:1]).predict(X)).all()


def test_a_pass_goes_on_where_the_last_one_ended():
    # The layer on top is kept in the units of y: there and back again no bit is lost in float32.
    model = make(learning_rate=1e-30).partial_fit(X, 1e3 * Y + 7.0)
    before = model.predict(X)
    for _ in range(5):
        model.partial_fit(X, 1e3 * Y + 7.0)
    np.testing.assert_array_equal(model.predict(X), before)


# partial_fit.


def test_the_first_pass_fixes_the_units_unless_later_ones_show_them_far_off():
    model = make().partial_fit(X, Y)
    mean, scale = model.target_mean_, model.target_scale_
    model.partial_fit(X, Y + 0.02 * scale)
    np.testing.assert_array_equal(model.target_mean_, mean)
    np.testing.assert_array_equal(model.target_scale_, scale)
    far = make().partial_fit(X, Y)
    far.partial_fit(X, [1.0, 1.0, 100.0] * Y)
    np.testing.assert_array_equal(far.target_scale_[:2], scale[:2])
    assert far.target_scale_[2] > 50.0 * scale[2]
    for wrong, n_outputs in ((y, 1), (Y[:, :2], 2)):
        with pytest.raises(ValueError, match=f"{n_outputs} outputs, but training began with 3"):
            model.partial_fit(X, wrong)
    assert model.n_iter_ == 2
