"""verbose: lines that tell how a training goes, at a pace at which they can be read."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from stacking import frozen, sae
from supervising import TARGETS, X, each_kind_and_stack, make

from sksae import SparseAutoencoderTransformer
from sksae.base import printing
from sksae.base.printing import EpochPrinter, duration, line_of
from sksae.metrics import hoyer_sparsity
from sksae.model.loss_parts import LossParts
from sksae.model.tasks import CodeMeasured, Progress

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LINE = re.compile(
    r"(?:\[\S+\] )?epoch +(?P<epoch>\d+)/(?P<planned>\d+)  loss +(?P<loss>\S+)"
    r"  mean activation +(?P<mean>\S+)  row sparsity +(?P<sparsity>\S+)"
    r"(?:  (?:R\^2|accuracy) +(?P<score>\S+))?(?:  at most (?P<left>\d+ \w+) left)?"
)
CODES = {
    "kl": {},
    "tanh": {"activation": "tanh"},
    "identity": {"sparsity": "l1", "activation": "identity"},
    "topk": {"sparsity": "topk", "rho": 2},
    "gated": {"sparsity": "gated"},
}
each_training = pytest.mark.parametrize(
    ("code", "solver"),
    [
        (code, solver)
        for code in CODES
        for solver in ("adam", "sgd", "lbfgs")
        if solver != "lbfgs" or code not in ("topk", "gated")
    ],
)


class Clock:
    """A clock that stands still unless it is moved, or moves at each look."""

    def __init__(self, step=0.0):
        self.now, self.step = 100.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def fitted(code="kl", **params):
    few = {"max_iter": 4, "tol": 0.0, "random_state": 0, "batch_size": 60}
    return SparseAutoencoderTransformer(5, **(few | CODES[code] | params))


def read(capsys):
    """Return what the lines of epochs say, and the other lines."""
    lines = capsys.readouterr().out.splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    return [each.groupdict() for each in found if each], [
        line for line, each in zip(lines, found, strict=True) if each is None
    ]


def progress(n_epochs, n_left, measured=None, score=None, loss=1.5):
    return Progress(n_epochs, n_left, LossParts(loss, loss, 0.0, 0.0), score, lambda: measured)


# The pace.


@pytest.mark.parametrize(
    ("verbose", "seconds", "expected"),
    [
        (0, 10.0, []),
        (True, 0.01, [1, 51, 100]),
        (1, 0.125, [1, *range(5, 100, 4), 100]),
        (1, 0.6, list(range(1, 101))),
        (2, 0.0, list(range(1, 101))),
    ],
)
def test_there_are_at_most_two_lines_a_second_unless_all_are_wanted(
    verbose, seconds, expected, capsys
):
    clock = Clock()
    printer = EpochPrinter(verbose, "R^2", 0, clock=clock)
    printer.begin()
    for epoch in range(1, 101):
        clock.now += seconds
        printer.epoch(progress(epoch, 100 - epoch))
    printer.end("max_iter")
    lines = capsys.readouterr().out.splitlines()
    assert [int(re.match(r"epoch +(\d+)/100 ", line)[1]) for line in lines[:-1]] == expected
    if verbose:
        assert lines[-1] == f"ended by max_iter after 100 epochs in {100 * seconds:.1f} s"


def test_the_last_epoch_has_a_line_when_nobody_knew_that_it_was(capsys):
    printer = EpochPrinter(1, "R^2", 0, clock=Clock())
    for epoch in (1, 2, 3):
        printer.epoch(progress(epoch, 50 - epoch))
    printer.end("callback")
    epochs = [line.split("  loss")[0] for line in capsys.readouterr().out.splitlines()]
    assert epochs == ["epoch  1/50", "epoch  3/50", "ended by callback after 3 epochs in 0.0 s"]


def test_what_has_no_line_is_not_measured(capsys):
    asked = []
    printer = EpochPrinter(1, "R^2", 0, clock=Clock())
    for epoch in (1, 2, 3):
        measure = lambda epoch=epoch: asked.append(epoch)  # noqa: E731
        printer.epoch(progress(epoch, 3 - epoch)._replace(measure=measure))
    assert asked == [1, 3]


@each_training
def test_nothing_is_measured_or_timed_without_verbose(code, solver, monkeypatch, capsys):
    def unwanted(*args):
        raise AssertionError

    monkeypatch.setattr(printing, "perf_counter", unwanted)
    for where in ("minibatch.MinibatchObjective", "exact.minibatch.ExactObjective"):
        monkeypatch.setattr(f"sksae.engine.{where}.measure", unwanted)
    monkeypatch.setattr("sksae.engine.full_batch.FullObjective.measure", unwanted)
    fitted(code, solver=solver).fit(X)
    assert capsys.readouterr().out == ""


# What a line says.


def test_columns_have_their_place():
    measured = CodeMeasured(0.0532, 0.6412)
    line = line_of(progress(37, 163, measured, 0.8712, 12.345678), "R^2", 0, 0.02)
    assert line == (
        "epoch  37/200  loss  12.345678  mean activation 0.053  row sparsity 0.64  R^2 0.871"
        "  at most 4 s left"
    )
    later = line_of(progress(137, 63, measured, 0.8712, 0.12345678), "R^2", 0, 0.02)
    assert [at for at, each in enumerate(later) if each == "R"] == [line.index("R")]
    assert line_of(progress(3, 0, loss=0.25), "R^2", 4, 1.0) == "epoch 7/7  loss 0.25000000"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1 s"), (1.1, "2 s"), (119.5, "120 s"), (130.0, "3 min"), (7300.0, "3 h")],
)
def test_time_is_rounded_up(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("weight", [None, np.arange(60) % 3 / 2], ids=["alike", "weighted"])
@each_training
def test_it_is_the_code_of_the_last_minibatch(code, solver, weight, capsys):
    # Weights that hardly move, and a batch of all rows.
    params = {"learning_rate": 1e-12} if solver != "lbfgs" else {}
    model = fitted(code, solver=solver, verbose=2, dtype="float64", **params)
    model.fit(X, sample_weight=weight)
    epochs, rest = read(capsys)
    assert [each["epoch"] for each in epochs] == ["1", "2", "3", "4"]
    assert {each["planned"] for each in epochs} == {"4"}
    losses = [float(each["loss"]) for each in epochs]
    np.testing.assert_allclose(losses, model.loss_curve_, rtol=1e-7)
    assert float(epochs[-1]["mean"]) == pytest.approx(model.mean_activation_.mean(), abs=6e-4)
    assert float(epochs[-1]["sparsity"]) == pytest.approx(model.row_sparsity_, abs=6e-3)
    assert [each["left"] for each in epochs] == ["1 s"] * 3 + [None]
    assert len(rest) == 1
    assert re.fullmatch(r"ended by max_iter after 4 epochs in \d+\.\d s", rest[0])


@each_kind_and_stack
def test_of_fine_tuned_codes_too(kind, capsys):
    members = frozen([sae(5), sae(4, activation="tanh")], X)
    model = make(kind, members, verbose=2, learning_rate=1e-12, batch_size=60)
    model.fit(X, TARGETS[kind])
    epochs, _ = read(capsys)
    activities = (1.0 + model.transform(X)) / 2.0
    assert float(epochs[-1]["mean"]) == pytest.approx(activities.mean(), abs=6e-4)
    assert float(epochs[-1]["sparsity"]) == pytest.approx(
        hoyer_sparsity(activities).mean(), abs=6e-3
    )


def test_the_held_out_score(capsys):
    model = fitted(early_stopping=True, validation_fraction=0.3, verbose=2).fit(X)
    scores = [each["score"] for each in read(capsys)[0]]
    assert scores == [f"{score:5.3f}".strip() for score in model.validation_score_curve_]


def test_a_layer_on_top_alone_has_no_code_of_its_own(capsys):
    members = frozen([sae(5), sae(4)], X)
    make("labels", members, freeze=2, verbose=1).fit(X, TARGETS["labels"])
    assert "] epoch" in (out := capsys.readouterr().out)
    assert "mean activation" not in out


# How much is planned.


def test_epochs_are_counted_on(capsys):
    model = fitted(warm_start=True).fit(X).set_params(verbose=2).fit(X)
    model.partial_fit(X)
    epochs, rest = read(capsys)
    counts = [f"{each['epoch']}/{each['planned']}" for each in epochs]
    assert counts == ["5/8", "6/8", "7/8", "8/8", "9/9"]
    # A single pass is said to have ended by its line.
    assert len(rest) == 1


def test_once_the_rate_falls_fewer_epochs_are_left(capsys):
    model = fitted(max_iter=500, tol=0.5, n_iter_no_change=3, verbose=2).fit(X)
    epochs, (end,) = read(capsys)
    planned = [int(each["planned"]) for each in epochs]
    assert planned[0] == 500
    assert planned[-1] == model.n_iter_ == len(epochs)
    assert planned[-2] == model.n_iter_
    assert f"ended by tol after {model.n_iter_} epochs" in end


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_epochs_to_meet_rho_count_as_long_as_they_may_be_needed(solver, capsys):
    params = {"sparsity": "l1", "beta": "auto", "rho": 0.4, "max_iter": 20}
    model = fitted("kl", solver=solver, verbose=2, **params).fit(X)
    epochs, _ = read(capsys)
    assert int(epochs[0]["planned"]) == 20
    assert model.n_iter_ == len(epochs)


# Training is the same.


@pytest.mark.parametrize("noise", [None, "gaussian"])
@each_training
def test_no_bit_depends_on_it(code, solver, noise):
    quiet, loud = (
        fitted(code, solver=solver, noise=noise, batch_size=25, verbose=verbose).fit(X)
        for verbose in (0, 2)
    )
    assert quiet.loss_curve_ == loud.loss_curve_
    for one, other in zip(quiet.coefs_, loud.coefs_, strict=True):
        assert_array_equal(one, other)
    assert quiet.loss_ == loud.loss_


def test_a_slow_training_shows_some_epochs_a_fast_one_two(monkeypatch, capsys):
    for step, shown in ((0.0, 2), (0.3, 5), (10.0, 9)):
        monkeypatch.setattr(printing, "perf_counter", Clock(step))
        fitted(max_iter=9, verbose=1).fit(X)
        assert len(read(capsys)[0]) == shown
