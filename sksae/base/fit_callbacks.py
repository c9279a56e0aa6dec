"""scikit-learn's callbacks in the fit of one network."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.callback import CallbackSupportMixin

from sksae.base.monitoring import EpochMonitor
from sksae.base.stages import short_named, tell
from sksae.model.numbers import Matrix
from sksae.model.settings import TrainingConfig
from sksae.model.tasks import Snapshot


class FitCallbacks:
    """Tells callbacks of a fit, and the user of its epochs.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    config : TrainingConfig
        How it is trained.
    attributes : callable
        Turns a `Snapshot` into fitted attributes, arrays of their own.
    X, y
        Rows, and what goes with them.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights.
    n_before : int
        Epochs of the fits that it goes on from.
    """

    def __init__(
        self,
        estimator: CallbackSupportMixin,
        config: TrainingConfig,
        attributes: Callable[[Snapshot], dict[str, Any]],
        X: Matrix,
        y: object,
        sample_weight: np.ndarray | None,
        n_before: int,
    ) -> None:
        self._estimator, self._context = estimator, None
        # Callbacks are not told of a pass over one more piece.
        if not config.is_one_pass:
            context = estimator._init_callback_context(max_subtasks=config.max_iter)
            self._context = short_named(context)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._task = {"X": X, "y": y, "metadata": metadata}
        self.monitor = EpochMonitor(
            estimator,
            self._context,
            self._task,
            attributes,
            verbose=estimator.verbose,
            n_before=n_before,
            is_pass=config.is_one_pass,
        )

    def begin(self) -> None:
        """Tell that the fit begins."""
        if self._context is not None:
            tell(self._context.call_on_fit_task_begin, estimator=self._estimator, **self._task)

    def end(self, attributes: dict[str, Any]) -> None:
        """Tell that the fit has ended, with these fitted attributes."""
        if self._context is not None:
            tell(
                self._context.call_on_fit_task_end,
                estimator=self._estimator,
                reconstruction_attributes=attributes,
                **self._task,
            )
