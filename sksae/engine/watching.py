"""Following one network's training from epoch to epoch: curves, held-out rows, when to stop."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite

from torch import Tensor

from sksae.engine.solvers import Patience
from sksae.model.failure import NonFiniteLossError
from sksae.model.tasks import Monitor, Snapshot


@dataclass(frozen=True)
class Moment:
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


class Watch:
    """Follows one network's training: curves, stopping, the best weights so far.

    Parameters
    ----------
    patience : Patience
        Told of every loss, or of minus every held-out score.
    describe : callable
        Returns the error to raise if the loss of that epoch, counted from 1, is not finite.
    monitor : Monitor, optional
        Told of every epoch.

    Attributes
    ----------
    loss_curve, validation_curve : list of float
        An entry for each epoch.
    best : Moment or None
        What served the held-out rows best, if any are held out.
    """

    def __init__(
        self,
        patience: Patience,
        describe: Callable[[int], NonFiniteLossError],
        monitor: Monitor | None = None,
    ) -> None:
        self._patience, self._describe, self._monitor = patience, describe, monitor
        self.loss_curve: list[float] = []
        self.validation_curve: list[float] = []
        self.best: Moment | None = None
        self._best_score = -inf

    def epoch_begins(self, flat: Callable[[], Tensor]) -> None:
        """Announce the next epoch, with the parameters that it starts from."""
        if self._monitor is not None:
            self._monitor.epoch_begins(lambda: self._snapshot(flat))

    def epoch_came_to_nothing(self, flat: Callable[[], Tensor]) -> None:
        """Announce the end of an epoch that changed nothing."""
        if self._monitor is not None:
            self._monitor.epoch_ends(lambda: self._snapshot(flat))

    def is_better(self, score: float) -> bool:
        """Return whether a held-out score is higher than that of the best so far."""
        return score > self._best_score

    def keep(self, score: float, moment: Moment) -> None:
        """Take that as the best so far."""
        self.best, self._best_score = moment, score

    def wait_anew(self) -> None:
        """Forget for how long the loss has not fallen: it is another one from now on."""
        self._patience = self._patience.anew()

    def verdict(
        self,
        loss: float,
        score: float | None,
        flat: Callable[[], Tensor],
        *,
        by_moves: float = 0.0,
        is_settled: bool = True,
    ) -> str | None:
        """Take what the epoch just ended came to; return a reason to stop, if there is one.

        Parameters
        ----------
        loss : float
            J.
        score : float or None
            R^2 of the held-out rows, if there are any.
        flat : callable
            Returns the parameters.
        by_moves : float
            What moves of beta have added to the loss.
        is_settled : bool
            False as long as beta is being found or the rate rises: then nothing is over.
        """
        if not isfinite(loss):
            raise self._describe(len(self.loss_curve) + 1)
        self.loss_curve.append(loss)
        if score is not None:
            self.validation_curve.append(score)
        if self._monitor is not None and self._monitor.epoch_ends(lambda: self._snapshot(flat)):
            return "callback"
        if not is_settled:
            self.wait_anew()
        watched = loss - by_moves if score is None else -score
        return "tol" if self._patience.exhausted(watched) else None

    def _snapshot(self, flat: Callable[[], Tensor]) -> Snapshot:
        return Snapshot(
            flat().cpu().numpy().copy(), list(self.loss_curve), list(self.validation_curve)
        )
