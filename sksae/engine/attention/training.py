"""Training: from starting parameters and rows to a trained network of sparse attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import nan

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import measured
from sksae.engine.attention.dead_units import IdleUnits
from sksae.engine.attention.draws import Draws
from sksae.engine.attention.evaluation import (
    TokenScorer,
    describe,
    find_threshold,
    pre_activations,
)
from sksae.engine.attention.objective import AttentionObjective
from sksae.engine.attention.sequences import SequenceRows, Sequences
from sksae.engine.attention.token_code import TokenCode
from sksae.engine.batches import Rows, kept_resident
from sksae.engine.history import BestWeights, History
from sksae.engine.run_state import RunState
from sksae.engine.solvers import Adam
from sksae.engine.threads import LEAST_WORK, Crew
from sksae.model.attention import AttentionArchitecture
from sksae.model.failure import NonFiniteLossError
from sksae.model.settings import TrainingConfig
from sksae.model.slices import batch_slices
from sksae.model.states import as_text, from_text, prefixed, unprefixed
from sksae.model.tasks import CodeMeasured, State, TrainingResult, TrainingTask
from sksae.process.interrupts import is_kept, skippable
from sksae.process.shortage import IN_ATTENTION, explained_shortage


@dataclass(frozen=True)
class AttentionTask:
    """One network to be trained.

    Attributes
    ----------
    architecture : AttentionArchitecture
        Its sizes.
    task : TrainingTask
        What else there is to know of a training.
    mask_fraction, dropout : float
        Shares of tokens that are masked, and of units that drop out.
    visible_weight : float
        What a visible token counts in the error, where a masked one counts 1.
    has_missing : bool
        Whether anything may be NaN in the rows.
    """

    architecture: AttentionArchitecture
    task: TrainingTask
    mask_fraction: float
    dropout: float
    visible_weight: float
    has_missing: bool


@explained_shortage(IN_ATTENTION)
def train_attention(
    wanted: AttentionTask, rows: Rows, held_out: Rows | None = None
) -> TrainingResult:
    """Train a network.

    Parameters
    ----------
    wanted : AttentionTask
        What is asked for.
    rows : Rows
        Rows, each of which has a token; their dtype and device are those of training.
    held_out : Rows, optional
        Rows whose score decides when to stop and which weights are kept.

    Raises
    ------
    NonFiniteLossError
        If the loss stops being finite.
    """
    parts = [rows] if held_out is None else [rows, held_out]
    with _few_threads(wanted, rows), kept_resident(*parts):
        training = AttentionTraining(wanted, rows, held_out)
        result = training.run()
        n_components = wanted.architecture.n_components
        result.mean_code = np.full(n_components, nan)
        result.active_share = np.full(n_components, nan)
        result.largest = np.full(n_components, nan)
        result.lowest, result.highest = np.zeros(n_components), np.ones(n_components)
        try:
            with skippable():
                training.evaluate(result)
        except KeyboardInterrupt:
            if not is_kept():
                raise
            result.stopped_by = "interrupt"
        return result


class AttentionTraining:
    """Trains a network by minibatches.

    Parameters
    ----------
    wanted, rows, held_out
        As in `train_attention`.
    """

    def __init__(self, wanted: AttentionTask, rows: Rows, held_out: Rows | None) -> None:
        architecture, task, config = wanted.architecture, wanted.task, wanted.task.config
        self._task, self._config = task, config
        make = partial(SequenceRows, architecture=architecture, has_missing=wanted.has_missing)
        self._rows = make(rows)
        self._scorer = None
        if held_out is not None:
            self._scorer = TokenScorer(make(held_out), wanted.mask_fraction)
        self._slices = batch_slices(rows.n_rows, config.batch_size)
        stood, like = task.interrupted_at, torch.empty(0, dtype=rows.dtype, device=rows.device)
        self._flat = like.new_tensor(task.start if stood is None else stood["flat"])
        self._draws = Draws(config.seed, rows.device)
        state = (task.state or {}) if stood is None else unprefixed("state", stood)
        penalties = task.penalties
        assert isinstance(penalties.rho, float)
        assert isinstance(penalties.beta, float)
        assert isinstance(penalties.alpha, float)
        self._code = TokenCode(penalties.sparsity, task.selection)
        self._objective = AttentionObjective(
            architecture,
            self._flat,
            self._code,
            rho=penalties.rho,
            beta=penalties.beta,
            alpha=penalties.alpha,
            draws=self._draws,
            mask_fraction=wanted.mask_fraction,
            dropout=wanted.dropout,
            visible_weight=wanted.visible_weight,
            tokens_per_row=self._rows.tokens_per_row(),
            counted_per_row=self._rows.tokens_per_row(wanted.mask_fraction, wanted.visible_weight),
            idle=self._idle_units(state),
        )
        self._solver = Adam(self._flat, state or None)
        self._run = RunState.begin(
            config, steps_per_epoch=len(self._slices), has_scorer=held_out is not None
        )
        if stood is not None:
            self._run = RunState.of(from_text(stood["run"]))
        self._history = History(self._run, partial(_failure, config), task.monitor)
        self._n_epochs = 0
        if stood is not None:
            self._n_epochs = int(stood["n_epochs"])
            self._history.best = BestWeights.of(unprefixed("best", stood), like)
            self._solver.restore(unprefixed("solver", stood))
        elif self._scorer is not None and config.first_epoch:
            # A training that goes on must not end worse than it began.
            self._keep_best(self._score(self._scorer))

    def _idle_units(self, state: State) -> IdleUnits | None:
        """Return what teaches units that died, of codes that say how many are active."""
        selection = self._task.selection
        if selection is None:
            return None
        n_components = self._rows.architecture.n_components
        return IdleUnits(selection.n_active, len(self._slices), self._flat, n_components, state)

    def run(self) -> TrainingResult:
        """Train until the end, and return what is known without another walk over all rows."""
        try:
            while not self._run.is_over:
                self._pass_over_rows()
                self._take_stock()
                self._n_epochs += 1
                if self._task.keeper is not None and not self._run.is_over:
                    self._task.keeper(self._n_epochs, self._standing)
        except KeyboardInterrupt:
            has_begun = not self._config.is_one_pass or self._run.n_steps > 0
            if not has_begun or not is_kept():
                raise
            self._run.stopped_by = "interrupt"
        self._history.ends(self._run.stopped_by)
        return self._end()

    def _pass_over_rows(self) -> None:
        epoch = self._config.first_epoch + self._n_epochs
        self._history.epoch_begins(self._parameters)
        self._draws.begin(epoch)
        order = np.random.default_rng([self._config.seed, epoch]).permutation(self._rows.n_rows)
        for batch in self._rows.batches(self._slices, order):
            self._objective(batch)
            self._solver.step(self._objective.gradient, self._run.rate.value)
            self._run.advance()
            self._last = batch

    def _take_stock(self) -> None:
        """Ask whether the epoch just ended was the last."""
        score = None
        if self._scorer is not None:
            score = self._score(self._scorer)
            self._keep_best(score)
        verdict = self._history.verdict(
            self._objective.epoch_loss(),
            score,
            self._parameters,
            n_left=self._run.n_steps_left // len(self._slices),
            measure=partial(self._measure, self._last),
            may_end=not self._run.rate.is_warming_up,
        )
        self._run.take(verdict)

    def _parameters(self) -> Tensor:
        return self._flat

    def _score(self, scorer: TokenScorer) -> float:
        return scorer.score(self._objective.module, self._code)

    def _keep_best(self, score: float) -> None:
        if self._history.is_better(score):
            beta = self._task.penalties.beta
            assert isinstance(beta, float)
            self._history.keep(score, BestWeights(self._flat.clone(), beta))

    @torch.no_grad()
    def _measure(self, batch: Sequences) -> CodeMeasured:
        """Return what the codes of a minibatch are like, without masks."""
        weight = batch.token_weight
        code = self._code(pre_activations(self._objective.module, batch))
        weights = code.new_ones(len(code)) if weight is None else weight
        architecture = self._rows.architecture
        return measured(
            code.t().unsqueeze(0),
            weights.view(1, -1, 1),
            architecture.sparsity,
            architecture.activation,
        )

    def _standing(self) -> State:
        """Return where the training stands at the end of an epoch."""
        standing = {
            "n_epochs": np.asarray(self._n_epochs),
            "flat": self._flat.cpu().numpy(),
            "run": as_text(self._run.as_dict()),
            **prefixed("state", self._solver.state() | self._objective.state()),
            **prefixed("solver", self._solver.epoch_state()),
        }
        if self._history.best is not None:
            standing |= prefixed("best", self._history.best.state())
        return standing

    def _end(self) -> TrainingResult:
        run, best = self._run, self._history.best
        if best is not None:
            self._flat.copy_(best.flat)
        beta = self._task.penalties.beta
        assert isinstance(beta, float)
        if not run.losses and run.n_steps > 0:
            # A pass over a piece that was cut short counts as one.
            run.losses.append(self._objective.epoch_loss())
        return TrainingResult(
            flat=self._flat.cpu().numpy().copy(),
            beta=beta,
            losses=run.losses,
            validation_curve=run.validation_curve,
            n_steps=run.n_steps,
            stopped_by=run.stopped_by,
            state=self._solver.state() | self._objective.state(),
        )

    def evaluate(self, result: TrainingResult) -> None:
        """Fill in what is found by going over all rows again."""
        module = self._objective.module
        find_threshold(module, self._rows, self._code)
        if self._code.selection is not None:
            result.threshold = self._code.selection.threshold
        describe(module, self._rows, self._code, result, self._task.largest_before)


@contextmanager
def _few_threads(wanted: AttentionTask, rows: Rows) -> Iterator[None]:
    """Keep to one core where products are so small that another would be of no use.

    torch's threads wait for each other at the end of each operation (see `engine.threads`).
    """
    architecture = wanted.architecture
    n_tokens = min(wanted.task.config.batch_size, rows.n_rows) * architecture.length
    largest = max(3 * architecture.d_model, architecture.dim_feedforward, architecture.n_components)
    if rows.device.type == "cpu" and n_tokens * architecture.d_model * largest < LEAST_WORK:
        with Crew(1):
            yield
    else:
        yield


def _failure(config: TrainingConfig, epoch: int) -> NonFiniteLossError:
    """Return the error that says in which epoch, counted from 1, training broke down."""
    return NonFiniteLossError(
        f"The loss stopped being finite in epoch {config.first_epoch + epoch} at "
        f"learning_rate={config.learning_rate}: lower the learning rate."
    )
