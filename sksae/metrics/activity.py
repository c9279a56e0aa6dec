"""Which units of a code are active: one definition, for every code."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from sksae.base.inputs import is_sharded
from sksae.base.protocols import HasNetwork, is_autoencoder
from sksae.metrics.checks import MatrixLike, check_matrix
from sksae.metrics.lookup import fitted_autoencoder
from sksae.metrics.reductions import extremes
from sksae.model.codes import CODES, active_above, activity, has_zeros
from sksae.model.numbers import Matrix, as_dense


@np.errstate(all="ignore")
def is_active(codes: MatrixLike, estimator: Any) -> np.ndarray | sp.csr_array:
    r"""Return which units are active in which rows.

    This is the definition of "active" everywhere in sksae:

    - If a code has exact zeros, a unit is active in a row if it is not 0. These are the codes of
      relu units, "jumprelu" and "gated", and coefficients (``transform_algorithm``).
    - A unit of any other code (sigmoid, tanh, prelu, identity) is never 0. It is active in a row if
      its activity is above half of its largest activity over the training rows
      (``largest_activation_``), as the width of a tuning curve is measured at half maximum. Its
      activity is :math:`|a|`, or :math:`(1 + a) / 2` for tanh units with ``sparsity="kl"``, which
      are at -1 if they are inactive.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes that ``transform`` of the autoencoder returns.
    estimator : estimator
        A fitted autoencoder, or an estimator with one in it (see `sparsity_scorers`).

    Returns
    -------
    active : {ndarray, csr_array} of bool of shape (n_samples, n_components)
        An array for an array, a sparse array for a sparse one.

    Raises
    ------
    ValueError
        If codes are not 2-D, are empty, hold nan or infinities or have another number of units
        than the autoencoder; or if there is no autoencoder.
    NotFittedError
        If it is not fitted.

    See Also
    --------
    feature_density : ``feature_density(is_active(codes, estimator))`` is the share of rows in which
        each unit is active.
    l0 : ``l0(is_active(codes, estimator))`` is the mean number of active units in a row.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.metrics import is_active
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, sparsity="topk", rho=4, max_iter=20, random_state=0)
    >>> active = is_active(sae.fit_transform(X), sae)
    >>> print(active.sum(axis=1).max())
    4
    """
    autoencoder = fitted_autoencoder(estimator, needed_by="is_active").autoencoder
    codes = activity_of(autoencoder, codes)
    return mask_of(codes, thresholds_in(autoencoder, [codes]))


def activity_of(autoencoder: HasNetwork, codes: MatrixLike) -> Matrix:
    """Return codes as activities: what is inactive is 0 or little more.

    Parameters
    ----------
    autoencoder : HasNetwork
        Whose they are.
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        What its ``transform`` gives.

    Raises
    ------
    ValueError
        If they have another number of units, or are no finite matrix.
    """
    codes, network = check_matrix(codes, "codes"), autoencoder.__sksae_network__()
    if codes.shape[1] != network.n_components:
        raise ValueError(
            f"codes must have {network.n_components} columns, one for each unit of the "
            f"{type(autoencoder).__name__}, got {codes.shape[1]}."
        )
    if is_sharded(codes):
        codes = codes[:]  # what is made of them is as large
    if gives_coefficients(autoencoder):
        return codes
    if rest_of(autoencoder) != 0.0:
        codes = as_dense(codes)  # of which hardly any activity is 0
    return activity(codes, network.sparsity, network.code_activation)


def rest_of(autoencoder: HasNetwork) -> float:
    """Return the activation of units that are not active: -1 of tanh units held at rho, else 0."""
    network = autoencoder.__sksae_network__()
    rests_below = CODES[network.sparsity].aims_at_mean and network.code_activation == "tanh"
    return -1.0 if rests_below and not gives_coefficients(autoencoder) else 0.0


def gives_coefficients(autoencoder: HasNetwork) -> bool:
    """Return whether codes are coefficients found for each row, 0 where there are none."""
    return is_autoencoder(autoencoder) and autoencoder.transform_algorithm != "encode"


def known_thresholds(autoencoder: HasNetwork) -> np.ndarray | None:
    """Return above which magnitude each unit is active, (n_components,), or None if rows must tell.

    Parameters
    ----------
    autoencoder : HasNetwork
        Whose units they are.
    """
    network = autoencoder.__sksae_network__()
    if gives_coefficients(autoencoder) or has_zeros(network.code_activation):
        return np.zeros(network.n_components)
    largest = _largest_activation(autoencoder)
    return None if np.isnan(largest).any() else active_above(largest, network.code_activation)


def _largest_activation(autoencoder: Any) -> np.ndarray:
    """Return each unit's largest activity in training; of a stack as its last member knows it."""
    while not hasattr(autoencoder, "largest_activation_"):  # layers were not trained together
        autoencoder = autoencoder.autoencoders_[-1]
    return np.asarray(autoencoder.largest_activation_, dtype=np.float64)


def thresholds_in(autoencoder: HasNetwork, blocks: Iterable[Matrix]) -> np.ndarray:
    """Return above which magnitude each unit is active, shape (n_components,).

    Parameters
    ----------
    autoencoder : HasNetwork
        Whose units they are.
    blocks : iterable of {ndarray, csr_array} of shape (n_rows, n_components)
        Activities in some rows. They say how large units become where nothing is known of the
        training rows, and are not asked for elsewhere.
    """
    known = known_thresholds(autoencoder)
    if known is not None:
        return known
    network = autoencoder.__sksae_network__()
    largest = np.zeros(network.n_components)
    for activities in blocks:
        lowest, highest = extremes(activities, 0)
        np.maximum(largest, np.maximum(highest, -lowest), out=largest)
    return active_above(largest, network.code_activation)


def mask_of(activities: Matrix, thresholds: np.ndarray) -> np.ndarray | sp.csr_array:
    """Return which entries are above the threshold of their unit in magnitude.

    Parameters
    ----------
    activities : ndarray or csr_array of shape (n_samples, n_components)
        As `activity_of` gives them.
    thresholds : ndarray of shape (n_components,)
        At least 0.
    """
    if isinstance(activities, np.ndarray):
        return np.abs(activities) > thresholds
    activities = sp.csr_array(activities)
    active = np.abs(activities.data) > thresholds[activities.indices]
    mask = sp.csr_array((active, activities.indices, activities.indptr), shape=activities.shape)
    mask.eliminate_zeros()
    return mask
