"""Rows and weights as users give them -> what the estimators work on."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sksae.scaling import Matrix, well_scaled

SEEN_BY_VALIDATION = ("n_features_in_", "feature_names_in_")


@np.errstate(all="ignore")
def checked_rows(
    estimator: BaseEstimator, X: ArrayLike | sp.sparray | sp.spmatrix, *, reset: bool = False
) -> Matrix:
    """Return X as an array or canonical CSR matrix of floats, without a copy if it can be.

    Parameters
    ----------
    estimator : estimator
        Whose number and names of features X must have.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    reset : bool, default=False
        Whether it is to take them from X instead; otherwise it must be fitted.
    """
    if not reset:
        check_is_fitted(estimator)
    X = validate_data(
        estimator, X, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32]
    )
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


@np.errstate(all="ignore")
def checked_weight(sample_weight: ArrayLike | None, X: Matrix) -> np.ndarray | None:
    """Return weights of the rows of X in float64, or None if there are none."""
    if sample_weight is None:
        return None
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return well_scaled(weight)


@contextmanager
def unseen_on_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Leave the model as it was if a fit fails: what validation noted belongs to that fit."""
    seen = {
        name: getattr(estimator, name) for name in SEEN_BY_VALIDATION if hasattr(estimator, name)
    }
    try:
        yield
    except BaseException:
        for name in SEEN_BY_VALIDATION:
            if hasattr(estimator, name):
                delattr(estimator, name)
        for name, value in seen.items():
            setattr(estimator, name, value)
        raise
