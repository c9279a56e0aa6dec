"""Training in several calls: partial_fit, and fit with warm_start."""

import inspect
import warnings
from itertools import pairwise

import numpy as np
import pytest
from registered import each_sparsity, rho_of, with_a_beta
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits

from sksae import SparseAutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
# Every epoch is made, all of them at one rate.
STEADY = {"learning_rate_schedule": "constant", "tol": 0.0, "n_iter_no_change": 1000}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((60, 6))


def make(**params):
    defaults = {"n_components": 4, "batch_size": 5, "dtype": "float64", "random_state": 0}
    given = defaults | params
    given.setdefault("rho", rho_of(given.get("sparsity", "kl"), 0.05))
    return SparseAutoencoderTransformer(**given)


def assert_same_network(a, b, rtol=1e-9):
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(a, name), getattr(b, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


# partial_fit.


@pytest.mark.each_once
@pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("container", [np.asarray, csr_array])
@each_sparsity
@each_minibatch_solver
def test_single_passes_make_a_fit_with_constant_schedule(
    X, solver, sparsity, container, scale_data
):
    params = {"sparsity": sparsity, "solver": solver, "scale_data": scale_data}
    params |= with_a_beta(sparsity)
    whole = make(**params, **STEADY, max_iter=6).fit(container(X))
    passes = make(**params)
    for _ in range(6):
        passes.partial_fit(container(X))
    assert_same_network(passes, whole)
    np.testing.assert_allclose(passes.loss_curve_, whole.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(passes.mean_activation_, whole.mean_activation_, rtol=1e-9)
    assert passes.loss_ == pytest.approx(whole.loss_, rel=1e-9)
    assert (passes.n_iter_, passes.n_steps_) == (whole.n_iter_, whole.n_steps_) == (6, 72)


@each_minibatch_solver
def test_single_passes_with_weights_make_a_fit_with_weights(X, solver):
    weight = np.random.default_rng(1).integers(0, 3, 60)
    whole = make(solver=solver, **STEADY, max_iter=3, batch_size=3).fit(X, sample_weight=weight)
    passes = make(solver=solver, batch_size=3)
    for _ in range(3):
        passes.partial_fit(X, sample_weight=weight)
    assert_same_network(passes, whole)


def test_a_pass_is_made_in_minibatches_at_the_constant_rate(X):
    once = make().partial_fit(X)
    assert once.n_steps_ == 12
    assert_same_network(once, make(learning_rate_schedule="constant").partial_fit(X))
    assert_same_network(once, make(max_iter=7, tol=10.0, n_iter_no_change=1).partial_fit(X))


def test_partial_fit_counts_passes_steps_and_losses(X):
    model, curve = make(), []
    for k, rows in enumerate((X, X[:33], X[:5], X[:1]), start=1):
        model.partial_fit(rows)
        assert model.n_iter_ == k
        assert len(model.loss_curve_) == k
        assert model.loss_curve_[:-1] == curve
        curve = list(model.loss_curve_)
    assert model.n_steps_ == 12 + 7 + 1 + 1


def test_scaling_stays_as_long_as_rows_are_as_the_first(X):
    model = make().partial_fit(X[:30])
    mean, scale = model.mean_.copy(), model.scale_
    np.testing.assert_allclose(mean, X[:30].mean(axis=0), rtol=1e-12)
    for rows in (X[30:], X[:1], X[50:], X):
        model.partial_fit(rows)
    np.testing.assert_array_equal(model.mean_, mean)
    assert model.scale_ == scale


@each_minibatch_solver
def test_partial_fit_goes_on_after_fit(X, solver):
    model = make(solver=solver, max_iter=4).fit(X)
    longer = make(solver=solver, **STEADY, max_iter=5).fit(X)
    before = clone(model).set_params(**STEADY, max_iter=4).fit(X)
    steps, curve, mean = model.n_steps_, list(model.loss_curve_), model.mean_
    model.partial_fit(X[:20])
    assert (model.n_iter_, model.n_steps_) == (5, steps + 4)
    assert model.loss_curve_[:-1] == curve
    np.testing.assert_array_equal(model.mean_, mean)
    # After a fit at the constant rate a pass is one more epoch of it.
    assert_same_network(before.partial_fit(X), longer)


def test_partial_fit_learns_from_a_stream():
    X = load_digits().data
    model = SparseAutoencoderTransformer(32, rho=0.1, random_state=0, batch_size=50)
    first = model.partial_fit(X[:300]).score(X)
    for _ in range(5):
        for rows in np.array_split(X, 6):
            model.partial_fit(rows)
    assert model.score(X) > max(first, 0.0) + 0.3


def test_partial_fit_says_nothing_of_convergence(X):
    model = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            model.partial_fit(X)


def test_fit_starts_anew_after_partial_fit(X):
    model = make(max_iter=3).partial_fit(X + 5.0).fit(X)
    assert model.n_iter_ == 3
    assert_same_network(model, make(max_iter=3).fit(X), rtol=0.0)


def test_partial_fit_is_not_there_with_lbfgs_as_in_mlps():
    model = make(solver="lbfgs")
    assert not hasattr(model, "partial_fit")
    said = (
        "'SparseAutoencoderTransformer' has no attribute 'partial_fit' with solver='lbfgs'.*'adam'"
    )
    with pytest.raises(AttributeError, match=said):
        _ = model.partial_fit
    with pytest.raises(AttributeError, match=said):
        type(model).partial_fit(model, np.ones((3, 2)))
    assert hasattr(model.set_params(solver="sgd"), "partial_fit")


def test_partial_fit_has_its_signature_and_docstring():
    for owner in (SparseAutoencoderTransformer, make()):
        assert {"X", "y", "sample_weight"} <= set(inspect.signature(owner.partial_fit).parameters)
        assert owner.partial_fit.__doc__.startswith("Train on the rows given")
    with config_context(enable_metadata_routing=True):
        model = make().set_partial_fit_request(sample_weight=True)
        assert model.get_metadata_routing().partial_fit.requests == {"sample_weight": True}


def test_partial_fit_refuses_early_stopping(X):
    model = make(early_stopping=True)
    with pytest.raises(ValueError, match="early_stopping"):
        model.partial_fit(X)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_components": 5}, "sizes"),
        ({"hidden_layer_sizes": (5,)}, "sizes"),
        ({"activation": "tanh"}, "activations"),
        ({"output_activation": "sigmoid"}, "activations"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_network_cannot_go_on(X, method, change, named):
    model = make(warm_start=True, max_iter=2).fit(X)
    coefs = [coef.copy() for coef in model.coefs_]
    model.set_params(**change)
    with pytest.raises(ValueError, match=rf"{named}.*warm_start"):
        getattr(model, method)(X)
    for coef, before in zip(model.coefs_, coefs, strict=True):
        np.testing.assert_array_equal(coef, before)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_other_features_cannot_go_on(X, method):
    model = make(warm_start=True, max_iter=2).fit(X)
    with pytest.raises(ValueError, match="5 features"):
        getattr(model, method)(X[:, :5])


# warm_start.


@pytest.mark.each_once
@pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
@each_sparsity
@each_minibatch_solver
def test_a_fit_in_two_halves_is_the_whole_fit(X, solver, sparsity, scale_data):
    params = {"sparsity": sparsity, "solver": solver, "scale_data": scale_data} | STEADY
    params |= with_a_beta(sparsity)
    whole = make(**params, max_iter=6).fit(X)
    halves = make(**params, max_iter=3, warm_start=True).fit(X).fit(X)
    assert_same_network(halves, whole)
    np.testing.assert_allclose(halves.loss_curve_, whole.loss_curve_, rtol=1e-9)
    assert (halves.n_iter_, halves.n_steps_) == (6, whole.n_steps_)


@each_solver
def test_warm_start_adds_up_and_the_loss_goes_on_falling(X, solver):
    model = make(
        solver=solver, batch_size=60, learning_rate=0.01, max_iter=5, tol=0.0, warm_start=True
    )
    losses = [model.fit(X).loss_ for _ in range(4)]
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert model.n_iter_ == model.n_steps_ == len(model.loss_curve_) == 20


def test_warm_start_follows_a_new_schedule(X):
    model = make(warm_start=True, max_iter=3).fit(X)
    model.set_params(max_iter=8, learning_rate=1e-4)
    assert model.fit(X).n_iter_ == 11


def test_warm_start_keeps_the_scaling_of_the_first_fit(X):
    model = make(warm_start=True, max_iter=3).fit(X)
    model.fit(2.0 * X + 1.0)
    np.testing.assert_allclose(model.mean_, X.mean(axis=0))


@each_solver
def test_warm_start_can_go_on_with_another_solver(X, solver):
    model = make(warm_start=True, max_iter=3).fit(X)
    before = model.loss_
    model.set_params(solver=solver, max_iter=5).fit(X)
    assert model.n_iter_ == 8
    if solver == "lbfgs":
        assert model.loss_ < before


def test_warm_start_prolongs_the_curve_of_held_out_scores(X):
    model = make(warm_start=True, early_stopping=True, max_iter=3).fit(X)
    before = list(model.validation_score_curve_)
    model.fit(X)
    assert model.validation_score_curve_[:3] == before
    assert len(model.validation_score_curve_) == len(model.loss_curve_) == model.n_iter_ == 6


def test_without_warm_start_fit_begins_anew(X):
    model = make(max_iter=3).fit(X).fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert_same_network(model, make(max_iter=3).fit(X), rtol=0.0)


def test_a_first_fit_with_warm_start_is_a_fit(X):
    assert_same_network(make(max_iter=3, warm_start=True).fit(X), make(max_iter=3).fit(X), rtol=0.0)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_leaves_earlier_arrays_alone(X, method):
    model = make(warm_start=True, max_iter=2).fit(X)
    arrays = [*model.coefs_, *model.intercepts_, model.mean_, model.mean_activation_]
    copies, curve = [array.copy() for array in arrays], model.loss_curve_
    getattr(model, method)(X)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert len(curve) == 2
