"""Keeping the fit of an estimator, and resuming it, where a callback asks for that."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sksae.base.fit_identity import description_of
from sksae.model.numbers import Matrix
from sksae.model.tasks import State
from sksae.process.files import checked_path, remove_old_drafts
from sksae.process.processes import processes_in_use
from sksae.training.checkpoint import TrainingJournal, keep_trainings
from sksae.training.checkpoint_file import (
    Contents,
    check_same_fit,
    fingerprint,
    read_checkpoint,
    write_checkpoint,
)

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
    *targets: np.ndarray | None,
    goes_on_from: object = None,
    in_pieces: bool = False,
) -> Iterator[int | np.random.RandomState | None]:
    """Keep the trainings of a fit where a callback asks for it, and resume them.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    *targets : ndarray or None
        What else the fit depends on: targets and weights of rows.
    goes_on_from : object, optional
        What was learnt before and is taken as it is.
    in_pieces : bool, default=False
        Whether rows are a piece of all, for which no checkpoint is kept.

    Yields
    ------
    draws : int, RandomState or None
        What the fit is to draw from: what the estimator has, as it was when the fit began.
    """
    random_state, processes = estimator.random_state, processes_in_use()
    # Of several processes the first one keeps the fit, and reads for all.
    checkpoint = None if in_pieces else processes.of_first(keeping_of(estimator))
    if checkpoint is None:
        yield random_state
        return
    fit = description_of(estimator, X, targets, goes_on_from)
    path = checked_path(os.fspath(checkpoint.path).replace(NAME_OF_FIT, fingerprint(fit)))
    drawn_from = check_random_state(random_state).get_state(legacy=True)
    contents = None
    if processes.is_first:
        remove_old_drafts(path)
        if checkpoint.resume and path.exists():
            contents = read_checkpoint(path)
            check_same_fit(path, fit, contents.fit)
            if estimator.verbose:
                print(f"Resumed from {str(path)!r}", flush=True)
    contents, known = processes.of_first(contents), State()
    if contents is not None:
        known, drawn_from = contents.state, tuple(contents.random_state)
        # The user's own generator goes on as it did then; that of all of numpy is left alone.
        if not isinstance(random_state, np.random.RandomState):
            random_state = np.random.RandomState()
        random_state.set_state(drawn_from)

    def write(state: State) -> None:
        if not processes.is_first:
            return
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
