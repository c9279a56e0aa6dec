"""Fits on workers of Ray, for the tests of these: what is fitted, and workers that fail."""

import os
import signal
import time
from pathlib import Path

import data_parallel_faults
import numpy as np
from data_parallel import (
    digest_of,
    labels_of,
    make_rows,
    members,
    numbers_of,
    sae,
    weights,
)
from scipy.sparse import csr_array

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    StackedSparseAutoencoder,
)
from sksae.model.slices import equal_slices

NAMES = [f"f{each}" for each in range(10)]
FEW = {"max_iter": 3, "tol": 0.0, "random_state": 5}


def frame():
    import pandas as pd

    # The other order of entries in memory gives other bits.
    return pd.DataFrame(make_rows(), columns=NAMES, copy=False)


def sparse():
    X = make_rows()
    return csr_array(np.where(np.abs(X - 3.0) < 0.3, 0.0, X))


def data_of(kind):
    """Return an estimator, its rows, and targets and weights by name."""
    X = make_rows()
    if kind == "classifier":
        return SparseAutoencoderClassifier(members(), **FEW), frame(), {"y": labels_of(X)}
    if kind == "classifier without names":
        return SparseAutoencoderClassifier(members(), **FEW), X, {"y": labels_of(X)}
    if kind == "regressor":
        rest = {"y": numbers_of(X), "sample_weight": weights()}
        return SparseAutoencoderRegressor(members(), **FEW), sparse(), rest
    if kind == "stack":
        return StackedSparseAutoencoder(members(), **FEW), X.astype(np.float32), {}
    return sae(shuffle=True), X, {}


KINDS = ("transformer", "classifier", "classifier without names", "regressor", "stack")


def by_hand(kind):
    """Return a case of `data_parallel`: each process takes rows that lie side by side."""

    def case(rank, size):
        model, X, rest = data_of(kind)
        own = equal_slices(X.shape[0], size)[rank]
        rest = {name: each[own] for name, each in rest.items()}
        model.set_params(data_parallel=size > 1)
        return digest_of(model.fit(X[own], **rest))

    return case


CASES = {kind: by_hand(kind) for kind in KINDS}


class Fails(data_parallel_faults.Fails):
    """A callback that lets one worker fail after the second epoch.

    Parameters
    ----------
    how : str
        "raise", "kill" or "hang"; or "go on", to leave the file alone.
    rank : int
        Which worker.
    once : path or None
        A file that is there when it has happened, and then does not happen again.
    """

    def __init__(self, how, rank, once=None):
        super().__init__(None)
        self.how, self.rank, self.once = how, rank, once

    def on_fit_task_end(self, *args, **kwargs):
        self.n += 1
        if self.n != 2 or int(os.environ["RANK"]) != self.rank:
            return False
        if self.once is not None:
            if Path(self.once).exists():
                return False
            Path(self.once).touch()
        if self.how == "go on":
            return False
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hang":
            time.sleep(3600)
        raise FloatingPointError("the callback has had enough")
