"""The fits of a search, gone through as far as the sparse autoencoders in them."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.callback import CallbackContext
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from sksae.base.precomputed import is_watched
from sksae.model_selection.ahead import FitReached, Request, StepMemory, WorkAhead, autoencoders_in

Split = tuple[np.ndarray, np.ndarray]


def rehearse(
    estimators: Sequence[Any],
    n_done: int,
    X: Any,
    y: Any,
    splits: Sequence[Split],
    params: Mapping[str, Any],
    ahead: WorkAhead,
) -> dict[tuple[int, int], Request]:
    """Fit each candidate on each split as far as its next sparse autoencoder.

    What comes before it is done for good, and remembered.

    Parameters
    ----------
    estimators : sequence of estimator
        Candidates, unfitted.
    n_done : int
        Sparse autoencoders in each whose fits are known already.
    X, y
        All rows and targets.
    splits : sequence of (ndarray, ndarray)
        Indices of training and test rows.
    params : mapping
        For the ``fit`` of estimators.
    ahead : WorkAhead
        What is known.

    Returns
    -------
    asked : dict
        Of candidate and split, the fit that is asked for; none where the fit failed before.
    """
    asked: dict[tuple[int, int], Request] = {}
    for split, (train, _) in enumerate(splits):
        requests = _rehearse_split(estimators, n_done, X, y, train, params, ahead)
        asked |= {(candidate, split): request for candidate, request in requests.items()}
    return asked


def _rehearse_split(
    estimators: Sequence[Any],
    n_done: int,
    X: Any,
    y: Any,
    train: np.ndarray,
    params: Mapping[str, Any],
    ahead: WorkAhead,
) -> dict[int, Request]:
    """Return the fits that candidates ask for on the training rows of one split."""
    X_train, y_train = _safe_split(estimators[0], X, y, train)
    fit_params = _check_method_params(X, params=params, indices=train)
    targets = () if y_train is None else (y_train,)
    ahead.know(y_train)
    asked: dict[int, Request] = {}
    with ahead.on_split(X_train, train), quietly():
        for candidate, estimator in enumerate(estimators):
            if len(autoencoders_in(estimator)) <= n_done:
                continue
            rehearsed = _for_rehearsal(estimator, ahead)
            with ahead.collecting() as requests:
                try:
                    rehearsed.fit(X_train, *targets, **fit_params)
                except FitReached:
                    (asked[candidate],) = requests
                except Exception:  # the evaluation will meet and report it
                    pass
    return asked


def _for_rehearsal(estimator: Any, ahead: WorkAhead) -> Any:
    """Return a copy that remembers its steps and tells nobody of them."""
    copy = clone(estimator)
    for part in (copy, *copy.get_params(deep=True).values()):
        if is_watched(part):
            part.set_callbacks(_Unheard())
        # An autoencoder does not come to print, and its own verbose is part of what it asks for.
        around = autoencoders_in(part) not in ([], [part])
        if around and "verbose" in part.get_params(deep=False):
            part.set_params(verbose=False)
    copy.set_params(**in_one_process(copy))
    if isinstance(copy, Pipeline):
        copy.set_params(memory=StepMemory(ahead, copy.memory))
    return copy


def in_one_process(estimator: Any) -> dict[str, None]:
    """Return parameters with which what lies side by side with an autoencoder is fitted here.

    In processes and threads of its own it would not find what has been done ahead.
    """
    parts = {"": estimator, **estimator.get_params(deep=True)}
    return {
        f"{name}__n_jobs".removeprefix("__"): None
        for name, part in parts.items()
        if isinstance(part, FeatureUnion | ColumnTransformer) and autoencoders_in(part)
    }


def sharing(estimators: Sequence[Any]) -> list[bool]:
    """Return which candidates have all steps but the last in common with others.

    None whose fits somebody hears of, by callbacks or in print.
    """
    alike = [_all_but_last(estimator) for estimator in estimators]
    n_alike = Counter(alike)
    return [steps is not None and n_alike[steps] > 1 for steps in alike]


def _all_but_last(estimator: Any) -> str | None:
    """Return what tells the steps of a pipeline from others, or None if they must not be shared."""
    # Subclasses fit their steps in ways of their own.
    if type(estimator) is not Pipeline or estimator.memory is not None:
        return None
    parts = [estimator]
    for _, step in estimator.steps[:-1]:
        parts += [step, *(step.get_params().values() if hasattr(step, "get_params") else ())]
    if any(is_watched(part) or getattr(part, "verbose", False) for part in parts):
        return None
    try:
        return cast("str", joblib.hash(estimator.steps[:-1]))
    except Exception:  # anything may happen while somebody else's object is pickled
        return None


class _Unheard:
    """Stands for callbacks in a rehearsal."""

    def setup(self, estimator: Any, context: CallbackContext) -> None: ...

    def teardown(self, estimator: Any, context: CallbackContext) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: CallbackContext) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: CallbackContext) -> None: ...


@contextmanager
def quietly() -> Iterator[None]:
    """Keep warnings to the evaluation, which gives them again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
