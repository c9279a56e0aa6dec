"""Training: from starting parameters and rows to trained networks, epoch by epoch.

`train` is the engine's front door. It takes and gives plain numbers and numpy arrays; everything
that it needs to know of a training stands in the frozen descriptions `Penalties` and `Schedule`.
Networks of one architecture that visit the same rows in the same order are trained side by side,
each with penalties, learning rate and end of its own; a plain fit is a single one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf, isfinite

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows, batch_slices
from sksae.engine.device import bookkeeping_device
from sksae.engine.full_batch import FullObjective
from sksae.engine.lbfgs import LBFGS
from sksae.engine.minibatch import RHO_HAT_WINDOW, MinibatchObjective
from sksae.engine.network import Architecture, Parameters
from sksae.engine.objective import Penalties
from sksae.engine.solvers import SGD, Adam, LearningRate, Patience, Solver, State
from sksae.engine.watching import HeldOut, Monitor, NonFiniteLossError, Watch


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

    @property
    def common(self) -> tuple[object, ...]:
        """What schedules must agree in to be followed side by side."""
        return (
            self.solver,
            self.momentum,
            self.batch_size,
            self.shuffle,
            self.seed,
            self.first_epoch,
            self.rho_hat_window,
        )

    def failure(self, epoch: int) -> NonFiniteLossError:
        """Return the error that says in which epoch, counted from 1, training broke down."""
        epoch += self.first_epoch
        if self.solver == "lbfgs":
            return NonFiniteLossError(
                f"The loss is not finite at iteration {epoch} of solver='lbfgs': scale X "
                "(scale_data=True)."
            )
        return NonFiniteLossError(
            f"The loss stopped being finite in epoch {epoch} at "
            f"learning_rate={self.learning_rate}: lower the learning rate, or scale X "
            "(scale_data=True)."
        )


@dataclass
class Trained:
    """What a training leaves behind.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters, for centred rows.
    loss : float
        J over all training rows.
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
    mean_code: np.ndarray = field(default_factory=lambda: np.empty(0))
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    n_steps: int = 0
    stopped_by: str = "max_iter"
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One network to be trained.

    Attributes
    ----------
    penalties : Penalties
        The terms of J besides the squared error.
    schedule : Schedule
        Solver, length and steps.
    start : ndarray of shape (n_parameters,)
        Parameters to start from, for centred rows.
    state : dict of ndarray, optional
        ``Trained.state`` of the training that this one continues; of a single job only.
    monitor : Monitor, optional
        Told of every epoch, and asked whether to stop.
    """

    penalties: Penalties
    schedule: Schedule
    start: np.ndarray
    state: State | None = None
    monitor: Monitor | None = None


def torch_dtype(name: str) -> torch.dtype:
    """Return the precision of that name, "float32" or "float64"."""
    return {"float32": torch.float32, "float64": torch.float64}[name]


def train(
    architecture: Architecture,
    jobs: Sequence[Job],
    rows: Rows,
    *,
    offset: np.ndarray,
    held_out: Rows | None = None,
) -> list[Trained | NonFiniteLossError]:
    """Train networks side by side.

    Parameters
    ----------
    architecture : Architecture
        Layers of each.
    jobs : sequence of Job
        One, or several of the same sparsity whose schedules have ``common`` alike; not several
        with solver "lbfgs".
    rows : Rows
        What to reconstruct; their dtype and device are those of training.
    offset : ndarray of shape (n_features,)
        Target minus centred row, the same for every row.
    held_out : Rows, optional
        Rows whose R^2 decides when to stop and which weights are kept.

    Returns
    -------
    outcomes : list of Trained or NonFiniteLossError
        The error where a network's loss stopped being finite; it does not disturb the others.
    """
    rows.keep_resident()
    judge = HeldOut(held_out, offset, max(architecture.sizes)) if held_out is not None else None
    if jobs[0].schedule.solver == "lbfgs":
        (job,) = jobs
        outcomes = [_iterate(architecture, job, rows, offset, judge)]
    else:
        outcomes = _Descent(architecture, jobs, rows, offset, judge).run()
    _evaluate(architecture, jobs, rows, offset, outcomes)
    return outcomes


def _make_watch(job: Job, judge: HeldOut | None, parameters: Parameters, model: int) -> Watch:
    schedule = job.schedule
    # R^2 has a scale of its own, so there the tolerance is absolute.
    patience = Patience(schedule.tol, schedule.n_iter_no_change, relative=judge is None)
    watch = Watch(patience, schedule.failure, job.monitor)
    if judge is not None and schedule.first_epoch:
        # A training that goes on must not end worse than it began.
        watch.keep_if_best(judge.scores(parameters)[model], partial(parameters.model, model))
    return watch


class _Course:
    """How far one network of a descent has come."""

    def __init__(self, job: Job, watch: Watch, rate: LearningRate) -> None:
        self.job, self.watch, self.rate = job, watch, rate
        self.stopped_by = "max_iter"
        self.n_steps = 0

    def takes(self, verdict: str | None, steps_per_epoch: int) -> bool:
        """Take the verdict on an epoch and return whether it was the last."""
        if verdict is not None and not verdict == self.stopped_by == "tol":
            self.stopped_by = verdict
            n_cooling = self.job.schedule.n_iter_no_change * steps_per_epoch
            if not (verdict == "tol" and self.rate.cool_down(n_cooling)):
                return True
        return self.rate.is_over


class _Descent:
    """Training by minibatches, adam and sgd: a network whose training ends leaves the others."""

    def __init__(
        self,
        architecture: Architecture,
        jobs: Sequence[Job],
        rows: Rows,
        offset: np.ndarray,
        judge: HeldOut | None,
    ) -> None:
        schedule = jobs[0].schedule
        self._schedule, self._rows, self._offset, self._judge = schedule, rows, offset, judge
        self._slices = batch_slices(rows.n_rows, schedule.batch_size)
        like = torch.empty(0, dtype=rows.dtype, device=rows.device)
        self._parameters = Parameters.stacked(architecture, [job.start for job in jobs], like)
        state = jobs[0].state or {}
        self._objective = self._make_objective([job.penalties for job in jobs], state)
        self._solver = _make_solver(schedule, self._parameters.flat, state)
        self._courses = [
            _Course(
                job,
                _make_watch(job, judge, self._parameters, model),
                LearningRate(
                    job.schedule.learning_rate,
                    job.schedule.learning_rate_schedule,
                    job.schedule.max_iter * len(self._slices),
                ),
            )
            for model, job in enumerate(jobs)
        ]
        # Where the networks stand in the list of jobs.
        self._places = list(range(len(jobs)))
        self._outcomes: list[Trained | NonFiniteLossError | None] = [None] * len(jobs)

    def run(self) -> list[Trained | NonFiniteLossError]:
        """Train until every network has ended."""
        epoch = 0
        try:
            while self._courses:
                self._pass_over_rows(epoch)
                self._take_stock()
                epoch += 1
        except KeyboardInterrupt:
            # A single network keeps what it has learnt; a search is given up.
            if len(self._outcomes) > 1:
                raise
            self._courses[0].stopped_by = "interrupt"
            self._end(0)
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _make_objective(self, penalties: list[Penalties], state: State) -> MinibatchObjective:
        return MinibatchObjective(
            Penalties.side_by_side(penalties),
            self._parameters,
            self._offset,
            window=self._schedule.rho_hat_window or min(RHO_HAT_WINDOW, len(self._slices)),
            state=state,
        )

    def _pass_over_rows(self, epoch: int) -> None:
        courses, objective, solver = self._courses, self._objective, self._solver
        for model, course in enumerate(courses):
            course.watch.epoch_begins(partial(self._parameters.model, model))
        order = _order(self._schedule, epoch, self._rows.n_rows)
        for batch, weight in self._rows.batches(self._slices, order):
            objective(batch, weight)
            solver.step(objective.gradient.flat, self._learning_rate())
            for course in courses:
                course.rate.advance()
                course.n_steps += 1

    def _learning_rate(self) -> float | Tensor:
        """Return the rate of all networks, or of each parameter where they differ."""
        rates = [course.rate.value for course in self._courses]
        if len(set(rates)) == 1:
            return rates[0]
        return self._parameters.spread(rates)

    def _take_stock(self) -> None:
        """Ask of every network whether the epoch just ended was its last."""
        losses = self._objective.epoch_loss().tolist()
        scores = self._judge.scores(self._parameters) if self._judge else [None] * len(losses)
        left = []
        for model, course in enumerate(self._courses):
            try:
                verdict = course.watch.verdict(
                    losses[model],
                    scores[model],
                    partial(self._parameters.model, model),
                )
            except NonFiniteLossError as error:
                self._outcomes[self._places[model]] = error
                continue
            if course.takes(verdict, len(self._slices)):
                self._end(model)
            else:
                left.append(model)
        if len(left) < len(self._courses):
            self._go_on_with(left)

    def _end(self, model: int) -> None:
        course, watch = self._courses[model], self._courses[model].watch
        flat = self._parameters.model(model)
        solver = self._solver.part(
            lambda vector: self._parameters.with_flat(vector).model(model), flat
        )
        self._outcomes[self._places[model]] = Trained(
            flat=_to_numpy(flat if watch.best is None else watch.best),
            loss_curve=watch.loss_curve,
            validation_curve=watch.validation_curve,
            n_steps=course.n_steps,
            stopped_by=course.stopped_by,
            state=solver.state() | _of_models(self._objective.state(), [model]),
        )

    def _go_on_with(self, models: list[int]) -> None:
        """Let go of all networks but these."""
        whole = self._parameters
        self._courses = [self._courses[model] for model in models]
        self._places = [self._places[model] for model in models]
        if not models:
            return
        self._parameters = whole.models(models)
        self._solver = self._solver.part(
            lambda vector: whole.with_flat(vector).models(models).flat, self._parameters.flat
        )
        self._objective = self._make_objective(
            [course.job.penalties for course in self._courses],
            _of_models(self._objective.state(), models),
        )


def _of_models(state: State, models: list[int]) -> State:
    """Return a state's entries for some models; those without a models axis are for all."""
    return {
        name: value if value.ndim == 0 or len(value) == 1 else value[models]
        for name, value in state.items()
    }


def _to_numpy(flat: Tensor) -> np.ndarray:
    return flat.cpu().numpy().copy()


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
    architecture: Architecture, job: Job, rows: Rows, offset: np.ndarray, judge: HeldOut | None
) -> Trained | NonFiniteLossError:
    """Train by L-BFGS on all rows: parameters and sums in float64, products in their dtype."""
    like = torch.empty(0, dtype=rows.dtype, device=rows.device)
    parameters = Parameters.stacked(architecture, [job.start], like)
    full = FullObjective(job.penalties, parameters, rows, offset)
    watch = _make_watch(job, judge, parameters, 0)
    stopped_by, n_steps = "max_iter", 0

    def evaluate(flat: Tensor) -> tuple[float, Tensor]:
        loss, gradient = full.gradient(flat)
        return float(loss), gradient

    def flat() -> Tensor:
        return parameters.flat

    begin = torch.as_tensor(job.start, dtype=torch.float64)
    begin = begin.to(bookkeeping_device(parameters.flat.device))
    solver = LBFGS(evaluate, begin, noise=torch.finfo(rows.dtype).eps)
    if not isfinite(solver.value):
        return job.schedule.failure(0)
    try:
        for _ in range(job.schedule.max_iter):
            watch.epoch_begins(flat)
            if not solver.step():
                watch.epoch_came_to_nothing(flat)
                stopped_by = "precision"
                break
            n_steps += 1
            parameters.flat.copy_(solver.flat)
            score = judge.scores(parameters)[0] if judge else None
            verdict = watch.verdict(solver.value, score, flat)
            if verdict is not None:
                stopped_by = verdict
                break
    except NonFiniteLossError as error:
        return error
    except KeyboardInterrupt:
        stopped_by = "interrupt"
    parameters.flat.copy_(solver.flat)
    return Trained(
        flat=_to_numpy(parameters.flat if watch.best is None else watch.best),
        loss_curve=watch.loss_curve,
        validation_curve=watch.validation_curve,
        n_steps=n_steps,
        stopped_by=stopped_by,
    )


def _evaluate(
    architecture: Architecture,
    jobs: Sequence[Job],
    rows: Rows,
    offset: np.ndarray,
    outcomes: list[Trained | NonFiniteLossError],
) -> None:
    """Fill in J and the mean code over all rows of the networks that were trained."""
    done = [
        (place, job, outcome)
        for place, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True))
        if isinstance(outcome, Trained)
    ]
    if not done:
        return
    like = torch.empty(0, dtype=rows.dtype, device=rows.device)
    parameters = Parameters.stacked(architecture, [trained.flat for _, _, trained in done], like)
    penalties = Penalties.side_by_side([job.penalties for _, job, _ in done])
    full = FullObjective(penalties, parameters, rows, offset, with_gradient=False)
    losses, mean_codes = full.evaluate()
    for (place, job, trained), loss, mean_code in zip(
        done, losses.tolist(), mean_codes.cpu().numpy(), strict=True
    ):
        trained.loss, trained.mean_code = loss, mean_code.ravel()
        if not isfinite(loss):
            outcomes[place] = job.schedule.failure(len(trained.loss_curve))
