"""Cases of fits in several processes of which one fails; see `data_parallel`."""

import os
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from data_parallel import attributes_of, dealt, digest_of, labels_of, make_rows, members, sae
from scipy.sparse import csr_array

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor

FOLDER = "SKSAE_ENDED"
LONGER_THAN_TIMEOUT = 22.0


class Fails:
    """A callback that raises in one process after an epoch."""

    def __init__(self, error):
        self.error, self.n = error, 0

    max_propagation_depth = 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, *args, **kwargs):
        pass

    def on_fit_task_end(self, *args, **kwargs):
        self.n += 1
        if isinstance(self.error, Exception) and self.n == 2:
            raise self.error
        return self.error == "stop"

    def teardown(self, estimator, context):
        pass


def rows_of(rank, size):
    return make_rows()[dealt(rank, size)]


def attempt(model, *args, **kwargs):
    """Return what a fit raises, how long it took, and whether the model is as before."""
    start = time.monotonic()
    try:
        model.fit(*args, **kwargs)
    except BaseException as error:
        return type(error).__name__, str(error), time.monotonic() - start, attributes_of(model)
    return "", "", time.monotonic() - start, {}


def parameters(rank, size):
    model = sae(n_components=12 + rank, rho=0.1 if rank else 0.2, data_parallel=True)
    return attempt(model, rows_of(rank, size))


def members_differ(rank, size):
    model = SparseAutoencoderClassifier(members(rho=0.1 + 0.1 * rank), data_parallel=True)
    X = rows_of(rank, size)
    return attempt(model, X, labels_of(X))


def invalid(rank, size):
    return attempt(sae(n_components=12 if rank else -1, data_parallel=True), rows_of(rank, size))


def columns(rank, size):
    return attempt(sae(data_parallel=True), rows_of(rank, size)[:, : 10 - rank])


def dtypes(rank, size):
    X = rows_of(rank, size)
    return attempt(sae(data_parallel=True), X.astype(np.float32) if rank else X)


def kinds(rank, size):
    X = rows_of(rank, size)
    return attempt(sae(data_parallel=True), csr_array(X) if rank else X)


def names(rank, size):
    import pandas as pd

    X = pd.DataFrame(rows_of(rank, size), columns=[f"f{each + rank}" for each in range(10)])
    return attempt(sae(data_parallel=True), X)


def weighted(rank, size):
    X = rows_of(rank, size)
    return attempt(sae(data_parallel=True), X, sample_weight=np.ones(len(X)) if rank else None)


def missing(rank, size):
    X = rows_of(rank, size)
    if rank == 1:
        X[3, 4] = np.nan
    return attempt(sae(data_parallel=True), X)


def nobody(rank, size):
    return attempt(sae(data_parallel=True), make_rows()[:0])


def outputs(rank, size):
    X = rows_of(rank, size)
    y = X[:, :2] if rank else X[:, 0]
    return attempt(SparseAutoencoderRegressor(members(), data_parallel=True), X, y)


def warned(rank, size):
    """A warning is an error in the one process that gives it, at the end of the fit."""
    warnings.simplefilter("error" if rank == 0 else "ignore")
    try:
        return attempt(sae(data_parallel=True), rows_of(rank, size))
    finally:
        warnings.simplefilter("always")


def callback(rank, size):
    model = sae(data_parallel=True, max_iter=50)
    model.set_callbacks(Fails(OSError("disk full") if rank == 1 else None))
    return attempt(model, rows_of(rank, size))


def stop(rank, size):
    model = sae(data_parallel=True, max_iter=50)
    model.set_callbacks(Fails("stop" if rank == 1 else None))
    found = attempt(model, rows_of(rank, size))
    return *found[:3], getattr(model, "n_iter_", None)


def interrupted(rank, size):
    if rank == 1:
        timer = threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT))
        timer.start()
    return attempt(sae(data_parallel=True, max_iter=10**6), rows_of(rank, size))


def afterwards(rank, size):
    """All that went wrong before leaves nothing behind."""
    model = sae(data_parallel=True)
    return *attempt(model, rows_of(rank, size))[:3], getattr(model, "loss_", None)


def started_apart(rank, size):
    """Each process goes on from another model."""
    model = sae(warm_start=True, random_state=rank).fit(make_rows())
    model.set_params(data_parallel=True, random_state=0)
    before = model.loss_
    found = attempt(model, rows_of(rank, size))
    return *found[:3], {} if model.loss_ == before else {"loss_": model.loss_}


def reason(rank, size, method="fit", **params):
    """Return what a fit raises, how long it took, and a checksum of what was fitted."""
    start, model = time.monotonic(), sae(data_parallel=True, **params)
    try:
        getattr(model, method)(rows_of(rank, size))
    except Exception as error:
        return type(error).__name__, str(error), time.monotonic() - start, ""
    return "", "", time.monotonic() - start, digest_of(model)


def absent(rank, size):
    """One process does not call fit until the others give up; then all do."""
    found = None
    if rank == 1:
        time.sleep(LONGER_THAN_TIMEOUT)
    else:
        found = reason(rank, size)
    return found, reason(rank, size)


def swapped(rank, size):
    """Two fits are called in other orders, and then one by all."""
    order = (12, 13, 14) if rank == 0 else (13, 12, 14)
    return [reason(rank, size, n_components=each) for each in order]


def pieces(rank, size):
    """One gives a piece where the other one fits."""
    return reason(rank, size, "partial_fit" if rank else "fit")


def endless(rank, size):
    """Fit until another process is killed; write what is raised, and end without a word."""
    folder = Path(os.environ[FOLDER])
    (folder / f"begun {rank}").touch()
    kind, text, *_ = attempt(sae(data_parallel=True, max_iter=10**6), rows_of(rank, size))
    (folder / f"ended {rank}").write_text(f"{kind}: {text}")
    os._exit(0)


CASES = {
    "parameters": parameters,
    "members": members_differ,
    "invalid": invalid,
    "columns": columns,
    "dtypes": dtypes,
    "kinds": kinds,
    "names": names,
    "weighted": weighted,
    "missing": missing,
    "nobody": nobody,
    "outputs": outputs,
    "warned": warned,
    "callback": callback,
    "stop": stop,
    "interrupted": interrupted,
    "started apart": started_apart,
    "swapped": swapped,
    "pieces": pieces,
    "afterwards": afterwards,
}
AS_A_WHOLE = list(CASES)
CASES |= {"endless": endless, "absent": absent}
