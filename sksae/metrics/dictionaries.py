"""How alike the atoms of a dictionary are, among themselves and to those of another one."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning

from sksae.metrics.checks import check_matrix
from sksae.process.warning import warn_user

# Cosines that are held at a time where only the largest are wanted.
BLOCK_ENTRIES = 2**22


@np.errstate(all="ignore")
def dictionary_coherence(components: ArrayLike) -> float:
    r"""Return the mutual coherence of a dictionary: how alike its two most similar atoms are.

    .. math:: \mu = \max_{j \ne k} \frac{|\langle d_j, d_k \rangle|}
                                        {\lVert d_j \rVert \lVert d_k \rVert}

    as in [1]_ and [2]_: an atom and its negative are as alike as two equal ones.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        Atoms, such as ``components_``. Atoms that are 0 have no direction and are left out.

    Returns
    -------
    coherence : float
        In [0, 1]; 0 if atoms are orthogonal. nan, with an UndefinedMetricWarning, if fewer than
        two atoms are not 0.

    Raises
    ------
    ValueError
        If components are not 2-D, are empty or hold nan or infinities.

    References
    ----------
    .. [1] D. Donoho and M. Elad, "Optimally sparse representation in general (nonorthogonal)
           dictionaries via l1 minimization", PNAS 100, 2003.
    .. [2] J. Tropp, "Greed is good: algorithmic results for sparse approximation", IEEE
           Transactions on Information Theory 50, 2004.

    Examples
    --------
    >>> from sksae.metrics import dictionary_coherence
    >>> dictionary_coherence([[1.0, 0.0], [0.0, 2.0], [-3.0, -4.0]])
    0.8
    """
    atoms = directions(check_matrix(components, "components", accept_sparse=False))
    atoms = atoms[atoms.any(axis=1)]
    if len(atoms) < 2:
        warn_user(
            "Coherence is not well-defined with less than two atoms that are not 0.",
            UndefinedMetricWarning,
        )
        return float("nan")
    coherence = 0.0
    for which, cosines in cosines_in_blocks(atoms, atoms):
        magnitudes = np.abs(cosines)
        np.fill_diagonal(magnitudes[:, which], 0.0)
        coherence = max(coherence, float(magnitudes.max()))
    return coherence


@np.errstate(all="ignore")
def mean_max_cosine_similarity(components: ArrayLike, other: ArrayLike) -> float:
    r"""Return how well the atoms of a dictionary are found again in another one (MMCS).

    .. math:: \frac1n \sum_j \max_k \frac{\langle d_j, d'_k \rangle}
                                         {\lVert d_j \rVert \lVert d'_k \rVert}

    as in [1]_ and [2]_. It is not symmetric, several atoms may match the same one, and the sign
    counts. Give true atoms first to measure how well they were found; give found atoms first to
    measure how true they are.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        Atoms to be found.
    other : array-like of shape (n_other, n_features)
        Atoms that are compared with them. The cosine with an atom that is 0 counts as 0.

    Returns
    -------
    similarity : float
        In [-1, 1]; 1 if each of the first atoms has the direction of one of the second.

    Raises
    ------
    ValueError
        If the numbers of features differ, or an argument is not 2-D, is empty or holds nan or
        infinities.

    See Also
    --------
    matched_correlation : One to one, whatever the sign.

    References
    ----------
    .. [1] L. Sharkey, D. Braun and B. Millidge, "Taking features out of superposition with sparse
           autoencoders", 2022.
    .. [2] H. Cunningham, A. Ewart, L. Riggs, R. Huben and L. Sharkey, "Sparse autoencoders find
           highly interpretable features in language models", 2023.

    Examples
    --------
    >>> from sksae.metrics import mean_max_cosine_similarity
    >>> mean_max_cosine_similarity([[1.0, 0.0], [0.0, 2.0]], [[5.0, 0.0], [3.0, 4.0]])
    0.9
    """
    atoms, others = _comparable(components, other, "other")
    similarity = sum(
        float(cosines.max(axis=1).sum()) for _, cosines in cosines_in_blocks(atoms, others)
    )
    return similarity / len(atoms)


@np.errstate(all="ignore")
def matched_correlation(components: ArrayLike, true_components: ArrayLike) -> float:
    r"""Return how well a true dictionary was found, atom by atom (mean correlation, MCC).

    .. math:: \frac{1}{\min(n, m)} \max_\pi \sum_{(j, k) \in \pi}
              \frac{|\langle d_j, d'_k \rangle|}{\lVert d_j \rVert \lVert d'_k \rVert}

    over all ways :math:`\pi` to pair atoms one to one, solved by the Hungarian method: the mean
    correlation coefficient of [1]_ with cosines of atoms in place of correlations of sources.
    Order, sign and length of the atoms make no difference, because sparse coding does not determine
    them.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        Atoms found.
    true_components : array-like of shape (n_true, n_features)
        Atoms that were to be found. The cosine with an atom that is 0 counts as 0.

    Returns
    -------
    correlation : float
        In [0, 1]: the mean over the min(n_components, n_true) pairs. Atoms without a partner do not
        count. With fewer found atoms than true ones, it therefore measures how true the found atoms
        are, and not whether all were found.

    Raises
    ------
    ValueError
        If the numbers of features differ, or an argument is not 2-D, is empty or holds nan or
        infinities.

    See Also
    --------
    mean_max_cosine_similarity : Each atom with the nearest one, as often as that may be.

    References
    ----------
    .. [1] A. Hyvarinen and H. Morioka, "Unsupervised feature extraction by time-contrastive
           learning and nonlinear ICA", NIPS 2016.

    Examples
    --------
    >>> from sksae.metrics import matched_correlation
    >>> matched_correlation([[0.0, -2.0], [3.0, 4.0]], [[5.0, 0.0], [0.0, 1.0]])
    0.8
    """
    # scipy.optimize takes a while to import, and nothing else here needs it.
    from scipy.optimize import linear_sum_assignment

    atoms, others = _comparable(components, true_components, "true_components")
    magnitudes = np.abs(atoms @ others.T).clip(0.0, 1.0)
    pairs = linear_sum_assignment(magnitudes, maximize=True)
    return float(magnitudes[pairs].mean())


def _comparable(
    components: ArrayLike, other: ArrayLike, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of the atoms of two dictionaries of the same features.

    Parameters
    ----------
    components, other : array-like of shape (n_atoms, n_features)
        Atoms; as many as each has.
    name : str
        What errors call the other one.
    """
    atoms = check_matrix(components, "components", accept_sparse=False)
    others = check_matrix(other, name, accept_sparse=False)
    if atoms.shape[1] != others.shape[1]:
        raise ValueError(
            f"components and {name} must have the same number of features, got "
            f"{atoms.shape[1]} and {others.shape[1]}: atoms are rows."
        )
    return directions(atoms), directions(others)


def directions(atoms: np.ndarray) -> np.ndarray:
    """Return the atoms at length 1, in float64; those that are 0 stay so."""
    atoms = atoms.astype(np.float64)
    # By the largest entry first, so that squares neither vanish nor overflow.
    atoms /= _positive(np.abs(atoms).max(axis=1))[:, None]
    atoms /= _positive(np.linalg.norm(atoms, axis=1))[:, None]
    return atoms


def _positive(lengths: np.ndarray) -> np.ndarray:
    """Return what to divide by: the lengths, and 1 for those of 0."""
    return np.where(lengths > 0.0, lengths, 1.0)


def cosines_in_blocks(atoms: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (which, cosines of atoms[which] with all others), some atoms at a time."""
    length = max(1, BLOCK_ENTRIES // len(others))
    for start in range(0, len(atoms), length):
        which = slice(start, min(start + length, len(atoms)))
        yield which, (atoms[which] @ others.T).clip(-1.0, 1.0)
