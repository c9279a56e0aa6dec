"""What follows a training from epoch to epoch: monitor, verdict, and the best weights so far."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Self

import numpy as np
from torch import Tensor

from sksae.engine.run_state import RunState
from sksae.model.failure import NonFiniteLossError
from sksae.model.loss_parts import LossParts
from sksae.model.tasks import CodeMeasured, Monitor, Progress, Snapshot, State
from sksae.process.processes import ALONE, Processes


@dataclass(frozen=True)
class BestWeights:
    """A network to which a training may return.

    Attributes
    ----------
    flat : Tensor of shape (n_parameters,)
        Parameters, in memory of their own.
    beta : float
        Weight of S at that time.
    """

    flat: Tensor
    beta: float

    def state(self) -> State:
        """Return it as arrays."""
        return {"flat": self.flat.cpu().numpy(), "beta": np.asarray(self.beta)}

    @classmethod
    def of(cls, state: State, like: Tensor) -> Self | None:
        """Return what `state` was made of, on a device and in a precision; None of nothing."""
        if not state:
            return None
        return cls(like.new_tensor(state["flat"]), float(state["beta"]))


class History:
    """Follows one network's training from epoch to epoch.

    Parameters
    ----------
    run : RunState
        How far it has come; updated.
    describe : callable
        Given the number of an epoch, counted from 1, returns the error to raise if the loss is not
        finite there.
    monitor : Monitor, optional
        Told of every epoch.
    processes : Processes
        Who fits the model too: one whose monitor asks to stop stops all.

    Attributes
    ----------
    best : BestWeights or None
        What served the held-out rows best, if any are held out.
    """

    def __init__(
        self,
        run: RunState,
        describe: Callable[[int], NonFiniteLossError],
        monitor: Monitor | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._run, self._describe, self._monitor = run, describe, monitor
        self._processes = processes
        self.best: BestWeights | None = None

    def epoch_begins(self, flat: Callable[[], Tensor]) -> None:
        """Announce the next epoch, with the parameters that it starts from."""
        if self._monitor is not None:
            self._monitor.epoch_begins(lambda: self._snapshot(flat))

    def epoch_came_to_nothing(self, flat: Callable[[], Tensor]) -> None:
        """Announce the end of an epoch in which no step was taken."""
        if self._monitor is not None:
            self._monitor.epoch_ends(lambda: self._snapshot(flat), None)

    def ends(self, stopped_by: str) -> None:
        """Announce that there are no more epochs, and why."""
        if self._monitor is not None:
            self._monitor.training_ends(stopped_by)

    def is_better(self, score: float) -> bool:
        """Return whether a held-out score is higher than that of the best so far."""
        return score > self._run.best_score

    def keep(self, score: float, weights: BestWeights) -> None:
        """Take these weights as the best so far."""
        self.best, self._run.best_score = weights, score

    def verdict(
        self,
        loss: LossParts,
        score: float | None,
        flat: Callable[[], Tensor],
        *,
        n_left: int,
        measure: Callable[[], CodeMeasured | None],
        beta_drift: float = 0.0,
        may_end: bool = True,
    ) -> str | None:
        """Record the epoch that has just ended; return a reason to stop, if there is one.

        Parameters
        ----------
        loss : LossParts
            J over the epoch.
        score, beta_drift, may_end
            As in `RunState.has_settled`.
        flat : callable
            Returns the parameters.
        n_left, measure
            As in `Progress`.
        """
        run = self._run
        if not isfinite(loss.total):
            raise self._describe(len(run.losses) + 1)
        run.losses.append(loss)
        if score is not None:
            run.validation_curve.append(score)
        if self._monitor is not None:
            progress = Progress(len(run.losses), n_left, loss, score, measure)
            asks = self._monitor.epoch_ends(lambda: self._snapshot(flat), progress)
            if self._processes.any(asks):
                return "callback"
        settled = run.has_settled(loss.total, score, beta_drift=beta_drift, may_end=may_end)
        return "tol" if settled else None

    def _snapshot(self, flat: Callable[[], Tensor]) -> Snapshot:
        run = self._run
        return Snapshot(flat().cpu().numpy().copy(), list(run.losses), list(run.validation_curve))
