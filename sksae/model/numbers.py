"""Precision and range of numbers.

Numbers that floats have no room for are `Extended`: rows of float64 times a power of two for each
row. Products and squares of them neither overflow nor vanish, at less speed.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

Matrix: TypeAlias = np.ndarray | sp.csr_array | sp.csr_matrix

# The name of half precision: that of the products of a training.
HALF = "bfloat16"

# Activations f with f(c x) = c f(x) for positive c, if what they learn for units that is of the
# size of activations is multiplied by c too; all others are bounded by 1.
HOMOGENEOUS = ("relu", "prelu", "identity", "jumprelu", "gated")
OF_SIZE = ("threshold", "offset")
# Numbers of another exponent than at most this much above or below 0 are given a unit; squares of
# others, and sums of them, stay well inside float64.
ORDINARY_EXPONENT = 256

# Below the exponent of any number: that of rows of zeros.
OF_ZERO = -(2**20)
# Squares of norms between this and its inverse, and sums of many, are ordinary float64.
SMALLEST_NORM = 2.0**-450


def exponent_of(largest: float) -> int:
    """Return the exponent of the power of two that numbers of this magnitude are to be divided by.

    It is 0 unless they are extreme, so that ordinary numbers stay what they are.
    """
    exponent = int(np.frexp(largest)[1])
    return exponent if abs(exponent) > ORDINARY_EXPONENT else 0


def as_floats(rows: Matrix) -> Matrix:
    """Return float32 and float64 as they are, and everything else in float64."""
    return rows.astype(float_dtype(rows), copy=False)


def as_dense(rows: Matrix) -> np.ndarray:
    """Return a few rows as an array."""
    return rows if isinstance(rows, np.ndarray) else rows.toarray()


def nearest_positive(value: float) -> float:
    """Return a positive number that overflowed or vanished as the last float that is none."""
    limits = np.finfo(np.float64)
    return min(max(float(value), float(limits.smallest_subnormal)), float(limits.max))


def kept_dtype(dtype: str) -> str:
    """Return the precision that parameters and sums of a training in some precision have."""
    return "float32" if dtype == HALF else dtype


def float_dtype(X: Matrix) -> np.dtype:
    """Return the precision that rows are worked on in."""
    is_single = X.dtype == np.float32
    return np.dtype(np.float32 if is_single else np.float64)


class Extended(NamedTuple):
    """The rows ``values * 2**exponent``.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_columns), float64
        Below 1 in size.
    exponent : ndarray of shape (n_rows, 1), int64
    """

    values: np.ndarray
    exponent: np.ndarray


def extend(values: np.ndarray, exponent: np.ndarray | int = 0) -> Extended:
    """Return the rows ``values * 2**exponent``, of finite values."""
    values = values.astype(np.float64)
    size = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    own = np.frexp(size)[1].astype(np.int64)
    return Extended(_shifted(values, -own), np.where(size > 0.0, own + exponent, OF_ZERO))


def to_floats(rows: Extended) -> np.ndarray:
    """Return rows in float64, infinite where it has no room for them."""
    return _shifted(rows.values, rows.exponent)


def add(rows: Extended, other: Extended) -> Extended:
    """Return the sum of two, of which one may be a single row."""
    exponent = np.maximum(rows.exponent, other.exponent)
    parts = [_shifted(each.values, each.exponent - exponent) for each in (rows, other)]
    return extend(parts[0] + parts[1], exponent)


def multiply(rows: Extended, factor: float) -> Extended:
    """Return rows times a number."""
    mantissa, exponent = np.frexp(factor)
    return extend(rows.values * mantissa, rows.exponent + int(exponent))


def divide(rows: Extended, divisor: float) -> Extended:
    """Return rows over a number."""
    mantissa, exponent = np.frexp(divisor)
    return extend(rows.values / mantissa, rows.exponent - int(exponent))


def affine(rows: Extended, coef: np.ndarray, intercept: np.ndarray) -> Extended:
    """Return ``rows @ coef + intercept``."""
    # One power of two for all of the matrix.
    weights = extend(coef.reshape(1, -1))
    product = rows.values @ weights.values.reshape(coef.shape)
    return add(extend(product, rows.exponent + weights.exponent), extend(intercept[None]))


def norms(rows: Extended) -> Extended:
    """Return the norm of each row."""
    return extend(np.linalg.norm(rows.values, axis=1, keepdims=True), rows.exponent)


def distances(rows: np.ndarray, others: np.ndarray) -> Extended:
    """Return how far rows are from others, whatever their size."""
    with np.errstate(all="ignore"):
        difference = np.subtract(rows, others, dtype=np.float64)
        found = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        unusual = np.flatnonzero(~((found > SMALLEST_NORM) & (found < 1.0 / SMALLEST_NORM)))
        result = extend(found[:, None])
        if len(unusual):
            opposite = multiply(extend(others[unusual]), -1.0)
            exact = norms(add(extend(rows[unusual]), opposite))
            for all_rows, some in zip(result, exact, strict=True):
                all_rows[unusual] = some
        return result


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean square, which need not be in the range of floats."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    with np.errstate(under="ignore"):
        return largest * float(np.sqrt(np.mean((values / largest) ** 2)))


def r_squared(error: float, deviation: float, exponent: int = 0) -> float:
    """Return 1 - 2**exponent * error / deviation, of squared errors and squared deviations.

    Without any deviation it is 1 if the error is 0, and 0 otherwise, as in
    :func:`sklearn.metrics.r2_score`.
    """
    if deviation == 0.0:
        return 1.0 if error == 0.0 else 0.0
    return 1.0 - float(np.ldexp(error / deviation, exponent))


def _shifted(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return ``values * 2**exponent``."""
    # Beyond these limits, which ldexp has room for, every float is infinite or 0.
    return np.ldexp(values, np.clip(exponent, -5000, 5000).astype(np.int32))
