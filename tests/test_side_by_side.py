"""Networks trained side by side come out as if each were trained alone."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from plans import plan_of
from registered import each_penalised, rho_of

from sksae import SparseAutoencoderTransformer
from sksae.engine import minibatch_training
from sksae.engine.memory import bytes_side_by_side
from sksae.model.failure import NonFiniteLossError
from sksae.training.fit import train_plans

BASE = {
    "n_components": 5,
    "max_iter": 6,
    "batch_size": 16,
    "dtype": "float64",
    "random_state": 3,
    "tol": 0.0,
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


def plans_of(X, settings, weight=None, **common):
    estimators = [SparseAutoencoderTransformer(**(BASE | common | own)) for own in settings]
    return [plan_of(estimator, X, weight) for estimator in estimators]


def assert_like_alone(plans, X, weight=None, rtol=1e-9):
    together = train_plans(plans, X, weight)
    for plan, trained in zip(plans, together, strict=True):
        (alone,) = train_plans([plan], X, weight)
        assert trained.stopped_by == alone.stopped_by
        assert trained.n_steps == alone.n_steps
        assert len(trained.loss_curve) == len(alone.loss_curve)
        np.testing.assert_allclose(trained.flat, alone.flat, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(trained.loss, alone.loss, rtol=rtol)
        np.testing.assert_allclose(trained.mean_code, alone.mean_code, rtol=rtol)
        np.testing.assert_allclose(trained.loss_curve, alone.loss_curve, rtol=rtol)
        np.testing.assert_allclose(trained.validation_curve, alone.validation_curve, rtol=rtol)
        assert set(trained.state) == set(alone.state)
        for name, value in alone.state.items():
            assert trained.state[name].shape == value.shape
            np.testing.assert_allclose(trained.state[name], value, rtol=1e-6, atol=1e-9)
    return together


PENALTIES = [
    {"rho": 0.05, "beta": 3.0, "alpha": 1e-4},
    {"rho": 0.2, "beta": 0.1, "alpha": 0.0},
    {"rho": 0.4, "beta": 1.0, "alpha": 1e-2},
]


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_penalised
def test_each_network_has_penalties_of_its_own(X, solver, sparsity):
    # In one group there are as many units for the loss to read.
    penalties = [each | {"rho": rho_of(sparsity, each["rho"])} for each in PENALTIES]
    assert_like_alone(plans_of(X, penalties, solver=solver, sparsity=sparsity), X)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_each_network_has_a_learning_rate_and_a_length_of_its_own(X, solver):
    settings = [
        {"max_iter": 3, "learning_rate": 0.02},
        {"max_iter": 7, "learning_rate": 0.002, "learning_rate_schedule": "constant"},
        {"max_iter": 5, "learning_rate": 0.02},
        {"max_iter": 3, "learning_rate": 0.05},
    ]
    together = assert_like_alone(plans_of(X, settings, solver=solver), X)
    assert [len(trained.loss_curve) for trained in together] == [3, 7, 5, 3]


def test_layers_and_activations_of_all_kinds_go_side_by_side(X):
    common = {
        "sparsity": "l1",
        "activation": "prelu",
        "hidden_layer_sizes": (6,),
        "hidden_activation": "tanh",
        "output_activation": "prelu",
        "beta": 0.01,
    }
    assert_like_alone(plans_of(X, [{"beta": 0.01}, {"beta": 0.1}], **common), X)


def test_weighted_and_sparse_rows_go_side_by_side(X):
    weight = np.arange(60) % 4.0
    assert_like_alone(plans_of(X, PENALTIES, weight), X, weight)
    sparse = sp.csr_array(np.where(X > 0.5, X, 0.0))
    assert_like_alone(plans_of(sparse, PENALTIES), sparse)


@pytest.mark.parametrize("schedule", ["linear", "constant"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_each_network_stops_when_it_would_alone(X, schedule, early_stopping):
    settings = [
        {"tol": tol, "n_iter_no_change": patience, "rho": 0.3, "beta": beta}
        for tol, patience, beta in [(1e-2, 2, 0.1), (1e-1, 3, 1.0), (1e-9, 2, 3.0), (0.5, 1, 0.1)]
    ]
    common = {
        "max_iter": 40,
        "learning_rate_schedule": schedule,
        "early_stopping": early_stopping,
        "validation_fraction": 0.2,
    }
    together = assert_like_alone(plans_of(X, settings, **common), X)
    assert len({len(trained.loss_curve) for trained in together}) >= 3


def test_stopping_rules_are_applied_to_each_curve(X, monkeypatch):
    """With fixed curves the epochs at which each network cools down and ends are known."""
    curves = np.array(
        [
            [10.0, 5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0],  # settles: epochs 4, 5
            [10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],  # falls to the end
            [10.0, 9.99, 9.98, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0],  # epochs 2, 3
        ]
    )
    asked = iter(range(10))

    class Fixed(minibatch_training.MinibatchObjective):
        networks = (0, 1, 2)

        def epoch_loss(self):
            loss = super().epoch_loss()
            fixed = loss.total.new_tensor(curves[list(self.networks), next(asked)])
            return loss._replace(total=fixed)

    monkeypatch.setattr(minibatch_training, "MinibatchObjective", Fixed)
    go_on_with = minibatch_training.MinibatchTraining._go_on_with

    def follow(self, models):
        Fixed.networks = tuple(Fixed.networks[model] for model in models)
        go_on_with(self, models)

    monkeypatch.setattr(minibatch_training.MinibatchTraining, "_go_on_with", follow)
    rules = {"tol": 1e-2, "n_iter_no_change": 2, "max_iter": 10}
    constant = plans_of(X, PENALTIES, learning_rate_schedule="constant", **rules)
    trained = train_plans(constant, X, None)
    assert [len(each.loss_curve) for each in trained] == [5, 10, 3]
    assert [each.stopped_by for each in trained] == ["tol", "max_iter", "tol"]
    for each, curve in zip(trained, curves, strict=True):
        assert each.loss_curve == list(curve[: len(each.loss_curve)])

    # A linear rate falls to zero over two more epochs.
    asked, Fixed.networks = iter(range(10)), (0, 1, 2)
    trained = train_plans(plans_of(X, PENALTIES, **rules), X, None)
    assert [len(each.loss_curve) for each in trained] == [7, 10, 5]
    assert [each.stopped_by for each in trained] == ["tol", "max_iter", "tol"]


@pytest.mark.parametrize("bad", [0, 1, 3])
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_network_that_fails_does_not_disturb_its_neighbours(X, bad):
    settings = [dict(each) for each in [*PENALTIES, PENALTIES[0]]]
    settings[bad]["learning_rate"] = 1e200
    plans = plans_of(X, settings, solver="sgd", learning_rate_schedule="constant")
    together = train_plans(plans, X, None)
    assert isinstance(together[bad], NonFiniteLossError)
    assert "learning_rate=1e+200" in str(together[bad])
    for place, (plan, trained) in enumerate(zip(plans, together, strict=True)):
        if place != bad:
            np.testing.assert_allclose(
                trained.flat, train_plans([plan], X, None)[0].flat, rtol=1e-9, atol=1e-9
            )


def test_an_interrupted_group_is_given_up(X, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(minibatch_training.MinibatchTraining, "_take_stock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_plans(plans_of(X, PENALTIES), X, None)


def test_schedules_differ_in_what_networks_can_have_of_their_own(X):
    a, b, c, d = plans_of(
        X,
        [
            {},
            {"max_iter": 9, "tol": 0.1, "learning_rate": 1.0},
            {"batch_size": 7},
            {"random_state": 1},
        ],
    )
    assert a.config.common == b.config.common
    assert a.config.common != c.config.common
    assert a.config.common != d.config.common


@pytest.mark.parametrize("n_networks", [1, 24])
@pytest.mark.parametrize(("n_components", "dtype"), [(8, "float32"), (64, "float64")])
def test_the_footprint_is_about_what_networks_take(n_networks, n_components, dtype):
    """Measured as what torch allocates."""
    X = np.random.default_rng(0).random((2000, 40), np.float32)
    common = {"n_components": n_components, "dtype": dtype, "batch_size": 256, "max_iter": 2}
    plans = plans_of(X, [{"rho": 0.1 + 0.01 * k} for k in range(n_networks)], **common)
    with torch.profiler.profile(profile_memory=True) as profile:
        train_plans(plans, X, None)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    taken = np.cumsum([event.nbytes() for event in events]).max()
    told = bytes_side_by_side(n_networks, plans[0].architecture, 2000, 256, dtype)
    assert 0.8 * taken < told < 1.5 * taken
