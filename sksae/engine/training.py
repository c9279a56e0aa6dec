"""Training: from starting parameters and rows to a trained network, epoch by epoch.

`train` is the engine's front door. It takes and gives plain numbers and numpy arrays; everything
that it needs to know of a training stands in the frozen descriptions `Penalties` and `Schedule`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isfinite, log
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows, batch_slices
from sksae.engine.controller import (
    L2_STARTS,
    NEAR,
    OPEN_END,
    Rounds,
    is_met,
    starting_beta,
    to_numpy,
)
from sksae.engine.device import bookkeeping_device, to_wide
from sksae.engine.full_batch import FullObjective
from sksae.engine.lbfgs import LBFGS
from sksae.engine.minibatch import RHO_HAT_WINDOW, MinibatchObjective
from sksae.engine.network import Architecture, Parameters, Workspace, forward
from sksae.engine.objective import Penalties
from sksae.engine.solvers import SGD, Adam, LearningRate, Patience, Solver, State

# With beta="auto" this share of the epochs is set aside, to go on at this share of the learning
# rate where rho is not met by then.
OVERTIME, OVERTIME_RATE = 0.15, 0.1


class NonFiniteLossError(ValueError):
    """The loss stopped being finite, so that training cannot go on."""


@dataclass(frozen=True)
class Schedule:
    """How long and in what steps to train.

    Attributes
    ----------
    solver : {"adam", "sgd", "lbfgs"}
        Who moves the parameters.
    learning_rate, learning_rate_schedule, momentum
        Of adam and sgd.
    batch_size : int
        Most rows in a minibatch.
    max_iter : int
        Epochs, or iterations of lbfgs.
    tol, n_iter_no_change
        When to stop before.
    shuffle : bool
        Whether every epoch visits the rows in a new order.
    seed : int
        Of that order; epoch k of any training with this seed visits the rows alike.
    first_epoch : int
        Epochs done before.
    rho_hat_window : int, optional
        Batches over which the mean activation is averaged; an epoch's at most by default.
    is_one_pass : bool
        Whether the rows are a piece of a stream, of unknown length.
    """

    solver: str
    max_iter: int
    tol: float = 0.0
    n_iter_no_change: int = 10
    learning_rate: float = 1e-2
    learning_rate_schedule: str = "linear"
    momentum: float = 0.9
    batch_size: int = 256
    shuffle: bool = True
    seed: int = 0
    first_epoch: int = 0
    rho_hat_window: int | None = None
    is_one_pass: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A network at one moment of its training, as numpy arrays of its own.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters in the precision of training, for centred rows.
    loss_curve, validation_curve : list of float
        As in `Trained`, up to this moment.
    """

    flat: np.ndarray
    loss_curve: list[float]
    validation_curve: list[float]


@dataclass
class Trained:
    """What a training leaves behind.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters, for centred rows.
    loss : float
        J over all training rows.
    beta : float
        Weight of S; what was found, if it was to be.
    activity : float or None
        What a beta to be found shall make rho, over the training rows.
    mean_code : ndarray of shape (n_components,)
        Weighted mean of the code over the training rows.
    loss_curve, validation_curve : list of float
        One entry an epoch: mean J over its batches (J for lbfgs); R^2 of the held-out rows.
    n_steps : int
        Steps taken.
    stopped_by : {"max_iter", "tol", "callback", "interrupt", "precision"}
        Why training ended.
    state : dict of ndarray
        What a training that goes on from here needs.
    """

    flat: np.ndarray
    loss: float = inf
    beta: float = 0.0
    activity: float | None = None
    mean_code: np.ndarray = field(default_factory=lambda: np.empty(0))
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    n_steps: int = 0
    stopped_by: str = "max_iter"
    state: State = field(default_factory=dict)


TakeSnapshot = Callable[[], Snapshot]


class Monitor(Protocol):
    """Who is told of every epoch (of every iteration, for lbfgs)."""

    def epoch_begins(self, snapshot: TakeSnapshot) -> None:
        """Hear of an epoch about to start."""

    def epoch_ends(self, snapshot: TakeSnapshot) -> bool:
        """Hear of an epoch just ended; return whether to stop training."""


class HeldOut:
    """Rows kept aside, and the R^2 with which a network reconstructs them."""

    def __init__(self, parameters: Parameters, rows: Rows, offset: np.ndarray) -> None:
        self._parameters, self._rows = parameters, rows
        rows.keep_resident()
        like = parameters.flat
        self._offset = torch.as_tensor(offset, dtype=like.dtype, device=like.device)
        self._widest = max(parameters.architecture.sizes)
        mean = torch.zeros_like(to_wide(self._offset))
        square = 0.0
        for chunk, weight in rows.chunks(self._widest):
            wide = to_wide(chunk)
            weighted = wide if weight is None else wide * to_wide(weight)
            mean += weighted.sum(dim=(0, 1)) / rows.n_rows
            square += float((wide * weighted).sum()) / rows.n_rows
        self._deviation = square - float(mean.square().sum())

    def score(self) -> float:
        """Return 1 - squared error / squared deviation from the held-out rows' own mean."""
        error = 0.0
        for chunk, weight in self._rows.chunks(self._widest):
            workspace = Workspace(self._parameters, chunk.shape[1])
            output = forward(self._parameters, chunk.mT, workspace)
            distances = torch.linalg.vector_norm(output - chunk - self._offset, dim=-1)
            squares = to_wide(distances).square()
            if weight is not None:
                squares *= to_wide(weight)[..., 0]
            error += float(squares.sum()) / self._rows.n_rows
        if self._deviation <= 0.0:
            return 1.0 if error == 0.0 else 0.0
        return 1.0 - error / self._deviation


class Watch:
    """Follows a training from epoch to epoch: curves, stopping, the best weights so far."""

    def __init__(
        self,
        schedule: Schedule,
        parameters: Parameters,
        trained: Trained,
        held_out: HeldOut | None,
        monitor: Monitor | None,
        may_keep: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_keep = may_keep
        self._schedule, self._parameters, self._trained = schedule, parameters, trained
        self._held_out, self._monitor = held_out, monitor
        # R^2 has a scale of its own, so there the tolerance is absolute.
        self.wait_anew()
        self._best: Tensor | None = None
        self._best_beta = 0.0
        self._best_score = -inf
        if held_out is not None and schedule.first_epoch and may_keep():
            # A training that goes on must not end worse than it began.
            self._best, self._best_score = parameters.flat.clone(), held_out.score()
            self._best_beta = trained.beta

    def wait_anew(self) -> None:
        """Forget for how long the loss has not fallen: it is another one from now on."""
        self._patience = Patience(
            self._schedule.tol, self._schedule.n_iter_no_change, relative=self._held_out is None
        )

    @property
    def has_best(self) -> bool:
        """Whether weights have been kept that will be restored."""
        return self._best is not None

    def epoch_begins(self) -> None:
        """Announce the next epoch."""
        if self._monitor is not None:
            self._monitor.epoch_begins(self._snapshot)

    def epoch_came_to_nothing(self) -> None:
        """Announce the end of an epoch that changed nothing."""
        if self._monitor is not None:
            self._monitor.epoch_ends(self._snapshot)

    def verdict(self, loss: float, *, by_moves: float = 0.0, is_settled: bool = True) -> str | None:
        """Take the loss of the epoch just ended and return a reason to stop, if there is one.

        Parameters
        ----------
        loss : float
            J.
        by_moves : float
            What moves of beta have added to it.
        is_settled : bool
            False as long as beta is being found: then nothing is over.
        """
        trained = self._trained
        if not isfinite(loss):
            raise self.failure(len(trained.loss_curve) + 1)
        trained.loss_curve.append(loss)
        watched = loss - by_moves
        if self._held_out is not None:
            score = self._held_out.score()
            if score > self._best_score and self._may_keep():
                self._best, self._best_score = self._parameters.flat.clone(), score
                self._best_beta = trained.beta
            trained.validation_curve.append(score)
            watched = -score
        if self._monitor is not None and self._monitor.epoch_ends(self._snapshot):
            return "callback"
        if not is_settled:
            self.wait_anew()
        return "tol" if self._patience.exhausted(watched) else None

    def restore_best(self) -> None:
        """Put back the weights that served the held-out rows best, if any are held out."""
        if self._best is not None:
            self._parameters.flat.copy_(self._best)
            self._trained.beta = self._best_beta

    def failure(self, epoch: int) -> NonFiniteLossError:
        """Return the error that says where training broke down."""
        epoch += self._schedule.first_epoch
        if self._schedule.solver == "lbfgs":
            return NonFiniteLossError(
                f"The loss is not finite at iteration {epoch} of solver='lbfgs': scale X "
                "(scale_data=True)."
            )
        return NonFiniteLossError(
            f"The loss stopped being finite in epoch {epoch} at "
            f"learning_rate={self._schedule.learning_rate}: lower the learning rate, or scale X "
            "(scale_data=True)."
        )

    def _snapshot(self) -> Snapshot:
        curves = self._trained.loss_curve, self._trained.validation_curve
        flat = self._parameters.flat.cpu().numpy().copy()
        return Snapshot(flat, *(list(curve) for curve in curves))


def torch_dtype(name: str) -> torch.dtype:
    """Return the precision of that name, "float32" or "float64"."""
    return {"float32": torch.float32, "float64": torch.float64}[name]


def train(
    architecture: Architecture,
    penalties: Penalties,
    schedule: Schedule,
    rows: Rows,
    start: np.ndarray,
    *,
    offset: np.ndarray,
    held_out: Rows | None = None,
    state: State | None = None,
    monitor: Monitor | None = None,
) -> Trained:
    """Train a network.

    Parameters
    ----------
    architecture : Architecture
        Layers.
    penalties : Penalties
        The terms of J besides the squared error.
    schedule : Schedule
        Solver, length and steps.
    rows : Rows
        What to reconstruct; their dtype and device are those of training.
    start : ndarray of shape (n_parameters,)
        Parameters to start from, for centred rows.
    offset : ndarray of shape (n_features,)
        Target minus centred row, the same for every row.
    held_out : Rows, optional
        Rows whose R^2 decides when to stop and which weights are kept.
    state : dict of ndarray, optional
        ``Trained.state`` of the training that this one continues.
    monitor : Monitor, optional
        Told of every epoch, and asked whether to stop.

    Returns
    -------
    trained : Trained

    Raises
    ------
    NonFiniteLossError
        If the loss stops being finite.
    """
    flat = torch.as_tensor(start).to(device=rows.device, dtype=rows.dtype, copy=True)
    parameters = Parameters(architecture, flat)
    rows.keep_resident()
    judge = HeldOut(parameters, held_out, offset) if held_out is not None else None
    trained = Trained(flat=start)
    full = FullObjective(penalties, parameters, rows, offset)
    finds_beta = full.finds_beta
    state = state or {}
    trained.beta = float(state["beta"]) if finds_beta and "beta" in state else float(full.beta)

    def may_keep() -> bool:
        return not finds_beta or meets_rho(full)

    watch = Watch(schedule, parameters, trained, judge, monitor, may_keep)
    try:
        if schedule.solver == "lbfgs":
            _iterate(full, schedule, start, watch, trained)
        else:
            _descend(penalties, full, schedule, rows, offset, watch, trained, state)
    except KeyboardInterrupt:
        trained.stopped_by = "interrupt"
    watch.restore_best()

    if finds_beta:
        full.set_beta(trained.beta)
        trained.activity = float(full.activity())
        trained.state["beta"] = np.asarray(trained.beta)
    loss, mean_code = full.evaluate()
    trained.loss = float(loss)
    if not isfinite(trained.loss):
        raise watch.failure(len(trained.loss_curve))
    trained.mean_code = mean_code.flatten().cpu().numpy()
    trained.flat = parameters.flat.cpu().numpy()
    return trained


def meets_rho(full: FullObjective) -> bool:
    """Return whether the activity over all rows is rho."""
    return bool(is_met(to_numpy(full.activity()), to_numpy(full.rho)))


def _descend(
    penalties: Penalties,
    full: FullObjective,
    schedule: Schedule,
    rows: Rows,
    offset: np.ndarray,
    watch: Watch,
    trained: Trained,
    state: State,
) -> None:
    """Train by minibatches: adam and sgd."""
    parameters = full.parameters
    slices = batch_slices(rows.n_rows, schedule.batch_size)
    keeps_time = full.finds_beta and not schedule.is_one_pass
    n_overtime = round(OVERTIME * schedule.max_iter) if keeps_time else 0
    n_steps = (schedule.max_iter - n_overtime) * len(slices)
    objective = MinibatchObjective(
        penalties,
        parameters,
        offset,
        window=schedule.rho_hat_window or min(RHO_HAT_WINDOW, len(slices)),
        n_steps=OPEN_END if schedule.is_one_pass else n_steps,
        l2_start=L2_STARTS[schedule.solver],
        state=state,
    )
    solver = _make_solver(schedule, parameters.flat, state)
    rate = LearningRate(
        schedule.learning_rate,
        schedule.learning_rate_schedule,
        n_steps,
    )

    # Where rho was met last, to go by the last minibatches, and at which beta.
    met: tuple[Tensor, float] | None = None

    def epoch() -> str | None:
        nonlocal met
        watch.epoch_begins()
        order = _order(schedule, len(trained.loss_curve), rows.n_rows)
        for batch, weight in rows.batches(slices, order):
            objective(batch, weight)
            solver.step(objective.gradient.flat, rate.value)
            rate.advance()
            trained.n_steps += 1
        loss = float(objective.epoch_loss())
        trained.beta = float(objective.beta)
        if n_overtime and objective.is_settled(NEAR):
            met = parameters.flat.clone(), trained.beta
        return watch.verdict(
            loss,
            by_moves=float(objective.by_moves),
            is_settled=bool(objective.is_settled()),
        )

    try:
        while not rate.is_over:
            verdict = epoch()
            if verdict is None or trained.stopped_by == "tol" == verdict:
                continue
            trained.stopped_by = verdict
            n_more = schedule.n_iter_no_change * len(slices)
            cools = verdict == "tol" and rate.cool_down(n_more)
            if not cools:
                break
            objective.ends_in(n_more)
        if n_overtime and trained.stopped_by != "callback":
            # The rate has fallen, and the last moves of beta did not tell any more: go on at a
            # small rate until they do.
            rate = LearningRate(
                OVERTIME_RATE * schedule.learning_rate, "constant", n_overtime * len(slices)
            )
            objective.ends_in(n_steps)
            while not rate.is_over and not watch.has_best and not meets_rho(full):
                if epoch() == "callback":
                    trained.stopped_by = "callback"
                    break
    finally:
        trained.beta = float(objective.beta)
        if met is not None and not watch.has_best and not meets_rho(full):
            # The last epochs have left it again.
            parameters.flat.copy_(met[0])
            trained.beta = met[1]
        trained.state = solver.state() | objective.state()


def _make_solver(schedule: Schedule, flat: Tensor, state: State) -> Solver:
    if schedule.solver == "adam":
        return Adam(flat, state if "first_moment" in state else None)
    return SGD(flat, schedule.momentum, state if "velocity" in state else None)


def _order(schedule: Schedule, epoch: int, n_rows: int) -> np.ndarray | None:
    """Return the order in which an epoch visits the rows; a function of seed and epoch alone."""
    if not schedule.shuffle:
        return None
    return np.random.default_rng([schedule.seed, schedule.first_epoch + epoch]).permutation(n_rows)


def _iterate(
    full: FullObjective,
    schedule: Schedule,
    start: np.ndarray,
    watch: Watch,
    trained: Trained,
) -> None:
    """Train by L-BFGS on all rows: parameters and sums in float64, products in their dtype."""
    parameters = full.parameters

    def evaluate(flat: Tensor) -> tuple[float, Tensor]:
        loss, gradient = full.gradient(flat)
        return float(loss), gradient

    def solver_from(flat: Tensor) -> LBFGS:
        return LBFGS(evaluate, flat, torch.finfo(parameters.flat.dtype).eps)

    device = bookkeeping_device(parameters.flat.device)
    rounds = _make_rounds(full, schedule, trained) if full.finds_beta else None

    # Where rho was met last, and at which beta.
    met: tuple[Tensor, float] | None = None

    def next_round() -> bool:
        """Go on with another beta and without memory of curvature, unless rho is met."""
        nonlocal met
        if rounds is None:
            return False
        parameters.flat.copy_(solver.flat)
        activity = to_numpy(full.activity())
        if is_met(activity, to_numpy(full.rho)):
            met = solver.flat.clone(), rounds.beta
        if not rounds.move(activity.item()):
            return False
        full.set_beta(rounds.beta)
        watch.wait_anew()
        return True

    solver = solver_from(torch.as_tensor(start, dtype=torch.float64).to(device))
    if not isfinite(solver.value):
        raise watch.failure(0)
    try:
        for iteration in range(1, schedule.max_iter + 1):
            watch.epoch_begins()
            if not solver.step():
                watch.epoch_came_to_nothing()
                if next_round():
                    solver = solver_from(solver.flat)
                    continue
                trained.stopped_by = "precision"
                break
            trained.n_steps += 1
            parameters.flat.copy_(solver.flat)
            trained.beta = float(full.beta)
            verdict = watch.verdict(solver.value)
            ends_round = verdict == "tol" or (rounds is not None and rounds.is_over(iteration))
            if verdict != "callback" and ends_round and next_round():
                solver = solver_from(solver.flat)
            elif verdict is not None:
                trained.stopped_by = verdict
                break
    finally:
        parameters.flat.copy_(solver.flat)
        if met is not None and not meets_rho(full):
            # The last iterations have left it again.
            parameters.flat.copy_(met[0])
            trained.beta = met[1]


def _make_rounds(full: FullObjective, schedule: Schedule, trained: Trained) -> Rounds:
    """Return what moves beta, from where it stood or from a small one."""
    if not trained.beta:
        architecture = full.parameters.architecture
        n_components = architecture.sizes[architecture.n_encoder_layers]
        square, l2_start = to_numpy(full.mean_square()), L2_STARTS["lbfgs"]
        trained.beta = starting_beta(full.sparsity, square, n_components, l2_start).item()
    full.set_beta(trained.beta)
    return Rounds(full.sparsity, float(full.rho), schedule.max_iter, log(trained.beta))
