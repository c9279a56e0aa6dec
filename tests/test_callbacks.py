"""scikit-learn's callbacks hear of every epoch of fit, see a usable model, and can end it."""

import io
import time
import warnings
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sksae import SparseAutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((40, 3)) @ rng.random((3, 6)) + 0.1 * rng.random((40, 6))


def make(**params):
    defaults = {"n_components": 4, "batch_size": 10, "max_iter": 6, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


class Recorder:
    """Counts hooks, and does as told at the end of an epoch."""

    max_propagation_depth = None

    def __init__(self, at_end_of_epoch=None, at_begin_of_epoch=None):
        self.calls, self.open_tasks = Counter(), set()
        self.at_end_of_epoch, self.at_begin_of_epoch = at_end_of_epoch, at_begin_of_epoch

    def setup(self, estimator, context):
        self.calls["setup"] += 1

    def teardown(self, estimator, context):
        self.calls["teardown"] += 1

    def on_fit_task_begin(self, estimator, context):
        self.calls[f"begin {context.task_name}"] += 1
        self.open_tasks.add(id(context))
        if context.task_name == "epoch" and self.at_begin_of_epoch:
            self.at_begin_of_epoch(context.task_id + 1)

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.calls[f"end {context.task_name}"] += 1
        self.open_tasks.remove(id(context))
        self.seen = {"X": X, "y": y, "metadata": metadata}
        if context.task_name == "epoch" and self.at_end_of_epoch:
            return self.at_end_of_epoch(context.task_id + 1, fitted_estimator)
        return False


# Hooks.


@pytest.mark.parametrize("early_stopping", [False, True])
@each_solver
def test_every_epoch_begins_and_ends(X, solver, early_stopping):
    recorder = Recorder()
    model = make(solver=solver, early_stopping=early_stopping).set_callbacks(recorder).fit(X)
    n_iter = model.n_iter_
    assert recorder.calls == {
        "setup": 1,
        "begin fit": 1,
        "begin epoch": n_iter,
        "end epoch": n_iter,
        "end fit": 1,
        "teardown": 1,
    }
    assert not recorder.open_tasks


def test_what_begins_ends_where_lbfgs_finds_no_further_step(X):
    # So much weight decay that all weights are soon exactly as small as they can be.
    recorder = Recorder()
    model = make(n_components=1, sparsity=None, activation="identity", alpha=10.0, solver="lbfgs")
    model.set_params(max_iter=500, tol=0.0, n_iter_no_change=500)
    model.set_callbacks(recorder).fit(X[:, :2])
    assert model.n_iter_ < 500
    assert recorder.calls["begin epoch"] == recorder.calls["end epoch"]
    assert not recorder.open_tasks


def test_teardown_follows_a_failure(X):
    def fail(epoch, model):
        raise RuntimeError("from a callback")

    recorder = Recorder(fail)
    model = make().set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="from a callback"):
        model.fit(X)
    assert recorder.calls["teardown"] == 1
    assert not hasattr(model, "coefs_")


def test_hooks_are_shown_what_fit_was_given(X):
    y, weight = np.arange(40), np.linspace(1, 2, 40)
    recorder = Recorder()
    make().set_callbacks(recorder).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(recorder.seen["X"], X)
    np.testing.assert_array_equal(recorder.seen["y"], y)
    np.testing.assert_array_equal(recorder.seen["metadata"]["sample_weight"], weight)


def test_callbacks_do_not_change_the_result(X):
    watched = make(early_stopping=True).set_callbacks(Recorder(lambda epoch, model: False)).fit(X)
    np.testing.assert_array_equal(
        watched.transform(X), make(early_stopping=True).fit(X).transform(X)
    )


def test_partial_fit_has_no_callbacks(X):
    recorder = Recorder()
    make().set_callbacks(recorder).partial_fit(X)
    assert not recorder.calls


# Stopping.


@each_solver
def test_a_callback_can_stop_training(X, solver):
    recorder = Recorder(lambda epoch, model: epoch == 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(solver=solver).set_callbacks(recorder).fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert recorder.calls["end fit"] == 1
    assert not recorder.open_tasks
    assert np.isfinite(model.transform(X)).all()


def test_a_stopped_fit_is_the_beginning_of_a_longer_one(X):
    stopped = make(max_iter=100).set_callbacks(Recorder(lambda epoch, model: epoch == 3)).fit(X)
    snapshots = {}

    def remember(epoch, model):
        snapshots[epoch] = model.transform(X)

    make(max_iter=100).set_callbacks(Recorder(remember)).fit(X)
    np.testing.assert_array_equal(stopped.transform(X), snapshots[3])


# The model on the way.


@each_solver
def test_fitted_estimator_is_a_model_of_its_own(X, solver):
    models, then = [], []

    def arrays(model):
        return [*model.coefs_, *model.intercepts_, model.mean_]

    def remember(epoch, model):
        models.append(model)
        then.append([array.copy() for array in arrays(model)])

    final = make(solver=solver, activation="tanh", hidden_layer_sizes=(5,))
    final.set_callbacks(Recorder(remember)).fit(X)
    final.set_params(warm_start=True).fit(X)
    for model, copies in zip(models, then, strict=True):
        for array, copy in zip(arrays(model), copies, strict=True):
            assert type(array) is np.ndarray
            np.testing.assert_array_equal(array, copy)
    codes = [model.transform(X) for model in models]
    assert all(code.shape == (40, 4) for code in codes)
    assert all(np.any(a != b) for a, b in pairwise(codes))


@each_solver
def test_fitted_estimator_of_the_last_epoch_is_the_result(X, solver):
    models = []
    recorder = Recorder(lambda epoch, model: models.append(model))
    final = make(solver=solver, early_stopping=False).set_callbacks(recorder).fit(X)
    np.testing.assert_array_equal(models[-1].transform(X), final.transform(X))
    codes = final.transform(X)
    np.testing.assert_array_equal(
        models[-1].inverse_transform(codes), final.inverse_transform(codes)
    )
    assert models[-1].score(X) == final.score(X)
    names = models[-1].get_feature_names_out()
    assert names.tolist() == final.get_feature_names_out().tolist()


def test_fitted_estimator_does_not_slow_those_who_do_not_ask_for_it(X, monkeypatch):
    class Idle:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context): ...

    def never(*args):
        raise AssertionError("a snapshot was taken")

    monkeypatch.setattr("sksae.engine.history.History._snapshot", never)
    make().set_callbacks(Idle()).fit(X)


# scikit-learn's own.


def test_progress_bar_counts_epochs(X, monkeypatch, capsys):
    progress = pytest.importorskip("rich.progress")
    counts, update = [], progress.Progress.update

    def spy(self, task_id, **changes):
        counts.append(changes["completed"])
        return update(self, task_id, **changes)

    monkeypatch.setattr(progress.Progress, "update", spy)
    make(max_iter=5).set_callbacks(ProgressBar()).fit(X)
    # After the five epochs the bar itself is filled.
    assert counts == pytest.approx([1, 2, 3, 4, 5, 1])
    shown = capsys.readouterr().out
    assert "SparseAutoencoderTransformer - fit" in shown
    assert "100%" in shown


def test_progress_bar_moves_while_fit_runs(X, monkeypatch):
    rich = pytest.importorskip("rich")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    # Two seconds at most, for the bar is redrawn ten times a second.
    seen = []

    def wait(epoch, model):
        end = time.monotonic() + 1.0
        while epoch == 2 and "50%" not in screen.getvalue() and time.monotonic() < end:
            time.sleep(0.02)
        seen.append("50%" in screen.getvalue())

    make(max_iter=4).set_callbacks(ProgressBar(), Recorder(wait)).fit(X)
    assert seen[0] is False
    assert seen[-1] is True


def r2(model, X, y, sample_weight=None):
    return {"R2": model.score(X, sample_weight=sample_weight)}


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_scoring_monitor_follows_the_score(X, weighted):
    weight = np.random.default_rng(0).random(40) if weighted else None
    scores = []
    recorder = Recorder(lambda epoch, model: scores.append(model.score(X, sample_weight=weight)))
    monitor = ScoringMonitor(scoring=r2)
    make().set_callbacks(monitor, recorder).fit(X, np.zeros(40), sample_weight=weight)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["R2"] for row in log] == scores
    assert len(scores) == 6


def test_scoring_monitor_hears_of_every_epoch_without_y(X):
    # scikit-learn's monitor computes no score where there is no y, but must not fail.
    monitor = ScoringMonitor(scoring=r2)
    make().set_callbacks(monitor).fit(X)
    assert [row["task_name"] for row in monitor.get_logs().data] == ["fit"] + 6 * ["epoch"]


@pytest.mark.filterwarnings("ignore:The estimator MinMaxScaler does not support callbacks")
@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_callbacks_reach_the_estimator_through_a_search_over_a_pipeline(X, capsys, n_jobs):
    pytest.importorskip("rich")
    pipe = make_pipeline(MinMaxScaler(), make(max_iter=3))
    search = GridSearchCV(pipe, {"sparseautoencodertransformer__beta": [1.0, 3.0]}, cv=2)
    search.set_params(n_jobs=n_jobs).set_callbacks(ProgressBar(max_propagation_depth=None))
    search.fit(X, np.zeros(40))
    shown = capsys.readouterr().out
    assert "GridSearchCV - fit" in shown
    assert shown.count("SparseAutoencoderTransformer - fit") == 5


def test_propagated_callbacks_hear_of_every_epoch_of_every_candidate(X):
    recorder = Recorder()
    search = GridSearchCV(make(max_iter=3), {"beta": [1.0, 3.0]}, cv=2)
    search.set_callbacks(recorder).fit(X)
    assert recorder.calls["begin epoch"] == recorder.calls["end epoch"] == 3 * (2 * 2 + 1)
    assert recorder.calls["setup"] == recorder.calls["teardown"] == 1
    assert not recorder.open_tasks
