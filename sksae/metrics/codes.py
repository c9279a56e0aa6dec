"""How well codes reconstruct, which of their units are active, and which are dead."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from sksae.base.reconstruction import reconstruction_score
from sksae.metrics.checks import (
    MatrixLike,
    check_matrix,
    check_options,
    check_threshold,
    check_weight,
)
from sksae.metrics.reductions import (
    extremes,
    largest_magnitude,
    row_blocks,
    sum_magnitudes,
)
from sksae.model.numbers import Extended, as_dense, distances
from sksae.training.moments import extremes_of, weighted_moments
from sksae.training.outcome import is_dead

# How near to 0 or 1 a mean activation may come, as in the objective.
SATURATED = 1e-12


@np.errstate(all="ignore")
def explained_variance(
    X: MatrixLike, X_hat: MatrixLike, *, sample_weight: ArrayLike | None = None
) -> float:
    r"""Return R^2 of a reconstruction, over the whole matrix.

    .. math::

        R^2 = 1 - \frac{\sum_i w_i \lVert \hat x_i - x_i \rVert^2}
                       {\sum_i w_i \lVert x_i - \bar x \rVert^2}

    with the weighted mean :math:`\bar x` of the rows given. It is one ratio of two sums, because a
    mean of such ratios over batches or features would give too much weight to those with little
    variance. It equals ``SparseAutoencoderTransformer.score`` and :func:`sklearn.metrics.r2_score`
    with ``multioutput="variance_weighted"``.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    X_hat : {array-like, sparse matrix} of shape (n_samples, n_features)
        Their reconstruction.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weight of each row.

    Returns
    -------
    score : float
        At most 1; 0 for a reconstruction by the mean. nan, with an UndefinedMetricWarning, for
        fewer than two rows; without any deviation 1.0 if the error is 0 and 0.0 otherwise.

    Raises
    ------
    ValueError
        If the shapes differ, or an argument is not 2-D, is empty or holds nan or infinities.

    Examples
    --------
    >>> from sksae.metrics import explained_variance
    >>> explained_variance([[0.0, 0.0], [4.0, 2.0]], [[1.0, 0.0], [3.0, 2.0]])
    0.8
    """
    X, X_hat = check_matrix(X, "X"), check_matrix(X_hat, "X_hat")
    if X.shape != X_hat.shape:
        raise ValueError(
            f"X_hat must have the shape of X, got {X_hat.shape} and {X.shape}: reconstruct the "
            "same rows in the same features."
        )
    weight = check_weight(sample_weight, X)
    values, exponent = np.empty((X.shape[0], 1)), np.empty((X.shape[0], 1), np.int64)
    for which in row_blocks(X):
        found = distances(as_dense(X[which]), as_dense(X_hat[which]))
        values[which], exponent[which] = found
    return reconstruction_score(X, Extended(values, exponent), weight)


@np.errstate(all="ignore")
def mean_activation(
    codes: MatrixLike, *, sample_weight: ArrayLike | None = None, signed: bool = False
) -> np.ndarray:
    r"""Return the mean activation of each unit, the rho-hat of the objective.

    .. math:: \hat\rho_j = \frac{\sum_i w_i a_{ij}}{\sum_i w_i}, \quad\text{or}\quad
              \frac{\sum_i w_i (1 + a_{ij}) / 2}{\sum_i w_i} \text{ if signed},

    as in section 3 of [1]_. ``mean_activation_`` of a fitted ``SparseAutoencoderTransformer`` is
    this for its training rows.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weight of each row.
    signed : bool, default=False
        Whether codes are tanh's, between -1 and 1, and read as (1 + a) / 2.

    Returns
    -------
    rho_hat : ndarray of shape (n_components,), float64
        In the range of the codes; in [0, 1] for those of sigmoid, and of tanh if signed.

    Raises
    ------
    ValueError
        If codes are not 2-D, are empty or hold nan or infinities, or weights do not fit them.

    References
    ----------
    .. [1] A. Ng, "Sparse autoencoder", CS294A lecture notes, 2011.

    Examples
    --------
    >>> from sksae.metrics import mean_activation
    >>> mean_activation([[0.0, 1.0], [0.5, 0.0]])
    array([0.25, 0.5 ])
    """
    check_options("mean_activation", signed=signed)
    codes = check_matrix(codes, "codes")
    weight = check_weight(sample_weight, codes)
    counted = None if weight is None else np.flatnonzero(weight)
    mean, _ = weighted_moments(codes, counted, weight, with_variance=False)
    return (1.0 + mean) / 2.0 if signed else mean


@np.errstate(all="ignore")
def kl_sparsity(
    codes: MatrixLike,
    rho: float,
    *,
    sample_weight: ArrayLike | None = None,
    signed: bool = False,
) -> float:
    r"""Return the sparsity term S of the "kl" objective.

    .. math:: S = \sum_j \rho \ln\frac{\rho}{\hat\rho_j}
                  + (1 - \rho) \ln\frac{1 - \rho}{1 - \hat\rho_j}

    with `mean_activation` :math:`\hat\rho_j`, as in section 3 of [1]_. Like the objective, it
    keeps :math:`\hat\rho_j` at least 1e-12 away from 0 and 1, and so S is finite for a dead unit.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations in [0, 1], or in [-1, 1] if signed.
    rho : float in (0, 1)
        Wanted mean activation.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weight of each row.
    signed : bool, default=False
        Whether codes are tanh's and read as (1 + a) / 2.

    Returns
    -------
    S : float
        At least 0, and 0 only if every unit's mean activation is rho.

    Raises
    ------
    ValueError
        If rho is not in (0, 1), or codes are outside their range, are not 2-D, are empty or hold
        nan.

    References
    ----------
    .. [1] A. Ng, "Sparse autoencoder", CS294A lecture notes, 2011.

    Examples
    --------
    >>> from sksae.metrics import kl_sparsity
    >>> codes = [[0.0, 1.0], [0.5, 0.0]]
    >>> print(f"{kl_sparsity(codes, 0.25):.4f}")
    0.1308
    """
    check_options("kl_sparsity", rho=rho, signed=signed)
    codes = check_matrix(codes, "codes")
    low, high = (-1.0 if signed else 0.0), 1.0
    smallest, largest = extremes_of(codes, None)
    if smallest < low or largest > high:
        advice = "" if signed or smallest < -1.0 or largest > 1.0 else "; tanh's need signed=True"
        raise ValueError(
            f"codes must be between {low:g} and {high:g}, got values from {smallest:.4g} to "
            f"{largest:.4g}: S compares mean activations with rho{advice}."
        )
    rho_hat = mean_activation(codes, sample_weight=sample_weight, signed=signed)
    rho_hat = rho_hat.clip(SATURATED, 1.0 - SATURATED)
    return float(np.sum(rel_entr(rho, rho_hat) + rel_entr(1.0 - rho, 1.0 - rho_hat)))


@np.errstate(all="ignore")
def l0(codes: MatrixLike, *, threshold: float = 0.0, relative: bool = False) -> float:
    r"""Return the mean number of active units in a row.

    .. math:: L_0 = \frac{1}{n} \sum_i \#\{j : |a_{ij}| > t_j\}

    where :math:`t_j` is the threshold, or that share of :math:`\max_i |a_{ij}|` if relative.

    Codes of relu have exact zeros: use a threshold of 0 or little more. Codes of sigmoid are never
    0, and the largest activation of a unit depends on the data and on beta: give a share of each
    unit's largest activation, or ``is_active(codes, estimator)`` instead of codes, which applies
    the definition for each code. `hoyer_sparsity` of the rows needs no threshold.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations.
    threshold : float >= 0, default=0.0
        abs(a) of an active unit is larger than this; less than 1 if relative.
    relative : bool, default=False
        Whether the threshold is a share of each unit's largest abs(a) over the rows given, such
        as 1e-3, rather than a value.

    Returns
    -------
    l0 : float
        In [0, n_components].

    Raises
    ------
    ValueError
        If threshold is negative, or 1 or more if relative; if codes are not 2-D, are empty or
        hold nan or infinities.

    See Also
    --------
    feature_density : The same of each unit.
    is_active : Which units are active in which rows, whatever the code.

    Examples
    --------
    >>> from sksae.metrics import l0
    >>> l0([[0.0, 2.0, 1.0], [0.0, 0.0, 0.001]])
    1.5
    >>> l0([[0.0, 2.0, 1.0], [0.0, 0.0, 0.001]], threshold=0.01, relative=True)
    1.0
    """
    return float(_active_shares("l0", codes, threshold, relative).sum())


@np.errstate(all="ignore")
def feature_density(
    codes: MatrixLike, *, threshold: float = 0.0, relative: bool = False
) -> np.ndarray:
    r"""Return the share of rows in which each unit is active.

    .. math:: \frac{1}{n} \#\{i : |a_{ij}| > t_j\}

    where :math:`t_j` is the threshold, or that share of :math:`\max_i |a_{ij}|` if relative; see
    `l0` for the choice. Densities add up to `l0`.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations.
    threshold : float >= 0, default=0.0
        abs(a) of an active unit is larger than this; less than 1 if relative.
    relative : bool, default=False
        Whether the threshold is a share of each unit's largest abs(a) over the rows given.

    Returns
    -------
    density : ndarray of shape (n_components,), float64
        In [0, 1].

    Raises
    ------
    ValueError
        If threshold is negative, or 1 or more if relative; if codes are not 2-D, are empty or
        hold nan or infinities.

    Examples
    --------
    >>> from sksae.metrics import feature_density
    >>> feature_density([[0.0, 2.0, 1.0], [0.0, 0.0, 0.5]])
    array([0. , 0.5, 1. ])
    """
    return _active_shares("feature_density", codes, threshold, relative)


@np.errstate(all="ignore")
def dead_units(codes: MatrixLike, *, threshold: float = 0.0, tol: float = 0.05) -> np.ndarray:
    r"""Return which units carry no information about the rows: they are dead, or unused.

    A unit is dead if it is never active, or if it is the same in all rows:

    .. math:: \max_i |a_{ij}| \le \text{threshold} \quad\text{or}\quad
              \max_i a_{ij} - \min_i a_{ij} \le \text{tol} \max_i |a_{ij}| .

    The first condition is for relu units. The second is for sigmoid and tanh units, which are never
    0 but may be constant, because weight decay removed their weights. A relu unit that is 0 in some
    rows and not in others does not meet the second condition, however weak it is. With a threshold
    of 0 the scale of a unit makes no difference.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations in enough rows to represent the data. With a single row only the threshold
        decides.
    threshold : float >= 0, default=0.0
        abs(a) of a unit that is not dead is larger than this in some row.
    tol : float in [0, 1), default=0.05
        A unit that is not dead varies by more than this share of its largest abs(a).

    Returns
    -------
    dead : ndarray of bool of shape (n_components,)

    Raises
    ------
    ValueError
        If threshold or tol is out of range; if codes are not 2-D, are empty or hold nan or
        infinities.

    See Also
    --------
    dead_fraction : The share of them.

    Examples
    --------
    >>> from sksae.metrics import dead_units
    >>> dead_units([[0.0, 0.05, 0.0, 0.9], [0.0, 0.05, 0.3, 0.1]])
    array([ True,  True, False, False])
    """
    return _dead_units("dead_units", codes, threshold, tol)


@np.errstate(all="ignore")
def dead_fraction(codes: MatrixLike, *, threshold: float = 0.0, tol: float = 0.05) -> float:
    """Return the share of `dead_units`, which carry no information about the rows.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations in enough rows to represent the data.
    threshold : float >= 0, default=0.0
        abs(a) of a unit that is not dead is larger than this in some row.
    tol : float in [0, 1), default=0.05
        A unit that is not dead varies by more than this share of its largest abs(a).

    Returns
    -------
    share : float
        In [0, 1].

    Raises
    ------
    ValueError
        If threshold or tol is out of range; if codes are not 2-D, are empty or hold nan or
        infinities.

    See Also
    --------
    dead_units : The dead units, and the definition.

    Examples
    --------
    >>> from sksae.metrics import dead_fraction
    >>> dead_fraction([[0.0, 0.05, 0.0, 0.9], [0.0, 0.05, 0.3, 0.1]])
    0.5
    """
    return float(_dead_units("dead_fraction", codes, threshold, tol).mean())


def _dead_units(caller: str, codes: MatrixLike, threshold: float, tol: float) -> np.ndarray:
    """Return which units are dead, shape (n_components,).

    Parameters
    ----------
    caller : str
        Whom errors name.
    codes, threshold, tol
        As in `dead_units`.
    """
    check_options(caller, threshold=threshold, tol=tol)
    codes = check_matrix(codes, "codes")
    lowest, highest = extremes(codes, 0)
    if codes.shape[0] == 1:
        silent: np.ndarray = np.maximum(highest, -lowest) <= threshold
        return silent
    return is_dead(lowest, highest, threshold=threshold, tol=tol)


def _active_shares(caller: str, codes: MatrixLike, threshold: float, relative: bool) -> np.ndarray:
    """Return the share of rows in which each unit is active, shape (n_components,).

    Parameters
    ----------
    caller : str
        Whom errors name.
    codes, threshold, relative
        As in `feature_density`.
    """
    check_threshold(caller, threshold, relative)
    codes = check_matrix(codes, "codes")
    unit = largest_magnitude(codes, 0) if relative else np.ones(codes.shape[1])
    return sum_magnitudes(codes, 0, lambda magnitude: magnitude > threshold, unit) / codes.shape[0]
