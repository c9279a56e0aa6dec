"""Rows that users give, in which tokens may be missing -> arrays and CSR matrices."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from sksae.base.inputs import FLOATS, checked_rows, is_converted_later
from sksae.model.numbers import Matrix
from sksae.process.processes import processes_in_use


def checked_sequences(estimator: BaseEstimator, X: Any, *, reset: bool = False) -> Matrix:
    """Return rows as an array or CSR matrix; in an array of floats there may be NaN.

    Parameters
    ----------
    estimator : estimator
        Whose number and names of features X must have.
    X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
        Rows.
    reset : bool, default=False
        Whether the estimator takes both from X; otherwise it must be fitted.
    """
    if sp.issparse(X):
        _check_no_nan(X)
    # Whole numbers have no NaN, and are converted a few at a time.
    if sp.issparse(X) or (is_converted_later(X) and X.dtype.kind != "f"):
        return checked_rows(estimator, X, reset=reset)
    return validate_data(
        estimator,
        X,
        reset=reset,
        dtype=FLOATS,
        ensure_all_finite="allow-nan",
        accept_sparse="csr",
        # One of several processes may have no rows.
        ensure_min_samples=0 if processes_in_use().are_several else 1,
    )


def _check_no_nan(X: sp.sparray | sp.spmatrix) -> None:
    """Raise if a sparse matrix holds NaN, which stands for what is left out in arrays only."""
    values = getattr(X, "data", None)
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(
            "A sparse X must not hold NaN: tokens are left out, and values missing, in arrays "
            "only. Use X.toarray()."
        )
