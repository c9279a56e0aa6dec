"""What batched searches share: training first, then scikit-learn's own evaluation."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from joblib import parallel_config
from sklearn import get_config
from sklearn.base import _fit_context, clone
from sklearn.callback import CallbackContext
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import _check_method_params

from sksae.base.documentation import DocumentedMixin
from sksae.base.precomputed import is_watched
from sksae.model_selection.autoencoders import autoencoders_in
from sksae.model_selection.dry_run import (
    Split,
    dry_run,
    in_one_process,
    may_write,
    quietly,
    sharing,
)
from sksae.model_selection.fit_cache import FitCache
from sksae.model_selection.groups import Trainer
from sksae.model_selection.step_memory import StepMemory
from sksae.model_selection.workers import Workers
from sksae.training.precomputed import use_precomputed_fits


@dataclass
class _Run:
    """What a search's own methods need to know of the fit under way.

    Attributes
    ----------
    X, y, params
        As ``fit`` got them.
    trainer : Trainer
        Of networks.
    seconds : list of float
        For each cell, candidate by candidate, what its training took.
    """

    X: Any
    y: Any
    params: dict[str, Any]
    trainer: Trainer
    seconds: list[float] = field(default_factory=list)


class _ForEvaluation(dict[str, Any]):
    """Parameters of a candidate; a clone of them, which is what it is given, has others too.

    Where the candidate itself names one of those, they come first or last.

    Parameters
    ----------
    params : mapping
        Of the candidate.
    first : mapping
        What a clone has besides, unless the candidate names it.
    last : mapping
        What a clone has in any case.
    """

    def __init__(
        self, params: Mapping[str, Any], first: Mapping[str, Any], last: Mapping[str, Any]
    ) -> None:
        super().__init__(params)
        self._first, self._last = first, last

    def __reduce__(self) -> tuple[Any, ...]:
        return _ForEvaluation, (dict(self), self._first, self._last)

    def __sklearn_clone__(self) -> dict[str, Any]:
        return {**self._first, **clone(dict(self), safe=False), **self._last}


@dataclass(frozen=True)
class _Drawn:
    """A splitter that has split: what it draws at random must not be drawn again."""

    splits: list[Split]

    def split(self, X: Any, y: Any = None, **params: Any) -> list[Split]:
        """Return the splits."""
        return self.splits


def _check_in_one_process(estimators: list[Any]) -> None:
    """Raise if a candidate is to be fitted by several processes together."""
    for estimator in estimators:
        for name, value in estimator.get_params().items():
            if name.rpartition("__")[2] == "data_parallel" and value:
                raise ValueError(
                    f"{name}=True fits one model in several processes, and cannot be had where "
                    "many are trained side by side: use False, or scikit-learn's own search, in "
                    "each process and with n_jobs=None."
                )


# Not an attribute: the search itself is sent to the workers with every task.
_run: ContextVar[_Run] = ContextVar("search under way")


class BatchedSearch(DocumentedMixin, BaseSearchCV):
    """Trains sparse autoencoders first, then lets scikit-learn fit and score with what it has."""

    working_memory: float | None

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, then fit the best candidate on all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets, for a supervised step behind the sparse autoencoder and for scores.
        **params : dict
            As for scikit-learn's searches: passed to the estimator's ``fit``, the scorers and the
            splitter.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If no candidate contains a `SparseAutoencoderTransformer`, if a parameter of the
            search or the grid is unknown or invalid, or if every fit fails.
        """
        limit = (
            get_config()["working_memory"] if self.working_memory is None else self.working_memory
        )
        trainer = Trainer(2.0**20 * limit, Workers(self.n_jobs))
        token = _run.set(_Run(X, y, params, trainer))
        # Where nothing comes after the sparse autoencoder there is little left to do, and it is
        # done where the trained networks are.
        here = self._may_end_in_autoencoder()
        try:
            with parallel_config(backend="sequential") if here else nullcontext():
                return super().fit(X, y, **params)
        finally:
            _run.reset(token)

    @abstractmethod
    def _grids(self) -> Any:
        """Return names of parameters and their values: a mapping or several."""

    def _may_end_in_autoencoder(self) -> bool:
        """Return whether the last step of some candidate is a sparse autoencoder or has one."""
        if not isinstance(self.estimator, Pipeline):
            return True
        grids = self._grids()
        grids = [grids] if isinstance(grids, Mapping) else grids
        last = [step for _, step in self.estimator.steps[-1:]]
        for name, _ in self.estimator.steps[-1:]:
            for grid in grids:
                last += _listed(grid.get(name)) if isinstance(grid, Mapping) else []
        return any(autoencoders_in(step) for step in last)

    def _run_search(
        self,
        evaluate_candidates: Callable[..., Mapping[str, Any]],
        *,
        callback_ctx: CallbackContext | None = None,
    ) -> None:
        def evaluate(candidates: Any, **options: Any) -> Mapping[str, Any]:
            with TemporaryDirectory(prefix="sksae-", ignore_cleanup_errors=True) as folder:
                run = _run.get()
                cache = FitCache(Path(folder), run.X, run.trainer.n_bytes)
                return self._evaluate(evaluate_candidates, list(candidates), cache, **options)

        super()._run_search(evaluate, callback_ctx=callback_ctx)

    def _evaluate(
        self,
        evaluate_candidates: Callable[..., Mapping[str, Any]],
        candidates: list[dict[str, Any]],
        cache: FitCache,
        **options: Any,
    ) -> Mapping[str, Any]:
        """Train all candidates on all splits, then evaluate them on the same.

        Parameters
        ----------
        evaluate_candidates : callable
            Scikit-learn's: fits and scores.
        candidates : list of dict
            Their parameters.
        cache : FitCache
            Empty; takes up what is trained.
        **options : dict
            For ``evaluate_candidates``.
        """
        run = _run.get()
        X, y = indexable(run.X, run.y)
        params = _check_method_params(X, params=run.params)
        with quietly():
            routed = self._get_routed_params_for_fit(params)
        splits = list(self._checked_cv_orig.split(X, y, **routed.splitter.split))
        estimators = [
            clone(self.estimator).set_params(**clone(candidate, safe=False))
            for candidate in candidates
        ]
        depth = max((len(autoencoders_in(estimator)) for estimator in estimators), default=0)
        if estimators and depth == 0:
            raise ValueError(
                f"{type(self).__name__} trains SparseAutoencoderTransformers side by side, but "
                f"estimator={self.estimator!r} has none: use scikit-learn's own search for it."
            )
        _check_in_one_process(estimators)
        seconds = np.zeros((len(candidates), len(splits)))
        # Of several in a row each needs the codes of the one before.
        for n_done in range(depth):
            asked = dry_run(estimators, n_done, X, y, splits, routed.estimator.fit, cache)
            trained = run.trainer.train(asked.values())
            cache.add({key: fit for key, (fit, _) in trained.items()})
            for cell, request in asked.items():
                if request.key in trained:
                    seconds[cell] += trained[request.key][1]
        run.seconds = seconds.ravel().tolist()
        if self.verbose > 0:
            print(f"[{type(self).__name__}] {run.trainer.summary()}")
        remembering = self._remembering(estimators, cache)
        candidates = [
            _ForEvaluation(candidate, first, in_one_process(estimator))
            for candidate, first, estimator in zip(candidates, remembering, estimators, strict=True)
        ]
        with use_precomputed_fits(cache):
            return evaluate_candidates(candidates, cv=_Drawn(splits), **options)

    def _remembering(self, estimators: list[Any], cache: FitCache) -> list[dict[str, Any]]:
        """Return for each candidate parameters with which it finds steps that have been fitted."""
        if not isinstance(self.estimator, Pipeline):
            return [{}] * len(estimators)
        memory = self.estimator.memory
        # Threads cannot record warnings, and callbacks of the search hear of every step.
        apart = _run.get().trainer.workers.are_threads or is_watched(self)
        shared = [False] * len(estimators) if apart else sharing(estimators)
        return [
            {"memory": StepMemory(cache, memory, is_shared=is_shared, may_be_written=writes)}
            for is_shared, writes in zip(shared, may_write(estimators), strict=True)
        ]

    def _format_results(
        self,
        candidate_params: list[dict[str, Any]],
        n_splits: int,
        out: list[dict[str, Any]],
        more_results: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return what scikit-learn does, with the seconds of training added to those of fits.

        Parameters
        ----------
        candidate_params : list of dict
            As given to the evaluation.
        n_splits : int
            How many splits.
        out : list of dict
            Results, candidate by candidate.
        more_results : mapping, default=None
            Columns of a search of its own kind.
        """
        for result, seconds in zip(out, _run.get().seconds, strict=True):
            result["fit_time"] += seconds
        candidate_params = [dict(params) for params in candidate_params]
        return super()._format_results(candidate_params, n_splits, out, more_results)


def _listed(values: Any) -> list[Any]:
    """Return the values that a grid lists; none of a distribution."""
    return list(values) if isinstance(values, Sequence | np.ndarray) else []
