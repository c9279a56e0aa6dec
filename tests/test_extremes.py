"""Numbers at either end of the range of floats: the right answer, or an error that says why."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.metrics import explained_variance, mean_activation
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::UserWarning")

LAYOUTS = {"dense": np.asarray, "csr": sp.csr_array}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
# In units of which rows are given: near the ends of the range, and where squares are beyond it.
UNITS = [
    (np.float32, 2.0**70),
    (np.float32, 2.0**122),
    (np.float32, 2.0**-128),
    (np.float64, 2.0**520),
    (np.float64, 2.0**1018),
    (np.float64, 2.0**-600),
    (np.float64, 2.0**-1020),
]
each_unit = pytest.mark.parametrize(("dtype", "unit"), UNITS)


def make(**params):
    defaults = {"n_components": 4, "max_iter": 5, "rho": 0.2, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def composed(kind, **params):
    members = [make(max_iter=3), make(n_components=3, max_iter=3)]
    return kind(members, max_iter=2, random_state=0, **params)


ESTIMATORS = {
    "transformer": make,
    "stack": lambda: composed(StackedSparseAutoencoder),
    "classifier": lambda: composed(SparseAutoencoderClassifier),
    "regressor": lambda: composed(SparseAutoencoderRegressor),
}
each_estimator = pytest.mark.parametrize("new", ESTIMATORS.values(), ids=ESTIMATORS)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    # Of few digits, which are there in any unit.
    return np.round(64.0 * rng.normal(size=(50, 6)) * (rng.random((50, 6)) < 0.7)) / 64.0


@pytest.fixture(scope="module")
def y(X):
    return (X[:, 0] > 0).astype(int)


def work(model, X, y):
    """Return what every method of a fitted model makes of rows, except errors in units of X."""
    made = {"transform": model.transform(X), "score": model.score(X, y)}
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(model, name):
            made[name] = getattr(model, name)(X)
    if hasattr(model, "inverse_transform"):
        made["inverse_transform"] = model.inverse_transform(made["transform"])
    return made


# Units.


@pytest.mark.each_once
@each_layout
@each_unit
@each_estimator
def test_the_unit_of_rows_makes_no_difference(X, y, new, dtype, unit, layout):
    expected = work(new().fit(layout(X.astype(dtype)), y), layout(X.astype(dtype)), y)
    with np.errstate(all="raise"):
        with np.errstate(under="ignore"):
            rows = (X * unit).astype(dtype)
        found = work(new().fit(layout(rows), y), layout(rows), y)
        if hasattr(new(), "partial_fit"):
            again = new().partial_fit(layout(rows), y).partial_fit(layout(rows), y)
            assert np.isfinite(again.transform(layout(rows))).all()
    back = found.pop("inverse_transform", None)
    if back is not None:
        wanted = expected.pop("inverse_transform") * unit
        np.testing.assert_allclose(back, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=2e-2, err_msg=name)


@each_layout
def test_squared_errors_beyond_all_floats_are_refused_and_others_are_not(X, layout):
    stack = composed(StackedSparseAutoencoder)
    for model in (make(), stack):
        model.fit(layout(X * 1e160))
        assert -1.0 < model.score(layout(X * 1e160)) <= 1.0
        with pytest.raises(ValueError, match="X holds values so large"):
            model.score_samples(layout(X * 1e160))
        model.fit(layout(X.astype(np.float32) * np.float32(1e30)))
        errors = -model.score_samples(layout(X.astype(np.float32) * np.float32(1e30)))
        assert 1e58 < errors.mean() < 1e62


@pytest.mark.parametrize("unit", [1e-170, 1e-300, 1e155, 1e300])
def test_explained_variance_is_that_of_any_unit(X, unit):
    X_hat = X + 0.1
    expected = explained_variance(X, X_hat)
    with np.errstate(all="raise"):
        assert explained_variance(X * unit, X_hat * unit) == pytest.approx(expected, rel=1e-12)
    assert explained_variance(X * unit, X * unit) == 1.0


def test_a_ratio_beyond_all_floats_is_refused(X):
    model = make().fit(X)
    with pytest.raises(ValueError, match=r"R\^2 is beyond"):
        model.score(X * 1e-200)


# Rows far from those of training.


@each_layout
@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 3e38), (np.float64, 1.7e308)])
@pytest.mark.parametrize("unit", [1.0, 1e-25])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_rows_however_far_away_have_the_codes_of_units_at_rest(
    X, activation, unit, dtype, far, layout
):
    model = make(activation=activation, dtype="float64").fit(X * unit)
    direction = np.sign(X)
    sides = (direction @ model.coefs_[0].astype(np.float64)) > 0
    least = 0.0 if activation == "sigmoid" else -1.0
    with np.errstate(all="raise"):
        codes = model.transform(layout((direction * far).astype(dtype)))
    has_side = np.abs(direction).sum(axis=1) > 0
    np.testing.assert_allclose(codes[has_side], np.where(sides, 1.0, least)[has_side], atol=1e-6)


@each_layout
@pytest.mark.parametrize("power", range(30, 39))
def test_codes_of_large_float32_rows_are_those_of_float64_rows(X, power, layout):
    model = make(sparsity=None, activation="relu", hidden_layer_sizes=(5,)).fit(X)
    rows = (X / np.abs(X).max() * 10.0**power).astype(np.float32)
    expected = model.transform(rows.astype(np.float64))
    if np.abs(expected).max() > np.finfo(np.float32).max:
        with pytest.raises(ValueError, match=r"X holds values so large .* float64"):
            model.transform(layout(rows))
    else:
        found = model.transform(layout(rows))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.max())


@pytest.mark.parametrize("activation", ["relu", "identity", "prelu"])
@each_layout
def test_codes_beyond_all_floats_are_refused(X, activation, layout):
    model = make(sparsity=None, activation=activation).fit(X * 1e-10)
    for dtype, far in ((np.float32, 3e38), (np.float64, 1e308)):
        with pytest.raises(ValueError, match="X holds values so large"):
            model.transform(layout((X / np.abs(X).max() * far).astype(dtype)))


@each_layout
def test_weights_beyond_float32_work_on_float32_rows(X, layout):
    model = make(dtype="float64").fit(X)
    model.coefs_[0] = model.coefs_[0] * 1e100
    expected = model.transform(X.astype(np.float32).astype(np.float64))
    codes = model.transform(layout(X.astype(np.float32)))
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    assert np.isfinite(model.score(layout(X.astype(np.float32))))


@each_estimator
def test_far_rows_are_worked_on_or_refused_by_name(X, y, new):
    model = new().fit(X, y)
    for rows in (X.astype(np.float32) * np.float32(1e38), X * 1e307):
        for name in ("transform", "predict", "predict_proba", "score_samples"):
            if not hasattr(model, name):
                continue
            message = ""
            try:
                with np.errstate(all="raise"):
                    found = getattr(model, name)(rows)
            except ValueError as error:
                message = str(error)
            assert "X" in message if message else np.isfinite(found).all()


# Targets.


@pytest.mark.each_once
@pytest.mark.parametrize("unit", [2.0**520, 2.0**1000, 2.0**-520, 2.0**-1000])
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "two outputs"])
def test_the_unit_of_targets_makes_no_difference(X, unit, flat):
    targets = X[:, 0] + 0.3 * X[:, 1]
    targets = targets if flat else np.column_stack([targets, X[:, 2]])
    expected = composed(SparseAutoencoderRegressor).fit(X, targets)
    with np.errstate(all="raise"):
        model = composed(SparseAutoencoderRegressor).fit(X, unit * targets)
        np.testing.assert_allclose(model.predict(X) / unit, expected.predict(X), rtol=1e-9)
        assert model.score(X, unit * targets) == pytest.approx(expected.score(X, targets))
        model.partial_fit(X, unit * targets)
    single = model.predict(X.astype(np.float32))
    assert single.dtype == np.float64
    size = np.abs(expected.predict(X)).max()
    assert np.isfinite(single).all()
    np.testing.assert_allclose(
        composed(SparseAutoencoderRegressor).fit(X, unit * targets).predict(X.astype(np.float32))
        / unit,
        expected.predict(X),
        atol=1e-4 * size,
    )


def test_targets_far_from_those_of_the_first_piece_are_scaled_anew(X):
    model = composed(SparseAutoencoderRegressor).partial_fit(X, X[:, 0] * 1e-200)
    model.partial_fit(X, X[:, 0] * 1e200)
    np.testing.assert_allclose(model.target_scale_, X[:, 0].std() * 1e200, rtol=0.2)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("unit", [2.0**500, 2.0**-500])
def test_atoms_have_the_unit_of_rows(X, unit):
    with np.errstate(all="raise"):
        atoms = make().fit(X * unit).components_
    np.testing.assert_allclose(atoms / unit, make().fit(X).components_, rtol=1e-4, atol=1e-6)


# Weights.


@pytest.mark.each_once
@each_layout
@pytest.mark.parametrize("unit", [1e308, 1e-308, 5e-324])
@each_estimator
def test_the_unit_of_weights_makes_no_difference(X, y, new, unit, layout):
    weight = np.random.default_rng(0).integers(0, 2, len(X)).astype(np.float64)
    expected = new().fit(layout(X), y, sample_weight=weight)
    with np.errstate(all="raise"):
        model = new().fit(layout(X), y, sample_weight=unit * weight)
        found = model.score(layout(X), y, sample_weight=unit * weight)
    np.testing.assert_allclose(model.transform(X), expected.transform(X), rtol=1e-5, atol=1e-6)
    assert found == pytest.approx(expected.score(layout(X), y, sample_weight=weight), abs=1e-5)


@pytest.mark.parametrize("heaviest", [0, 3, 20])
@each_estimator
def test_one_row_may_outweigh_all_others(X, y, new, heaviest):
    weight = np.ones(len(X))
    weight[heaviest] = 1e308
    with np.errstate(all="raise"):
        model = new().fit(X, y, sample_weight=weight)
        assert np.isfinite(model.transform(X)).all()


@pytest.mark.parametrize("unit", [1e308, 5e-324])
def test_metrics_know_no_unit_of_weights(X, unit):
    weight = np.arange(len(X)) % 2.0
    with np.errstate(all="raise"):
        found = mean_activation(X, sample_weight=unit * weight)
        score = explained_variance(X, X + 0.1, sample_weight=unit * weight)
    np.testing.assert_allclose(found, mean_activation(X, sample_weight=weight), rtol=1e-12)
    assert score == pytest.approx(explained_variance(X, X + 0.1, sample_weight=weight))


@pytest.mark.parametrize("factor", [1e308, 5e-324])
def test_class_weights_may_be_as_extreme(X, y, factor):
    weighted = {0: factor, 1: factor}
    expected = composed(SparseAutoencoderClassifier).fit(X, y)
    with np.errstate(all="raise"):
        model = composed(SparseAutoencoderClassifier, class_weight=weighted).fit(
            X, y, sample_weight=np.full(len(X), factor)
        )
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=1e-5)


# Parameters.


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_estimator
def test_a_learning_rate_beyond_the_precision_is_named(X, y, new, solver):
    model = new().set_params(solver=solver, learning_rate=1e39)
    with pytest.raises(
        ValueError, match=r"learning_rate=1e\+39 is out of reach of dtype='float32'"
    ):
        model.fit(X, y)
    with pytest.raises(ValueError, match="learning_rate"):
        model.set_params(learning_rate=3e38).fit(X, y)


# Whatever floating-point errors are to do.


@pytest.mark.each_once
@pytest.mark.parametrize("unit", [1.0, 1e-200, 1e200])
@each_layout
@each_estimator
def test_no_line_minds_how_floating_point_errors_are_treated(X, y, new, layout, unit):
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = new().fit(layout(X * unit), y)
        work(model, layout(X * unit), y)
        work(model, layout(X * unit * 1e-30), y)


@pytest.mark.parametrize("scale_data", [True, False])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_refusals_leak_no_warnings(X, scale_data, solver, unit):
    with np.errstate(all="raise"):
        model = make(scale_data=scale_data, solver=solver, sparsity=None)
        if unit > 1.0 and not scale_data:
            with pytest.raises(ValueError, match="scale_data=True"):
                model.fit(X * unit)
        else:
            assert np.isfinite(model.fit(X * unit).transform(X * unit)).all()


def test_searches_take_any_unit(X):
    grid = {"rho": [0.1, 0.3]}
    with np.errstate(all="raise"):
        expected = BatchedGridSearchCV(make(), grid, cv=2).fit(X).cv_results_["mean_test_score"]
        for unit in (1e-200, 1e200):
            found = BatchedGridSearchCV(make(), grid, cv=2).fit(X * unit)
            np.testing.assert_allclose(found.cv_results_["mean_test_score"], expected, atol=1e-5)


@pytest.mark.parametrize("unit", [2.0**-600, 2.0**600])
def test_values_far_from_all_others_are_seen_in_any_unit(unit):
    rows = np.random.default_rng(0).normal(size=(100, 6))
    rows[7, 2] = -1e6
    with pytest.warns(UserWarning, match="in column 2, where nearly all others"):
        make().fit(rows * unit)
