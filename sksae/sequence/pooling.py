"""Many codes of a row as one: pooled over its tokens."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy.sparse as sp

from sksae.model.codes import listed
from sksae.model.numbers import Matrix

# What becomes of the codes of a row's tokens.
POOLINGS = ("max", "mean", "active_share")


def checked_pooling(pooling: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be told of units over tokens.

    Raises
    ------
    ValueError
        If it is nothing, or something else, or the same twice.
    """
    given = (pooling,) if isinstance(pooling, str) or not np.iterable(pooling) else tuple(pooling)
    if not given or set(given) - set(POOLINGS) or len(set(given)) < len(given):
        raise ValueError(
            f"pooling must have some of {listed(POOLINGS)}, each once, got {pooling!r}."
        )
    return given


def pooled_names(names: Iterable[str], pooling: tuple[str, ...], n_segments: int = 1) -> np.ndarray:
    """Return names of columns: of each segment all units in the first pooling, and so on.

    Parameters
    ----------
    names : iterable of str
        Of units.
    pooling : tuple of str
        Of `POOLINGS`.
    n_segments : int, default=1
        Segments of a row; names tell of them if there are several.
    """
    units, endings = list(names), [f"_{how}" for how in pooling]
    if n_segments > 1:
        segments = range(n_segments)
        endings = [f"{end}_segment{segment}" for segment in segments for end in endings]
    return np.asarray([f"{name}{end}" for end in endings for name in units], dtype=object)


def pooled_by_segment(
    codes: Matrix, lengths: np.ndarray, pooling: tuple[str, ...], mask: Callable[[], Matrix]
) -> Matrix:
    """Return codes pooled by segment, (n_rows, n_segments * n_poolings * n_components).

    Parameters
    ----------
    codes, pooling, mask
        As in `pooled`.
    lengths : ndarray of int of shape (n_rows, n_segments)
        Tokens of each segment of each row.
    """
    of_segments = pooled(codes, lengths.ravel(), pooling, mask)
    return of_segments.reshape((len(lengths), -1))


def pooled(
    codes: Matrix, lengths: np.ndarray, pooling: tuple[str, ...], mask: Callable[[], Matrix]
) -> Matrix:
    """Return what is left of codes of some rows' tokens, (n_rows, n_poolings * n_components).

    Parameters
    ----------
    codes : ndarray or csr_array of shape (n_tokens, n_components)
        Of the tokens of all rows, one after another.
    lengths : ndarray of int of shape (n_rows,)
        Tokens of each row. A row without any has zeros.
    pooling : tuple of str
        Of `POOLINGS`.
    mask : callable
        Returns which entries are active, as codes are an array or a sparse matrix.
    """
    parts = [
        largest(codes, lengths)
        if how == "max"
        else mean(codes if how == "mean" else mask(), lengths, codes.dtype)
        for how in pooling
    ]
    return sp.hstack(parts, format="csr") if sp.issparse(codes) else np.hstack(parts)


def mean(values: Matrix, lengths: np.ndarray, dtype: np.dtype) -> Matrix:
    """Return the mean over each row's tokens, summed in float64."""
    n_tokens = int(lengths.sum())
    weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
    ends = np.r_[0, np.cumsum(lengths)]
    add = sp.csr_array((weights, np.arange(n_tokens), ends), shape=(len(lengths), n_tokens))
    found = add @ values
    return found.astype(dtype)


def largest(codes: Matrix, lengths: np.ndarray) -> Matrix:
    """Return the largest over each row's tokens."""
    return _largest_of_entries(codes, lengths) if sp.issparse(codes) else _largest(codes, lengths)


def _largest(codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    found = np.zeros((len(lengths), codes.shape[1]), dtype=codes.dtype)
    has_some = lengths > 0
    starts = np.cumsum(lengths) - lengths
    if has_some.any():
        found[has_some] = np.maximum.reduceat(codes, starts[has_some], axis=0)
    return found


def _largest_of_entries(codes: sp.csr_array, lengths: np.ndarray) -> sp.csr_array:
    """Return the same of a sparse matrix, by its entries."""
    shape = len(lengths), codes.shape[1]
    rows = np.repeat(np.repeat(np.arange(len(lengths)), lengths), np.diff(codes.indptr))
    # Of each row and unit the entries one after another.
    place = rows * shape[1] + codes.indices
    order = np.argsort(place, kind="stable")
    place, starts, counts = np.unique(place[order], return_index=True, return_counts=True)
    values = codes.data[order]
    values = np.maximum.reduceat(values, starts) if len(starts) else values
    row, unit = np.divmod(place, shape[1])
    # Tokens without an entry have a 0.
    values = np.where(counts < lengths[row], np.maximum(values, 0), values)
    found = sp.csr_array((values, (row, unit)), shape=shape)
    found.eliminate_zeros()
    return found
