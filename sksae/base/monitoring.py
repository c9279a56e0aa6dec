"""From the engine's epochs to scikit-learn's callbacks and the lines that ``verbose`` prints."""

from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackContext

from sksae.base.stages import prefix
from sksae.model.tasks import Snapshot


class EpochMonitor:
    """Opens a callback context for every epoch, and prints its loss if asked to.

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
        Whether to print.
    n_before : int
        Epochs before this fit, counted on from when printing.
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
    ) -> None:
        self._estimator, self._context, self._task = estimator, context, task
        self._attributes, self._verbose = attributes, verbose
        self._epoch_context: CallbackContext | None = None
        self._n_before, self._n_printed = n_before, 0

    def epoch_begins(self, snapshot: Callable[[], "Snapshot"]) -> None:
        """Open the epoch's context."""
        if self._context is None:
            return
        self._epoch_context = self._context.subcontext(task_name="epoch")
        self._epoch_context.call_on_fit_task_begin(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._attributes(snapshot()),
            **self._task,
        )

    def epoch_ends(self, snapshot: Callable[[], "Snapshot"]) -> bool:
        """Close the epoch's context, and return whether a callback asks to stop."""
        if self._verbose:
            self._print_new(snapshot())
        if self._epoch_context is None:
            return False
        return self._epoch_context.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=lambda: self._attributes(snapshot()),
            **self._task,
        )

    def _print_new(self, snapshot: Snapshot) -> None:
        n_epochs = len(snapshot.losses)
        if n_epochs == self._n_printed:
            return
        self._n_printed = n_epochs
        line = f"Epoch {self._n_before + n_epochs}, loss = {snapshot.losses[-1].total:.8g}"
        if snapshot.validation_curve:
            name = "accuracy" if is_classifier(self._estimator) else "R^2"
            line += f", held-out {name} = {snapshot.validation_curve[-1]:.6f}"
        print(prefix() + line)
