"""Sums and extremes of the entries of codes.

Sums are taken in float64, dense codes are read in blocks of rows, and CSR codes are never made
dense.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp

from sksae.model.numbers import Matrix, as_floats
from sksae.training.moments import CHUNK_ENTRIES


def row_blocks(X: Matrix) -> Iterator[slice]:
    """Yield slices of rows, as many at a time as may be widened to float64."""
    length = max(1, CHUNK_ENTRIES // X.shape[1])
    for start in range(0, X.shape[0], length):
        yield slice(start, min(start + length, X.shape[0]))


def extremes(codes: Matrix, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest value along an axis, in float64."""
    if not (sp.issparse(codes) or isinstance(codes, np.ndarray)):
        return _extremes_by_blocks(codes, axis)
    lowest, highest = codes.min(axis=axis), codes.max(axis=axis)
    if sp.issparse(codes):
        lowest, highest = lowest.toarray(), highest.toarray()
    return lowest.astype(np.float64).ravel(), highest.astype(np.float64).ravel()


def _extremes_by_blocks(codes: Matrix, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the extremes of what is no array in memory, which has no such methods."""
    found = [extremes(codes[which], axis) for which in row_blocks(codes)]
    lowest, highest = zip(*found, strict=True)
    if axis == 1:
        return np.concatenate(lowest), np.concatenate(highest)
    return np.minimum.reduce(lowest), np.maximum.reduce(highest)


def sum_magnitudes(
    codes: Matrix, axis: int, of: Callable[[np.ndarray], np.ndarray], unit: np.ndarray
) -> np.ndarray:
    """Return the sums along an axis, in float64, of a function of the magnitudes.

    Parameters
    ----------
    codes : ndarray or csr_array of shape (n_samples, n_components)
        Activations.
    axis : {0, 1}
        What is summed over.
    of : callable
        Elementwise function, 0 at 0.
    unit : ndarray of shape (codes.shape[1 - axis],), float64, positive
        What the magnitudes of each vector are divided by before.

    Returns
    -------
    sums : ndarray of shape (codes.shape[1 - axis],), float64
    """
    if isinstance(codes, sp.csr_array | sp.csr_matrix):
        lengths = np.diff(codes.indptr)
        vector = codes.indices if axis == 0 else np.repeat(np.arange(len(lengths)), lengths)
        magnitude = np.abs(codes.data) / unit[vector]
        return np.bincount(vector, of(magnitude), minlength=len(unit)).astype(np.float64)
    sums = np.zeros(len(unit))
    for which in row_blocks(codes):
        magnitude = np.abs(as_floats(codes[which]))
        if axis == 0:
            sums += of(magnitude / unit).sum(axis=0)
        else:
            sums[which] = of(magnitude / unit[which, None]).sum(axis=1)
    return sums


def largest_magnitude(codes: Matrix, axis: int) -> np.ndarray:
    """Return the largest magnitude along an axis, 1 where there is none to divide by."""
    lowest, highest = extremes(codes, axis)
    largest = np.maximum(highest, -lowest)
    return np.where(largest > 0.0, largest, 1.0)
