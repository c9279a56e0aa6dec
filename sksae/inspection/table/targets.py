"""What units are compared with: numbers, or indicators of classes."""

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import _num_samples

from sksae.metrics.lookup import find_autoencoder

# Whole numbers of a floating dtype are classes if there are no more than so many of them.
MOST_FLOAT_CLASSES = 20


class Targets(NamedTuple):
    """Targets of rows as columns of numbers.

    Attributes
    ----------
    columns : csr_array of float64 of shape (n_samples, n_columns)
        The numbers, less their mean and over their deviation; or an indicator for each class.
    scale : float
        The deviation, 1 for classes.
    classes : ndarray of shape (n_columns,) or None
        Which class a column is the indicator of; None for numbers.
    """

    columns: sp.csr_array
    scale: float = 1.0
    classes: np.ndarray | None = None

    @property
    def codes(self) -> np.ndarray | None:
        """Which class each row has, as a number; None for numbers."""
        return None if self.classes is None else self.columns.indices


def check_targets(y: Any, n_samples: int, estimator: Any = None) -> Targets:
    """Return targets of rows.

    Strings, booleans and whole numbers are classes, and other numbers are numbers. Whole numbers
    of a floating dtype are classes if there are at most 20 of them: `load_diabetes` gives such
    numbers, which nobody means as classes. If the estimator is a classifier or a regressor, it
    says what they are.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        What the user gave.
    n_samples : int
        Number of rows of X.
    estimator : estimator, optional
        What the units are of.

    Raises
    ------
    ValueError
        If there are more or fewer targets than rows; if they are not 1-D, have gaps, or are all of
        one class.
    """
    import pandas as pd

    if _num_samples(y) != n_samples:
        raise ValueError(
            f"y must have a target for each of the {n_samples} rows of X, got {_num_samples(y)}."
        )
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"y must have 1 dimension, got shape {values.shape}.")
    missing = np.asarray(pd.isna(values))
    if missing.any():
        raise ValueError(
            f"y must not have missing values, got {missing.sum()} of them: leave out these rows."
        )
    if values.dtype.kind == "O" and not any(isinstance(each, str) for each in values):
        values = np.array(values.tolist())
    _check_labelled(values, estimator)
    if _are_numbers(values, estimator):
        return of_numbers(values)
    return of_classes(values)


def _check_labelled(values: np.ndarray, estimator: Any) -> None:
    """Raise if some targets are the mark of a classifier or regressor for rows without one."""
    location = None if estimator is None else find_autoencoder(estimator)
    mark = None if location is None else getattr(location.autoencoder, "unlabeled", None)
    n_marked = 0 if mark is None or mark is False else int(np.count_nonzero(values == mark))
    if n_marked:
        raise ValueError(
            f"y must have a target for each row, got {n_marked} of unlabeled={mark!r}, which the "
            "estimator reads as none: leave out these rows."
        )


def of_numbers(values: np.ndarray) -> Targets:
    """Return numbers as one column.

    Raises
    ------
    ValueError
        If they are not finite.
    """
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("y must be finite, got infinite numbers.")
    scale = float(values.std()) or 1.0
    return Targets(sp.csr_array(((values - values.mean()) / scale)[:, None]), scale)


def of_classes(values: np.ndarray) -> Targets:
    """Return an indicator for each class, the classes in their order.

    Raises
    ------
    ValueError
        If there is only one.
    """
    if values.dtype.kind == "O":
        # Strings and what else there may be among them have no order.
        values = values.astype(str)
    classes, codes = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must have two classes at least, got {classes.tolist()} alone.")
    n_samples = len(values)
    columns = sp.csr_array(
        (np.ones(n_samples), codes, np.arange(n_samples + 1)), shape=(n_samples, len(classes))
    )
    return Targets(columns, classes=classes)


def _are_numbers(values: np.ndarray, estimator: Any) -> bool:
    """Return whether targets are numbers, and not names of classes."""
    if values.dtype.kind not in "iuf":
        return False
    # Searches of other packages may have no tags to ask.
    with suppress(AttributeError, TypeError):
        if is_regressor(estimator) or is_classifier(estimator):
            return bool(is_regressor(estimator))
    if values.dtype.kind != "f":
        return False
    return bool((values != np.round(values)).any()) or len(np.unique(values)) > MOST_FLOAT_CLASSES
