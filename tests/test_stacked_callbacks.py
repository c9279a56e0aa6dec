"""scikit-learn's callbacks hear of every member of a stack, and of its fine-tuning."""

import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
from sklearn.callback import ProgressBar
from stacking import (
    Recorder,
    assert_nothing_half_fitted,
    frozen,
    make_rows,
    pair,
    sae,
)

from sksae import StackedSparseAutoencoder

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]

X = make_rows()
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def make(members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return StackedSparseAutoencoder(pair() if members is None else members, **(defaults | params))


# Callbacks.


@each_solver
def test_each_member_is_a_task_and_so_are_epochs_of_fine_tuning(solver):
    recorder = Recorder()
    model = make(solver=solver, max_iter=4).set_callbacks(recorder).fit(X)
    assert Counter(recorder.begun) == {
        "fit": 1,
        "fit/fit-sae0": 1,
        "fit/fit-sae0/epoch": 3,
        "fit/fit-sae1": 1,
        "fit/fit-sae1/epoch": 3,
        "fit/finetune": 1,
        "fit/finetune/epoch": model.n_iter_,
    }
    assert Counter(recorder.ended) == Counter(recorder.begun)
    # Nothing of it stays with the members.
    for member in model.autoencoders_:
        assert not [name for name in vars(member) if "callback" in name]
    pickle.loads(pickle.dumps(model.set_callbacks()))


def test_members_that_are_taken_are_no_tasks():
    recorder = Recorder()
    members = [("edges", *frozen([sae(5)], X)), ("corners", sae(4))]
    make(members, finetune=False).set_callbacks(recorder).fit(X)
    assert Counter(recorder.begun) == {
        "fit": 1,
        "fit/fit-corners": 1,
        "fit/fit-corners/epoch": 3,
    }


def test_callbacks_see_rows_weights_and_a_usable_model():
    scores, weight = [], np.linspace(1, 2, 60)

    def look(path, model):
        if path == "fit/finetune/epoch":
            assert type(model) is StackedSparseAutoencoder
            scores.append(model.score(X))

    recorder = Recorder(look)
    model = make().set_callbacks(recorder).fit(X, sample_weight=weight)
    assert len(scores) == 3
    assert scores[-1] == model.score(X)
    assert len(set(scores)) == 3
    np.testing.assert_array_equal(recorder.seen.X, X)
    np.testing.assert_array_equal(recorder.seen.metadata["sample_weight"], weight)
    np.testing.assert_array_equal(
        model.transform(X), make().fit(X, sample_weight=weight).transform(X)
    )


@each_solver
def test_a_callback_can_stop_fine_tuning(solver):
    epochs = []

    def stop(path, model):
        epochs.extend([path] if path == "fit/finetune/epoch" else [])
        return len(epochs) == 2

    members = frozen(pair(), X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(members, solver=solver, max_iter=50).set_callbacks(Recorder(stop)).fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == len(epochs) == 2
    assert np.isfinite(model.loss_)


def test_a_callback_can_stop_a_member():
    def stop(path, model):
        return path == "fit/fit-sae0/epoch"

    model = make().set_callbacks(Recorder(stop)).fit(X)
    assert [member.n_iter_ for member in model.autoencoders_] == [1, 3]
    assert model.n_iter_ == 3


def test_a_failing_callback_leaves_nothing_half_fitted():
    for where in ("fit/fit-sae1/epoch", "fit/finetune/epoch"):

        def fail(path, model, where=where):
            if path == where:
                raise RuntimeError("from a callback")

        model = make().set_callbacks(Recorder(fail))
        with pytest.raises(RuntimeError, match="from a callback"):
            model.fit(X)
        assert_nothing_half_fitted(model)


def test_progress_bar(capsys):
    pytest.importorskip("rich")
    make().set_callbacks(ProgressBar()).fit(X)
    shown = capsys.readouterr().out
    for task in ("fit-sae0", "fit-sae1", "finetune"):
        assert task in shown


def test_verbose_prints_the_epochs_of_fine_tuning(capsys):
    model = make(verbose=1, early_stopping=True).fit(X)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Epoch" in line]
    assert len(lines) == 3
    expected = f"[fine-tuning] Epoch 1, loss = {model.loss_curve_[0]:.8g}, held-out R^2 = "
    assert lines[0].startswith(expected)
