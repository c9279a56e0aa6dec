"""Keeping the fit of an estimator, and resuming it, where a callback asks for that."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state

from sksae.model.numbers import Matrix
from sksae.model.tasks import State
from sksae.process.files import checked_path
from sksae.training.checkpoint import TrainingJournal, keep_trainings
from sksae.training.checkpoint_file import (
    Contents,
    check_same_fit,
    fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from sksae.training.specification import READ_WITH

# Parameters that may differ between a fit and the one that resumes it.
FREE = {"device", "verbose", *READ_WITH}
NAME_OF_FIT = "{fit}"


class Keeping(NamedTuple):
    """How a fit is to be kept; `sksae.Checkpoint` says what each means."""

    path: str | os.PathLike[str]
    every: int
    keep: int
    resume: bool


@contextmanager
def checkpointed(
    estimator: BaseEstimator,
    X: Matrix,
    *targets: object,
    n_before: int = 0,
    in_pieces: bool = False,
) -> Iterator[int | np.random.RandomState | None]:
    """Keep the trainings of a fit where a callback asks for it, and resume them.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    *targets : object
        What else the fit depends on: targets and weights of rows.
    n_before : int, default=0
        Epochs of the fits that it goes on from.
    in_pieces : bool, default=False
        Whether rows are a piece of all, for which no checkpoint is kept.

    Yields
    ------
    draws : int, RandomState or None
        What the fit is to draw from: the estimator's own, as it was when the fit began.
    """
    random_state = estimator.random_state
    checkpoint = None if in_pieces else keeping_of(estimator)
    if checkpoint is None:
        yield random_state
        return
    fit = description_of(estimator, X, targets, n_before)
    path = checked_path(os.fspath(checkpoint.path).replace(NAME_OF_FIT, fingerprint(fit)))
    drawn_from = check_random_state(random_state).get_state(legacy=True)
    known: State = {}
    if checkpoint.resume and path.exists():
        contents = read_checkpoint(path)
        check_same_fit(path, fit, contents.fit)
        known, drawn_from = contents.state, tuple(contents.random_state)
        random_state = np.random.RandomState()
        random_state.set_state(drawn_from)

    def write(state: State) -> None:
        plain = [each.tolist() if isinstance(each, np.ndarray) else each for each in drawn_from]
        write_checkpoint(path, Contents(fit, plain, state), checkpoint.keep)

    with keep_trainings(TrainingJournal(write, checkpoint.every, known)):
        yield random_state


def keeping_of(estimator: BaseEstimator) -> Keeping | None:
    """Return how the fit of an estimator is to be kept, if a callback asks for it.

    Raises
    ------
    ValueError
        If several do: one could not be resumed with the other.
    """
    callbacks = getattr(estimator, "_skl_callbacks", None) or []
    found = [each for each in callbacks if hasattr(type(each), "__sksae_checkpoint__")]
    if len(found) > 1:
        raise ValueError(f"An estimator can have one Checkpoint, got {len(found)}: keep one.")
    return found[0].__sksae_checkpoint__() if found else None


def description_of(
    estimator: BaseEstimator, X: Matrix, targets: object, n_before: int
) -> dict[str, str]:
    """Return what tells a fit from others, by name.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    targets : object
        Targets and weights of rows.
    n_before : int
        Epochs of the fits that it goes on from.
    """
    return {
        "the estimator": type(estimator).__name__,
        "the number of rows": str(X.shape[0]),
        "the number of features": str(X.shape[1]),
        **_described(estimator.get_params()),
        "the number of epochs before (warm_start)": str(n_before),
        "the checksum of X, y and sample_weight": joblib.hash((X, targets), coerce_mmap=True),
    }


def _described(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as text, those that a fit goes by."""
    return {
        name: _text_of(value)
        for name, value in sorted(params.items())
        if name.rpartition("__")[2] not in FREE
    }


def _text_of(value: object) -> str:
    """Return a parameter as text, the same in every process."""
    if isinstance(value, FrozenEstimator):
        return f"{type(value).__name__} {joblib.hash(value)}"
    if isinstance(value, BaseEstimator):
        return type(value).__name__
    if isinstance(value, np.random.RandomState):
        return "a RandomState"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text_of, value))}]"
    if isinstance(value, np.generic):
        return repr(value.item())
    if value is None or isinstance(value, (bool, int, float, str, Path)):
        return repr(value)
    return f"{type(value).__name__} {joblib.hash(value)}"
