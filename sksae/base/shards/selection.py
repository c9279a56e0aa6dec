"""Which rows are meant by an index, and how those that are chosen lie in blocks of files."""

from types import EllipsisType
from typing import Any

import numpy as np

from sksae.base.shards.order import WindowedOrder
from sksae.model.visits import Order

# Rows counted over all files: side by side, or from anywhere.
Chosen = range | np.ndarray


def is_lazy_key(key: object) -> bool:
    """Return whether a key is ``which, ...``, by which scikit-learn takes the rows of a split."""
    return isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], EllipsisType)


def choose(chosen: Chosen, key: Any) -> Chosen:
    """Return some of the rows that were chosen before.

    Parameters
    ----------
    chosen : range or ndarray of int
        Those.
    key : slice, array-like of int or array-like of bool
        Which of them.

    Raises
    ------
    IndexError
        If the key names no such rows.
    """
    if isinstance(key, slice):
        start, stop, step = key.indices(len(chosen))
        if step == 1 or isinstance(chosen, np.ndarray):
            return chosen[slice(start, max(start, stop))] if step == 1 else chosen[key]
        return np.asarray(chosen[key], dtype=np.int64)
    which = np.asarray(key)
    if which.size == 0 and which.ndim == 1:
        which = which.astype(np.int64)
    if which.ndim != 1 or which.dtype.kind not in "biu":
        raise IndexError(
            "Rows of ShardedRows are chosen by an int, a slice, or a list or 1-d array of int or "
            f"bool, got {type(key).__name__}."
        )
    n_rows = len(chosen)
    if which.dtype.kind == "b":
        if len(which) != n_rows:
            raise IndexError(
                f"A mask must have one bool for each of the {n_rows} rows, got {len(which)}."
            )
        which = np.flatnonzero(which)
    which = which.astype(np.int64)
    out_of_range = which[(which < -n_rows) | (which >= n_rows)]
    if len(out_of_range):
        raise IndexError(f"There is no row {out_of_range[0]}: there are {n_rows} rows.")
    which = np.where(which < 0, which + n_rows, which)
    return chosen.start + which if isinstance(chosen, range) else chosen[which]


def order_of(
    chosen: Chosen, random: np.random.Generator, cuts: np.ndarray, buffer_rows: int
) -> Order:
    """Return a random order of chosen rows that reads few blocks at a time.

    Parameters
    ----------
    chosen : range or ndarray of int
        The rows.
    random : Generator
        What it is drawn from.
    cuts : ndarray of shape (n_blocks + 1,), int64
        Where blocks begin, and the number of rows.
    buffer_rows : int
        How many rows of blocks are kept in memory.

    Returns
    -------
    order : ndarray or WindowedOrder
        Of positions among the chosen rows; any permutation alike where all blocks fit together.
    """
    at = None
    if isinstance(chosen, range):
        own = np.clip(cuts, chosen.start, chosen.stop) - chosen.start
    else:
        if (np.diff(chosen) < 0).any():
            at = np.argsort(chosen, kind="stable")
            chosen = chosen[at]
        own = np.searchsorted(chosen, cuts)
    is_read = np.diff(own) > 0
    sizes = np.diff(cuts)[is_read]
    if sizes.sum() <= buffer_rows:
        return random.permutation(len(chosen))
    own = np.append(own[:-1][is_read], len(chosen))
    return WindowedOrder(random, own, sizes, buffer_rows, at)
