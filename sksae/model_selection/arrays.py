"""Telling whether two arrays hold the same data, to the bit."""

from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.utils import gen_batches

# Of an array, compared at a time.
COMPARED_BYTES = 2**22


class KnownArrays:
    """Numbers data, such that equal data have the same number whoever holds a copy of them.

    Data are rows, targets or weights of any kind that scikit-learn takes; None is number 0. What
    is numbered stays in memory.
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


def _kind(data: Any) -> object:
    """Return what is cheap to compare: data of different kinds are not the same."""
    if isinstance(data, np.ndarray) and not data.dtype.hasobject:
        return ("array", data.shape, data.dtype.str)
    if sp.issparse(data) and data.format == "csr":
        return (type(data).__name__, data.shape, data.nnz, data.dtype.str)
    return joblib.hash(data)


def _same(a: Any, b: Any) -> bool:
    """Compare data of one kind."""
    if isinstance(a, np.ndarray) and not a.dtype.hasobject:
        # Some at a time, as they may be memory maps.
        length = max(1, COMPARED_BYTES // max(1, a[:1].nbytes))
        slices = gen_batches(len(a), length) if a.ndim else [...]
        return all(np.array_equal(_bits(a[which]), _bits(b[which])) for which in slices)
    if sp.issparse(a) and a.format == "csr":
        parts = ("data", "indices", "indptr")
        return all(np.array_equal(_bits(getattr(a, x)), _bits(getattr(b, x))) for x in parts)
    return True  # of the same hash


def _bits(array: np.ndarray) -> np.ndarray:
    """Return an array's bytes, so that nan equals nan."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
