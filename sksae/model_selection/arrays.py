"""The rows of a split without a copy of them; and whether two arrays hold the same data."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.utils import gen_batches

# Of an array, compared at a time.
COMPARED_BYTES = 2**20


@dataclass(frozen=True)
class Whole:
    """The array that the rows of splits are taken of: one object, so that it is pickled once."""

    array: np.ndarray


@dataclass(frozen=True, eq=False)
class TakenRows:
    """Rows of an array, read where they lie: for all that reads them by rows an array itself.

    Attributes
    ----------
    whole : Whole
        What they are taken of; an array of two dimensions.
    index : ndarray of int
        Which they are.
    """

    whole: Whole
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.index), self.whole.array.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return self.whole.array.dtype

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        return self.whole.array[self.index[which]]


class KnownArrays:
    """Numbers data, such that equal data have the same number whoever holds a copy of them.

    Data are rows, targets or weights of any kind that scikit-learn takes; None is number 0. What
    is numbered stays in memory, except for what is given as `TakenRows`.
    """

    def __init__(self) -> None:
        self._known: dict[object, list[tuple[Any, int]]] = {}
        self._n_known = 0

    def find(self, data: Any) -> int | None:
        """Return the number of some data, or None if they have none."""
        if data is None:
            return 0
        for other, number in self._known.get(_kind(data), []):
            if other is data or _same(other, data):
                return number
        return None

    def number(self, data: Any) -> int:
        """Return the number of some data, a new one if they have none."""
        number = self.find(data)
        if number is None:
            self._n_known += 1
            number = self._n_known
            self._known.setdefault(_kind(data), []).append((data, number))
        return number

    def first(self, number: int) -> Any:
        """Return the data that got a number first."""
        known = (each for alike in self._known.values() for each in alike)
        return next(data for data, other in known if other == number)


def is_unchanged(data: Any, copy: Any) -> bool:
    """Return whether data are what they were when a copy of them was made."""
    if hasattr(data, "equals"):  # a table, whose copy may lie in memory in another order
        return bool(data.equals(copy))
    return data is copy or (_kind(data) == _kind(copy) and _same(data, copy))


def _kind(data: Any) -> object:
    """Return what is cheap to compare: data of different kinds are not the same."""
    if isinstance(data, TakenRows) or _is_plain(data):
        return ("array", data.shape, data.dtype.str)
    if sp.issparse(data) and data.format == "csr":
        return (type(data).__name__, data.shape, data.nnz, data.dtype.str)
    return joblib.hash(data)


def _same(a: Any, b: Any) -> bool:
    """Compare data of one kind."""
    if isinstance(b, TakenRows) and not isinstance(a, TakenRows):
        return _same(b, a)
    if isinstance(a, TakenRows) or _is_plain(a):
        # Some at a time, as they may be memory maps.
        return all(np.array_equal(_bits(a[rows]), _bits(b[rows])) for rows in _blocks(a))
    if sp.issparse(a) and a.format == "csr":
        parts = ("data", "indices", "indptr")
        return all(np.array_equal(_bits(getattr(a, x)), _bits(getattr(b, x))) for x in parts)
    return True  # of the same hash


def _blocks(rows: "np.ndarray | TakenRows") -> Iterable[Any]:
    """Return what gives some rows at a time; of an array without dimensions all there is."""
    if not rows.shape:
        return [...]
    length = max(1, COMPARED_BYTES // max(1, rows.dtype.itemsize * prod(rows.shape[1:])))
    return gen_batches(rows.shape[0], length)


def _is_plain(data: Any) -> bool:
    """Return whether data are an array whose bytes are all there is to it."""
    return isinstance(data, np.ndarray) and not data.dtype.hasobject


def _bits(array: np.ndarray) -> np.ndarray:
    """Return an array's bytes, so that nan equals nan."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
