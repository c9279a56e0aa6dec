"""The dry run of a search: its fits, as far as the sparse autoencoders in them."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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
from sksae.model_selection.autoencoders import autoencoders_in, only_reads
from sksae.model_selection.fit_cache import FitCache, FitReached, FitRequest
from sksae.model_selection.step_memory import StepMemory

Split = tuple[np.ndarray, np.ndarray]


def dry_run(
    estimators: Sequence[Any],
    n_done: int,
    X: Any,
    y: Any,
    splits: Sequence[Split],
    params: Mapping[str, Any],
    cache: FitCache,
) -> dict[tuple[int, int], FitRequest]:
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
    cache : FitCache
        What is known.

    Returns
    -------
    asked : dict
        Of candidate and split, the fit that is asked for; none where the fit failed before.
    """
    asked: dict[tuple[int, int], FitRequest] = {}
    for split, (train, _) in enumerate(splits):
        requests = _dry_run_split(estimators, n_done, X, y, train, params, cache)
        asked |= {(candidate, split): request for candidate, request in requests.items()}
    return asked


def _dry_run_split(
    estimators: Sequence[Any],
    n_done: int,
    X: Any,
    y: Any,
    train: np.ndarray,
    params: Mapping[str, Any],
    cache: FitCache,
) -> dict[int, FitRequest]:
    """Return the fits that candidates ask for on the training rows of one split.

    Parameters
    ----------
    estimators, n_done, X, y, params, cache
        As of `dry_run`.
    train : ndarray
        Indices of the training rows.
    """
    take = partial(_safe_split, estimators[0], X, y, train)
    X_train, y_train = take()
    asked: dict[int, FitRequest] = {}
    candidates = zip(estimators, may_write(estimators), strict=True)
    with cache.on_split(X_train, y_train, train), quietly():
        for candidate, (estimator, writes) in enumerate(candidates):
            if len(autoencoders_in(estimator)) <= n_done:
                continue
            rows, targets = take() if writes else (X_train, y_train)
            fit_params = _check_method_params(X, params=params, indices=train)
            copy = _for_dry_run(estimator, cache, may_be_written=writes)
            with cache.collecting() as requests:
                try:
                    copy.fit(rows, *([] if y is None else [targets]), **fit_params)
                except FitReached:
                    (asked[candidate],) = requests
                except Exception:  # the evaluation will meet and report it
                    pass
    return asked


def _for_dry_run(estimator: Any, cache: FitCache, *, may_be_written: bool) -> Any:
    """Return a copy that remembers its steps and tells nobody of them.

    Parameters
    ----------
    estimator : estimator
        A candidate.
    cache : FitCache
        Where its steps are remembered.
    may_be_written : bool
        As of `StepMemory`.
    """
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
        memory = StepMemory(cache, copy.memory, may_be_written=may_be_written)
        copy.set_params(memory=memory)
    return copy


def may_write(estimators: Sequence[Any]) -> list[bool]:
    """Return which candidates may write to rows past `StepMemory`, which keeps a watch on steps.

    Those of which something else gets rows that no sparse autoencoder has made: what lies beside
    one or around it, or the last step of a pipeline.
    """
    depth = max((len(autoencoders_in(estimator)) for estimator in estimators), default=0)
    return [not _leaves_rows(estimator, depth) for estimator in estimators]


def _leaves_rows(estimator: Any, depth: int) -> bool:
    if type(estimator) is not Pipeline:
        return only_reads(estimator)
    *first, (_, last) = estimator.steps
    # Steps behind as many as any candidate has are not fitted in the dry run.
    return only_reads(last) or sum(len(autoencoders_in(step)) for _, step in first) == depth


def in_one_process(estimator: Any) -> dict[str, None]:
    """Return parameters with which what lies side by side with an autoencoder is fitted here.

    In processes and threads of its own it would not find what the fit cache has.
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
    """Stands for callbacks in a dry run."""

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
