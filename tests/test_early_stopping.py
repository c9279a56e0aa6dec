"""Early stopping of stack, classifier and regressor."""

import numpy as np
import pytest
from stacking import (
    Recorder,
    assert_nothing_half_fitted,
    assert_same,
    no_training,
    pair,
    stack_loss,
)
from supervising import (
    TARGETS,
    TOPS,
    X,
    assert_same_model,
    each_kind,
    each_kind_and_stack,
    each_solver,
    each_tuned,
    greedy,
    make,
    output,
)

from sksae.base.holding_out import hold_out

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.each_once
@each_solver
@each_tuned
def test_early_stopping_returns_the_best_weights(kind, extent, solver):
    params = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 12, **extent}
    if kind != "stack" and solver != "lbfgs":
        params["learning_rate"] = 0.05
    models = []
    last = f"fit/fit-{TOPS[kind]}/epoch" if extent == {"freeze": 2} else "fit/finetune/epoch"
    recorder = Recorder(lambda path, model: models.append(model) if path == last else None)
    model = make(kind, solver=solver, **params).set_callbacks(recorder).fit(X, TARGETS[kind])
    curve = model.validation_score_curve_
    assert len(curve) == model.n_iter_ >= 1
    best = models[int(np.argmax(curve))]
    assert_same_model(model, best)
    np.testing.assert_array_equal(output(model, X), output(best, X))


@each_kind_and_stack
def test_without_early_stopping_there_is_no_curve_of_scores(kind):
    assert make(kind).fit(X, TARGETS[kind]).validation_score_curve_ is None


@pytest.mark.parametrize("fraction", [0.01, 0.999])
@each_kind_and_stack
def test_too_few_rows_to_hold_out(monkeypatch, kind, fraction):
    if kind != "stack":  # whose members may be trained first
        no_training(monkeypatch)
    model = make(kind, early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"early_stopping=True with validation_fraction"):
        model.fit(X, TARGETS[kind])
    assert_nothing_half_fitted(model, "transform" if kind == "stack" else "predict")


def test_two_rows_at_least_are_held_out():
    with pytest.raises(ValueError, match="at least 2 must be held out"):
        hold_out(np.arange(10), None, 0.1, seed=0)
    kept, held_out = hold_out(np.arange(10), None, 0.2, seed=0)
    assert (len(kept), len(held_out)) == (8, 2)


def test_rows_that_a_stack_holds_out_are_seen_by_its_members_but_not_by_fine_tuning():
    params = {"early_stopping": True, "validation_fraction": 0.3}
    assert_same(make("stack", **params, finetune=False).fit(X).autoencoders_, greedy())
    model = make("stack", pair(dtype="float64"), dtype="float64", max_iter=1, **params).fit(X)
    # J over 42 rows of 60.
    assert model.loss_ != pytest.approx(stack_loss(model.autoencoders_, X, 1e-4), rel=1e-6)


@each_kind
def test_the_curve_is_the_score_on_the_rows_held_out(kind, monkeypatch):
    from sksae.stacking import supervised

    parts = []
    hold_out = supervised.hold_out

    def spy(*args):
        parts.append(hold_out(*args))
        return parts[-1]

    monkeypatch.setattr(supervised, "hold_out", spy)
    y, weight = TARGETS[kind].astype(float), np.linspace(0.5, 2.0, 60)
    y[::7], weight[::5] = np.nan, 0.0
    model = make(
        kind,
        pair(dtype="float64"),
        early_stopping=True,
        validation_fraction=0.4,
        unlabeled=np.nan,
        dtype="float64",
    ).fit(X, y, sample_weight=weight)
    ((kept, held_out),) = parts
    # Rows that have a target and weigh something, each in one part.
    expected = np.flatnonzero(~np.isnan(y) & (weight > 0))
    np.testing.assert_array_equal(np.sort([*kept, *held_out]), expected)
    assert len(held_out) == np.ceil(0.4 * len(expected))
    score = model.score(X[held_out], y[held_out], sample_weight=weight[held_out])
    assert max(model.validation_score_curve_) == pytest.approx(score, rel=1e-9)
    # Members saw all rows that weigh something.
    whole = make(kind, pair(dtype="float64"), freeze=2, unlabeled=np.nan)
    whole.fit(X, y, sample_weight=weight)
    for one, other in zip(whole.autoencoders_, model.autoencoders_, strict=True):
        assert one.loss_ == other.loss_
