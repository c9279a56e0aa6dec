"""Weighted moments of rows, summed in float64, and the scaling that they ask for.

float64 has no room for squares of values beyond 1e154 or below 1e-162. Such rows are divided by a
power of two near their largest value before their moments are taken.

In a fit of several processes they are those of the rows of all.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, overload

import numpy as np
import scipy.sparse as sp
from scipy.special import entr
from sklearn.utils.sparsefuncs import min_max_axis

from sksae.model.numbers import Matrix, as_floats, exponent_of, nearest_positive
from sksae.model.scaling import Columns, Scaling, row_range, scaling_of
from sksae.process.processes import processes_in_use

# Rows whose weight is less than this share of the largest do not count: should they alone deviate,
# the deviation would be so small that in units of it the rows themselves would overflow.
LEAST_SHARE = 1e-30
# Entries of X that are widened to float64 at a time.
CHUNK_ENTRIES = 2**18


def find_scaling(
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    *,
    scale_data: bool,
    output_activation: str,
    loss: str = "squared_error",
) -> Scaling:
    """Return the scaling of the rows that count: of all of X by one scalar, or none.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    scale_data : bool
        Whether to scale them at all.
    output_activation : str
        Of the network's output.
    loss : {"squared_error", "cross_entropy"}
        What the network is trained by.
    """
    centre, columns = _describe(X, index, weight)
    variance = float(columns.variance.mean())
    deviation = 0.0
    if variance > 0.0:
        with np.errstate(all="ignore"):
            deviation = nearest_positive(np.ldexp(np.sqrt(variance), columns.exponent))
    scaling = scaling_of(
        centre,
        deviation,
        scale_data=scale_data,
        output_activation=row_range(output_activation, loss),
    )
    divergence = divergence_of(X, index, weight, centre) if loss == "cross_entropy" else 0.0
    return replace(scaling, columns=columns, divergence=divergence or None)


def divergence_of(
    X: Matrix, index: np.ndarray | None, weight: np.ndarray | None, mean: np.ndarray
) -> float:
    """Return how far rows of probabilities are from their mean, in nats.

    Of a row x and the mean m it is sum_j x_j ln(x_j / m_j) + (1 - x_j) ln((1 - x_j) / (1 - m_j)),
    the Kullback-Leibler divergence of Bernoulli variables, and what is returned is its mean over
    rows: as m is the mean of x, the variables' entropies at m less the mean of those at x.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows, with values in [0, 1].
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    mean : ndarray of shape (n_features,)
        Of these rows.
    """
    counted = None if weight is None else (weight if index is None else weight[index])
    total = sum_of_weights = 0.0
    for rows, which in row_chunks(X, index):
        own = np.ones(rows.shape[0]) if counted is None else counted[which]
        # What is not stored is 0, and has no entropy.
        entropies = rows.astype(np.float64)
        values = entropies.data if sp.issparse(rows) else entropies
        values[...] = _entropy(values)
        total += float(own @ np.asarray(entropies.sum(axis=1)).ravel())
        sum_of_weights += float(own.sum())
    total, sum_of_weights = map(processes_in_use().total, (total, sum_of_weights))
    return max(0.0, float(_entropy(mean).sum()) - total / sum_of_weights)


def _entropy(probability: np.ndarray) -> np.ndarray:
    """Return the entropy of Bernoulli variables in nats."""
    inside = np.clip(probability, 0.0, 1.0)
    found: np.ndarray = entr(inside) + entr(1.0 - inside)
    return found


def extremes_of(X: Matrix, index: np.ndarray | None) -> tuple[float, float]:
    """Return the smallest and the largest value of the rows that count."""
    low, high = np.inf, -np.inf
    for rows, _ in row_chunks(X, index):
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
    processes = processes_in_use()
    return float(processes.smallest(np.array(low))), float(processes.largest(np.array(high)))


def count_rows(X: Matrix, index: np.ndarray | None) -> int:
    """Return how many rows of X an index names; None is all."""
    return int(processes_in_use().total(X.shape[0] if index is None else len(index)))


def largest_weight(weight: np.ndarray) -> float:
    """Return the largest of some weights."""
    return float(processes_in_use().largest(weight.max(initial=0.0)))


def weighted_moments(
    X: Matrix,
    index: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    with_variance: bool = True,
) -> tuple[np.ndarray, float]:
    """Return the mean of each feature, and the variance about it averaged over features.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Data; read in chunks if dense.
    index : ndarray of int, optional
        The rows that count; all by default.
    weight : ndarray of shape (n_samples,), optional
        Weight of each row of X; all alike by default.
    with_variance : bool, default=True
        Whether the variance is needed: of dense rows it takes most of the time.

    Returns
    -------
    mean : ndarray of shape (n_features,), float64
    variance : float
        sum_ij w_i (x_ij - mean_j)^2 / (n_features * sum_i w_i); exactly 0 where nothing but
        rounding distinguishes the rows; without meaning if it is not asked for.
    """
    mean, variances, exponent = _moments(X, index, weight, with_variance)
    with np.errstate(over="ignore", under="ignore"):
        return mean, float(np.ldexp(variances.mean(), 2 * exponent))


def relative_variance(
    X: Matrix, index: np.ndarray | None, weight: np.ndarray | None
) -> tuple[float, int]:
    """Return the variance averaged over features, of X / 2**exponent, and that exponent.

    See `weighted_moments`, whose variance may be beyond float64.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    _, variances, exponent = _moments(X, index, weight, True)
    return float(variances.mean()), exponent


def largest_magnitude(X: Matrix, index: np.ndarray | None = None) -> float:
    """Return the largest absolute value of the rows that count."""
    chunks = (rows.data if sp.issparse(rows) else rows for rows, _ in row_chunks(X, index))
    parts = (as_floats(values) for values in chunks if values.size)
    largest = max((float(max(part.max(), -part.min())) for part in parts), default=0.0)
    return float(processes_in_use().largest(np.array(largest)))


@overload
def well_scaled(weight: np.ndarray) -> np.ndarray: ...
@overload
def well_scaled(weight: None) -> None: ...
def well_scaled(weight: np.ndarray | None) -> np.ndarray | None:
    """Return weights, over a power of two where sums of them would overflow or vanish."""
    if weight is None:
        return None
    exponent = exponent_of(largest_weight(weight))
    if exponent == 0:
        return weight
    with np.errstate(under="ignore"):
        return np.ldexp(weight, -exponent)


def telling_weight(weight: np.ndarray) -> np.ndarray:
    """Return weights that are 0 where next to others they count for nothing."""
    return np.where(weight < LEAST_SHARE * largest_weight(weight), 0.0, weight)


def mean_and_deviation(
    X: Matrix, index: np.ndarray | None = None, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each feature; see `weighted_moments`.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    mean, variances, exponent = _moments(X, index, weight, True)
    with np.errstate(all="ignore"):
        return mean, np.ldexp(np.sqrt(variances), exponent)


def _describe(
    X: Matrix, index: np.ndarray | None, weight: np.ndarray | None
) -> tuple[np.ndarray, Columns]:
    """Return the mean of each feature and what else is known of it, from one pass.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    lowest, highest = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
    mean, variances, exponent = _moments(X, index, weight, True, (lowest, highest))
    processes = processes_in_use()
    columns = processes.smallest(lowest), processes.largest(highest)
    return mean, Columns(variances, *columns, exponent)


def _moments(
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    with_variance: bool,
    extremes: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return mean and variance of each feature; write its extremes where they are asked for.

    The variance is that of X over a power of two whose exponent comes last.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    with_variance : bool
        Whether the variance is needed.
    extremes : tuple of two ndarray of shape (n_features,), optional
        Where the lowest and the highest values are written.
    """
    if weight is not None:
        weight = telling_weight(weight if index is None else weight[index])
    sums = _sparse_moments if sp.issparse(X) else _dense_moments
    # Whether something overflowed is seen afterwards; what vanishes beside larger values may.
    with np.errstate(all="ignore"):
        mean, variances = sums(X, index, weight, with_variance, 0, extremes)
        largest = variances.max() if with_variance else np.abs(mean).max()
        is_known = largest > 0.0 or not with_variance
        seems_ordinary = is_known and np.isfinite(largest) and exponent_of(largest) == 0
        exponent = 0 if seems_ordinary else exponent_of(largest_magnitude(X, index))
        if exponent:
            mean, variances = sums(X, index, weight, with_variance, exponent, None)
        # Rounding of the mean itself leaves a variance of (eps * mean)^2 in a constant feature.
        variances[variances <= rounding_of(mean) ** 2] = 0.0
        return np.ldexp(mean, exponent), variances, exponent


def row_chunks(X: Any, index: np.ndarray | None) -> Iterator[tuple[Any, slice]]:
    """Yield the rows that count, some at a time, and which of them they are."""
    n_rows = X.shape[0] if index is None else len(index)
    length = max(1, CHUNK_ENTRIES // X.shape[1])
    if sp.issparse(X):
        # What is read at a time are stored entries; each chunk takes as long as a row is wide too.
        per_row = max(1.0, X.nnz / max(X.shape[0], 1))
        length = max(1, int(max(CHUNK_ENTRIES, X.shape[1]) / per_row))
    for start in range(0, n_rows, length):
        which = slice(start, min(start + length, n_rows))
        yield X[which] if index is None else X[index[which]], which


def _in_unit(values: np.ndarray, exponent: int) -> np.ndarray:
    """Return values / 2**exponent, in float64 where that is not 1."""
    return np.ldexp(values.astype(np.float64), -exponent) if exponent else values


def _sparse_moments(
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    with_variance: bool,
    exponent: int,
    extremes: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum deviations from the mean, of stored entries one by one and of all others at once.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray or None
        Of each row that counts.
    with_variance, extremes
        As in `_moments`.
    exponent : int
        Moments are those of X / 2**exponent.
    """
    processes, n_rows, n_features = processes_in_use(), count_rows(X, index), X.shape[1]
    sum_of_weights = float(n_rows) if weight is None else processes.total(weight.sum())

    def entries() -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        for rows, which in row_chunks(X, index):
            row_weights = np.ones(len(rows.indptr) - 1) if weight is None else weight[which]
            values = _in_unit(rows.data.astype(np.float64), exponent)
            yield rows, values, np.repeat(row_weights, np.diff(rows.indptr))

    count, stored = np.zeros(n_features, np.intp), np.zeros(n_features)
    total = np.zeros(n_features)
    for rows, values, row_weights in entries():
        count += np.bincount(rows.indices, minlength=n_features)
        stored += np.bincount(rows.indices, row_weights, n_features)
        total += np.bincount(rows.indices, row_weights * values, n_features)
        if extremes is not None:
            lowest, highest = min_max_axis(rows, axis=0)
            np.minimum(extremes[0], lowest, out=extremes[0])
            np.maximum(extremes[1], highest, out=extremes[1])
    n_stored = processes.total(count)
    stored, total = processes.total(stored), processes.total(total)
    reference = total / sum_of_weights
    # Where every entry is stored nothing is left, whatever the weights add up to.
    absent = np.where(n_stored < n_rows, sum_of_weights - stored, 0.0)
    if not processes.is_first:
        absent = np.zeros(n_features)
    total, squares = -absent * reference, absent * reference**2
    for rows, values, row_weights in entries():
        deviation = values - reference[rows.indices]
        total += np.bincount(rows.indices, row_weights * deviation, n_features)
        if with_variance:
            squares += np.bincount(rows.indices, row_weights * deviation**2, n_features)
    total, squares = map(processes.total, (total, squares))
    moved = total / sum_of_weights
    return reference + moved, np.maximum(squares / sum_of_weights - moved**2, 0.0)


def rounding_of(mean: np.ndarray) -> np.ndarray:
    """Return by how much a mean in float64 may be off by rounding."""
    return 4.0 * np.finfo(np.float64).eps * np.abs(mean)


def _dense_moments(
    X: np.ndarray,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    with_variance: bool,
    exponent: int,
    extremes: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum deviations from the first chunk's mean, so that no digits cancel.

    By einsum and not by matrix products: the threads of numpy's BLAS spin for a while after each,
    and would take the cores from the training that follows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight, with_variance, exponent, extremes
        As in `_sparse_moments`.
    """
    processes = processes_in_use()
    reference = _first_mean(X, index, weight, exponent)
    total = np.zeros_like(reference)
    squares = np.full_like(reference, 0.0 if with_variance else np.nan)
    buffer = np.empty((0, 0))
    for rows, which in row_chunks(X, index):
        rows = _in_unit(as_floats(rows), exponent)
        own_weight = None if weight is None else weight[which]
        if len(buffer) < len(rows):
            buffer = np.empty(rows.shape)
        deviation = np.subtract(rows, reference, out=buffer[: len(rows)])
        factors: tuple[np.ndarray, ...] = (
            (deviation,) if own_weight is None else (own_weight, deviation)
        )
        by_row = "" if own_weight is None else "i,"
        total += np.einsum(f"{by_row}ij->j", *factors)
        if with_variance:
            squares += np.einsum(f"{by_row}ij,ij->j", *factors, deviation)
        if extremes is not None:
            np.minimum(extremes[0], rows.min(axis=0), out=extremes[0])
            np.maximum(extremes[1], rows.max(axis=0), out=extremes[1])
    total, squares = map(processes.total, (total, squares))
    if weight is None:
        sum_of_weights: float = count_rows(X, index)
    else:
        sum_of_weights = processes.total(weight.sum())
    moved = total / sum_of_weights
    return reference + moved, np.maximum(squares / sum_of_weights - moved**2, 0.0)


def _first_mean(
    X: np.ndarray, index: np.ndarray | None, weight: np.ndarray | None, exponent: int
) -> np.ndarray:
    """Return the mean of the first rows, some of each process.

    Parameters
    ----------
    X, index, weight, exponent
        As in `_dense_moments`.
    """
    processes = processes_in_use()
    rows, which = next(row_chunks(X, index), (X[:0], slice(0, 0)))
    first = _in_unit(as_floats(rows), exponent).astype(np.float64)
    weights = None if weight is None or not weight[which].any() else weight[which]
    mean = np.average(first, axis=0, weights=weights) if len(first) else np.zeros(X.shape[1])
    if not processes.are_several:
        return np.asarray(mean)
    return processes.total(len(first) * mean) / max(processes.total(len(first)), 1)
