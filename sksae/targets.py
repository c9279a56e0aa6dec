"""What is to be learnt of each row: labels or numbers, where there are any."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sksae.scaling import weighted_moments


@dataclass(frozen=True)
class Labels:
    """Rows' classes, as numbers.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted.
    index : ndarray of int of shape (n_labelled,)
        Rows that have a label.
    codes : ndarray of int64 of shape (n_samples, 1)
        Position of each row's label among the classes; 0 where there is none.
    """

    classes: np.ndarray
    index: np.ndarray
    codes: np.ndarray


def is_missing(y: np.ndarray, mark: Any) -> np.ndarray:
    """Return which entries are the mark of a missing target: a number, NaN or None."""
    if mark is None:
        return np.array([value is None for value in y.ravel()]).reshape(y.shape)
    if mark != mark:
        # NaN is what differs from itself, in arrays of objects too.
        return np.asarray(y != y, dtype=bool)
    return np.asarray(y == mark, dtype=bool)


def labelled_rows(y: np.ndarray, unlabeled: Any) -> np.ndarray:
    """Return the positions of rows that have a target; raise if there are none.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    unlabeled : -1, None, nan or another number; False if there is no mark
        Mark of a row without one.
    """
    if unlabeled is False:
        return np.arange(len(y))
    missing = is_missing(y, unlabeled).reshape(len(y), -1).all(axis=1)
    index = np.flatnonzero(~missing)
    if len(index) == 0:
        raise ValueError(
            f"y holds no target: all its values are unlabeled={unlabeled!r}. Fit autoencoders "
            "without targets by StackedSparseAutoencoder."
        )
    return index


def read_labels(y: ArrayLike, unlabeled: Any, classes: ArrayLike | None = None) -> Labels:
    """Return the labels of rows.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels, of any type that can be sorted; or the mark of a missing one.
    unlabeled : object
        The mark; False if there is none.
    classes : array-like of shape (n_classes,), optional
        All that there are; those of y by default.

    Raises
    ------
    ValueError
        If y has no or too many dimensions, holds numbers that are no classes, or labels that are
        not among ``classes``.
    """
    given = column_or_1d(y, warn=True)
    index = labelled_rows(given, unlabeled)
    # Without the marks, the labels are numbers or strings again.
    labels = given[index]
    if labels.dtype == object:
        labels = np.array(labels.tolist())
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    known = np.unique(labels) if classes is None else np.unique(np.asarray(classes))
    strange = np.setdiff1d(labels, known)
    if len(strange):
        raise ValueError(
            f"y holds labels that are not in classes={known.tolist()}: {strange.tolist()}"
        )
    codes = np.zeros((len(given), 1), dtype=np.int64)
    codes[index, 0] = np.searchsorted(known, labels)
    return Labels(known, index, codes)


@dataclass(frozen=True)
class Numbers:
    """Rows' numbers, of mean 0 and deviation 1.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_outputs,)
        What was taken off, and then divided by.
    flat : bool
        Whether y has one dimension.
    index : ndarray of int of shape (n_labelled,)
        Rows that have them.
    values : ndarray of shape (n_samples, n_outputs), float64
        (y - mean) / scale; 0 where there is nothing.
    """

    mean: np.ndarray
    scale: np.ndarray
    flat: bool
    index: np.ndarray
    values: np.ndarray


def read_numbers(
    y: ArrayLike,
    unlabeled: Any,
    weight: np.ndarray | None,
    scaling: tuple[np.ndarray, np.ndarray] | None = None,
) -> Numbers:
    """Return the numbers that belong to rows, scaled.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets. A row has none if all its outputs are the mark.
    unlabeled : object
        The mark; False if there is none.
    weight : ndarray of shape (n_samples,) or None
        Weights of the rows.
    scaling : tuple of ndarray of shape (n_outputs,), optional
        Mean and scale to be used; those of y by default.
    """
    given = np.asarray(y)
    flat = given.ndim < 2
    given = given.reshape(len(given), -1) if flat else given
    index = labelled_rows(given, unlabeled)
    wanted = check_array(given[index], dtype=np.float64, input_name="y")
    of_wanted = None if weight is None else weight[index]
    if scaling is None:
        counted = None if of_wanted is None else np.flatnonzero(of_wanted)
        mean, _ = weighted_moments(wanted, counted, of_wanted)
        variance = np.average((wanted - mean) ** 2, axis=0, weights=of_wanted)
        scale = np.sqrt(variance)
        scale[scale <= 4.0 * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
    else:
        mean, scale = scaling
        if wanted.shape[1] != len(mean):
            raise ValueError(
                f"y has {wanted.shape[1]} outputs, but training began with {len(mean)}."
            )
    values = np.zeros((len(given), wanted.shape[1]))
    values[index] = (wanted - mean) / scale
    return Numbers(mean, scale, flat, index, values)
