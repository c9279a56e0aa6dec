"""Encoders of several layers: units stay alive, from the first step to the last."""

import numpy as np
import pytest
from plans import plan_of

from sksae import SparseAutoencoderTransformer
from sksae.engine.activations import ACTIVATIONS
from sksae.engine.run_state import LearningRate
from sksae.engine.starting import starting_parameters
from sksae.metrics import dead_fraction
from sksae.model.architecture import Architecture
from sksae.model.flat import to_layers

pytestmark = pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning")

# How many of the decoder's relu units may be dead: those behind a sigmoid code lose some.
ALLOWED = {"relu": 0.1, "prelu": 0.0}
ACTIVATION_OF_CODE = [
    ("kl", "auto"),
    ("l1", "auto"),
    ("l1", "prelu"),
    ("l2", "auto"),
    (None, "auto"),
]


def make_rows(n_rows, n_features=100, rank=100, seed=0):
    """Return rows that spread over so many directions alike, and a little noise."""
    rng = np.random.RandomState(seed)
    signal = rng.randn(n_rows, rank) @ np.linalg.qr(rng.randn(n_features, rank))[0].T
    return signal + 0.1 * rng.randn(n_rows, n_features)


def make(**params):
    given = {"n_components": 25, "hidden_layer_sizes": (50,), "random_state": 0}
    return SparseAutoencoderTransformer(**given | params)


def layers_of(model, X):
    """Return the activation of every layer, by numpy."""
    row = (X - model.mean_) / model.scale_
    layers = []
    for layer in model.__sksae_network__().layers:
        pre = row @ layer.coef.astype(float) + layer.intercept
        row = ACTIVATIONS[layer.activation].evaluate(pre, layer.units)
        layers.append(row)
    return layers


def assert_alive(model, X, *, r2):
    """Assert that no unit of the code is dead, few hidden ones are, and rows are rebuilt."""
    *hidden, output = layers_of(model, X)
    code = hidden.pop(len(hidden) // 2)
    np.testing.assert_allclose(code, model.transform(X), atol=1e-5)
    np.testing.assert_allclose(
        output * model.scale_ + model.mean_, model.inverse_transform(code), atol=1e-4
    )
    assert dead_fraction(code) == 0.0
    for layer in hidden:
        assert dead_fraction(layer) <= ALLOWED[model.hidden_activation]
    assert model.score(X) > r2


def variance_of(X, n):
    """Return the share of variance in the first n principal components: PCA's R^2."""
    squares = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    return squares[:n].sum() / squares.sum()


@pytest.mark.each_once
@pytest.mark.parametrize("hidden_activation", ["relu", "prelu"])
@pytest.mark.parametrize(("sparsity", "activation"), ACTIVATION_OF_CODE)
def test_units_stay_alive(sparsity, activation, hidden_activation):
    X = make_rows(400)
    model = make(
        sparsity=sparsity, activation=activation, hidden_activation=hidden_activation, max_iter=150
    )
    assert_alive(model.fit(X), X, r2=0.75 * variance_of(X, 25))


def test_units_of_two_hidden_layers_stay_alive():
    X = make_rows(400, rank=20)
    model = make(hidden_layer_sizes=(60, 40), hidden_activation="prelu", max_iter=150)
    assert_alive(model.fit(X), X, r2=0.75 * variance_of(X, 25))


@pytest.mark.slow
@pytest.mark.parametrize("hidden_activation", ["relu", "prelu"])
@pytest.mark.parametrize(("sparsity", "activation"), ACTIVATION_OF_CODE)
def test_units_stay_alive_for_a_thousand_epochs(sparsity, activation, hidden_activation):
    X = make_rows(600)
    model = make(
        sparsity=sparsity,
        activation=activation,
        hidden_activation=hidden_activation,
        learning_rate_schedule="constant",  # the harder one: steps never become small
        max_iter=1000,
        n_iter_no_change=1000,
        tol=0.0,
    ).fit(X)
    assert model.n_iter_ == 1000
    assert_alive(model, X, r2=variance_of(X, 25))


@pytest.mark.slow
@pytest.mark.parametrize("hidden_activation", ["relu", "prelu"])
@pytest.mark.parametrize("sparsity", ["kl", "l2", None])
def test_units_stay_alive_on_patches_of_natural_images(load, sparsity, hidden_activation):
    X = load("nature_patches_10x10.npz")["X"][:600]
    model = make(
        sparsity=sparsity,
        hidden_activation=hidden_activation,
        max_iter=1000,
        n_iter_no_change=1000,
        tol=0.0,
    ).fit(X)
    assert_alive(model, X, r2=0.95 * variance_of(X, 25))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("hidden_activation", ["relu", "prelu", "sigmoid", "tanh"])
@pytest.mark.parametrize("code_bias", [0.0, -2.0])
def test_mean_row_starts_at_every_kink_and_is_rebuilt(hidden_activation, code_bias, tied):
    target = np.linspace(0.2, 0.8, 7)
    architecture = Architecture.autoencoder(
        7,
        4,
        hidden_layer_sizes=(6, 5),
        hidden_activation=hidden_activation,
        activation="sigmoid",
        output_activation="sigmoid",
        tied_weights=tied,
    )
    flat = starting_parameters(
        architecture, np.random.RandomState(0), code_bias=code_bias, target_mean=target
    )
    layers = zip(*to_layers(architecture, flat), architecture.activations, strict=True)
    row, pres = np.zeros(7), []
    for coef, intercept, units, name in layers:
        pres.append(row @ coef + intercept)
        row = ACTIVATIONS[name].evaluate(pres[-1], units)
    np.testing.assert_allclose(row, target)
    code = pres.pop(2)
    np.testing.assert_allclose(code, code_bias, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(pres[:-1]), 0.0, atol=1e-12)


def rates(learning_rate, n):
    values = []
    for _ in range(n):
        values.append(learning_rate.value)
        learning_rate.advance()
    return values


def test_learning_rate_warms_up():
    warm = rates(LearningRate(1.0, False, 6, warm_up=3), 6)
    assert warm == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    falling = rates(LearningRate(1.0, True, 4, warm_up=1), 4)
    assert falling == pytest.approx([0.5, 0.75, 0.5, 0.25])


def test_learning_rate_warms_up_once():
    assert rates(LearningRate(1.0, False, 6, warm_up=3, n_before=2), 2) == [0.75, 1.0]
    assert rates(LearningRate(1.0, False, 6, warm_up=3, n_before=3), 2) == [1.0, 1.0]


def test_learning_rate_can_fall_while_it_warms_up():
    learning_rate = LearningRate(1.0, True, 10, warm_up=4)
    learning_rate.advance()
    now = learning_rate.value
    assert learning_rate.cool_down(2)
    assert rates(learning_rate, 2) == pytest.approx([now, now / 2])
    assert learning_rate.is_over


def make_training_config(model, X, *, resume=False, one_pass=False):
    return plan_of(model, X, resume_from=model if resume else None, one_pass=one_pass).config


def test_only_deep_networks_warm_up():
    X = make_rows(30)
    assert make_training_config(make(hidden_layer_sizes=()), X).warm_up == 0
    one, two = make(), make(hidden_layer_sizes=(50, 40))
    assert 0 < 2 * make_training_config(one, X).warm_up == make_training_config(two, X).warm_up


def test_training_that_goes_on_counts_the_steps_before():
    X = make_rows(30)
    stream = make(batch_size=10).partial_fit(X).partial_fit(X)
    assert make_training_config(stream, X, resume=True, one_pass=True).n_steps_before == 6
    fitted = make(batch_size=10, max_iter=3, warm_start=True).fit(X)
    assert make_training_config(fitted, X, resume=True).n_steps_before == 9
    assert make_training_config(fitted, X).n_steps_before == 0


def test_constant_rate_in_two_halves_is_that_of_one_piece():
    X = make_rows(60)
    params = {"learning_rate_schedule": "constant", "batch_size": 30, "tol": 0.0}
    whole = make(max_iter=40, **params).fit(X)
    halves = make(max_iter=20, warm_start=True, **params).fit(X).fit(X)
    for ours, theirs in zip(halves.coefs_, whole.coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_first_passes_of_partial_fit_go_slowly():
    """At full rate a first pass of many small batches kills units that later passes need."""
    X = make_rows(400)
    stream = make(sparsity="l1")
    for _ in range(75):
        stream.partial_fit(X)
    assert_alive(stream, X, r2=0.6 * variance_of(X, 25))


def test_training_does_not_stop_while_the_rate_rises():
    X = make_rows(60)  # a step an epoch: 150 epochs of 600
    params = {"batch_size": 60, "max_iter": 600, "tol": 0.5, "n_iter_no_change": 2}
    model = make(**params).fit(X)
    assert 150 < model.n_iter_ < 200
    flat = make(hidden_layer_sizes=(), **params).fit(X)
    assert flat.n_iter_ < 50
