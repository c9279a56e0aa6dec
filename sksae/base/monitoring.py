"""From the engine's epochs to scikit-learn's callbacks and the lines that ``verbose`` prints."""

from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackContext

from sksae.base.printing import EpochPrinter
from sksae.model.tasks import Progress, Snapshot, TakeSnapshot
from sksae.process.processes import processes_in_use


class EpochMonitor:
    """Opens a callback context for every epoch, and prints lines if asked to.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    context : CallbackContext or None
        That of the whole fit; None where callbacks are not supported (``partial_fit``).
    task : dict
        What callbacks may ask for: X, y and metadata of the fit.
    attributes : callable
        Turns a `Snapshot` into fitted attributes, arrays of their own.
    verbose : bool or int
        Whether to print, and how much.
    n_before, is_pass
        As in `EpochPrinter`.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        context: CallbackContext | None,
        task: dict[str, Any],
        attributes: Callable[[Snapshot], dict[str, Any]],
        *,
        verbose: bool | int,
        n_before: int,
        is_pass: bool = False,
    ) -> None:
        self._estimator, self._context, self._task = estimator, context, task
        self._attributes = attributes
        self._epoch_context: CallbackContext | None = None
        score = "accuracy" if is_classifier(estimator) else "R^2"
        told = verbose if processes_in_use().is_first else 0
        self._printer = EpochPrinter(told, score, n_before, is_pass=is_pass)

    def epoch_begins(self, snapshot: TakeSnapshot) -> None:
        """Open the epoch's context."""
        self._printer.begin()
        if self._context is None:
            return
        self._epoch_context = self._context.subcontext(task_name="epoch")
        self._epoch_context.call_on_fit_task_begin(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._attributes(snapshot()),
            **self._task,
        )

    def epoch_ends(self, snapshot: TakeSnapshot, progress: Progress | None) -> bool:
        """Close the epoch's context, and return whether a callback asks to stop."""
        if progress is not None:
            self._printer.epoch(progress)
        if self._epoch_context is None:
            return False
        return self._epoch_context.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._attributes(snapshot()),
            **self._task,
        )

    def training_ends(self, stopped_by: str) -> None:
        """Print why it ended, if anything is printed."""
        self._printer.end(stopped_by)
