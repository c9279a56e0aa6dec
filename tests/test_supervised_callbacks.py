"""What callbacks and users are told while classifier and regressor are trained."""

from collections import Counter

import numpy as np
import pytest
from stacking import Recorder
from supervising import KINDS, TARGETS, TOPS, X, each_kind, each_solver, make

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@each_solver
@each_kind
def test_each_member_is_a_task_and_so_are_epochs_of_fine_tuning(kind, solver):
    recorder = Recorder()
    model = make(kind, solver=solver).set_callbacks(recorder).fit(X, TARGETS[kind])
    top = f"fit/fit-{TOPS[kind]}"
    assert Counter(recorder.begun) == {
        "fit": 1,
        "fit/fit-sae0": 1,
        "fit/fit-sae0/epoch": 3,
        "fit/fit-sae1": 1,
        "fit/fit-sae1/epoch": 3,
        top: 1,
        f"{top}/epoch": recorder.begun.count(f"{top}/epoch"),
        "fit/finetune": 1,
        "fit/finetune/epoch": model.n_iter_,
    }
    assert Counter(recorder.ended) == Counter(recorder.begun)
    np.testing.assert_array_equal(recorder.seen.y, TARGETS[kind])
    np.testing.assert_array_equal(recorder.seen.X, X)


@each_kind
def test_callbacks_see_a_usable_model_and_can_stop_it(kind):
    scores = []

    def look(path, model):
        if path != "fit/finetune/epoch":
            return False
        assert type(model) is KINDS[kind]
        scores.append(model.score(X, TARGETS[kind]))
        return len(scores) == 2

    model = make(kind, max_iter=50).set_callbacks(Recorder(look)).fit(X, TARGETS[kind])
    assert model.n_iter_ == len(scores) == 2
    assert scores[-1] == model.score(X, TARGETS[kind])


@each_kind
def test_verbose_names_the_score(kind, capsys):
    model = make(kind, verbose=1, early_stopping=True, validation_fraction=0.2)
    model.fit(X, TARGETS[kind])
    lines = [line for line in capsys.readouterr().out.splitlines() if "Epoch" in line]
    assert len(lines) == model.n_iter_
    name = {"labels": "accuracy", "numbers": "R^2"}[kind]
    expected = f"[fine-tuning] Epoch 1, loss = {model.loss_curve_[0]:.8g}, held-out {name} = "
    assert lines[0].startswith(expected)
