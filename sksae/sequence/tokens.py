"""Rows as sequences of tokens, and tokens as rows."""

from collections import Counter
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils._missing import is_pandas_na, is_scalar_nan

from sksae.model.numbers import Matrix
from sksae.model.slices import chunk_slices, equal_slices
from sksae.process.processes import processes_in_use


class Tokens(NamedTuple):
    """The tokens of some rows, one after another.

    Attributes
    ----------
    values : ndarray or CSR matrix of shape (n_tokens, token_width)
        Without those that are left out.
    is_there : ndarray of bool of shape (n_rows, length)
        Which tokens of each row are not left out.
    """

    values: Matrix
    is_there: np.ndarray


def lengths_of(is_there: np.ndarray, n_segments: int = 1) -> np.ndarray:
    """Return how many tokens there are in each segment of each row, (n_rows, n_segments).

    Parameters
    ----------
    is_there : ndarray of bool of shape (n_rows, length)
        Which tokens of each row are not left out.
    n_segments : int, default=1
        Into how many a row is cut.
    """
    segments = equal_slices(is_there.shape[1], n_segments)
    return np.stack([is_there[:, each].sum(axis=1) for each in segments], axis=1)


def length_of(n_features: int, token_width: int | None) -> int:
    """Return how many tokens rows of so many features have at most.

    Raises
    ------
    ValueError
        If tokens of that width do not make up a row.
    """
    width = n_features if token_width is None else token_width
    if n_features % width:
        raise ValueError(
            f"token_width={width} must divide the number of features, {n_features}: each row is a "
            "sequence of tokens of that width, one after another. Rows of fewer tokens end in "
            "tokens of NaN (pad_tokens)."
        )
    return n_features // width


def check_segments(n_segments: int, length: int) -> None:
    """Raise if rows of so many tokens cannot be cut into so many segments."""
    if not isinstance(n_segments, Integral) or isinstance(n_segments, bool) or n_segments < 1:
        raise ValueError(f"n_segments must be an int of at least 1, got {n_segments!r}.")
    if n_segments > length:
        raise ValueError(
            f"n_segments={n_segments} must be at most the number of tokens in a row, {length}, as "
            "each segment is to have one: choose fewer segments, or a smaller token_width."
        )


def as_tokens(X: Matrix, length: int) -> Matrix:
    """Return all tokens of rows, those that are left out too, (n_rows * length, token_width)."""
    values = X.reshape((X.shape[0] * length, X.shape[1] // length))
    # scipy makes another format of a CSR matrix.
    return values if isinstance(values, np.ndarray) else values.tocsr()


def tokens_of(X: Matrix, length: int, fill: np.ndarray | None = None) -> Tokens:
    """Return the tokens of some rows; those of NaN alone are left out.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, length * token_width)
        Rows.
    length : int
        Tokens of a row at most.
    fill : ndarray of shape (token_width,), optional
        What a single NaN of a token stands for; by default there is none.
    """
    n_rows, values = X.shape[0], as_tokens(X, length)
    is_there: np.ndarray = np.ones((n_rows, length), dtype=bool)
    if not may_have_nan(X) or not _has_nan(values):
        return Tokens(values, is_there)
    missing = np.isnan(values)
    is_there = np.asarray(~missing.all(axis=1))
    values, missing = values[is_there], missing[is_there]
    if fill is not None and missing.any():
        values = np.where(missing, fill.astype(values.dtype), values)
    return Tokens(values, is_there.reshape(n_rows, length))


def may_have_nan(X: Matrix) -> bool:
    """Return whether X is an array of floats; a sparse matrix with NaN is refused before."""
    return isinstance(X, np.ndarray) and X.dtype.kind == "f"


def _has_nan(values: np.ndarray) -> bool:
    """Return whether there is a NaN, a few rows at a time."""
    return any(
        np.isnan(values[which].sum()) and np.isnan(values[which]).any()
        for which in chunk_slices(len(values), values.shape[1])
    )


class FeatureMeans(NamedTuple):
    """The weighted mean of each feature over tokens, without those that are missing.

    Attributes
    ----------
    n_seen : ndarray of shape (token_width,)
        Tokens that have the feature, each counted by its weight.
    mean : ndarray of shape (token_width,), float64
        0 where none has.
    """

    n_seen: np.ndarray
    mean: np.ndarray

    @classmethod
    def of_nothing(cls, width: int) -> "FeatureMeans":
        """Return those of no tokens."""
        return cls(np.zeros(width), np.zeros(width))

    @np.errstate(all="ignore")
    def after(self, values: Matrix, weight: np.ndarray | None = None) -> "FeatureMeans":
        """Return those of some more tokens, of all processes.

        Parameters
        ----------
        values : ndarray or CSR matrix of shape (n_tokens, token_width)
            NaN where something is missing.
        weight : ndarray of shape (n_tokens,), optional
            What each counts; 1 by default.
        """
        n_new, total = np.zeros_like(self.n_seen), np.zeros_like(self.mean)
        for which in chunk_slices(values.shape[0], values.shape[1]):
            part = values[which]
            own = np.ones(part.shape[0]) if weight is None else weight[which]
            # What counts for nothing may be anything.
            part, own = part[own > 0.0], own[own > 0.0]
            if isinstance(part, np.ndarray):
                missing = np.isnan(part)
                n_new += own @ ~missing
                total += own @ np.where(missing, 0.0, part)
            else:
                n_new += own.sum()
                total += own @ part
        n_new, total = map(processes_in_use().total, (n_new, total))
        n_seen = self.n_seen + n_new
        share = self.n_seen / np.where(n_seen > 0.0, n_seen, 1.0)
        return FeatureMeans(n_seen, self.mean * share + total / np.where(n_seen > 0.0, n_seen, 1.0))


def untokened(values: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    """Return tokens as rows, with NaN in the place of those that are left out.

    Parameters
    ----------
    values : ndarray of shape (n_tokens, width)
        Of those that are not.
    is_there : ndarray of bool of shape (n_rows, length)
        Which these are.

    Returns
    -------
    rows : ndarray of shape (n_rows, length, width)
    """
    if is_there.all():
        return values.reshape((*is_there.shape, values.shape[1]))
    rows = np.full((*is_there.shape, values.shape[1]), np.nan, dtype=values.dtype)
    rows[is_there] = values
    return rows


def _is_missing(group: Any) -> bool:
    """Return whether a group is none: None, nan, pandas' NA, or no time."""
    if group is None or is_scalar_nan(group) or is_pandas_na(group):
        return True
    return isinstance(group, np.datetime64 | np.timedelta64) and bool(np.isnat(group))


def pad_tokens(X: ArrayLike, groups: ArrayLike, *, length: int | None = None) -> np.ndarray:
    """Return one row for each group of tokens, padded with NaN to a common length.

    A group is what its tokens belong to: the document of sentences, the recording of windows.

    Parameters
    ----------
    X : array-like of shape (n_tokens, token_width)
        Tokens, those of one group one after another.
    groups : array-like of shape (n_tokens,)
        The group of each token: numbers or strings.
    length : int, default=None
        Tokens of a row: as many as the estimator was fitted with, for rows that it is to transform.
        None is as many as the longest group has. A longer group is an error.

    Returns
    -------
    rows : ndarray of shape (n_groups, length * token_width)
        In the order in which groups appear: ``pandas.unique(groups)`` names them. Float32 stays
        float32, everything else becomes float64.

    Raises
    ------
    ValueError
        If X and ``groups`` differ in length, if X is no finite matrix, if a group is missing, if
        tokens of one group do not stand together, or if a group has more tokens than ``length``.
    TypeError
        If there are no groups, or ``length`` is no int.

    Examples
    --------
    >>> import numpy as np
    >>> from sksae.sequence import pad_tokens
    >>> sentences = np.arange(6.0).reshape(3, 2)
    >>> pad_tokens(sentences, groups=["a", "a", "b"])
    array([[ 0.,  1.,  2.,  3.],
           [ 4.,  5., nan, nan]])
    """
    tokens = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    if groups is None:
        raise TypeError("groups must have the group of each token, got None.")
    of_token: np.ndarray = column_or_1d(groups)
    check_consistent_length(tokens, of_token)
    missing = np.flatnonzero([_is_missing(each) for each in of_token])
    if len(missing):
        raise ValueError(
            f"groups must have no missing values, got {of_token[missing[0]]!r} for token "
            f"{missing[0]}: leave such tokens out, or name their group."
        )
    starts = np.flatnonzero(np.r_[True, of_token[1:] != of_token[:-1]])
    name, n_runs = Counter(of_token[starts].tolist()).most_common(1)[0]
    if n_runs > 1:
        raise ValueError(
            f"groups must have the tokens of a group one after another, but those of {name!r} "
            "stand apart: sort both first, by np.argsort(groups, kind='stable')."
        )
    lengths = np.diff(np.r_[starts, len(of_token)])
    longest = int(lengths.max())
    if length is None:
        length = longest
    elif not isinstance(length, Integral) or isinstance(length, bool):
        raise TypeError(f"length must be an int or None, got {length!r}.")
    elif length < longest:
        longest_group = of_token[starts].tolist()[lengths.argmax()]
        raise ValueError(
            f"length={length} is less than the {longest} tokens of group {longest_group!r}: "
            "shorten groups, or give a larger length."
        )
    return untokened(tokens, np.arange(length) < lengths[:, None]).reshape(len(starts), -1)
