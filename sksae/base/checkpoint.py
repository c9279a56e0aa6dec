"""A callback that keeps where a fit stands, so that it can be resumed after it was interrupted."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, check_scalar

from sksae.base.protocols import has_network
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


class Checkpoint:
    """Keeps where a fit stands in a file, from which a fit that was killed can be resumed.

    A callback of scikit-learn's protocol: ``estimator.set_callbacks(Checkpoint(path))``, of a
    `SparseAutoencoderTransformer`, `StackedSparseAutoencoder`, `SparseAutoencoderClassifier` or
    `SparseAutoencoderRegressor`, alone or as a step of a pipeline. With ``resume=True`` the very
    same fit goes on from the file, to the same bits as if it had never been interrupted, on the
    same kind of machine with the same number of threads. All that training depends on is kept: the
    solver's state, the schedule, the order of rows, noise, the memory of early stopping, where
    ``beta="auto"`` stands, and for how long units have been idle; of a stack also the members that
    are trained.

    ``partial_fit`` is too short to be kept: there save the estimator between two calls.

    Parameters
    ----------
    path : str or path
        Of the file, in a folder that exists. ``"{fit}"`` in it stands for 16 characters which
        differ between fits with other parameters or rows: with it each fit of a search has a file
        of its own, and a search that was killed passes over fits that had ended. Files are not
        removed when a fit has ended.
    every : int, default=10
        After how many epochs the file is written, iterations for ``solver="lbfgs"``; at least 1.
        It is written at the end of each training, too.
    keep : int, default=1
        How many files there are to be at most, at least 1: the newest at ``path``, the one before
        at ``path`` with ".1", and so on.
    resume : bool, default=False
        Whether to go on from the file if there is one. A fit that had ended is not trained again.
        Otherwise the fit begins anew, and the file is replaced.

    Raises
    ------
    ValueError
        If ``every`` or ``keep`` is less than 1. From ``fit`` with ``resume=True``: if the file is
        damaged, or of a fit with other parameters, rows or targets. The message says in what they
        differ. ``verbose``, ``device`` and parameters that only ``transform`` reads may differ.
    OSError
        From ``fit``: if the file cannot be written. What it held before is still there.
    TypeError
        If a parameter is of another type. From ``fit``: if the estimator is another one.

    Notes
    -----
    The file is an ``.npz`` of numpy, whatever its name; reading it runs no code. It is first
    written under another name, then given its own: killed at any moment, there is a whole file. It
    takes about as much room as a pickle of the estimator; with ``solver="lbfgs"`` up to 100 times
    as much as the weights, in float64, 128 MB at most.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from sklearn.datasets import load_digits
    >>> from sksae import Checkpoint, SparseAutoencoderTransformer
    >>> X = load_digits().data
    >>> path = Path(mkdtemp()) / "digits.checkpoint"
    >>> sae = SparseAutoencoderTransformer(32, max_iter=20, tol=0, random_state=0)
    >>> sae = sae.set_callbacks(Checkpoint(path, every=5, resume=True)).fit(X)
    >>> path.exists()
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 10,
        keep: int = 1,
        resume: bool = False,
    ) -> None:
        for name, number in (("every", every), ("keep", keep)):
            check_scalar(number, name, Integral, min_val=1)
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a str or a path, got {path!r}.")
        if not isinstance(resume, (bool, np.bool_)):
            raise TypeError(f"resume must be a bool, got {resume!r}.")
        self.path, self.every, self.keep, self.resume = path, every, keep, resume

    def __repr__(self) -> str:
        return (
            f"Checkpoint({os.fspath(self.path)!r}, every={self.every}, keep={self.keep}, "
            f"resume={self.resume})"
        )

    def setup(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Hear of a fit that is about to begin; raise if it cannot be kept."""
        if not has_network(estimator):
            raise TypeError(
                "A Checkpoint keeps the fit of a sparse autoencoder, or of a stack, classifier or "
                f"regressor of them, not of {type(estimator).__name__}: set it on the step of the "
                "pipeline, or on the estimator of the search."
            )

    def on_fit_task_begin(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Hear of nothing that it needs: what is kept comes from the training itself."""

    def on_fit_task_end(self, estimator: BaseEstimator, context: CallbackContext) -> bool:
        """Return that training goes on."""
        return False

    def teardown(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Hear that the fit has ended."""


@contextmanager
def checkpointed(
    estimator: BaseEstimator,
    X: Matrix,
    *targets: object,
    n_before: int = 0,
    in_pieces: bool = False,
) -> Iterator[int | np.random.RandomState | None]:
    """Keep the trainings of a fit where the estimator has a `Checkpoint`, and resume them.

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
    checkpoint = None if in_pieces else checkpoint_of(estimator)
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


def checkpoint_of(estimator: BaseEstimator) -> Checkpoint | None:
    """Return the checkpoint that is set on an estimator, if there is one.

    Raises
    ------
    ValueError
        If there are several: one could not be resumed with the other.
    """
    callbacks = getattr(estimator, "_skl_callbacks", None) or []
    found = [each for each in callbacks if isinstance(each, Checkpoint)]
    if len(found) > 1:
        raise ValueError(f"An estimator can have one Checkpoint, got {len(found)}: keep one.")
    return found[0] if found else None


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
