"""Training by minibatches, adam and sgd, of networks side by side."""

from collections.abc import Sequence
from functools import partial
from math import ceil

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows, batch_slices
from sksae.engine.control import NEAR, OPEN_END, is_met, to_numpy
from sksae.engine.full_batch import FullObjective
from sksae.engine.held_out import Judge
from sksae.engine.losses import Loss
from sksae.engine.minibatch import LONGEST_WINDOW, RHO_HAT_ROWS, MinibatchObjective
from sksae.engine.noise import corruption_of, drops_of
from sksae.engine.parameters import Parameters
from sksae.engine.solvers import SGD, Adam, LearningRate, Patience, Solver
from sksae.engine.threads import Crew
from sksae.engine.watching import Moment, Watch
from sksae.model.architecture import Architecture
from sksae.model.failure import NonFiniteLossError
from sksae.model.settings import Penalties, TrainingConfig
from sksae.model.tasks import State, TrainingResult, TrainingTask
from sksae.process.interrupts import ask_unless_skipped, is_kept

# With beta="auto" this share of the epochs is set aside, to go on at this share of the learning
# rate where rho is not met by then.
OVERTIME, OVERTIME_RATE = 0.15, 0.1
# A rate that falls later does not rise for longer than this share of the steps. A constant one has
# no length to go by: a training in parts is to be that of one piece.
LONGEST_WARM_UP = 0.25
# Rows of a large weight are stepped on several times: one step that counts for more overshoots.
LONGEST_STEP = 1.5


def make_watch(task: TrainingTask, *, has_judge: bool) -> Watch:
    """Return what follows the training of one network."""
    config = task.config
    # R^2 has a scale of its own, so there the tolerance is absolute.
    patience = Patience(config.tol, config.n_iter_no_change, relative=not has_judge)
    return Watch(patience, config.failure, task.monitor)


class Course:
    """How far one network has come.

    Parameters
    ----------
    task : TrainingTask
        What it is trained for.
    watch : Watch
        Follows it.
    steps_per_epoch : int
        Minibatches.

    Attributes
    ----------
    rate : LearningRate
        Of its next step.
    n_steps : int
        Steps taken.
    stopped_by : str
        Why it ends, or is going to.
    n_planned : int
        Steps in all, before overtime.
    in_overtime : bool
        Whether the learning rate has fallen, and only rho is still to be met.
    met : Moment or None
        When rho was met last, to go by the last minibatches, where beta is to be found.
    """

    def __init__(self, task: TrainingTask, watch: Watch, steps_per_epoch: int) -> None:
        config = task.config
        self.task, self.watch = task, watch
        self._steps_per_epoch = steps_per_epoch
        keeps_time = task.finds_beta and not config.is_one_pass
        self._n_overtime = round(OVERTIME * config.max_iter) if keeps_time else 0
        self.n_planned = (config.max_iter - self._n_overtime) * steps_per_epoch
        warm_up = config.warm_up
        if config.learning_rate_schedule == "linear":
            warm_up = min(warm_up, int(LONGEST_WARM_UP * self.n_planned))
        self.rate = LearningRate(
            config.learning_rate,
            config.learning_rate_schedule,
            self.n_planned,
            warm_up=warm_up,
            n_before=config.n_steps_before,
        )
        self.n_steps = 0
        self.stopped_by = "max_iter"
        self.met: Moment | None = None
        self.in_overtime = False

    def take(self, verdict: str | None) -> int | None:
        """Take the verdict on an epoch; return in how many steps the end is due if that is new."""
        if self.in_overtime:
            if verdict == "callback":
                self.stopped_by = verdict
            return None
        if verdict is None or verdict == self.stopped_by == "tol":
            return None
        self.stopped_by = verdict
        n_more = self.task.config.n_iter_no_change * self._steps_per_epoch
        if verdict == "tol" and self.rate.cool_down(n_more):
            return n_more
        self.rate.end()
        return None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do, unless rho is still to be met."""
        return self.stopped_by == "callback" or self.rate.is_over

    @property
    def may_go_on(self) -> bool:
        """Whether there is overtime left in which to meet rho."""
        if self.stopped_by == "callback" or self.watch.best is not None:
            return False
        return self._n_overtime > 0 and not (self.in_overtime and self.rate.is_over)

    def begin_overtime(self) -> None:
        """Go on at a small rate: that has fallen, and the last moves of beta told no more."""
        self.in_overtime = True
        self.rate = LearningRate(
            OVERTIME_RATE * self.task.config.learning_rate,
            "constant",
            self._n_overtime * self._steps_per_epoch,
        )


class Descent:
    """Trains networks by minibatches; one whose training ends leaves the others.

    Parameters
    ----------
    architecture : Architecture
        Layers of each.
    tasks : sequence of TrainingTask
        What each is trained for.
    rows : Rows
        Rows and what to make of them.
    loss : Loss
        Of the output.
    judge : Judge, optional
        Scores networks on rows held out.
    crew : Crew
        Who shares the work on many rows.
    """

    def __init__(
        self,
        architecture: Architecture,
        tasks: Sequence[TrainingTask],
        rows: Rows,
        loss: Loss,
        judge: Judge | None,
        crew: Crew,
    ) -> None:
        config = tasks[0].config
        self._config, self._rows, self._loss, self._judge = config, rows, loss, judge
        self._crew = crew
        self._corruption, self._drops = corruption_of(config, rows), drops_of(config, rows.device)
        self._finds_beta = tasks[0].finds_beta
        self._steps_per_batch = max(1, ceil(config.pace / LONGEST_STEP))
        self._pace = config.pace / self._steps_per_batch
        self._slices = batch_slices(rows.n_rows, config.batch_size)
        like = torch.empty(0, dtype=rows.dtype, device=rows.device)
        self._parameters = Parameters.stacked(architecture, [task.start for task in tasks], like)
        self._full: FullObjective | None = None
        self._courses = [
            Course(task, make_watch(task, has_judge=judge is not None), len(self._slices))
            for task in tasks
        ]
        state = tasks[0].state or {}
        self._objective = MinibatchObjective(
            self._penalties,
            self._parameters,
            loss,
            window=_window(architecture, config, len(self._slices)),
            n_steps=OPEN_END if config.is_one_pass else self._courses[0].n_planned,
            solver=config.solver,
            pace=self._pace,
            drops=self._drops,
            crew=crew,
            half=config.half,
            state=state,
        )
        self._solver = _make_solver(config, self._parameters.flat, state, crew)
        # Where the networks stand in the list of tasks.
        self._places = list(range(len(tasks)))
        self._outcomes: list[TrainingResult | NonFiniteLossError | None] = [None] * len(tasks)
        if judge is not None and config.first_epoch:
            # A training that goes on must not end worse than it began.
            self._keep_best(judge.scores(self._parameters))

    def run(self) -> list[TrainingResult | NonFiniteLossError]:
        """Train until every network has ended."""
        epoch = 0
        try:
            while self._courses:
                self._pass_over_rows(epoch)
                self._take_stock()
                epoch += 1
        except KeyboardInterrupt:
            # A single network keeps what it has learnt; a search is given up.
            if len(self._outcomes) > 1 or not self._has_begun() or not is_kept():
                raise
            self._end_where_it_is()
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _has_begun(self) -> bool:
        """Return whether there is something to keep: of a pass over a piece, a step."""
        return not self._config.is_one_pass or not self._courses or self._courses[0].n_steps > 0

    def _end_where_it_is(self) -> None:
        """End the training of the one network that there is."""
        outcome = self._outcomes[0]
        if outcome is None:
            self._courses[0].stopped_by = "interrupt"
            self._end(0, meets_rho=ask_unless_skipped(lambda: bool(self._meet_rho()[0])))
        elif isinstance(outcome, TrainingResult):
            outcome.stopped_by = "interrupt"

    @property
    def _penalties(self) -> Penalties:
        return Penalties.side_by_side([course.task.penalties for course in self._courses])

    def _pass_over_rows(self, epoch: int) -> None:
        courses, objective = self._courses, self._objective
        for model, course in enumerate(courses):
            course.watch.epoch_begins(partial(self._parameters.model, model))
        order = _order(self._config, epoch, self._rows.n_rows)
        corruption = self._corruption
        for draws in (corruption, self._drops):
            if draws is not None:
                draws.begin(self._config.first_epoch + epoch)
        for batch in self._rows.batches(self._slices, order):
            for _ in range(self._steps_per_batch):
                objective(batch if corruption is None else corruption(batch))
                self._step()
                for course in courses:
                    course.rate.advance()
                    course.n_steps += 1

    def _step(self) -> None:
        gain, rate = self._config.code_bias_gain, self._learning_rate()
        gradient, pace = self._objective.gradient.flat, self._pace
        if gain == 1.0:
            self._solver.step(gradient, rate, pace)
            return
        bias = self._parameters.biases[self._parameters.architecture.n_encoder_layers - 1]
        before = bias.clone()
        self._solver.step(gradient, rate, pace)
        bias.add_(bias - before, alpha=gain - 1.0)

    def _learning_rate(self) -> float | Tensor:
        """Return the rate of all networks, or of each parameter where they differ."""
        rates = [course.rate.value for course in self._courses]
        if len(set(rates)) == 1:
            return rates[0]
        return self._parameters.spread(rates)

    def _moment(self, model: int) -> Moment:
        return Moment(self._parameters.model(model).clone(), float(self._objective.beta[model]))

    def _meet_rho(self) -> np.ndarray:
        """Return whether each network's activity over all rows is rho, where it is to be."""
        if not self._finds_beta:
            return np.ones(len(self._courses), dtype=bool)
        if self._full is None:
            self._full = FullObjective(
                self._penalties,
                self._parameters,
                self._rows,
                self._loss,
                corruption=self._corruption,
                with_gradient=False,
                crew=self._crew,
            )
        return is_met(to_numpy(self._full.activity()), to_numpy(self._full.rho))

    def _keep_best(self, scores: list[float]) -> None:
        """Keep networks that serve the held-out rows better than before, and meet rho."""
        better = [
            model
            for model, course in enumerate(self._courses)
            if course.watch.is_better(scores[model])
        ]
        meets_rho = self._meet_rho() if better else np.empty(0)
        for model in better:
            if meets_rho[model]:
                self._courses[model].watch.keep(scores[model], self._moment(model))

    def _take_stock(self) -> None:
        """Ask of every network whether the epoch just ended was its last."""
        objective = self._objective
        losses, by_moves = objective.epoch_loss().tolist(), objective.by_moves.tolist()
        scores = None
        if self._judge is not None:
            scores = self._judge.scores(self._parameters)
            self._keep_best(scores)
        is_settled, is_near = objective.is_settled(), objective.is_settled(NEAR)
        failed = []
        for model, course in enumerate(self._courses):
            if self._finds_beta and is_near[model]:
                course.met = self._moment(model)
            try:
                verdict = course.watch.verdict(
                    losses[model],
                    None if scores is None else scores[model],
                    partial(self._parameters.model, model),
                    by_moves=by_moves[model],
                    is_settled=bool(is_settled[model]) and not course.rate.is_warming_up,
                )
            except NonFiniteLossError as error:
                self._outcomes[self._places[model]] = error
                failed.append(model)
                continue
            n_more = course.take(verdict)
            if n_more is not None:
                objective.ends_in(n_more, model)
        self._let_go(failed)

    def _let_go(self, failed: list[int]) -> None:
        """Go on with the networks that are not done."""
        asked = [course.is_over or course.in_overtime for course in self._courses]
        meets_rho = self._meet_rho() if any(asked) else np.empty(0)
        left = []
        for model, course in enumerate(self._courses):
            if model in failed:
                continue
            if asked[model] and (meets_rho[model] or not course.may_go_on):
                self._end(model, meets_rho=bool(meets_rho[model]))
                continue
            if course.is_over:
                course.begin_overtime()
                self._objective.ends_in(course.n_planned, model)
            left.append(model)
        if len(left) < len(self._courses):
            self._go_on_with(left)

    def _end(self, model: int, *, meets_rho: bool) -> None:
        course, watch = self._courses[model], self._courses[model].watch
        moment = watch.best
        if moment is None and not meets_rho:
            moment = course.met  # the last epochs have left it again
        moment = moment or self._moment(model)
        solver = self._solver.part(partial(self._model_of, model), self._parameters.model(model))
        self._outcomes[self._places[model]] = TrainingResult(
            flat=moment.flat.cpu().numpy().copy(),
            beta=moment.beta,
            loss_curve=watch.loss_curve,
            validation_curve=watch.validation_curve,
            n_steps=course.n_steps,
            stopped_by=course.stopped_by,
            state=solver.state() | self._objective.state([model]),
        )

    def _model_of(self, model: int, vector: Tensor) -> Tensor:
        return self._parameters.with_flat(vector).model(model)

    def _go_on_with(self, models: list[int]) -> None:
        """Let go of all networks but these."""
        whole = self._parameters
        self._courses = [self._courses[model] for model in models]
        self._places = [self._places[model] for model in models]
        self._full = None
        if not models:
            return
        self._parameters = whole.models(models)
        self._solver = self._solver.part(
            lambda vector: whole.with_flat(vector).models(models).flat, self._parameters.flat
        )
        self._objective = self._objective.part(self._penalties, self._parameters, models)


def _window(architecture: Architecture, config: TrainingConfig, n_batches: int) -> int:
    """Return over how many batches the mean activation is averaged; an epoch's at most.

    Behind hidden layers units are not centred and move together, so that it is the batch's own. The
    rows of a single pass are a sample of a stream, however few batches they make.
    """
    if architecture.n_encoder_layers > 1:
        return 1
    window = min(max(round(RHO_HAT_ROWS / config.batch_size), 1), LONGEST_WINDOW)
    return window if config.is_one_pass else min(window, n_batches)


def _make_solver(config: TrainingConfig, flat: Tensor, state: State, crew: Crew) -> Solver:
    if config.solver == "adam":
        return Adam(flat, state if "first_moment" in state else None, crew)
    return SGD(flat, config.momentum, state if "velocity" in state else None)


def _order(config: TrainingConfig, epoch: int, n_rows: int) -> np.ndarray | None:
    """Return the order in which an epoch visits the rows; a function of seed and epoch alone."""
    if not config.shuffle:
        return None
    return np.random.default_rng([config.seed, config.first_epoch + epoch]).permutation(n_rows)
