"""Rows and weights as users give them -> what the estimators work on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sksae.base.shards.rows import ShardedRows
from sksae.model.numbers import Matrix
from sksae.process.processes import processes_in_use
from sksae.process.shortage import AS_GIVEN, explained_shortage
from sksae.training.moments import CHUNK_ENTRIES, well_scaled

FLOATS = [np.float64, np.float32]
SEEN_BY_VALIDATION = ("n_features_in_", "feature_names_in_")


@np.errstate(all="ignore")
def checked_rows(
    estimator: BaseEstimator,
    X: ArrayLike | sp.sparray | sp.spmatrix,
    *,
    reset: bool = False,
    finite_later: bool = False,
) -> Matrix:
    """Return X as an array or canonical CSR matrix, without a copy if it can be.

    Arrays of other numbers than native floats are left as they are, for `as_floats` to convert a
    few rows at a time: they may be memory maps, larger than memory. All else comes as floats.

    Parameters
    ----------
    estimator : estimator
        Whose number and names of features X must have.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    reset : bool, default=False
        Whether the estimator takes both from X; otherwise it must be fitted.
    finite_later : bool, default=False
        Whether nan and infinities in arrays of floats are left to `check_finite`.
    """
    if not reset:
        check_is_fitted(estimator)
        n_columns = getattr(estimator, "n_features_in_", None)
        if (
            not hasattr(estimator, "feature_names_in_")
            and has_form(X, n_columns)
            and (finite_later or is_finite(X))
        ):
            return X
    if is_sharded(X):
        check_some_rows(X)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        if not finite_later:
            X.check_finite(type(estimator).__name__)
        return X
    if is_converted_later(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        check_chunks(X, estimator)
        return X
    with errors_about("X"), explained_shortage(AS_GIVEN):
        X = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=floats_for(X),
            # One of several processes may have no rows.
            ensure_min_samples=0 if processes_in_use().are_several else 1,
        )
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


@np.errstate(all="ignore")
def checked_codes(X: ArrayLike | sp.sparray | sp.spmatrix, n_components: int) -> Matrix:
    """Return codes as a finite array or CSR matrix.

    Of numbers as `checked_rows` leaves them, or of floats.
    """
    if has_form(X, n_components) and is_finite(X):
        return X
    if is_sharded(X):
        codes = checked_shards(X)
    elif is_converted_later(X):
        check_chunks(X)
        codes = X
    else:
        with errors_about("X"), explained_shortage(AS_GIVEN):
            codes = check_array(X, accept_sparse="csr", dtype=floats_for(X), input_name="X")
    if codes.shape[1] != n_components:
        raise ValueError(
            f"X has {codes.shape[1]} columns, but inverse_transform expects codes of "
            f"n_components={n_components} columns."
        )
    return codes


def floats_for(X: object) -> type | list[Any]:
    """Return the floats that rows may become: float32 of polars too, whose name starts otherwise.

    scikit-learn knows the dtypes of arrays and of pandas only, and else takes the first of several.
    """
    names = {str(each) for each in np.atleast_1d(getattr(X, "dtypes", ()))}
    return np.float32 if names == {"Float32"} else FLOATS


def has_form(X: object, n_columns: int | None) -> TypeGuard[np.ndarray]:
    """Return whether X is an array that needs no conversion; its values are not looked at.

    It stands before scikit-learn's own validation, which takes longer than to encode a row.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in FLOATS
        and X.shape[0] > 0
        and X.shape[1] == n_columns
    )


def is_finite(X: np.ndarray) -> bool:
    """Return whether the sum of an array is finite: then all its entries are."""
    # False is no proof: finite entries may overflow in the sum. Who calls then looks closer.
    return bool(np.isfinite(X.sum()))


def check_finite(estimator: BaseEstimator, X: Matrix) -> None:
    """Raise, as scikit-learn does, if an array of floats holds nan or infinities."""
    if is_sharded(X):
        X.check_finite(type(estimator).__name__)
    elif has_form(X, X.shape[1]) and not is_finite(X):
        check_array(X, dtype=FLOATS, input_name="X", estimator=estimator)


def is_sharded(X: object) -> TypeGuard[Any]:
    """Return whether X are rows in files, which are read as they are needed."""
    return isinstance(X, ShardedRows)


def checked_shards(X: ShardedRows, input_name: str = "X") -> Any:
    """Return rows in files, or raise if there are none, or nan or infinities among them."""
    check_some_rows(X, input_name)
    X.check_finite()
    return X


def check_some_rows(X: ShardedRows, input_name: str = "X") -> None:
    """Raise if rows in files are a choice of none of them."""
    if len(X) == 0:
        raise ValueError(
            f"{input_name} holds no row, of shape {X.shape}: at least one is required."
        )


def is_converted_later(X: object) -> TypeGuard[np.ndarray]:
    """Return whether X is an array of numbers that need not be copied to be worked on."""
    # Not subclasses such as masked arrays, which scikit-learn judges.
    if not isinstance(X, np.ndarray) or type(X) not in (np.ndarray, np.memmap):
        return False
    return X.dtype.kind in "biuf" and X.dtype not in FLOATS and X.ndim == 2 and X.size > 0


def check_chunks(
    X: np.ndarray, estimator: BaseEstimator | None = None, input_name: str = "X"
) -> None:
    """Raise, as scikit-learn does, if an array holds nan or infinities.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Read some rows at a time.
    estimator : estimator, optional
        Whom errors name.
    input_name : str, default="X"
        What errors call the array.
    """
    if X.dtype.kind != "f":
        return
    for rows in gen_batches(X.shape[0], max(1, CHUNK_ENTRIES // X.shape[1])):
        check_array(X[rows], dtype=FLOATS, input_name=input_name, estimator=estimator)


@np.errstate(all="ignore")
def checked_weight(
    sample_weight: ArrayLike | None, X: Matrix, *, as_given: bool = False
) -> np.ndarray | None:
    """Return weights of the rows of X in float64, or None if there are none.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
        Weights as the user gave them.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    as_given : bool, default=False
        Whether extreme weights stay as they are, as weights of other rows are compared with them;
        by default they are divided by a power of two.
    """
    if sample_weight is None:
        return None
    with errors_about("sample_weight"):
        weight = _check_sample_weight(
            sample_weight,
            X,
            dtype=np.float64,
            ensure_non_negative=True,
            allow_all_zero_weights=processes_in_use().are_several,
        )
    return weight if as_given else well_scaled(weight)


@contextmanager
def errors_about(name: str) -> Iterator[None]:
    """Have errors say what they are about: some of numpy and scikit-learn tell the value alone.

    Parameters
    ----------
    name : str
        What the user knows it by.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        if re.search(rf"\b{name.replace('_', '[ _]')}(\b|s\b|_)", str(error), re.IGNORECASE):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


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
