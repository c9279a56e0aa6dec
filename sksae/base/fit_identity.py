"""What tells the fit of an estimator from others, as text by name."""

import pickle
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from sksae.model.numbers import Matrix
from sksae.training.specification import READ_WITH

# Parameters that may differ. How a member is read does not belong to them: the next member, and
# the layer on top, are trained on what is read.
FREE = {"device", "verbose"}
OWN_RANDOM_STATE = "random_state"
BLOCK_BYTES = 2**24


def description_of(
    estimator: BaseEstimator,
    X: Matrix,
    targets: tuple[np.ndarray | None, ...],
    goes_on_from: object,
) -> dict[str, str]:
    """Return what tells a fit from others, by name.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    targets : tuple of ndarray or None
        Targets and weights of rows.
    goes_on_from : object
        What was learnt before and is taken as it is; None if nothing was.

    Raises
    ------
    ValueError
        If a parameter, of a class of the user's own, cannot be told from others.
    """
    return {
        "the estimator": type(estimator).__name__,
        "the number of rows": str(X.shape[0]),
        "the number of features": str(X.shape[1]),
        **_described(estimator.get_params()),
        "what was learnt before (warm_start, members that are not trained)": (
            "nothing" if goes_on_from is None else f"of checksum {joblib.hash(goes_on_from)}"
        ),
        "the checksum of X, y and sample_weight": checksum_of(X, *targets),
    }


def _described(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as text, those that a fit goes by."""
    described = {}
    for name, value in sorted(params.items()):
        if name in READ_WITH or name.rpartition("__")[2] in FREE:
            continue
        if name == OWN_RANDOM_STATE and isinstance(value, np.random.RandomState):
            described[name] = "a RandomState"  # what it was is in the file
            continue
        try:
            described[name] = _text_of(value)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                "With a Checkpoint each parameter must be something that pickle can write, so that "
                f"fits can be told apart, got {name}={value!r}."
            ) from error
    return described


def _text_of(value: object) -> str:
    """Return a parameter as text, the same in every process."""
    if value is None or isinstance(value, (bool, int, float, str, Path)):
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, BaseEstimator):
        return type(value).__name__  # its parameters have names of their own
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text_of, value))}]"
    if isinstance(value, dict):
        entries = sorted(f"{_text_of(key)}: {_text_of(each)}" for key, each in value.items())
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, np.random.RandomState):
        return f"RandomState {joblib.hash(value.get_state())}"
    return f"{type(value).__name__} {joblib.hash(value)}"


def checksum_of(*matrices: Matrix | None) -> str:
    """Return a checksum of entries, dtypes and shapes, however they lie in memory."""
    digest = blake2b(digest_size=16)
    for matrix in matrices:
        for array in _arrays_of(matrix):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for block in _blocks(array):
                digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _arrays_of(matrix: Matrix | None) -> list[np.ndarray]:
    if matrix is None:
        return [np.empty(0)]
    if not isinstance(matrix, sp.csr_array | sp.csr_matrix):
        return [matrix]
    return [matrix.data, *(each.astype(np.int64) for each in (matrix.indices, matrix.indptr))]


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Go over an array by rows: one that is not contiguous is copied, but never as a whole."""
    n_rows = max(1, BLOCK_BYTES * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), n_rows):
        yield array[start : start + n_rows]
