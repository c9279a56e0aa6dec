"""Methods that exist for some values of parameters only, and say for which."""

from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils._available_if import _AvailableIfDescriptor


class _AvailableWithReason(_AvailableIfDescriptor):
    """scikit-learn's, which keeps what ``check`` says for the cause of its own error."""

    def _check(self, obj: BaseEstimator, owner: type) -> None:
        try:
            super()._check(obj, owner)
        except AttributeError as error:
            raise AttributeError(f"{error} {error.__cause__}") from error.__cause__


def available_if(check: Callable[[Any], bool]) -> Callable[[Callable], _AvailableWithReason]:
    """Make a method available only where a check of the estimator does not raise.

    Parameters
    ----------
    check : callable
        Given the estimator, returns True or raises an AttributeError. Its message goes on from
        "This 'Estimator' has no attribute 'method'": it says with which parameter, and what to do.

    Returns
    -------
    decorator : callable
    """
    return lambda method: _AvailableWithReason(method, check, method.__name__)


def goes_by_minibatches(estimator: Any) -> bool:
    """Return whether an estimator can be trained bit by bit, or raise for `available_if`."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "with solver='lbfgs', which needs all rows at once: use solver='adam' or 'sgd', or fit."
        )
    return True


def check_holds_out_none(estimator: Any) -> None:
    """Raise if an estimator is to hold out rows, which a piece of a stream has none for.

    Raises
    ------
    ValueError
        If ``early_stopping`` is set.
    """
    if estimator.early_stopping:
        raise ValueError(
            "partial_fit cannot hold out rows for early_stopping=True: use early_stopping=False, "
            "or fit."
        )
