"""A decoder with the encoder's weights, transposed: one set of weights in all that is done."""

import pickle
from itertools import product

import numpy as np
import oracle
import pytest
import torch
from batched import assert_same_results, make, search_both
from oracle import Problem, relative_error, small_parts
from plans import plan_of
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits

from sksae import SparseAutoencoderTransformer
from sksae.engine import full_batch
from sksae.engine.parameters import Parameters
from sksae.engine.starting import starting_parameters
from sksae.model.architecture import Architecture
from sksae.model.flat import to_flat, to_layers
from sksae.training.fit import train_plans

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CODES = [("kl", "sigmoid"), ("kl", "tanh"), ("l1", "relu"), ("l2", "prelu"), (None, "identity")]
LAYERS = {"shallow": ((), "relu"), "deep": ((7,), "prelu"), "deeper": ((9, 7), "relu")}

each_code = pytest.mark.parametrize(("sparsity", "activation"), CODES)
each_depth = pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
# Every epoch is made, all of them at one rate.
STEADY = {"learning_rate_schedule": "constant", "tol": 0.0, "n_iter_no_change": 1000}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.random((3, 8)) / 3 + 0.1 * rng.random((60, 8))


def tied(layers=((), "relu"), **params):
    sizes, hidden = layers
    return make(tied_weights=True, hidden_layer_sizes=sizes, hidden_activation=hidden, **params)


def assert_tied(model):
    assert len(model.coefs_) % 2 == 0
    for layer in range(len(model.coefs_) // 2):
        np.testing.assert_array_equal(model.coefs_[-1 - layer], model.coefs_[layer].T)


def assert_same(a, b, rtol=0.0):
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(a, name), getattr(b, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


# Fitted models.


@pytest.mark.each_once
@pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
@each_depth
@each_solver
@each_code
def test_weights_are_the_transposed_and_the_loss_is_the_formula(
    X, sparsity, activation, solver, layers, scale_data
):
    weight = np.tile([0.0, 0.5, 1.0, 2.5], 15)
    params = {"sparsity": sparsity, "activation": activation, "alpha": 0.01}
    model = tied(layers, solver=solver, scale_data=scale_data, learning_rate=1e-3, **params)
    model.fit(X, sample_weight=weight)
    assert_tied(model)
    # The formula's weight decay is a sum over all of coefs_, so that it counts both.
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X, weight), rel=1e-10)
    np.testing.assert_allclose(
        model.mean_activation_, oracle.mean_activation_of(model, X, weight), rtol=1e-10, atol=1e-10
    )


@each_solver
def test_weights_are_tied_in_float32_too(X, solver):
    model = tied(LAYERS["deep"], solver=solver, dtype="float32").fit(X)
    assert_tied(model)
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X), rel=1e-5)


@each_solver
def test_training_moves_the_weights_downhill(X, solver):
    """From the same start no worse than what is returned at once."""
    start = tied(solver="sgd", learning_rate=1e-300, max_iter=1, alpha=0.01).fit(X)
    model = tied(solver=solver, max_iter=40, alpha=0.01).fit(X)
    assert_tied(start)
    assert model.loss_ < 0.9 * start.loss_


def test_a_tied_fit_is_another_model(X):
    one, other = make().fit(X), tied().fit(X)
    np.testing.assert_raises(AssertionError, assert_same, one, other)
    # Fewer parameters are drawn, the encoder's first.
    start = {"solver": "sgd", "learning_rate": 1e-300, "max_iter": 1}
    np.testing.assert_allclose(
        tied(**start).fit(X).coefs_[0], make(**start).fit(X).coefs_[0], rtol=1e-12
    )


def test_atoms_are_the_weights_that_read_them(X):
    model = tied().fit(X)
    np.testing.assert_allclose(model.components_, model.coefs_[0].T * model.scale_, rtol=1e-12)
    codes = model.transform(X)
    z = oracle.forward(np, oracle.network_of(model), oracle.scaled(model, X))[1]
    np.testing.assert_allclose(codes, z[0], rtol=1e-10)
    np.testing.assert_allclose(
        model.inverse_transform(codes), z[1] * model.scale_ + model.mean_, rtol=1e-10
    )


def test_without_penalties_a_tied_linear_code_finds_the_principal_subspace(X):
    """Baldi & Hornik 1989: its minimum is PCA's, and tying does not change it."""
    model = tied(
        n_components=2, sparsity=None, activation="identity", alpha=0.0, solver="lbfgs", tol=0.0
    )
    model.set_params(max_iter=400, n_iter_no_change=400).fit(X)
    values = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    assert model.score(X) == pytest.approx(values[:2].sum() / values.sum(), abs=1e-6)


@pytest.mark.parametrize("params", [{}, {"solver": "lbfgs"}, {"sparsity": "l1"}], ids=str)
@each_depth
def test_csr_is_as_good_as_dense(X, layers, params):
    rows = np.where(X > 0.3, X, 0.0)
    dense = tied(layers, **params).fit(rows)
    sparse = tied(layers, **params).fit(csr_array(rows))
    assert_tied(sparse)
    assert_same(sparse, dense, rtol=1e-7)


@pytest.mark.parametrize("sparsity", ["kl", "l1"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_beta_auto_meets_rho(sparsity, solver):
    X = load_digits().data[:600] / 16
    model = SparseAutoencoderTransformer(
        32, sparsity=sparsity, rho=0.1, beta="auto", tied_weights=True, solver=solver
    )
    model.set_params(max_iter=60 if solver == "adam" else 150, batch_size=60, random_state=0)
    code = model.fit_transform(X)
    active = code if sparsity == "kl" else code > 1e-3 * code.max(axis=0)
    assert active.mean() == pytest.approx(0.1, rel=0.1)
    assert_tied(model)


def test_early_stopping_restores_tied_weights(X):
    model = tied(LAYERS["deep"], early_stopping=True, max_iter=20, learning_rate=0.05).fit(X)
    assert_tied(model)
    held_out = np.sort(np.random.default_rng(model._seed).permutation(60)[:6])
    assert model.score(X[held_out]) == pytest.approx(max(model.validation_score_curve_), abs=1e-9)


# Going on.


@each_depth
@each_minibatch_solver
def test_a_fit_in_two_halves_is_the_whole_fit(X, solver, layers):
    # Many batches, as single passes take the mean activation over ten of them.
    common = {"solver": solver, "batch_size": 5}
    whole = tied(layers, **common, **STEADY).set_params(max_iter=6).fit(X)
    halves = tied(layers, **common, **STEADY).set_params(max_iter=3, warm_start=True)
    assert_same(halves.fit(X).fit(X), whole, rtol=1e-9)
    assert_tied(halves)
    passes = tied(layers, **common)
    for _ in range(6):
        passes.partial_fit(X)
    assert_same(passes, whole, rtol=1e-9)
    assert_tied(passes)


@each_solver
def test_the_state_of_the_solver_is_of_the_tied_weights_once(X, solver):
    model = tied(solver=solver).fit(X)
    n_parameters = 8 * 5 + 5 + 8
    moments = [array for array in model._state.values() if array.size > 5]
    assert len(moments) == {"adam": 2, "sgd": 1, "lbfgs": 0}[solver]
    assert {array.size for array in moments} <= {n_parameters}


def test_warm_start_goes_on_with_lbfgs_from_where_it_was(X):
    model = tied(solver="lbfgs", warm_start=True, max_iter=10, tol=0.0).fit(X)
    before = model.loss_
    model.fit(X)
    assert_tied(model)
    assert model.loss_ < before
    assert model.loss_curve_[10] <= before


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights_cannot_be_tied_or_untied_later(X, method, before):
    model = make(tied_weights=before, warm_start=True).fit(X)
    coefs = [coef.copy() for coef in model.coefs_]
    model.set_params(tied_weights=not before)
    with pytest.raises(ValueError, match=rf"tied_weights={before}.*warm_start=False"):
        getattr(model, method)(X)
    for coef, same in zip(model.coefs_, coefs, strict=True):
        np.testing.assert_array_equal(coef, same)
    model.set_params(warm_start=False).fit(X)
    assert (model.coefs_[1].tobytes() == model.coefs_[0].T.tobytes()) is not before


@each_depth
def test_a_model_comes_back_from_a_pickle_and_goes_on(X, layers):
    model = tied(layers).fit(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert_same(again.partial_fit(X), model.partial_fit(X))
    assert_tied(again)


def test_a_clone_is_tied_and_unfitted(X):
    again = clone(tied().fit(X))
    assert again.tied_weights is True
    assert not hasattr(again, "coefs_")
    assert_same(again.fit(X), tied().fit(X))


# Side by side.


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_code
@each_depth
def test_networks_side_by_side_come_out_as_alone(X, sparsity, activation, layers, solver):
    beta = {} if sparsity is None else {"beta": 0.3}
    settings = [{"alpha": 1e-4}, {"alpha": 1e-2, "learning_rate": 0.02, "max_iter": 3}, beta]
    common = {"sparsity": sparsity, "activation": activation, "solver": solver}
    plans = [plan_of(tied(layers, **common | own), X, None) for own in settings]
    for plan, trained in zip(plans, train_plans(plans, X, None), strict=True):
        (alone,) = train_plans([plan], X, None)
        assert trained.n_steps == alone.n_steps
        np.testing.assert_allclose(trained.flat, alone.flat, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trained.loss, alone.loss, rtol=1e-9)


def test_a_search_over_tied_weights_gives_scikit_learns_results(X, trainings):
    grid = {"tied_weights": [True, False], "alpha": [1e-4, 1e-2]}
    ours, theirs = search_both(make(), grid, X)
    assert_same_results(ours, theirs)
    assert len(set(ours.cv_results_["mean_test_score"])) == 4
    # Three folds; the tied ones together and the others together.
    assert sorted(trainings["ahead"]) == [2] * 6


# In the engine.


def architecture(hidden=(6, 5), **options):
    return Architecture.autoencoder(
        4,
        3,
        hidden_layer_sizes=hidden,
        hidden_activation="relu",
        activation="sigmoid",
        output_activation="identity",
        **options,
    )


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_tied_layers_are_views_of_the_encoders(hidden):
    tied = architecture(hidden, tied_weights=True)
    free = architecture(hidden)
    weights = [n_in * n_out for n_in, n_out in zip(tied.sizes, tied.sizes[1:], strict=False)]
    assert free.n_parameters - tied.n_parameters == sum(weights) // 2
    flat = np.random.default_rng(0).normal(size=tied.n_parameters)
    coefs, *rest = to_layers(tied, flat)
    for layer, coef in enumerate(coefs):
        np.testing.assert_array_equal(coefs[-1 - layer], coef.T)
        assert coef.flags.c_contiguous
    np.testing.assert_array_equal(to_flat(tied, coefs, *rest), flat)
    parameters = Parameters(tied, torch.tensor(flat))
    for layer, (weight, coef) in enumerate(zip(parameters.weights, coefs, strict=True)):
        is_last = layer == tied.n_layers - 1
        np.testing.assert_array_equal(weight[0], coef if is_last else coef.T)
    parameters.weights[0].fill_(7.0)
    assert (parameters.weights[-1] == 7.0).all()


def test_a_start_is_tied_and_uniform():
    tied = architecture((), tied_weights=True)
    draw = starting_parameters(
        tied, np.random.RandomState(0), code_bias=-1.0, target_mean=np.arange(4.0)
    )
    coefs, intercepts, _ = to_layers(tied, draw)
    np.testing.assert_array_equal(coefs[1], coefs[0].T)
    bound = np.sqrt(6 / (4 + 3 + 1))
    np.testing.assert_array_equal(coefs[0], np.random.RandomState(0).uniform(-bound, bound, (4, 3)))
    np.testing.assert_array_equal(intercepts[0], -1.0)
    np.testing.assert_array_equal(intercepts[1], np.arange(4.0))


@pytest.mark.parametrize(
    ("sizes", "n_encoder_layers", "where"),
    [
        ((4, 3, 5), 1, "layer 0 leads from 4 to 3 units and its mirror back from 3 to 5"),
        ((4, 6, 3, 5, 4), 2, "layer 0 leads from 4 to 6 units and its mirror back from 5 to 4"),
        ((4, 3, 2), 2, "layer 0"),
        ((4, 3, 3, 4), 1, "layer 0"),
    ],
)
def test_tied_weights_need_symmetric_sizes(sizes, n_encoder_layers, where):
    activations = ("sigmoid",) * (len(sizes) - 1)
    with pytest.raises(ValueError, match=rf"tied_weights=True.*{where}.*tied_weights=False"):
        Architecture(sizes, activations, n_encoder_layers, tied=(True,) * n_encoder_layers)
    Architecture(sizes, activations, n_encoder_layers)


def test_some_layers_may_be_tied_and_others_not():
    half = Architecture((4, 6, 3, 5, 4), ("relu",) * 4, 2, tied=(False, False))
    assert half.owners == half.own == (0, 1, 2, 3)
    inner = Architecture((4, 6, 3, 6, 4), ("relu",) * 4, 2, tied=(False, True))
    assert inner.owners == (0, 1, 1, 3)
    assert inner.own == (0, 1, 3)
    # The outer layers differ in size from each other: only the inner ones need be symmetric.
    with pytest.raises(ValueError, match="layer 0"):
        Architecture((4, 6, 3, 6, 5), ("relu",) * 4, 2, tied=(True, True))
    assert Architecture((4, 6, 3, 6, 5), ("relu",) * 4, 2, tied=(False, True)).own == (0, 1, 3)


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("kept_entries", [0, 2**24], ids=["encoded-again", "kept"])
@pytest.mark.parametrize(
    ("hidden", "input_scales"), list(product([(), (5,), (6, 5)], [False, True])), ids=str
)
def test_chunks_and_parts_add_up(hidden, input_scales, kept_entries, n_members, monkeypatch):
    factors = (0.7, 1.9, 0.4, 1.3, 2.1, 0.6)[: 2 * len(hidden) + 2] if input_scales else ()
    problem = Problem.draw(
        "kl", "tanh", "prelu", hidden, weighted=True, tied=True, input_scales=factors, n_rows=23
    )
    monkeypatch.setattr(full_batch, "KEPT_ENTRIES", kept_entries)
    with small_parts(9):
        value, gradient = problem.full(n_members=n_members)
    expected_value, expected = problem.autograd()
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert relative_error(gradient, expected) < 1e-12
