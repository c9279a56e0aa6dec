"""How sparse single vectors are: each row of a code over the units, each unit over the rows."""

from typing import Literal

import numpy as np

from sksae.metrics.checks import MatrixLike, check_matrix, check_options
from sksae.metrics.reductions import largest_magnitude, sum_magnitudes
from sksae.model.codes import hoyer_sparsity as of_ratio
from sksae.model.numbers import Matrix
from sksae.training.moments import extremes_of


@np.errstate(all="ignore")
def hoyer_sparsity(codes: MatrixLike, *, axis: Literal[0, 1] = 1) -> np.ndarray:
    r"""Return Hoyer's sparsity of each row, or of each unit.

    .. math:: \frac{\sqrt n - \lVert a \rVert_1 / \lVert a \rVert_2}{\sqrt n - 1}

    of a vector with n entries [1]_: 0 if all entries have the same magnitude, 1 if a single entry
    is not 0. It does not depend on the scale of the codes.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Activations.
    axis : {0, 1}, default=1
        1 for the sparsity of each row over the units, 0 for that of each unit over the rows.

    Returns
    -------
    sparsity : ndarray of shape (n_samples,) or (n_components,), float64
        In [0, 1]. By convention it is also 1.0 where the formula is 0/0: for a vector of zeros, and
        for n = 1.

    Raises
    ------
    ValueError
        If axis is not 0 or 1; if codes are not 2-D, are empty or hold nan or infinities.

    References
    ----------
    .. [1] P. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5,
           2004, section 3.1.

    Examples
    --------
    >>> from sksae.metrics import hoyer_sparsity
    >>> hoyer_sparsity([[0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 2.0]])
    array([1.        , 0.        , 0.58578644])
    """
    codes = check_matrix(codes, "codes")
    _check_axis(axis)
    length = codes.shape[axis]
    ratio = _norm_ratios(codes, axis)
    return of_ratio(ratio, length)


@np.errstate(all="ignore")
def treves_rolls_sparseness(
    codes: MatrixLike,
    *,
    axis: Literal[0, 1] = 1,
    variant: Literal["treves_rolls", "vinje_gallant"] = "treves_rolls",
) -> np.ndarray:
    r"""Return the Treves-Rolls sparseness of each row, or of each unit.

    .. math:: s = \Bigl(\frac1n \sum_k r_k\Bigr)^2 \Big/ \frac1n \sum_k r_k^2

    of n firing rates [1]_ [2]_. If all active units (or rows) are equally active, it is their
    share. **Small is sparse.** The variant of Vinje and Gallant [3]_ is
    :math:`(1 - s) / (1 - 1/n)`: there large is sparse.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Non-negative activations.
    axis : {0, 1}, default=1
        1 for the sparseness of each row over the units (population sparseness), 0 for that of
        each unit over the rows (lifetime sparseness).
    variant : {"treves_rolls", "vinje_gallant"}, default="treves_rolls"
        Which of the two measures.

    Returns
    -------
    sparseness : ndarray of shape (n_samples,) or (n_components,), float64
        In [1/n, 1], or in [0, 1] for "vinje_gallant". A vector of zeros, where the formula is
        0/0, counts as the sparsest: 1/n, and 1.0 for "vinje_gallant", which is 1.0 also if n is
        1.

    Raises
    ------
    ValueError
        If codes are negative somewhere, are not 2-D, are empty or hold nan or infinities; if axis
        or variant is none of those named.

    References
    ----------
    .. [1] A. Treves and E. Rolls, "What determines the capacity of autoassociative memories in the
           brain?", Network 2, 1991.
    .. [2] E. Rolls and M. Tovee, "Sparseness of the neuronal representation of stimuli in the
           primate temporal visual cortex", Journal of Neurophysiology 73, 1995.
    .. [3] W. Vinje and J. Gallant, "Sparse coding and decorrelation in primary visual cortex
           during natural vision", Science 287, 2000.

    Examples
    --------
    >>> from sksae.metrics import treves_rolls_sparseness
    >>> codes = [[0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 2.0]]
    >>> treves_rolls_sparseness(codes)
    array([0.25, 1.  , 0.5 ])
    >>> treves_rolls_sparseness(codes, variant="vinje_gallant")
    array([1.        , 0.        , 0.66666667])
    """
    check_options("treves_rolls_sparseness", variant=variant)
    codes = check_matrix(codes, "codes")
    _check_axis(axis)
    smallest, _ = extremes_of(codes, None)
    if smallest < 0.0:
        raise ValueError(
            f"codes must not be negative, as firing rates are not, got {smallest:.4g}: give "
            "np.abs(codes), or (1 + codes) / 2 for those of tanh trained with 'kl'."
        )
    length = codes.shape[axis]
    sparseness = _norm_ratios(codes, axis) ** 2 / length
    if variant == "treves_rolls":
        return sparseness
    if length == 1:
        return np.ones_like(sparseness)
    return ((1.0 - sparseness) / (1.0 - 1.0 / length)).clip(0.0, 1.0)


def _check_axis(axis: int) -> None:
    if axis not in (0, 1):
        raise ValueError(f"axis must be 1 (over units) or 0 (over rows), got {axis!r}.")


def _norm_ratios(codes: Matrix, axis: int) -> np.ndarray:
    """Return l1 / l2 along an axis, in [1, sqrt(n)]; 1, that of one entry alone, for zeros."""
    # By the largest entry, so that squares of very small or large ones neither vanish nor overflow.
    unit = largest_magnitude(codes, axis)
    l1 = sum_magnitudes(codes, axis, lambda magnitude: magnitude, unit)
    l2 = np.sqrt(sum_magnitudes(codes, axis, np.square, unit))
    ratio = np.divide(l1, l2, out=np.ones_like(l1), where=l2 > 0.0)
    return ratio.clip(1.0, np.sqrt(codes.shape[axis]))
