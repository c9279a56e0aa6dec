"""What must hold whatever is given: finite results of the right form, or errors with a cause."""

import re
import signal
import threading
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp

# Seconds of the processor, and of the clock: a busy machine makes nothing a hang.
MOST_WORK, MOST_TIME = 20, 200


class Hang(BaseException):
    """Beyond the time that anything may take; no code takes it for an error of its own."""


@contextmanager
def watchdog():
    """Raise where the time is over that an example may take."""
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and hasattr(signal, "setitimer")):
        yield
        return

    def bark(number, frame):
        raise Hang(f"more than {MOST_WORK} s of work, or {MOST_TIME} s")

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, MOST_WORK),
        signal.SIGALRM: (signal.ITIMER_REAL, MOST_TIME),
    }
    before = {number: signal.signal(number, bark) for number in timers}
    for which, seconds in timers.values():
        signal.setitimer(which, seconds)
    try:
        yield
    finally:
        for number, (which, _) in timers.items():
            signal.setitimer(which, 0)
            signal.signal(number, before[number])


# What was given, and what a model holds.


def content(value):
    """Return a hash of what a container holds, and of how; one that is changed has another."""
    if sp.issparse(value):
        parts = [getattr(value, name, None) for name in ("data", "indices", "indptr", "rows")]
        return joblib.hash([type(value).__name__, value.shape, value.toarray(), *parts])
    if isinstance(value, pl.DataFrame | pl.Series):
        dtypes = value.dtype if isinstance(value, pl.Series) else value.dtypes
        return joblib.hash([str(dtypes), value.to_numpy()])
    if isinstance(value, pd.DataFrame | pd.Series):
        return joblib.hash([value.to_numpy(), list(value.axes[-1]), str(value.dtypes)])
    if isinstance(value, np.ndarray):
        return joblib.hash([np.array(value), str(value.dtype), value.flags.writeable])
    return joblib.hash(value)


def state_of(model):
    """Return what a model holds: which objects, by name, and a hash of them all."""
    return {name: id(value) for name, value in vars(model).items()}, joblib.hash(vars(model))


def check_same(before, after, when=""):
    """Assert that both states of a model are one."""
    names = before[0].keys() | after[0].keys()
    changed = [name for name in names if before[0].get(name) != after[0].get(name)]
    assert after == before, f"{changed or 'values'} of the model are others{when}"


@contextmanager
def unchanged(model):
    """Assert that a model holds the same as before."""
    before = state_of(model)
    yield
    check_same(before, state_of(model))


def float_of(values):
    """Return the precision in which rows are worked on."""
    dtype = getattr(values, "dtype", None)
    if isinstance(values, pd.DataFrame | pl.DataFrame):
        dtype = np.result_type(*(np.asarray(values[name]) for name in values.columns))
    return np.float32 if dtype == np.float32 else np.float64


# Errors.


def named_in(model):
    """Return a pattern of what an error may name: what a user has given."""
    names = {name.rpartition("__")[2] for name in model.get_params()}
    return rf"\b({'|'.join(sorted(names))}|X|y|y_true|sample_weight|Sample weights|classes)\b"


@contextmanager
def refusable(model, refused):
    """Let an error pass that names what is wrong; its text is added to a list."""
    try:
        yield
    except (ValueError, TypeError) as error:
        refused.append(str(error))
        is_named = re.search(named_in(model), str(error))
        if not is_named:
            raise AssertionError(f"what is wrong is not named: {error!r}") from error


@contextmanager
def refusable_fit(model, refused):
    """Let such an error of a fit pass if it leaves the model as it was."""
    before, n_refused = state_of(model), len(refused)
    with refusable(model, refused):
        yield
    if len(refused) > n_refused:
        check_same(before, state_of(model), f" after {refused[-1]}")


# Results.


def assert_finite(value, what):
    found = value.data if sp.issparse(value) else np.asarray(value)
    assert found.dtype == object or np.isfinite(found).all(), f"{what} is not finite"


def check_fitted(model, n_features):
    """Assert that fitted attributes are finite and fit together; return the width of codes."""
    assert model.n_features_in_ == n_features
    members = getattr(model, "autoencoders_", [model])
    for one in members:
        for name in ("coefs_", "intercepts_"):
            for array in getattr(one, name):
                assert_finite(array, name)
        for name in ("mean_", "scale_", "loss_", "loss_curve_", "mean_activation_", "alpha_"):
            assert_finite(getattr(one, name), name)
        for name in ("active_share_", "largest_activation_", "row_sparsity_"):
            assert_finite(getattr(one, name), name)
        assert one.scale_ > 0.0
        assert len(one.loss_curve_) == one.n_iter_
        assert one.coefs_[0].shape[0] == one.n_features_in_
        assert one.mean_activation_.shape == (one.get_feature_names_out().size,)
        if hasattr(one, "components_"):
            assert_finite(one.components_, "components_")
    for name in ("loss_", "loss_curve_", "coef_", "intercept_", "row_sparsity_"):
        assert_finite(getattr(model, name, 0.0), name)
    width = len(model.get_feature_names_out())
    assert members[-1].coefs_[len(members[-1].coefs_) // 2].shape[0] == width
    return width


def check_work(model, X, y, weight, n_rows, refused):
    """Assert that what all methods make of rows is finite and of the right form, or is refused.

    Parameters
    ----------
    model : estimator
        Fitted.
    X, y, weight : object
        Of so many rows, in any container.
    n_rows : int
    refused : list of str
        Errors are added to it.
    """
    width, codes = len(model.get_feature_names_out()), None
    with refusable(model, refused):
        codes = model.transform(X)
    if codes is not None:
        assert codes.shape == (n_rows, width)
        assert codes.dtype == float_of(X)
        assert_finite(codes, "transform(X)")
        if hasattr(model, "inverse_transform"):
            with refusable(model, refused):
                back = model.inverse_transform(codes)
                assert back.shape == (n_rows, model.n_features_in_)
                assert back.dtype == codes.dtype
                assert_finite(back, "inverse_transform(codes)")
    for name in ("score_samples", "predict", "predict_proba", "decision_function"):
        if hasattr(model, name):
            with refusable(model, refused):
                found = getattr(model, name)(X)
                assert len(found) == n_rows
                if found.dtype.kind == "f":
                    assert_finite(found, name)
    if hasattr(model, "predict_log_proba"):
        with refusable(model, refused):
            found = model.predict_log_proba(X)
            assert found.shape == (n_rows, len(model.classes_))
            assert (found <= 0.0).all()
    with refusable(model, refused):
        score = model.score(X, y, sample_weight=weight)
        assert isinstance(score, float)
        is_one = n_rows < 2 or (np.ndim(weight) == 1 and np.count_nonzero(weight) < 2)
        # R^2 of one row is not defined.
        assert is_one or (np.isfinite(score) and score <= 1.0), f"score(X) is {score}"
