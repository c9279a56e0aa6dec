"""loss_parts_: the terms of J, epoch by epoch."""

import signal

import numpy as np
import oracle
import pytest
from stacking import sae
from supervising import TARGETS, X, each_kind_and_stack, each_solver, make

from sksae import SparseAutoencoderTransformer
from sksae.engine.minibatch_training import MinibatchTraining

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = ["reconstruction", "sparsity", "decay"]
WEIGHT = np.arange(60) % 3 / 2
CODES = {
    "kl": {"beta": 0.7},
    "l1": {"sparsity": "l1", "beta": 0.7},
    "l2": {"sparsity": "l2", "beta": 0.7},
    "none": {"sparsity": None},
    "topk": {"sparsity": "topk", "rho": 2, "alpha": 0.01},
    "jumprelu": {"sparsity": "jumprelu", "rho": 2, "beta": 0.7, "alpha": 0.01},
    "gated": {"sparsity": "gated", "beta": 0.7, "alpha": 0.01},
    "cross entropy": {"loss": "cross_entropy", "beta": 0.7},
}
ROWS = X / X.max()


def fitted(code, **params):
    few = {"max_iter": 4, "dtype": "float64", "random_state": 0, "tol": 0.0, "batch_size": 25}
    return SparseAutoencoderTransformer(5, **(few | CODES[code] | params))


def assert_adds_up(model, first="reconstruction"):
    parts = model.loss_parts_
    assert list(parts) == [first, *NAMES[1:]]
    lengths = {len(each) for each in parts.values()}
    assert lengths == {len(model.loss_curve_)} == {model.n_iter_}
    assert all(type(value) is float for each in parts.values() for value in each)
    np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), model.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("code", CODES)
def test_of_minibatches_they_are_those_of_plain_numpy(code, weight):
    # Weights that hardly move are the same at all steps.
    settled = {"learning_rate": 1e-12, "batch_size": 60, "max_iter": 2}
    model = fitted(code, **settled).fit(ROWS, sample_weight=weight)
    assert_adds_up(model)
    expected = oracle.parts_of(model, ROWS, weight)
    found = [model.loss_parts_[name][-1] for name in NAMES]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("code", ["kl", "l1", "l2", "none", "cross entropy"])
def test_of_lbfgs_they_are_those_of_the_weights_after_each_iteration(code, weight):
    for n_iter in (1, 4):
        model = fitted(code, solver="lbfgs", max_iter=n_iter).fit(ROWS, sample_weight=weight)
        assert_adds_up(model)
        expected = oracle.parts_of(model, ROWS, weight)
        found = [model.loss_parts_[name][-1] for name in NAMES]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_where_beta_is_found_they_have_that_of_each_epoch(solver):
    model = fitted("l1", solver=solver, beta="auto", max_iter=12).fit(ROWS)
    assert_adds_up(model)
    assert model.beta_ > 0.0


@each_solver
@each_kind_and_stack
def test_fine_tuning_has_them_too(kind, solver):
    model = make(kind, solver=solver, alpha=0.01).fit(X, TARGETS[kind])
    assert_adds_up(model, "reconstruction" if kind == "stack" else "target")
    assert min(model.loss_parts_["decay"]) > 0.0
    assert (max(model.loss_parts_["sparsity"]) > 0.0) == (kind == "stack")


def test_a_stack_without_fine_tuning_has_none():
    model = make("stack").fit(X).set_params(finetune=False).fit(X)
    assert not hasattr(model, "loss_parts_")


def test_they_go_on_with_the_loss_curve():
    model = fitted("kl", warm_start=True).fit(ROWS)
    first = [list(each) for each in model.loss_parts_.values()]
    model.fit(ROWS).partial_fit(ROWS)
    assert_adds_up(model)
    assert model.n_iter_ == 9
    assert [each[:4] for each in model.loss_parts_.values()] == first


@each_kind_and_stack
def test_so_they_do_piece_by_piece(kind):
    if kind == "stack":
        model = sae().partial_fit(X).partial_fit(X)
    else:
        model = make(kind).partial_fit(X, TARGETS[kind]).partial_fit(X, TARGETS[kind])
    assert_adds_up(model, "reconstruction" if kind == "stack" else "target")
    assert model.n_iter_ == 2


@pytest.mark.parametrize("code", ["kl", "l1", "topk", "gated"])
def test_a_pass_that_is_cut_short_counts_with_those_of_all_rows(
    code, monkeypatch, default_interrupts
):
    step = MinibatchTraining._step

    def interrupted(self):
        if self._running[0].state.n_steps == 1:
            signal.raise_signal(signal.SIGINT)
        step(self)

    model = fitted(code).partial_fit(ROWS)
    monkeypatch.setattr(MinibatchTraining, "_step", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model.partial_fit(ROWS)
    assert_adds_up(model)
    assert model.loss_curve_[1] == model.loss_
    expected = oracle.parts_of(model, ROWS)
    found = [model.loss_parts_[name][-1] for name in NAMES]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
