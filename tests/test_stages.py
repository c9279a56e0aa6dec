"""What a fit of several trainings says of each: printed lines, tasks and progress bars."""

import io
import re

import numpy as np
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from stacking import Recorder, frozen, make_rows, sae

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_rows()
NUMBERS = X[:, 0] - X[:, 1]
LABELS = np.digitize(NUMBERS, [np.median(NUMBERS)])
KINDS = {
    "stack": (StackedSparseAutoencoder, LABELS, []),
    "labels": (SparseAutoencoderClassifier, LABELS, ["softmax"]),
    "numbers": (SparseAutoencoderRegressor, NUMBERS, ["linear-layer"]),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_task = pytest.mark.parametrize("kind", ["labels", "numbers"])


def make(kind, members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    members = members or [("edges", sae(5)), ("corners", sae(4))]
    return KINDS[kind][0](members, **(defaults | params))


def speaker_and_text(line):
    return re.fullmatch(r"(?:\[(.+?)\] )?(.*)", line).groups()


def printed(capsys):
    return [speaker_and_text(line) for line in capsys.readouterr().out.splitlines()]


# Lines.


@each_kind
def test_verbose_says_of_each_stage_how_it_began_and_ended(kind, capsys):
    _, y, top = KINDS[kind]
    model = make(kind, verbose=2).fit(X, y)
    lines = printed(capsys)
    stages = ["edges", "corners", *top, "fine-tuning"]
    assert [text for _, text in lines if "stage" in text] == [
        f"{'Pre-training' if number <= 2 else 'Training'}, stage {number} of {len(stages)}"
        for number in range(1, len(stages) + 1)
    ]
    ends = {who: text for who, text in lines if text.startswith("Ended")}
    assert list(ends) == stages
    for name, member in zip(stages, model.autoencoders_, strict=False):
        expected = rf"Ended by max_iter after 3 epochs in \d+\.\d s, loss = {member.loss_:.8g}"
        assert re.fullmatch(expected, ends[name])
    assert ends["fine-tuning"].endswith(f"loss = {model.loss_:.8g}")
    # Epochs are those of the last training, for members have a verbose of their own.
    epochs = [(who, text[:26]) for who, text in lines if text.startswith("epoch")]
    assert epochs == [
        ("fine-tuning", f"epoch {epoch}/3  loss {loss:>#10.8g}"[:26])
        for epoch, loss in enumerate(model.loss_curve_, start=1)
    ]
    assert not any(text.startswith("ended") for _, text in lines)
    order = [who for who, _ in lines]
    assert order == [name for name in stages for _ in range(order.count(name))]


@each_kind
def test_a_verbose_member_says_who_it_is(kind, capsys):
    members = [("edges", sae(5)), ("corners", sae(4, verbose=2))]
    make(kind, members).fit(X, KINDS[kind][1])
    lines = printed(capsys)
    assert [who for who, _ in lines] == ["corners"] * 4
    begins = ["epoch 1/3", "epoch 2/3", "epoch 3/3", "ended by max_iter after 3 epochs"]
    assert all(text.startswith(each) for (_, text), each in zip(lines, begins, strict=True))
    # Alone, nobody need be told.
    members[1][1].fit(X)
    assert [who for who, _ in printed(capsys)] == [None] * 4


@each_kind
def test_without_verbose_nothing_is_printed(kind, capsys):
    make(kind).fit(X, KINDS[kind][1])
    assert printed(capsys) == []


@each_task
def test_verbose_of_a_layer_on_top_that_is_all_there_is_to_train(kind, capsys):
    _, y, (top,) = KINDS[kind]
    model = make(kind, frozen([sae(5), sae(4)], X), freeze=2, verbose=2).fit(X, y)
    lines = printed(capsys)
    assert {who for who, _ in lines} == {top}
    assert lines[0][1] == "Training, stage 1 of 1"
    assert sum(text.startswith("epoch") for _, text in lines) == model.n_iter_
    assert lines[-1][1].endswith(f"loss = {model.loss_:.8g}")


@each_task
def test_passes_print_one_line_each(kind, capsys):
    _, y, _ = KINDS[kind]
    model = make(kind, verbose=1).partial_fit(X, y)
    lines = printed(capsys)
    assert [who for who, _ in lines] == ["edges", "edges", "corners", "corners", "fine-tuning"]
    model.partial_fit(X, y)
    ((who, text),) = printed(capsys)
    assert who == "fine-tuning"
    assert text.startswith(f"epoch 2/2  loss {model.loss_curve_[1]:>#10.8g}  mean activation ")


def test_the_name_ends_with_a_training_that_fails(capsys):
    class Fail(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("from a callback")

    with pytest.raises(RuntimeError, match="from a callback"):
        make("stack").set_callbacks(Fail()).fit(X)
    sae(5, verbose=2).fit(X)
    assert [who for who, _ in printed(capsys)] == [None] * 4


# Tasks.


class Tasks(Recorder):
    """Notes name, estimator and expected number of all tasks that hold others."""

    def __init__(self):
        super().__init__()
        self.tasks, self.n_children = [], {}

    def on_fit_task_begin(self, estimator, context):
        super().on_fit_task_begin(estimator, context)
        if context.max_subtasks:
            self.tasks.append((context.estimator_name, context.task_name))
            self.n_children[context.task_name] = context.max_subtasks


@each_kind
def test_tasks_have_the_names_of_the_stages(kind):
    of, y, top = KINDS[kind]
    tasks = Tasks()
    make(kind).set_callbacks(tasks).fit(X, y)
    assert tasks.tasks == [
        (of.__name__, "fit"),
        ("SparseAutoencoderTransformer", "fit-edges"),
        ("SparseAutoencoderTransformer", "fit-corners"),
        *((of.__name__, f"fit-{name}") for name in top),
        (of.__name__, "finetune"),
    ]


@pytest.mark.each_once
@pytest.mark.parametrize("freeze", [None, 1, 2])
@pytest.mark.parametrize("taken", [0, 1, 2])
@each_task
def test_fit_counts_the_tasks_that_there_are(kind, taken, freeze):
    members = [*frozen([sae(5), sae(4)], X)[:taken], *[sae(5), sae(4)][taken:]]
    tasks = Tasks()
    make(kind, members, freeze=freeze).set_callbacks(tasks).fit(X, KINDS[kind][1])
    assert tasks.n_children["fit"] == len(tasks.tasks) - 1
    assert len(tasks.tasks) - 1 == 2 - taken + 1 + (freeze != 2)


@each_task
def test_callbacks_see_a_usable_model_while_the_layer_on_top_is_trained(kind):
    _, y, (top,) = KINDS[kind]
    seen = {}

    def look(path, model):
        seen.setdefault(path, []).append(model)

    members = frozen([sae(5), sae(4)], X)
    make(kind, members, alpha=1e-2).set_callbacks(Recorder(look)).fit(X, y)
    alone = make(kind, members, alpha=1e-2, freeze=2).fit(X, y)
    # It went as far as L-BFGS goes there, and its layer is what fine-tuning starts from.
    models = seen[f"fit/fit-{top}/epoch"]
    # The last iteration may have found no step that lowers J.
    assert 0 <= len(models) - len(models[-1].loss_curve_) <= 1
    assert len(models) >= 2
    np.testing.assert_array_equal(models[-1].predict(X), seen[f"fit/fit-{top}"][0].predict(X))
    assert models[-1].score(X, y) == pytest.approx(alone.score(X, y), abs=0.02)


@each_task
def test_a_callback_can_stop_the_layer_on_top_and_fine_tuning_goes_on(kind, capsys):
    _, y, (top,) = KINDS[kind]
    recorder = Recorder(lambda path, model: path == f"fit/fit-{top}/epoch")
    make(kind, verbose=1).set_callbacks(recorder).fit(X, y)
    assert recorder.begun.count(f"fit/fit-{top}/epoch") == 1
    assert recorder.begun.count("fit/finetune/epoch") == 3
    assert f"[{top}] Ended by callback after 1 epochs" in capsys.readouterr().out


@each_task
def test_an_interrupt_of_the_layer_on_top_gives_up_the_fit(kind):
    _, y, (top,) = KINDS[kind]

    def interrupt(path, model):
        if path == f"fit/fit-{top}/epoch":
            raise KeyboardInterrupt

    model = make(kind).set_callbacks(Recorder(interrupt))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "autoencoders_")


def test_scoring_monitor_follows_the_softmax_too():
    monitor = ScoringMonitor(scoring="accuracy")
    make("labels").set_callbacks(monitor).fit(X, LABELS)
    tasks = [row["task_name"] for row in monitor.get_logs().data]
    assert {"fit-softmax", "finetune", "epoch"} <= set(tasks)


# Bars.


@pytest.fixture
def screen(monkeypatch):
    """Return what a terminal of 80 columns shows in the end."""
    rich = pytest.importorskip("rich")
    console = rich.console.Console(file=io.StringIO(), width=80)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    return lambda: console.file.getvalue().splitlines()


def assert_visible(screen, names, width):
    """Assert that each of the tasks has a line with its name, a bar of some width and its share."""
    lines = [line for line in screen() if line.strip()]
    assert [line.split(" ━")[0].strip() for line in lines] == names
    for line in lines:
        assert len(line) <= 80
        assert line.count("━") >= width
        assert "100% 0:00" in line


def bars(kind):
    of, _, top = KINDS[kind]
    return [
        f"{of.__name__} - fit",
        "SparseAutoencoderTransformer - fit-edges #0",
        "SparseAutoencoderTransformer - fit-corners #1",
        *(f"{of.__name__} - fit-{name} #2" for name in top),
        f"{of.__name__} - finetune #{2 + len(top)}",
    ]


@each_kind
def test_bars_of_stages_are_visible(kind, screen):
    make(kind).set_callbacks(ProgressBar()).fit(X, KINDS[kind][1])
    assert_visible(screen, bars(kind), 15)


def test_the_bar_of_one_autoencoder_is_visible(screen):
    sae().set_callbacks(ProgressBar()).fit(X)
    assert_visible(screen, ["SparseAutoencoderTransformer - fit"], 30)


@each_kind
def test_bars_in_a_search_are_visible(kind, screen):
    search = GridSearchCV(make(kind), {"edges__rho": [0.2]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, KINDS[kind][1])
    whole, *parts = bars(kind)
    fits = [[f"{whole} #{number}", *parts] for number in (0, 1, 1)]
    names = ["GridSearchCV - fit", "GridSearchCV - search #0", *fits[0], *fits[1], *fits[2]]
    assert_visible(screen, names, 10)


@pytest.mark.filterwarnings("ignore:The estimator StandardScaler does not support callbacks")
def test_bars_in_a_pipeline_are_visible(screen):
    pipe = Pipeline([("scale", StandardScaler()), ("sae", make("labels"))])
    pipe.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, LABELS)
    lines = [line for line in screen() if line.strip()]
    assert [line for line in lines if "SparseAutoencoderClassifier - fit #1 " in line]
    assert all("━━━" in line and "100% 0:00" in line for line in lines)


def test_the_estimator_above_is_still_known():
    seen = []

    class Look(Recorder):
        def on_fit_task_begin(self, estimator, context):
            if isinstance(estimator, SparseAutoencoderTransformer) and context.max_subtasks:
                seen.append((context.parent.estimator_name, context.source_task_name))

    Pipeline([("scale", StandardScaler()), ("sae", sae())]).set_callbacks(Look()).fit(X, LABELS)
    assert seen == [("Pipeline", "fit-final-estimator")]
