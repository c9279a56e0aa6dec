"""Training by minibatches, adam and sgd, of networks side by side."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import NEAR, is_met, to_numpy
from sksae.engine.batch_objective import BatchObjective
from sksae.engine.batches import Rows
from sksae.engine.beta_controller import OPEN_END
from sksae.engine.evaluation import WalkedEvaluation
from sksae.engine.exact.evaluation import make_evaluation
from sksae.engine.exact.minibatch import ExactObjective
from sksae.engine.history import BestWeights
from sksae.engine.losses import Loss
from sksae.engine.minibatch import LONGEST_WINDOW, RHO_HAT_ROWS, MinibatchObjective
from sksae.engine.noise import corruption_of, drops_of
from sksae.engine.parameters import Parameters
from sksae.engine.running import Running
from sksae.engine.solvers import LEAST_PACE, SGD, Adam, Solver
from sksae.engine.threads import Crew
from sksae.engine.validation_scorers import ValidationScorer
from sksae.model.architecture import Architecture
from sksae.model.failure import NonFiniteLossError
from sksae.model.settings import Penalties, TrainingConfig
from sksae.model.states import prefixed, unprefixed
from sksae.model.tasks import State, TrainingResult, TrainingTask
from sksae.model.visits import Order
from sksae.process.interrupts import ask_unless_skipped, is_kept

# Rows of a large weight are stepped on several times: one step that counts for more overshoots.
LONGEST_STEP = 1.5


class MinibatchTraining:
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
    scorer : ValidationScorer or None
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
        scorer: ValidationScorer | None,
        crew: Crew,
    ) -> None:
        config = tasks[0].config
        self._config, self._rows, self._loss, self._scorer = config, rows, loss, scorer
        self._crew = crew
        self._corruption, self._drops = corruption_of(config, rows), drops_of(config, rows)
        self._finds_beta = tasks[0].finds_beta
        self._steps_per_batch = max(1, ceil(config.pace / LONGEST_STEP))
        self._pace = config.pace / self._steps_per_batch
        self._slices, self._counts = rows.cut(config.batch_size)
        like = torch.empty(0, dtype=rows.dtype, device=rows.device)
        stood = tasks[0].interrupted_at
        self._parameters = Parameters.stacked(
            architecture,
            [task.start for task in tasks] if stood is None else [stood["flat"]],
            like,
            [task.selection for task in tasks],
        )
        self._full: WalkedEvaluation | None = None
        self._running = [
            Running.begin(
                task,
                like,
                len(self._slices),
                has_scorer=scorer is not None,
                processes=rows.processes,
            )
            for task in tasks
        ]
        state = (tasks[0].state or {}) if stood is None else unprefixed("state", stood)
        self._objective = self._make_objective(state)
        self._solver = _make_solver(config, self._parameters.flat, state, crew)
        self._n_epochs = 0
        # Of each network that is still trained, the position of its task.
        self._task_indices = list(range(len(tasks)))
        self._outcomes: list[TrainingResult | NonFiniteLossError | None] = [None] * len(tasks)
        if stood is not None:
            self._restore(stood)
        elif scorer is not None and config.first_epoch:
            # A training that goes on must not end worse than it began.
            self._keep_best(scorer.scores(self._parameters))

    def _make_objective(self, state: State) -> BatchObjective[Any]:
        """Return what gives J and its gradient by one minibatch after another.

        Parameters
        ----------
        state : dict of ndarray
            Where an earlier training stood; {} if there was none.
        """
        config, parameters = self._config, self._parameters
        architecture = parameters.architecture
        settings: dict[str, Any] = {
            "window": _window(architecture, config, len(self._slices)),
            "n_steps": OPEN_END if config.is_one_pass else self._running[0].state.n_planned,
            "solver": config.solver,
            "pace": self._pace,
            "crew": self._crew,
            "processes": self._rows.processes,
            "half": config.half,
            "state": state,
        }
        terms = self._penalties, parameters, self._loss
        if architecture.is_dictionary:
            return ExactObjective(*terms, batches_per_epoch=len(self._slices), **settings)
        read_as = self._running[0].task.read_as
        return MinibatchObjective(*terms, drops=self._drops, read_as=read_as, **settings)

    def run(self) -> list[TrainingResult | NonFiniteLossError]:
        """Train until every network has ended."""
        try:
            while self._running:
                self._pass_over_rows(self._n_epochs)
                self._take_stock()
                self._n_epochs += 1
                self._show_keeper()
        except KeyboardInterrupt:
            # A single network keeps what it has learnt; a search is given up.
            if len(self._outcomes) > 1 or not self._has_begun() or not is_kept():
                raise
            self._end_where_it_is()
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _show_keeper(self) -> None:
        """Let a keeper have all that the next epochs depend on, if there are any."""
        if self._running and self._running[0].task.keeper is not None:
            self._running[0].task.keeper(self._n_epochs, self._standing)

    def _standing(self) -> State:
        """Return where the training of the one network stands at the end of an epoch."""
        objective, solver = self._objective, self._solver
        return {
            "n_epochs": np.asarray(self._n_epochs),
            "flat": self._parameters.flat.cpu().numpy(),
            **self._running[0].standing(),
            **prefixed("state", solver.state() | objective.state()),
            **prefixed("solver", solver.epoch_state()),
            **prefixed("objective", objective.epoch_state()),
        }

    def _restore(self, stood: State) -> None:
        """Go on from a `_standing`, after parameters and states were taken from it."""
        self._n_epochs = int(stood["n_epochs"])
        self._solver.restore(unprefixed("solver", stood))
        self._objective.restore(unprefixed("objective", stood))

    def _has_begun(self) -> bool:
        """Return whether there is something to keep: of a pass over a piece, a step."""
        return (
            not self._config.is_one_pass or not self._running or self._running[0].state.n_steps > 0
        )

    def _end_where_it_is(self) -> None:
        """End the training of the one network that there is."""
        outcome = self._outcomes[0]
        if outcome is None:
            self._running[0].state.stopped_by = "interrupt"
            self._end(0, meets_rho=ask_unless_skipped(lambda: bool(self._meet_rho()[0])))
        elif isinstance(outcome, TrainingResult):
            outcome.stopped_by = "interrupt"

    @property
    def _penalties(self) -> Penalties:
        return Penalties.side_by_side([network.task.penalties for network in self._running])

    def _pass_over_rows(self, epoch: int) -> None:
        running, objective = self._running, self._objective
        for model, network in enumerate(running):
            network.history.epoch_begins(partial(self._parameters.model, model))
        order = _order(self._config, epoch, self._rows)
        corruption = self._corruption
        for draws in (corruption, self._drops):
            if draws is not None:
                draws.begin(self._config.first_epoch + epoch)
        for batch in self._rows.batches(self._slices, order, self._counts):
            for _ in range(self._steps_per_batch):
                objective(batch if corruption is None else corruption(batch))
                self._step()
                for network in running:
                    network.state.advance()

    def _step(self) -> None:
        rate, gradient, pace = self._learning_rate(), self._objective.gradient.flat, self._pace
        gained = [(each, gain, each.clone()) for each, gain in self._gained() if gain != 1.0]
        self._solver.step(gradient, rate, pace)
        for each, gain, before in gained:
            each.add_(each - before, alpha=gain - 1.0)
        if pace >= LEAST_PACE:
            self._objective.after_step()

    def _gained(self) -> list[tuple[Tensor, float]]:
        """Return what moves further than the solver's step, and how many times as far."""
        config, code = self._config, self._parameters.architecture.code_layer
        gained = [(self._parameters.biases[code], config.code_bias_gain)]
        threshold = self._parameters.units[code].get("threshold")
        if threshold is not None:
            gained.append((threshold, config.threshold_gain))
        return gained

    def _learning_rate(self) -> float | Tensor:
        """Return the rate of all networks, or of each parameter where they differ."""
        rates = [network.state.rate.value for network in self._running]
        if len(set(rates)) == 1:
            return rates[0]
        return self._parameters.spread(rates)

    def _weights(self, model: int) -> BestWeights:
        return BestWeights(
            self._parameters.model(model).clone(), float(self._objective.beta[model])
        )

    def _meet_rho(self) -> np.ndarray:
        """Return whether each network's activity over all rows is rho, where it is to be."""
        if not self._finds_beta:
            return np.ones(len(self._running), dtype=bool)
        if self._full is None:
            self._full = make_evaluation(
                self._penalties,
                self._parameters,
                self._rows,
                self._loss,
                corruption=self._corruption,
                crew=self._crew,
            )
        return is_met(to_numpy(self._full.activity()), to_numpy(self._full.rho))

    def _keep_best(self, scores: list[float]) -> None:
        """Keep networks that serve the held-out rows better than before, and meet rho."""
        better = [
            model
            for model, network in enumerate(self._running)
            if network.history.is_better(scores[model])
        ]
        meets_rho = self._meet_rho() if better else np.empty(0)
        for model in better:
            if meets_rho[model]:
                self._running[model].history.keep(scores[model], self._weights(model))

    def _take_stock(self) -> None:
        """Ask of every network whether the epoch just ended was its last."""
        objective = self._objective
        # Processors of several kinds may round in several ways.
        self._rows.processes.first_(self._parameters.flat)
        losses, drift = objective.epoch_loss().of_models(), objective.beta_drift.tolist()
        scores = None
        if self._scorer is not None:
            scores = self._scorer.scores(self._parameters)
            self._keep_best(scores)
        is_settled, is_near = objective.is_settled(), objective.is_settled(NEAR)
        failed = []
        for model, network in enumerate(self._running):
            if self._finds_beta and is_near[model]:
                network.met = self._weights(model)
            try:
                verdict = network.history.verdict(
                    losses[model],
                    None if scores is None else scores[model],
                    partial(self._parameters.model, model),
                    n_left=network.state.n_steps_left // len(self._slices),
                    measure=partial(objective.measure, model, network.task.code),
                    beta_drift=drift[model],
                    may_end=bool(is_settled[model]) and not network.state.rate.is_warming_up,
                )
            except NonFiniteLossError as error:
                self._outcomes[self._task_indices[model]] = error
                failed.append(model)
                continue
            n_more = network.state.take(verdict)
            if n_more is not None:
                objective.ends_in(n_more, model)
        self._let_go(failed)

    def _let_go(self, failed: list[int]) -> None:
        """Go on with the networks that are not done."""
        asked = [network.state.may_be_done for network in self._running]
        meets_rho = self._meet_rho() if any(asked) else np.empty(0)
        left = []
        for model, network in enumerate(self._running):
            if model in failed:
                continue
            if asked[model] and (meets_rho[model] or not network.may_go_on):
                self._end(model, meets_rho=bool(meets_rho[model]))
                continue
            if network.state.is_over:
                network.state.go_into_overtime(network.task.config.learning_rate)
                self._objective.ends_in(network.state.n_planned, model)
            left.append(model)
        if len(left) < len(self._running):
            self._go_on_with(left)

    def _end(self, model: int, *, meets_rho: bool) -> None:
        network, state = self._running[model], self._running[model].state
        state.end()
        weights = network.history.best
        if weights is None and not meets_rho:
            weights = network.met  # the last epochs have left it again
        weights = weights or self._weights(model)
        solver = self._solver.part(partial(self._model_of, model), self._parameters.model(model))
        self._outcomes[self._task_indices[model]] = TrainingResult(
            flat=weights.flat.cpu().numpy().copy(),
            beta=weights.beta,
            losses=state.losses,
            validation_curve=state.validation_curve,
            n_steps=state.n_steps,
            stopped_by=state.stopped_by,
            state=solver.state() | self._objective.state([model]),
        )
        network.history.ends(state.stopped_by)

    def _model_of(self, model: int, vector: Tensor) -> Tensor:
        return self._parameters.with_flat(vector).model(model)

    def _go_on_with(self, models: list[int]) -> None:
        """Let go of all networks but these."""
        whole = self._parameters
        self._running = [self._running[model] for model in models]
        self._task_indices = [self._task_indices[model] for model in models]
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

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    config : TrainingConfig
        How it is trained.
    n_batches : int
        Minibatches of an epoch.
    """
    if architecture.n_encoder_layers > 1:
        return 1
    window = min(max(round(RHO_HAT_ROWS / config.batch_size), 1), LONGEST_WINDOW)
    return window if config.is_one_pass else min(window, n_batches)


def _make_solver(config: TrainingConfig, flat: Tensor, state: State, crew: Crew) -> Solver:
    """Return the solver that a config names.

    Parameters
    ----------
    config : TrainingConfig
        Names the solver.
    flat : Tensor of shape (n_models * n_parameters,)
        Parameters, moved in place.
    state : dict of ndarray
        Where an earlier training stood; {} if there was none.
    crew : Crew
        Who shares the work.
    """
    if config.solver == "adam":
        return Adam(flat, state if "first_moment" in state else None, crew)
    return SGD(flat, config.momentum, state if "velocity" in state else None)


def _order(config: TrainingConfig, epoch: int, rows: Rows) -> Order | None:
    """Return the order in which an epoch visits the rows; a function of seed and epoch alone.

    And of the process, where there are several.

    Parameters
    ----------
    config : TrainingConfig
        Gives the seed.
    epoch : int
        Counted from 0 within this training.
    rows : Rows
        Those that are trained on.
    """
    if not config.shuffle:
        return None
    key = config.seed, config.first_epoch + epoch, *rows.processes.key
    return rows.order(np.random.default_rng(key))
