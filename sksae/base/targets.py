"""Targets as users give them -> labels or numbers, and which rows have any."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sksae.base.inputs import errors_about
from sksae.model.numbers import exponent_of
from sksae.process.processes import processes_in_use
from sksae.process.warning import warn_user
from sksae.training.moments import count_rows, telling_weight, weighted_moments, well_scaled
from sksae.training.seen import Seen, mean_weight


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
    """Return which entries are the mark of a missing target: a number, str, NaN or None."""
    if y.dtype == object:
        found = [_is_mark(value, mark) for value in y.ravel()]
        return np.array(found, dtype=bool).reshape(y.shape)
    if mark is None:
        return np.zeros(y.shape, dtype=bool)
    return np.asarray(y != y if mark != mark else y == mark, dtype=bool)


def _is_mark(value: Any, mark: Any) -> bool:
    if mark is None:
        return value is None
    return _is_nan(value) if mark != mark else bool(not _is_nan(value) and value == mark)


def _is_nan(value: Any) -> bool:
    """Return whether a value differs from itself, or is pandas' NA, which does not tell."""
    same = value == value
    return not (isinstance(same, bool | np.bool_) and same)


def labelled_rows(y: np.ndarray, unlabeled: Any) -> np.ndarray:
    """Return the positions of rows that have a target; raise if there are none.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    unlabeled : -1, None, nan, another number or a str; False if there is no mark
        Mark of a row without one.

    Raises
    ------
    ValueError
        If no row has a target.
    """
    if not has_mark(unlabeled):
        return np.arange(len(y))
    missing = is_missing(y, unlabeled).reshape(len(y), -1).all(axis=1)
    index = np.flatnonzero(~missing)
    if not processes_in_use().any(len(index) > 0):
        raise ValueError(
            f"y holds no target: all its values are unlabeled={unlabeled!r}. Fit autoencoders "
            "without targets by StackedSparseAutoencoder."
        )
    return index


def has_mark(unlabeled: Any) -> bool:
    """Return whether rows without a target have a mark; raise if it is none."""
    if not isinstance(unlabeled, bool | np.bool_):
        return True
    if unlabeled:
        raise ValueError(
            "unlabeled=True names no mark: give the value that stands in y where a target is "
            "missing (-1, None, nan), or False if none is."
        )
    return False


def warn_of_absent_mark(unlabeled: Any, n_rows: int) -> None:
    """Warn that a mark has no effect, perhaps since another value stands for missing targets."""
    warn_user(
        f"unlabeled={unlabeled!r} does not occur in y: all {n_rows} rows count as rows with a "
        "target. If some have none, name the value that marks them; else use unlabeled=False."
    )


def check_strings_have_mark(labels: np.ndarray, unlabeled: Any) -> None:
    """Raise if a mark cannot occur among labels that are strings."""
    if isinstance(unlabeled, str) or unlabeled is None or labels.dtype.kind != "U":
        return
    # numpy makes "-1" and "nan" of marks that are put into an array of strings.
    is_string = str(unlabeled) in labels
    if unlabeled != unlabeled and not is_string:
        return
    given = f"unlabeled={str(unlabeled)!r}" if is_string else "unlabeled='' say, or None"
    raise ValueError(
        f"unlabeled={unlabeled!r} is a number and does not occur in y, whose labels are strings: "
        f"name what marks a row without one ({given}), or use unlabeled=False if none is."
    )


def refuse_missing(values: np.ndarray, name: str) -> None:
    """Raise if values are missing that no mark accounts for, and say what would."""
    if values.dtype == object:
        for value in values.ravel():
            if value is None or _is_nan(value):
                raise ValueError(
                    f"{name} holds {value}: if it marks rows without a target, say so by "
                    f"unlabeled={'None' if value is None else 'nan'}."
                )
    elif values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(
            f"Input {name} contains NaN. If it marks rows without a target, say so by "
            "unlabeled=nan, which stands for the nulls of a column of numbers too."
        )


def check_counted(weight: np.ndarray | None) -> None:
    """Raise if the weights of the rows that have a target leave none of them."""
    if weight is not None and not processes_in_use().any(bool(np.any(weight > 0.0))):
        raise ValueError(
            "sample_weight, times class_weight if there is one, is 0 in all rows that have a "
            "target: at least one of them must count."
        )


def read_classes(classes: ArrayLike, unlabeled: Any) -> np.ndarray:
    """Return the classes that a user says there are, sorted; the mark of a missing label is none.

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        Labels, and perhaps the mark.
    unlabeled : object
        The mark; False if there is none.

    Raises
    ------
    ValueError
        If some are missing without a mark, or are of several kinds.
    """
    given = _unmixed(classes, unlabeled).ravel()
    if has_mark(unlabeled):
        given = given[~is_missing(given, unlabeled)]
    refuse_missing(given, "classes")
    return np.unique(_of_one_type(given, "classes"))


def _unmixed(values: ArrayLike, unlabeled: Any) -> Any:
    """Return what a list holds as it is, where numpy would make strings of strings and a mark."""
    is_list = isinstance(values, list | tuple) and has_mark(unlabeled)
    return np.array(values, dtype=object) if is_list else np.asarray(values)


def _holds_anything(values: Any) -> bool:
    """Return whether values may be of several types: a list, or an array of objects."""
    dtype = getattr(values, "dtype", None)
    return isinstance(values, list | tuple) or (isinstance(dtype, np.dtype) and dtype.hasobject)


def _of_one_type(labels: np.ndarray, name: str) -> np.ndarray:
    """Return objects as the numbers or the strings that they are; raise if they are both."""
    if labels.dtype != object:
        return labels
    if len({isinstance(value, str) for value in labels}) > 1:
        raise ValueError(f"{name} holds strings and numbers: labels must be all of one kind.")
    return np.array(labels.tolist())


def read_labels(
    y: ArrayLike, unlabeled: Any, classes: np.ndarray | None = None, *, in_pieces: bool = False
) -> Labels:
    """Return the labels of rows.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels, of any type that can be sorted; or the mark of a missing one.
    unlabeled : object
        The mark; False if there is none.
    classes : ndarray of shape (n_classes,), optional
        All that there are, sorted; those of y by default.
    in_pieces : bool
        Whether there are more rows than these, so that the mark may be elsewhere.

    Raises
    ------
    ValueError
        If y has no or too many dimensions, holds numbers that are no classes, labels of several
        kinds, or some that are not among ``classes``; if it holds strings and the mark is a number.

    Warns
    -----
    UserWarning
        If the mark does not occur.
    """
    with errors_about("y"):
        given = column_or_1d(_unmixed(y, unlabeled), warn=True)
    index = labelled_rows(given, unlabeled)
    # Without the marks, the labels are numbers or strings again.
    refuse_missing(given[index], "y")
    labels = _of_one_type(given[index], "y")
    if len(labels):
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
    if has_mark(unlabeled) and not processes_in_use().any(len(index) < len(given)):
        # Other pieces may hold the mark, but for columns that are strings by their type.
        if not (in_pieces and _holds_anything(y)):
            check_strings_have_mark(labels, unlabeled)
        if not in_pieces:
            warn_of_absent_mark(unlabeled, int(processes_in_use().total(len(given))))
    known = _classes_of(labels) if classes is None else classes
    strange = np.setdiff1d(labels, known)
    if len(strange):
        raise ValueError(
            f"y holds labels that are not in classes={known.tolist()}: {strange.tolist()}"
        )
    codes = np.zeros((len(given), 1), dtype=np.int64)
    codes[index, 0] = np.searchsorted(known, labels)
    return Labels(known, index, codes)


def _classes_of(labels: np.ndarray) -> np.ndarray:
    """Return the classes of labels, sorted; of several processes those of all.

    Raises
    ------
    ValueError
        If some processes have strings and others numbers.
    """
    of_each = [each for each in processes_in_use().gathered(np.unique(labels)) if len(each)]
    if len({each.dtype.kind in "US" for each in of_each}) > 1:
        raise ValueError("y holds strings in some processes and numbers in others.")
    return np.unique(np.concatenate(of_each)) if len(of_each) > 1 else of_each[0]


@dataclass(frozen=True)
class Numbers:
    """Rows' numbers.

    Attributes
    ----------
    is_1d : bool
        Whether y has one dimension.
    index : ndarray of int of shape (n_labelled,)
        Rows that have them.
    values : ndarray of shape (n_labelled, n_outputs), float64
        Of these rows.
    seen : Seen
        Their moments.
    """

    is_1d: bool
    index: np.ndarray
    values: np.ndarray
    seen: Seen


@np.errstate(all="ignore")
def read_numbers(
    y: ArrayLike,
    unlabeled: Any,
    weight: np.ndarray | None,
    *,
    in_pieces: bool = False,
) -> Numbers:
    """Return the numbers that belong to rows.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets. A row has none if all its outputs are the mark.
    unlabeled : object
        The mark; False if there is none.
    weight : ndarray of shape (n_samples,) or None
        Weights of the rows.
    in_pieces : bool
        Whether there are more rows than these, so that the mark may be elsewhere.

    Raises
    ------
    ValueError
        If no row has numbers, or one has some of its outputs only; if numbers are missing that the
        mark does not account for, or are not finite; if no row with numbers counts.

    Warns
    -----
    UserWarning
        If the mark does not occur.
    """
    given = np.asarray(y)
    is_1d = given.ndim < 2
    given = given.reshape(len(given), -1) if is_1d else given
    index = labelled_rows(given, unlabeled)
    if has_mark(unlabeled) and is_missing(given[index], unlabeled).any():
        raise ValueError(
            f"y holds rows in which some outputs only are unlabeled={unlabeled!r}: a row must have "
            "all of its targets, or none."
        )
    refuse_missing(given[index], "y")
    processes = processes_in_use()
    with errors_about("y"):
        values = check_array(
            given[index],
            dtype=np.float64,
            input_name="y",
            ensure_min_samples=0 if processes.are_several else 1,
        )
    check_one_form(values.shape[1], is_1d=is_1d)
    is_marked = has_mark(unlabeled) and processes.any(len(index) < len(given))
    if has_mark(unlabeled) and not is_marked and not in_pieces:
        warn_of_absent_mark(unlabeled, int(processes.total(len(given))))
    own_weight = None if weight is None else weight[index]
    check_counted(own_weight)
    counted = values
    if own_weight is not None:
        counted, own_weight = values[own_weight > 0.0], own_weight[own_weight > 0.0]
    moments = _mean_and_deviation(counted, well_scaled(own_weight))
    seen = Seen.of(count_rows(counted, None), mean_weight(own_weight), *moments)
    return Numbers(is_1d, index, values, seen)


def _mean_and_deviation(
    numbers: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return both of each column; the deviation is 0 where there is none but by rounding."""
    processes = processes_in_use()
    exponent = exponents_of(processes.largest(np.abs(numbers).max(axis=0, initial=0.0)))
    numbers = np.ldexp(numbers, -exponent)
    mean, _ = weighted_moments(numbers, weight=weight)
    telling = None if weight is None else telling_weight(weight)
    squares = (numbers - mean) ** 2
    if processes.are_several:
        counted = np.ones(len(numbers)) if telling is None else telling
        square = processes.total(counted @ squares) / processes.total(counted.sum())
    else:
        square = np.average(squares, axis=0, weights=telling)
    deviation = np.sqrt(square)
    is_constant = deviation <= 4.0 * np.finfo(np.float64).eps * np.abs(mean)
    return np.ldexp(mean, exponent), np.where(is_constant, 0.0, np.ldexp(deviation, exponent))


def check_one_form(n_outputs: int, *, is_1d: bool) -> None:
    """Raise, in all processes, if their targets have other numbers of outputs."""
    forms = processes_in_use().gathered([n_outputs, int(is_1d)])
    for rank, other in enumerate(forms):
        if other != forms[0]:
            raise ValueError(
                f"y has {forms[0][0]} outputs in {2 - forms[0][1]} dimensions on rank 0, and "
                f"{other[0]} in {2 - other[1]} on rank {rank}: it must have one form in all "
                "processes."
            )


def exponents_of(largest: np.ndarray) -> np.ndarray:
    """Return the exponents of the powers of two that columns are to be divided by."""
    return np.array([exponent_of(value) for value in largest])
