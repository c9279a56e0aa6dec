"""A callback that keeps where a fit stands, so that it can be resumed after it was interrupted."""

import os
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext
from sklearn.utils import check_scalar

from sksae.base.checkpoint import Keeping
from sksae.base.protocols import is_trained_here


class Checkpoint:
    """Keeps where a fit stands in a file, from which a fit that was killed can be resumed.

    A callback of scikit-learn's protocol: ``estimator.set_callbacks(Checkpoint(path))``, of a
    `SparseAutoencoderTransformer`, `StackedSparseAutoencoder`, `SparseAutoencoderClassifier`,
    `SparseAutoencoderRegressor` or `SparseAttentionEncoder`, alone or as a step of a pipeline. With
    ``resume=True`` the very same fit goes on from the file, to the same bits as if it had never
    been interrupted, on the same kind of machine with the same number of threads. All that training
    depends on is kept: the solver's state, the schedule, the order of rows, noise, the memory of
    early stopping, where ``beta="auto"`` stands, and for how long units have been idle; of a stack
    also the members that are trained.

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
        Whether to go on from the file if there is one; with ``verbose`` a line says so. A fit that
        had ended is not trained again. Otherwise the fit begins anew, and the file is replaced.

    Raises
    ------
    ValueError
        If ``every`` or ``keep`` is less than 1. From ``fit`` with ``resume=True``: if the file is
        damaged, or of a fit with other parameters, rows, targets, or networks that it goes on from
        (``warm_start``, members that are not trained). The message says in what they differ.
        ``verbose``, ``device`` and the estimator's own parameters that only ``transform`` reads
        may differ. From any ``fit``: if pickle cannot write a parameter of a class of your own.
    OSError
        From ``fit``: if the file cannot be written. What it held before is still there.
    TypeError
        If a parameter is of another type. From ``fit``: if the estimator is another one.

    Notes
    -----
    The file is an ``.npz`` of numpy, whatever its name; reading it runs no code. It is first
    written under another name, then given its own: killed at any moment, there is a whole file.
    What a killed process has left under the other name is removed by a fit an hour later or more.

    Where ``random_state`` is None or a RandomState, the file says from where the fit draws: a
    resumed fit draws the same numbers, and leaves the RandomState as a whole fit would.

    The file takes about as much room as a pickle of the estimator. With ``solver="lbfgs"`` it also
    holds the pairs by which the solver knows the curvature: up to 200 vectors as long as all
    parameters, in float64, as many as 128 MB hold, but 16 at least.

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
        """Hear of a fit that is about to begin.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Of the fit.

        Raises
        ------
        TypeError
            If its fit cannot be kept.
        """
        if not is_trained_here(estimator):
            raise TypeError(
                "A Checkpoint keeps the fit of a sparse autoencoder, or of a stack, classifier or "
                f"regressor of them, not of {type(estimator).__name__}: set it on the step of the "
                "pipeline, or on the estimator of the search."
            )

    def on_fit_task_begin(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Hear of nothing that it needs: what is kept comes from the training itself.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Of the task.
        """

    def on_fit_task_end(self, estimator: BaseEstimator, context: CallbackContext) -> bool:
        """Let training go on.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Of the task.

        Returns
        -------
        stop : bool
            False.
        """
        return False

    def teardown(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Hear that the fit has ended.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : CallbackContext
            Of the fit.
        """

    def __sksae_checkpoint__(self) -> Keeping:
        """Return how the fit is to be kept."""
        return Keeping(self.path, self.every, self.keep, self.resume)
