"""Callbacks hear of every member of a stack, classifier or regressor, and of its fine-tuning."""

import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
from sklearn.callback import ProgressBar
from stacking import Recorder, assert_nothing_half_fitted, frozen, pair, sae
from supervising import (
    TARGETS,
    TOPS,
    WITH_STACK,
    X,
    each_kind_and_stack,
    each_solver,
    make,
    output,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]


def top_of(kind):
    """Return the names of layers on top of the codes: one, or of a stack none."""
    return [TOPS[kind]] if kind in TOPS else []


@each_solver
@each_kind_and_stack
def test_each_member_is_a_task_and_so_are_epochs_of_fine_tuning(kind, solver):
    recorder = Recorder()
    model = make(kind, solver=solver, max_iter=4).set_callbacks(recorder).fit(X, TARGETS[kind])
    begun = Counter(recorder.begun)
    expected = {
        "fit": 1,
        "fit/fit-sae0": 1,
        "fit/fit-sae0/epoch": 3,
        "fit/fit-sae1": 1,
        "fit/fit-sae1/epoch": 3,
        "fit/finetune": 1,
        "fit/finetune/epoch": model.n_iter_,
    }
    for top in top_of(kind):
        # It goes as far as it must.
        expected |= {f"fit/fit-{top}": 1, f"fit/fit-{top}/epoch": begun[f"fit/fit-{top}/epoch"]}
    assert begun == expected
    assert Counter(recorder.ended) == begun
    # Nothing of it stays with the members.
    for member in model.autoencoders_:
        assert not [name for name in vars(member) if "callback" in name]
    pickle.loads(pickle.dumps(model.set_callbacks()))


def test_members_that_are_taken_are_no_tasks():
    recorder = Recorder()
    members = [("edges", *frozen([sae(5)], X)), ("corners", sae(4))]
    make("stack", members, finetune=False).set_callbacks(recorder).fit(X)
    assert Counter(recorder.begun) == {
        "fit": 1,
        "fit/fit-corners": 1,
        "fit/fit-corners/epoch": 3,
    }


@each_kind_and_stack
def test_callbacks_see_rows_targets_weights_and_a_usable_model(kind):
    y, weight = TARGETS[kind], np.linspace(1, 2, 60)
    scores, outputs = [], []

    def look(path, model):
        if path == "fit/finetune/epoch":
            assert type(model) is WITH_STACK[kind]
            scores.append(model.score(X, y))
            outputs.append(output(model, X))

    recorder = Recorder(look)
    model = make(kind).set_callbacks(recorder).fit(X, y, sample_weight=weight)
    assert len(scores) == 3
    assert scores[-1] == model.score(X, y)
    assert len({found.tobytes() for found in outputs}) == 3
    if kind != "labels":  # of which a few more may be right or not
        assert len(set(scores)) == 3
    np.testing.assert_array_equal(recorder.seen.X, X)
    np.testing.assert_array_equal(recorder.seen.y, y)
    np.testing.assert_array_equal(recorder.seen.metadata["sample_weight"], weight)
    unseen = make(kind).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(output(model, X), output(unseen, X))


@each_solver
@each_kind_and_stack
def test_a_callback_can_stop_fine_tuning(kind, solver):
    scores = []

    def stop(path, model):
        if path == "fit/finetune/epoch":
            scores.append(model.score(X, TARGETS[kind]))
        return len(scores) == 2

    model = make(kind, frozen(pair(), X), solver=solver, max_iter=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_callbacks(Recorder(stop)).fit(X, TARGETS[kind])
    assert model.n_iter_ == len(model.loss_curve_) == len(scores) == 2
    assert scores[-1] == model.score(X, TARGETS[kind])
    assert np.isfinite(model.loss_)


@each_kind_and_stack
def test_a_callback_can_stop_a_member(kind):
    def stop(path, model):
        return path == "fit/fit-sae0/epoch"

    model = make(kind).set_callbacks(Recorder(stop)).fit(X, TARGETS[kind])
    assert [member.n_iter_ for member in model.autoencoders_] == [1, 3]
    assert model.n_iter_ == 3


@pytest.mark.parametrize("where", ["fit/fit-sae1/epoch", "fit/finetune/epoch"])
@each_kind_and_stack
def test_a_failing_callback_leaves_nothing_half_fitted(kind, where):
    def fail(path, model):
        if path == where:
            raise RuntimeError("from a callback")

    model = make(kind).set_callbacks(Recorder(fail))
    with pytest.raises(RuntimeError, match="from a callback"):
        model.fit(X, TARGETS[kind])
    assert_nothing_half_fitted(model)


@each_kind_and_stack
def test_progress_bar(kind, capsys):
    pytest.importorskip("rich")
    make(kind).set_callbacks(ProgressBar()).fit(X, TARGETS[kind])
    shown = capsys.readouterr().out
    for task in ("fit-sae0", "fit-sae1", *(f"fit-{top}" for top in top_of(kind)), "finetune"):
        assert task in shown


@each_kind_and_stack
def test_verbose_prints_the_epochs_of_fine_tuning_and_names_the_score(kind, capsys):
    model = make(kind, verbose=2, early_stopping=True, validation_fraction=0.2)
    model.fit(X, TARGETS[kind])
    lines = [line for line in capsys.readouterr().out.splitlines() if "] epoch" in line]
    assert len(lines) == model.n_iter_ == 3
    score = f"{'accuracy' if kind == 'labels' else 'R^2'} {model.validation_score_curve_[0]:5.3f}"
    assert lines[0].startswith(f"[fine-tuning] epoch 1/3  loss {model.loss_curve_[0]:>#10.8g}")
    assert score in lines[0]
