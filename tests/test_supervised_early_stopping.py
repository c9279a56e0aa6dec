"""Early stopping of classifier and regressor."""

import numpy as np
import pytest
from stacking import Recorder, pair
from supervising import TARGETS, TOPS, X, each_kind, each_solver, make, output

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_solver
@each_kind
def test_early_stopping_returns_the_best_weights(kind, solver, freeze):
    params = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 12, "freeze": freeze}
    if solver != "lbfgs":
        params["learning_rate"] = 0.05
    models = []
    last = f"fit/fit-{TOPS[kind]}/epoch" if freeze == 2 else "fit/finetune/epoch"
    recorder = Recorder(lambda path, model: models.append(model) if path == last else None)
    model = make(kind, solver=solver, **params).set_callbacks(recorder).fit(X, TARGETS[kind])
    curve = model.validation_score_curve_
    assert len(curve) == model.n_iter_ >= 1
    best = models[int(np.argmax(curve))]
    np.testing.assert_array_equal(output(model, X), output(best, X))
    assert make(kind).fit(X, TARGETS[kind]).validation_score_curve_ is None


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
