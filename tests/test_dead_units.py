"""Units of exact codes that no row keeps: they learn what the others leave over, and come back."""

import numpy as np
import pytest

from sksae import SparseAutoencoderTransformer
from sksae.engine.exact import minibatch
from sksae.engine.exact.dead_units import LEAST_STEPS, n_taught
from sksae.metrics import dead_fraction

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_rows(n_rows=2000):
    """Return rows made of a few of 60 directions each."""
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(n_rows, 60)) * (rng.random((n_rows, 60)) < 0.08)
    return codes @ rng.normal(size=(60, 24))


def out_of_reach(sparsity):
    """Return a model of whose units half have a bias that no row gets them over."""
    model = SparseAutoencoderTransformer(
        200, sparsity=sparsity, rho=5, max_iter=1, warm_start=True, random_state=0
    ).fit(make_rows())
    model.intercepts_[0][:100] = -50.0
    return model


@pytest.mark.parametrize("sparsity", ["topk", "batchtopk"])
def test_units_out_of_reach_come_back(sparsity):
    X = make_rows()
    model = out_of_reach(sparsity)
    assert dead_fraction(model.transform(X)) >= 0.5
    model.set_params(max_iter=60, tol=0.0).fit(X)
    assert dead_fraction(model.transform(X)) < 0.01


@pytest.mark.parametrize("sparsity", ["topk", "batchtopk"])
def test_without_what_they_are_taught_they_stay_dead(sparsity, monkeypatch):
    monkeypatch.setattr(minibatch.ExactPart, "teach", lambda *_: [])
    X = make_rows()
    model = out_of_reach(sparsity).set_params(max_iter=60, tol=0.0).fit(X)
    assert dead_fraction(model.transform(X)) >= 0.5


def test_steps_are_counted_in_training_alone():
    X = make_rows()
    model = out_of_reach("topk")
    idle = model._state["idle_steps"].copy()
    assert idle.shape == (1, 200, 1)
    n_steps = model.n_steps_
    idle[0, :100] = model._state["idle_steps"][0, :100] = 0.0
    model.transform(X)
    model.score(X)
    model.score_samples(X)
    np.testing.assert_array_equal(model._state["idle_steps"], idle)
    # An epoch with rows held out, which are looked at but not counted.
    model.set_params(early_stopping=True, max_iter=1).fit(X)
    np.testing.assert_array_equal(model._state["idle_steps"][0, :100], model.n_steps_ - n_steps)


def test_a_unit_is_dead_after_some_steps():
    X = make_rows(100)
    model = SparseAutoencoderTransformer(
        20, sparsity="topk", rho=2, batch_size=50, max_iter=1, warm_start=True, random_state=0
    ).fit(X)
    model.intercepts_[0][:10] = -50.0
    model._state["idle_steps"][0, :10] = 0.0
    for n_epochs in range(1, LEAST_STEPS // 2 + 1):
        model.fit(X)
        assert (model._state["idle_steps"][0, :10] == 2 * n_epochs).all()
        # Nobody has taught them yet: they drift by what the solver remembers.
        np.testing.assert_allclose(model.intercepts_[0][:10], -50.0, atol=0.5)
    for _ in range(30):
        model.fit(X)
    assert (abs(model.intercepts_[0][:10] + 50.0) > 0.5).all()


@pytest.mark.parametrize(
    ("n_active", "n_dead", "expected"), [(32, 1, 1), (32, 2, 1), (32, 10, 5), (32, 100, 32)]
)
def test_how_many_units_a_row_teaches(n_active, n_dead, expected):
    assert n_taught(n_active, n_dead) == expected
