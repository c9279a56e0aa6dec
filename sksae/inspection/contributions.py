"""What each unit has to do with the error of a row."""

from typing import Any, cast

import numpy as np

from sksae.base.protocols import Autoencoder
from sksae.inspection.subject import Subject, dense_rows
from sksae.metrics.activity import rest_of
from sksae.model.numbers import as_dense


@np.errstate(all="ignore")
def error_contributions(estimator: Any, X: Any) -> np.ndarray:
    r"""Return how much each unit increases the squared error of each row.

    It is the error of the row minus the error that the row would have with this unit at rest,

    .. math:: \lVert \hat x_i - x_i \rVert^2 - \lVert \hat x_i^{(-j)} - x_i \rVert^2
              = 2 a_{ij} \, d_j^T (\hat x_i - x_i) - a_{ij}^2 \lVert d_j \rVert^2 ,

    where the second form holds for atoms :math:`d_j` (``components_``) and a linear output. A
    useful unit has a negative value: without it the error would be larger. In rows that are unlike
    the training rows (low ``score_samples``), units with large positive values make the
    reconstruction worse, and a row without any large negative value is unlike everything that was
    learnt. Several units rebuild the same part of a row, and therefore contributions do not add up
    to the error.

    A unit at rest is 0, and -1 for tanh units with ``sparsity="kl"``.

    Parameters
    ----------
    estimator : estimator
        A fitted autoencoder or stack, or an estimator with one in it (see
        :func:`~sksae.metrics.sparsity_scorers`).
    X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
        Rows, as ``estimator`` takes them.

    Returns
    -------
    contributions : ndarray of shape (n_samples, n_components), float64
        In the squared scale of the rows that reach the autoencoder, as in ``score_samples``. With
        hidden layers, or an output that is not linear, each unit takes one pass through the
        decoder.

    Raises
    ------
    ValueError
        If there is no autoencoder in ``estimator``, or one that rebuilds nothing, such as that of a
        classifier; or if X does not fit.
    NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import error_contributions
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, max_iter=30, random_state=0).fit(X)
    >>> contributions = error_contributions(sae, X[:100])
    >>> print(contributions.shape, f"{(contributions.min(axis=1) < 0).mean():.0%} of rows served")
    (100, 64) 100% of rows served
    """
    subject = Subject(estimator, needed_by="error_contributions")
    if not subject.network.decoder:
        raise ValueError(
            f"error_contributions needs an autoencoder that rebuilds rows, and a "
            f"{type(subject.autoencoder).__name__} does not: inspect the stack that it was "
            "pre-trained as, or a SparseAutoencoderTransformer."
        )
    of_blocks = []
    for block in subject.blocks(X):
        given, codes = dense_rows(block.rows), as_dense(block.codes).astype(np.float64)
        of_blocks.append(_of_rows(subject, given, codes))
    return np.concatenate(of_blocks)


def _of_rows(subject: Subject, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the contributions of units to the errors of some rows, (n_rows, n_units).

    Parameters
    ----------
    subject : Subject
        Whose units.
    rows : ndarray of shape (n_rows, n_features), float64
        As they reach the autoencoder.
    codes : ndarray of shape (n_rows, n_units), float64
        Theirs.
    """
    network, autoencoder = subject.network, cast(Autoencoder, subject.autoencoder)
    rest = rest_of(autoencoder)
    error = autoencoder.inverse_transform(codes) - rows
    if len(network.decoder) == 1 and network.decoder[0].activation == "identity":
        atoms = network.decoder[0].coef.astype(np.float64) * network.output_scaling.scale
        activity = codes - rest
        return activity * (2.0 * error @ atoms.T - activity * np.square(atoms).sum(axis=1))
    squared, contributions = np.square(error).sum(axis=1), np.zeros_like(codes)
    for unit in range(codes.shape[1]):
        which = np.flatnonzero(codes[:, unit] != rest)
        without = codes[which]
        without[:, unit] = rest
        if len(which):
            errors = np.square(autoencoder.inverse_transform(without) - rows[which]).sum(axis=1)
            contributions[which, unit] = squared[which] - errors
    return contributions
