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
from sksae.model.slices import chunk_slices
from sksae.process.processes import processes_in_use
from sksae.training.moments import count_rows
from sksae.training.specification import READ_WITH

# Parameters that may differ. How a member is read does not belong to them: the next member, and
# the layer on top, are trained on what is read.
FREE = {"data_parallel", "device", "verbose"}
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
    processes = processes_in_use()
    # Of one process too, as the fit may go on in another number of them.
    is_shared = processes.are_several or getattr(estimator, "data_parallel", False)
    checksum = checksum_of_rows if is_shared else checksum_of
    return {
        "the estimator": type(estimator).__name__,
        "the number of rows": str(count_rows(X, None)),
        "the number of features": str(X.shape[1]),
        **_described(estimator.get_params()),
        "what was learnt before (warm_start, members that are not trained)": (
            "nothing" if goes_on_from is None else f"of checksum {joblib.hash(goes_on_from)}"
        ),
        "the checksum of X, y and sample_weight": checksum(X, *targets),
    }


def described_alike(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as text, those that processes must have alike to fit one model.

    Random states are not among them: the first process draws for all.
    """
    described = {}
    for name, value in sorted(params.items()):
        if name.rpartition("__")[2] in FREE:
            continue
        if isinstance(value, np.random.RandomState):
            described[name] = "a RandomState"
            continue
        try:
            described[name] = _text_of(value)
        except Exception:  # what cannot be written cannot be compared
            described[name] = type(value).__name__
    return described


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


def checksum_of_rows(X: Matrix, *targets: np.ndarray | None) -> str:
    """Return a checksum of the rows of all processes, whoever has them and in whatever order.

    It is the sum of a number for each row: of its entries as whole numbers, times constants.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows of this process.
    *targets : ndarray or None
        Of as many rows each; or the indices of some of them, which alone have one dimension and
        are of numpy's type for indices.
    """
    n_rows, total = X.shape[0], 0
    beside = []
    for each in targets:
        if each is not None and each.dtype == np.intp and each.ndim == 1:
            each = np.isin(np.arange(n_rows), each)
        if each is not None:
            beside.append(each.reshape(n_rows, -1))
    for which in chunk_slices(n_rows, X.shape[1]):
        rows = X[which] if isinstance(X, np.ndarray) else X[which].toarray()
        total += _sum_of_rows(np.hstack([rows, *(each[which] for each in beside)]))
    return f"{sum(processes_in_use().gathered(total)) % 2**64:016x}"


def _sum_of_rows(rows: np.ndarray) -> int:
    """Return the sum of a number for each row, not of its entries alone but of where they stand."""
    # A zero has no sign.
    whole = np.ascontiguousarray(rows.astype(np.float64) + 0.0).view(np.uint64)
    factors = np.random.default_rng(0).integers(2**63, size=whole.shape[1], dtype=np.uint64)
    found = ((whole ^ (whole >> np.uint64(29))) * (2 * factors + 1)).sum(axis=1, dtype=np.uint64)
    # So that the sum over rows is not one of entries.
    found = (found ^ (found >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return int((found ^ (found >> np.uint64(32))).sum(dtype=np.uint64))


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
