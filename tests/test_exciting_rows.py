"""Rows that excite units most: the formula where there is one, and no better row elsewhere."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from stacking import sae as small
from stand_in import DEVICE, on_stand_in

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.inference import encode, exciting_rows
from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codes import select_columns
from sksae.engine.inference import layers
from sksae.model.scaling import usual_norm

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RADIUS = 6.0


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def rows_of(network, units=None):
    units = np.arange(network.n_components) if units is None else np.array(units)
    return exciting_rows(network, units, RADIUS, "cpu")


def pre_activations(network, rows):
    """Return what enters the code's activation for rows in the space of z."""
    *hidden, code = network.without_input_scales().encoder
    for layer in hidden:
        pre = rows @ layer.coef.astype(np.float64) + layer.intercept
        rows = ACTIVATIONS[layer.activation].evaluate(pre, layer.units)
        select_columns(layer.selection, rows)
    return rows @ code.coef.astype(np.float64) + code.intercept


def on_the_sphere(rows):
    return RADIUS * rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("sparsity", ["kl", "topk", "gated"])
def test_in_one_layer_it_is_the_formula(digits, sparsity, loss):
    rho = {"rho": 3} if sparsity == "topk" else {}
    model = SparseAutoencoderTransformer(
        12, sparsity=sparsity, max_iter=3, random_state=0, loss=loss, **rho
    ).fit(digits[0] / 16)
    found = rows_of(model.__sksae_network__())
    weights = model.coefs_[0].T.astype(np.float64)
    directions = weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, RADIUS * model.scale_ * directions, rtol=1e-4, atol=1e-6)


def deep(**parameters):
    return SparseAutoencoderTransformer(
        20, hidden_layer_sizes=(40,), max_iter=15, random_state=0, **parameters
    )


def topk(n_components, n_active):
    return small(n_components, sparsity="topk", rho=n_active)


DEEP = {
    "relu": deep(),
    "prelu": deep(hidden_activation="prelu"),
    "sigmoid": deep(hidden_activation="sigmoid"),
    "two": deep().set_params(hidden_layer_sizes=(40, 30), sparsity="l1"),
    "stack": StackedSparseAutoencoder([40, 20], max_iter=5, random_state=0),
    "topk stack": StackedSparseAutoencoder([topk(40, 8), topk(20, 3)], max_iter=5, random_state=0),
    "gated stack": StackedSparseAutoencoder(
        [small(40, sparsity="gated"), small(20)], max_iter=5, random_state=0
    ),
    "classifier": SparseAutoencoderClassifier([40, 20], max_iter=5, random_state=0),
}


@pytest.mark.parametrize("name", DEEP)
def test_behind_hidden_layers_nothing_excites_units_more(digits, name):
    X, y = digits
    network = DEEP[name].fit(X, y).__sksae_network__()
    found = rows_of(network) / network.scaling.scale
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), RADIUS, rtol=1e-5)
    offset = network.scaling.offset
    own = np.diag(pre_activations(network, offset + found))
    drawn = on_the_sphere(np.random.default_rng(0).normal(size=(1000, X.shape[1])))
    rows = (X - network.scaling.centre) / network.scaling.scale
    of_rows = pre_activations(network, offset + rows)
    strongest = np.argsort(-of_rows, axis=0)[:10]
    trained = np.array(
        [
            pre_activations(network, offset + on_the_sphere(rows[ten]))[:, unit].max()
            for unit, ten in enumerate(strongest.T)
        ]
    )
    others = np.maximum(pre_activations(network, offset + drawn).max(axis=0), trained)
    assert (own > others).mean() >= 0.9


def test_it_is_the_same_each_time_and_in_units_of_the_rows(digits):
    X, _ = digits
    network = deep().fit(X).__sksae_network__()
    once, again = (rows_of(network) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(rows_of(network, [7, 3]), once[[7, 3]], rtol=1e-3, atol=1e-3)
    # What transform makes of the row itself: more than of the mean row.
    mean = X.mean(axis=0)
    at_them = np.diag(encode(network, mean + once, "cpu"))
    assert (at_them > encode(network, mean[None], "cpu")[0]).all()


def test_units_that_nothing_excites_get_rows_too(digits):
    model = deep().fit(digits[0][:100])
    model.coefs_[1][:] = 0.0
    found = rows_of(model.__sksae_network__())
    assert np.isfinite(found).all()


def test_the_usual_norm_is_that_of_scaled_rows(digits):
    X, _ = digits
    for output in ("identity", "sigmoid", "tanh"):
        model = SparseAutoencoderTransformer(3, output_activation=output, max_iter=1).fit(X)
        z = (X - model.mean_) / model.scale_
        norm = np.sqrt((z**2).sum(axis=1).mean())
        assert usual_norm(X.shape[1], output, scaled=True) == pytest.approx(norm)


@pytest.mark.parametrize("name", ["relu", "prelu", "topk stack"])
def test_nothing_is_computed_beside_the_device(digits, name, monkeypatch):
    network = DEEP[name].fit(*digits).__sksae_network__()
    monkeypatch.setattr(layers, "inference_device", lambda name, dtype: DEVICE)
    with on_stand_in():
        found = rows_of(network)
    assert found.shape == (20, 64)
