"""What callbacks and the user are told of the trainings of a classifier or regressor."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext

from sksae.base.monitoring import EpochMonitor
from sksae.base.stages import End, Stages, task_of, tell
from sksae.model.loss_parts import LossParts
from sksae.model.network import Layer
from sksae.model.tasks import TrainingResult
from sksae.stacking.monitoring import epoch_monitor
from sksae.stacking.pretraining import give_up_if_interrupted
from sksae.training.plan import Plan
from sksae.training.supervised_values import SupervisedResult

FINE_TUNING = "fine-tuning"

Attributes = Callable[[SupervisedResult], dict[str, Any]]


class TaskCallbacks:
    """Follows the trainings of a fit for a task (see `training.supervised.OpenStage`).

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    name_of_top : str
        What the layer on top is called.
    context : CallbackContext or None
        Of the whole fit; None where callbacks are not supported (``partial_fit``).
    task : dict
        What callbacks may ask for: X, y and metadata of the fit.
    stages : Stages
        Which the trainings are the last of.
    attributes : callable
        Makes fitted attributes of an epoch, and of what a training has come to.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        name_of_top: str,
        context: CallbackContext | None,
        task: dict[str, Any],
        stages: Stages,
        attributes: tuple[Attributes, Attributes],
    ) -> None:
        self._estimator, self._name_of_top = estimator, name_of_top
        self._context, self._task, self._stages = context, task, stages
        self._of_epoch, self._of_result = attributes

    @contextmanager
    def __call__(
        self,
        plan: Plan,
        result_of: Callable[[Sequence[Layer], list[LossParts], list[float]], SupervisedResult],
        *,
        is_top: bool,
        is_last: bool,
    ) -> Iterator["_Stage"]:
        """Follow one training.

        Parameters
        ----------
        plan, result_of, is_top, is_last
            As in `training.supervised.OpenStage`.
        """
        estimator, context = self._estimator, self._context
        name = self._name_of_top if is_top else FINE_TUNING
        if context is not None:
            task_name = task_of(name) if is_top else "finetune"
            context = context.subcontext(task_name=task_name, max_subtasks=plan.config.max_iter)
            tell(context.call_on_fit_task_begin, estimator=estimator, **self._task)
        monitor = epoch_monitor(
            estimator,
            plan,
            context,
            self._task,
            lambda *of_epoch: self._of_epoch(result_of(*of_epoch)),
            plan.config.first_epoch,
            quiet=not is_last,
        )
        with self._stages.begin(name) as end:
            stage = _Stage(monitor, end, is_last=is_last)
            yield stage
        if context is not None:
            assert stage.result is not None
            tell(
                context.call_on_fit_task_end,
                estimator=estimator,
                reconstruction_attributes=self._of_result(stage.result),
                **self._task,
            )


class _Stage:
    """Follows one training."""

    def __init__(self, monitor: EpochMonitor, end: End, *, is_last: bool) -> None:
        self.monitor, self._end, self._is_last = monitor, end, is_last
        self.result: SupervisedResult | None = None

    def end(self, trained: TrainingResult, result: SupervisedResult) -> None:
        """Hear what it came to."""
        if not self._is_last:
            give_up_if_interrupted(trained.stopped_by)
        self._end(trained.stopped_by, len(trained.losses), trained.loss)
        self.result = result
