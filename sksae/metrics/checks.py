"""What metrics accept: floating-point matrices without nan, and numbers in their range."""

from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils._param_validation import (
    Interval,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight

from sksae.base.inputs import check_chunks, checked_shards, is_converted_later, is_sharded
from sksae.model.numbers import Matrix
from sksae.training.moments import well_scaled

MatrixLike: TypeAlias = ArrayLike | sp.sparray | sp.spmatrix

CONSTRAINTS: dict[str, list[Any]] = {
    "threshold": [Interval(Real, 0, None, closed="left")],
    "relative": ["boolean"],
    "signed": ["boolean"],
    "tol": [Interval(Real, 0, 1, closed="left")],
    "rho": [Interval(RealNotInt, 0, 1, closed="neither")],
    "variant": [StrOptions({"treves_rolls", "vinje_gallant"})],
    "within_se": [Interval(Real, 0, None, closed="left")],
    "score": [str],
    "sparsity": [str, callable],
}


def check_options(caller: str, **options: object) -> None:
    """Raise on an option out of its range, in scikit-learn's words."""
    validate_parameter_constraints(CONSTRAINTS, options, caller_name=caller)


def check_threshold(caller: str, threshold: float, relative: bool) -> None:
    """Raise on a threshold of activity that is out of its range.

    Parameters
    ----------
    caller : str
        Whom the error names.
    threshold : float
        The threshold.
    relative : bool
        Whether it is a share of each unit's largest activation.

    Raises
    ------
    ValueError
        If it is out of its range.
    """
    check_options(caller, threshold=threshold, relative=relative)
    if relative and threshold >= 1.0:
        raise ValueError(
            f"threshold must be less than 1 with relative=True, got {threshold!r}: it is a share "
            "of each unit's largest activation, which no row exceeds."
        )


def check_matrix(X: MatrixLike, name: str, *, accept_sparse: bool = True) -> Matrix:
    """Return X as an array or canonical CSR array, without a copy if it can be.

    Of float32 or float64, but for arrays of other numbers that `checked_rows` leaves as they are.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_rows, n_columns)
        What the user gave.
    name : str
        What errors call it.
    accept_sparse : bool, default=True
        Whether it may be sparse.

    Returns
    -------
    X : ndarray or csr_array of shape (n_rows, n_columns)

    Raises
    ------
    ValueError
        If X is not 2-D, is empty, or holds nan, infinities or what is no real number.
    TypeError
        If X is sparse and may not be.
    """
    if is_sharded(X):
        return checked_shards(X, name)
    if is_converted_later(X):
        check_chunks(X, input_name=name)
        return X
    X = check_array(
        X,
        accept_sparse="csr" if accept_sparse else False,
        dtype=[np.float64, np.float32],
        ensure_2d=False,
        allow_nd=True,
        ensure_min_samples=0,
        ensure_min_features=0,
        input_name=name,
    )
    # Here and not by check_array, whose errors do not tell which argument they are about.
    if X.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions (rows, columns), got shape {X.shape}.")
    if 0 in X.shape:
        raise ValueError(f"{name} must not be empty, got shape {X.shape}.")
    if not sp.issparse(X):
        return X
    X = sp.csr_array(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def check_weight(sample_weight: ArrayLike | None, X: Matrix) -> np.ndarray | None:
    """Return non-negative float64 weights of the rows of X, or None for all alike."""
    if sample_weight is None:
        return None
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return well_scaled(weight)
