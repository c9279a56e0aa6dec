"""What callbacks and the user are told of the fine-tuning of a stack."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext

from sksae.base.monitoring import EpochMonitor
from sksae.model.loss_parts import LossParts
from sksae.model.network import Layer
from sksae.training.centred import from_centred
from sksae.training.plan import Plan

Attributes: TypeAlias = Callable[[Sequence[Layer], list[LossParts], list[float]], dict[str, Any]]


def epoch_monitor(
    estimator: BaseEstimator,
    plan: Plan,
    context: CallbackContext | None,
    task: dict[str, Any],
    attributes: Attributes,
    n_before: int = 0,
    *,
    quiet: bool = False,
) -> EpochMonitor:
    """Return what tells callbacks and the user of epochs.

    Parameters
    ----------
    estimator : estimator
        Whose fit it is.
    plan : Plan
        What is trained.
    context : CallbackContext or None
        Of the fine-tuning.
    task : dict
        What callbacks may ask for: X, y and metadata of the fit.
    attributes : callable
        Makes fitted attributes of layers, losses and validation curve.
    n_before : int, default=0
        Epochs before.
    quiet : bool, default=False
        Whether the user need not be told, whatever ``verbose`` says.
    """
    return EpochMonitor(
        estimator,
        context,
        task,
        lambda snapshot: attributes(
            from_centred(plan.architecture, snapshot.flat, plan.scaling),
            snapshot.losses,
            snapshot.validation_curve,
        ),
        verbose=not quiet and estimator.verbose,
        n_before=n_before,
        is_pass=plan.config.is_one_pass,
    )
