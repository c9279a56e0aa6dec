"""Cases of fits in several processes that are kept by a Checkpoint; see `data_parallel`."""

import contextlib
import os
from pathlib import Path

import numpy as np
from data_parallel import TOPK, attributes_of, dealt, digest_of, labels_of, make_rows, members, sae

from sksae import Checkpoint, SparseAutoencoderClassifier

FOLDER = "SKSAE_KEPT"
EPOCHS = 8
KINDS = {
    "kl": {"shuffle": True},
    "topk": TOPK | {"shuffle": True},
    "l1 auto": {"sparsity": "l1", "beta": "auto", "n_components": 40, "max_iter": 20},
    "lbfgs": {"solver": "lbfgs", "early_stopping": True},
}


class Dies:
    """A callback that raises after some epochs, in the first process."""

    max_propagation_depth = 0

    def __init__(self, n_epochs):
        self.n_left = n_epochs

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, *args, **kwargs):
        pass

    def on_fit_task_end(self, *args, **kwargs):
        self.n_left -= 1
        if self.n_left == 0:
            raise InterruptedError
        return False

    def teardown(self, estimator, context):
        pass


def path_of(kind):
    return Path(os.environ[FOLDER]) / f"{kind}.checkpoint"


def make(kind, **params):
    if kind == "classifier":
        return SparseAutoencoderClassifier(
            members(), data_parallel=True, random_state=1, max_iter=EPOCHS, tol=0.0, **params
        )
    return sae(data_parallel=True, **({"max_iter": EPOCHS} | KINDS[kind] | params))


def fit(model, kind, rank, size):
    X, own = make_rows(), dealt(rank, size)
    return model.fit(X[own], labels_of(X)[own]) if kind == "classifier" else model.fit(X[own])


def resumed(kind):
    """Return a case that dies, and goes on: what it comes to, and what one that never died did."""

    def case(rank, size):
        whole = digest_of(fit(make(kind), kind, rank, size))
        model = make(kind)
        callbacks = [Dies(5)] if rank == 0 else []
        model.set_callbacks(Checkpoint(path_of(kind), every=2), *callbacks)
        with contextlib.suppress(InterruptedError, RuntimeError):
            fit(model, kind, rank, size)
        # The last one need not ask: the first one reads for all.
        model = make(kind)
        if rank == 0:
            model.set_callbacks(Checkpoint(path_of(kind), resume=True, every=100))
        fit(model, kind, rank, size)
        return whole, digest_of(model), model.n_iter_

    return case


def begun(rank, size):
    """Fit half of the epochs, and keep them for another number of processes."""
    model = make("kl", max_iter=EPOCHS)
    model.set_callbacks(Checkpoint(path_of("of other number"), every=1))
    if rank == 0:
        model.set_callbacks(Checkpoint(path_of("of other number"), every=1), Dies(5))
    with contextlib.suppress(InterruptedError, RuntimeError):
        fit(model, "kl", rank, size)


def ended(rank, size):
    """Go on with that."""
    model = make("kl", max_iter=EPOCHS)
    model.set_callbacks(Checkpoint(path_of("of other number"), resume=True))
    fit(model, "kl", rank, size)
    return digest_of(model), attributes_of(model)["loss_curve_"], model.loss_


def other_rows(rank, size):
    """Go on with other rows, which is refused."""
    model = make("kl", max_iter=EPOCHS)
    model.set_callbacks(Checkpoint(path_of("of other number"), resume=True))
    X = make_rows()
    X[0, 0] = np.nextafter(X[0, 0], np.inf)
    try:
        model.fit(X[dealt(rank, size)])
    except (ValueError, RuntimeError) as error:
        return str(error)


CASES = {f"resumed {kind}": resumed(kind) for kind in [*KINDS, "classifier"]}
CASES |= {"begun": begun, "ended": ended, "other rows": other_rows}
