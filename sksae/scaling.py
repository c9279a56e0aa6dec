"""How rows are scaled for training, from their weighted moments summed in float64."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis

# Mean squared norm of a row, whose size decides what a unit of activation is worth: with much less
# a sigmoid code does best by small movements of all units, and with more it is made of fewer units.
SCALED_NORM = 36.0
# An output with a range has room for less: the standard deviation of an entry, and with it the norm
# of a row, that the UFLDL recipe gives its 8x8 patches (clipped to three deviations, then mapped to
# [0.1, 0.9]).
BOUNDED = ("sigmoid", "tanh")
BOUNDED_DEVIATION = 0.4 / 3.0
BOUNDED_NORM = 64 * BOUNDED_DEVIATION**2
# Entries of X that are widened to float64 at a time.
CHUNK_ENTRIES = 2**18


Matrix: TypeAlias = np.ndarray | sp.csr_array | sp.csr_matrix


@dataclass(frozen=True)
class Columns:
    """What is known of each feature of the rows that count.

    Attributes
    ----------
    variance, lowest, highest : ndarray of shape (n_features,), float64
        Weighted variance, exactly 0 where nothing but rounding distinguishes the rows; smallest
        and largest value.
    """

    variance: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


@dataclass(frozen=True)
class Scaling:
    """The network sees ``z = shift + (x - mean) / scale``; it trains on z less its own mean.

    Taking the mean away is a change of coordinates only: the first layer's bias takes it up, and
    J is the same function. But steps along weights and bias no longer disturb each other, and
    training gets much further in as many steps (LeCun et al. 1998, "Efficient BackProp", 4.3).

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
    scale, shift : float
    centre : ndarray of shape (n_features,)
        Mean of the training rows; equals ``mean`` if data are scaled.
    scaled : bool
        Whether they are.
    columns : Columns or None
        What it was found from; None where it was not found from these rows.
    stretch : float
        By how much the first weights make up for a change of scale since training began.
    """

    mean: np.ndarray
    scale: float
    shift: float
    centre: np.ndarray
    scaled: bool
    columns: Columns | None = None
    stretch: float = 1.0

    @property
    def offset(self) -> np.ndarray:
        """What the mean training row is in the space of z."""
        return self.shift + (self.centre - self.mean) / self.scale


def find_scaling(
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    *,
    scale_data: bool,
    output_activation: str,
) -> Scaling:
    """Return the scaling of the rows that count: of all of X by one scalar, or none."""
    centre, columns = _describe(X, index, weight)
    variance = float(columns.variance.mean())
    if scale_data and not np.isfinite(variance):
        raise ValueError(
            "The values of X are too large for their variance: divide X by a constant."
        )
    scaling = scaling_of(
        centre, variance, scale_data=scale_data, output_activation=output_activation
    )
    return replace(scaling, columns=columns)


def scaling_of(
    centre: np.ndarray, variance: float, *, scale_data: bool, output_activation: str
) -> Scaling:
    """Return the scaling of rows of that mean, and of that variance averaged over features."""
    if not scale_data:
        return Scaling(np.zeros_like(centre), 1.0, 0.0, centre, scaled=False)
    deviation = scaled_deviation(len(centre), output_activation)
    scale = float(np.sqrt(variance)) / deviation if variance > 0.0 else 1.0
    shift = 0.5 if output_activation == "sigmoid" else 0.0
    return Scaling(centre, scale, shift, centre, scaled=True)


def has_scaled_norm(output_activation: str, scale_data: bool) -> bool:
    """Return whether rows have the norm that makes codes sparse."""
    return scale_data and output_activation not in BOUNDED


def scaled_deviation(n_features: int, output_activation: str) -> float:
    """Return the standard deviation that scaled data have over all their entries.

    It is the row whose mean squared norm is fixed, not the entry: J sums the error over features,
    while the sparsity and the weights do not grow with their number, so that fixed entries would
    give weak penalties to wide data and strong ones to narrow data. Outputs with a range have no
    room for larger entries than UFLDL's.
    """
    if output_activation in BOUNDED:
        return min(float(np.sqrt(BOUNDED_NORM / n_features)), BOUNDED_DEVIATION)
    return float(np.sqrt(SCALED_NORM / n_features))


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
    mean, variances = _moments(X, index, weight, with_variance)
    return mean, float(variances.mean())


def moments_of_features(
    X: Matrix, index: np.ndarray | None = None, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of each feature; as `weighted_moments`."""
    return _moments(X, index, weight, True)


def _describe(
    X: Matrix, index: np.ndarray | None, weight: np.ndarray | None
) -> tuple[np.ndarray, Columns]:
    """Return the mean of each feature and what else is known of it, from one pass."""
    lowest, highest = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
    mean, variances = _moments(X, index, weight, True, (lowest, highest))
    return mean, Columns(variances, lowest, highest)


def _moments(
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    with_variance: bool,
    extremes: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of each feature; write its extremes where they are asked for."""
    if weight is not None and index is not None:
        weight = weight[index]
    if sp.issparse(X):
        rows = X if index is None else X[index]
        mean, variances = mean_variance_axis(rows.astype(np.float64), axis=0, weights=weight)
        if extremes is not None:
            extremes[0][:], extremes[1][:] = min_max_axis(rows, axis=0)
    else:
        mean, variances = _dense_moments(X, index, weight, with_variance, extremes)
    # Rounding of the mean itself leaves a variance of (eps * mean)^2 in a constant feature.
    variances[variances <= rounding_of(mean) ** 2] = 0.0
    return mean, variances


def rounding_of(mean: np.ndarray) -> np.ndarray:
    """Return by how much a mean in float64 may be off by rounding."""
    return 4.0 * np.finfo(np.float64).eps * np.abs(mean)


def _dense_moments(
    X: np.ndarray,
    index: np.ndarray | None,
    weight: np.ndarray | None,
    with_variance: bool,
    extremes: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum deviations from the first chunk's mean, so that no digits cancel.

    By einsum and not by matrix products: the threads of numpy's BLAS spin for a while after each,
    and would take the cores from the training that follows.
    """
    n_rows = X.shape[0] if index is None else len(index)
    length = max(1, CHUNK_ENTRIES // X.shape[1])
    first = slice(length) if index is None else index[:length]
    first_weight = None if weight is None or not weight[:length].any() else weight[:length]
    reference = np.average(X[first].astype(np.float64), axis=0, weights=first_weight)
    total = np.zeros_like(reference)
    squares = np.full_like(reference, 0.0 if with_variance else np.nan)
    buffer = np.empty((min(length, n_rows), X.shape[1]))
    for start in range(0, n_rows, length):
        which = slice(start, min(start + length, n_rows))
        rows = X[which] if index is None else X[index[which]]
        share = np.ones(len(rows)) if weight is None else weight[which]
        deviation = np.subtract(rows, reference, out=buffer[: len(rows)])
        total += np.einsum("i,ij->j", share, deviation)
        if with_variance:
            squares += np.einsum("i,ij,ij->j", share, deviation, deviation)
        if extremes is not None:
            np.minimum(extremes[0], rows.min(axis=0), out=extremes[0])
            np.maximum(extremes[1], rows.max(axis=0), out=extremes[1])
    sum_of_weights = n_rows if weight is None else weight.sum()
    moved = total / sum_of_weights
    return reference + moved, np.maximum(squares / sum_of_weights - moved**2, 0.0)
