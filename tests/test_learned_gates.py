"""Codes whose units learn from where on they are active: jumprelu and gated."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer
from sksae.engine.activations import ACTIVATIONS
from sksae.engine.inference import extended_range
from sksae.metrics import dead_fraction
from sksae.model.rescaling import rescaled

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GATES = ("jumprelu", "gated")
each_gate = pytest.mark.parametrize("sparsity", GATES)


@pytest.fixture(scope="module")
def X():
    return load_digits().data[::3]


def make(sparsity, **params):
    given = {"n_components": 64, "rho": 5, "max_iter": 60, "random_state": 0}
    return SparseAutoencoderTransformer(sparsity=sparsity, **given | params)


@pytest.fixture(scope="module")
def models(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return {name: make(name, beta="auto").fit(X) for name in GATES}


def pre_activations(model, X):
    return (X - model.mean_) / model.scale_ @ model.coefs_[0] + model.intercepts_[0]


# What is learnt, and what is made of it.


def test_jumprelu_is_the_formula_of_its_attributes(models, X):
    model = models["jumprelu"]
    pre = pre_activations(model, X)
    code = pre * (pre > model.thresholds_)
    is_clear = abs(pre - model.thresholds_) > 1e-6
    np.testing.assert_allclose(model.transform(X)[is_clear], code[is_clear], atol=1e-10)
    assert is_clear.mean() > 0.999
    assert model.thresholds_.shape == (64,)
    assert (model.thresholds_ >= 0).all()
    assert model.log_gains_ is None
    assert model.magnitude_offsets_ is None


def test_gated_is_the_formula_of_its_attributes(models, X):
    model = models["gated"]
    pre = pre_activations(model, X)
    gains = np.exp(model.log_gains_.astype(np.float64))
    code = (pre > 0) * np.maximum(gains * pre + model.magnitude_offsets_, 0)
    is_clear = abs(pre) > 1e-6
    np.testing.assert_allclose(model.transform(X)[is_clear], code[is_clear], atol=1e-10)
    assert model.thresholds_ is None


def test_thresholds_learn(models, X):
    """Each goes its own way, as the logarithm of thresholds that others train does not."""
    start = make("jumprelu", max_iter=1, learning_rate=1e-9, beta=0.0).fit(X).thresholds_
    assert np.ptp(start) < 1e-6
    learnt = models["jumprelu"].thresholds_
    assert learnt.std() > 0.03
    assert abs(learnt - start[0]).mean() > 0.05


def test_gates_learn(models):
    model = models["gated"]
    assert model.log_gains_.std() > 0.05
    assert abs(model.magnitude_offsets_).max() > 0.05


@each_gate
def test_no_unit_is_dead_and_atoms_have_unit_norm(models, sparsity, X):
    model = models[sparsity]
    assert dead_fraction(model.transform(X)) == 0
    np.testing.assert_allclose(np.linalg.norm(model.coefs_[-1], axis=1), 1.0, atol=1e-6)


# How many units are active.


@pytest.mark.each_once
@pytest.mark.parametrize("k", [2, 5, 12])
@pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "as they are"])
def test_jumprelu_has_as_many_active_units_as_rho_says(X, k, scale_data):
    X = X if scale_data else X / 16.0
    model = make("jumprelu", rho=k, scale_data=scale_data, max_iter=100).fit(X)
    n_active = (model.transform(X) > 0).sum(axis=1).mean()
    assert n_active == pytest.approx(k, rel=0.05)
    assert model.active_share_.sum() == pytest.approx(n_active, rel=1e-3)


def test_gated_meets_rho_by_its_beta(models, X):
    n_active = (models["gated"].transform(X) > 0).sum(axis=1).mean()
    assert n_active == pytest.approx(5, rel=0.1)
    few, many = (make("gated", beta=beta).fit(X).active_share_.sum() for beta in (2.0, 0.2))
    assert few < many


def test_a_beta_that_is_given_stays(X):
    model = make("jumprelu", beta=3.0, max_iter=5).fit(X)
    assert model.beta_ == 3.0


def test_magnitudes_do_not_shrink(models, X):
    """A linear rescaling of l1 codes rebuilds better; of gated ones hardly (2404.16014, 4.2)."""

    def gain(model):
        """Return by how much less is lacking if all activations are multiplied by one number."""
        z = (X - model.mean_) / model.scale_
        made = model.transform(X) @ model.coefs_[-1]
        rest = z - model.intercepts_[-1]
        factor = (made * rest).sum() / (made**2).sum()
        return np.square(rest - made).sum() / np.square(rest - factor * made).sum() - 1.0

    l1 = make("l1", beta="auto").fit(X)
    assert gain(l1) > 0.05
    assert gain(models["gated"]) < 0.01


# Where they go.


@each_gate
def test_pickles_hold_what_is_learnt(models, sparsity, X):
    model = models[sparsity]
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


@each_gate
def test_rows_of_another_precision_and_container(models, sparsity, X):
    model = models[sparsity]
    wide = model.transform(X)
    narrow = model.transform(X.astype(np.float32))
    assert narrow.dtype == np.float32
    assert abs(narrow - wide).max() < 1.0
    assert (abs(narrow - wide) > 1e-3).mean() < 1e-3
    sparse = clone_with(model, sparse_output=True).transform(X)
    np.testing.assert_array_equal(sparse.toarray(), wide)


def clone_with(model, **params):
    other = pickle.loads(pickle.dumps(model))
    return other.set_params(**params)


@each_gate
def test_numbers_beyond_floats_take_the_same_way(models, sparsity, X):
    network = models[sparsity].__sksae_network__()
    rows = extended_range.seen_of(network.scaling, X[:40])
    codes = extended_range.run(network, rows, 0, 1)
    found = extended_range.to_floats(codes)
    np.testing.assert_allclose(found, models[sparsity].transform(X[:40]), atol=1e-9)
    huge = models[sparsity].transform(X[:4] * 2.0**1010)
    assert np.isfinite(huge).all()
    assert (huge > 0).any()


@each_gate
def test_another_scale_of_rows_changes_the_units_of_codes_alone(models, sparsity, X):
    network = models[sparsity].__sksae_network__()
    before = network.scaling
    after = type(before)(
        before.mean, 4.0 * before.scale, before.shift, before.centre, scaled=before.scaled
    )
    other = rescaled(network, after)
    codes, now = (
        extended_range.to_floats(
            extended_range.run(each, extended_range.seen_of(each.scaling, X[:40]), 0, 1)
        )
        for each in (network, other)
    )
    np.testing.assert_allclose(now, codes / 4.0, atol=1e-6)


@each_gate
def test_the_way_back_is_that_of_autograd(sparsity):
    rng = np.random.default_rng(0)
    activation = ACTIVATIONS[sparsity]
    names = {"jumprelu": ["threshold"], "gated": ["log_gain", "offset"]}[sparsity]
    pre = torch.from_numpy(rng.normal(size=(2, 5, 30)))
    units = {name: torch.from_numpy(rng.normal(size=(2, 5, 1))) for name in names}
    if sparsity == "jumprelu":
        units["threshold"].abs_()
    gradient = torch.from_numpy(rng.normal(size=pre.shape))
    inputs = [each.clone().requires_grad_(True) for each in (pre, *units.values())]
    if sparsity == "jumprelu":
        expected_out = inputs[0] * (inputs[0] > inputs[1])
    else:
        expected_out = torch.relu(inputs[1].exp() * inputs[0] + inputs[2]) * (inputs[0] > 0)
    (expected_out * gradient).sum().backward()
    out = torch.empty_like(pre)
    activation.forward(pre, out, units)
    torch.testing.assert_close(out, expected_out.detach())
    of_units = {name: torch.full_like(each, np.nan) for name, each in units.items()}
    activation.backward(gradient, out, pre, units, of_units)
    torch.testing.assert_close(gradient, inputs[0].grad)
    for name, each in zip(names, inputs[1:], strict=True):
        wanted = torch.zeros_like(each) if each.grad is None else each.grad
        torch.testing.assert_close(of_units[name], wanted)


@each_gate
def test_a_classifier_learns_on_from_them(sparsity, X):
    y = load_digits().target[::3]
    member = make(sparsity, n_components=40, max_iter=20)
    model = SparseAutoencoderClassifier([member], max_iter=20, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    pre_trained = clone_with(member).fit(X)
    if sparsity == "jumprelu":
        fitted = model.autoencoders_[0].thresholds_
        assert fitted.shape == pre_trained.thresholds_.shape
        assert (fitted > 0).all()


# What makes no sense.


@each_gate
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": "lbfgs"}, "solver='lbfgs' cannot train sparsity="),
        ({"hidden_layer_sizes": (20,)}, "hidden_layer_sizes=.* use sparsity='topk'"),
        ({"activation": "relu"}, "activation of its own: activation must be 'auto'"),
        ({"output_activation": "prelu"}, "output_activation='prelu'"),
    ],
)
def test_what_does_not_go_together(sparsity, params, message, X):
    with pytest.raises(ValueError, match=message):
        make(sparsity, **params).fit(X)


@each_gate
@pytest.mark.parametrize(
    "params", [{"prefixes": [0.5]}, {"budgets": [0.5]}, {"transform_n_active": 3}]
)
def test_what_has_no_effect_is_said(sparsity, params, X):
    (name,) = params
    with pytest.warns(UserWarning, match=f"{name}=.* has no effect with sparsity="):
        make(sparsity, max_iter=2, **params).fit(X)


def test_rho_of_gated_is_idle_without_auto(X):
    with pytest.warns(UserWarning, match="rho=5 has no effect with sparsity='gated'"):
        make("gated", max_iter=2).fit(X)


def test_what_has_no_effect_has_none_on_the_start(X):
    fits = []
    for rho in (0.05, 1e-4, 0.4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fits.append(make("gated", rho=rho, max_iter=3).fit(X))
    for other in fits[1:]:
        np.testing.assert_array_equal(other.transform(X), fits[0].transform(X))


@pytest.mark.parametrize("rows", [np.ones((20, 4)), np.arange(4.0)[None]], ids=["alike", "one"])
def test_rows_that_are_all_alike_are_not_judged(rows):
    model = SparseAutoencoderTransformer(10, sparsity="jumprelu", rho=0.1, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(rows)
    assert np.isfinite(model.transform(rows)).all()


@each_gate
def test_weights_too_small_for_the_precision_of_training(sparsity, X):
    weight = np.where(np.arange(len(X)) % 18 == 0, 1.0, 1e-60)
    model = make(sparsity, beta=1.0, batch_size=16, max_iter=10).fit(X, sample_weight=weight)
    assert np.isfinite(model.loss_)


@each_gate
def test_pursuit_of_these_codes(models, sparsity, X):
    model = clone_with(models[sparsity], transform_algorithm="refit")
    refit, encoded = model.transform(X), models[sparsity].transform(X)
    assert ((refit != 0) <= (encoded != 0)).all()
    assert model.score(X) > models[sparsity].score(X)
    model.set_params(transform_algorithm="omp")
    if sparsity == "gated":
        with pytest.raises(ValueError, match="set transform_n_active"):
            model.transform(X)
    else:
        assert (model.transform(X) != 0).sum(axis=1).max() == 5
