"""BatchedGridSearchCV and its randomized twin: scikit-learn's searches, trained all at once."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, Self

import numpy as np
from joblib import parallel_config
from sklearn import get_config
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.callback import CallbackContext
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_method_params

from sksae.base.precomputed import is_watched
from sksae.model_selection.ahead import StepMemory, WorkAhead, autoencoders_in
from sksae.model_selection.groups import Trainer
from sksae.model_selection.rehearsal import (
    Split,
    in_one_process,
    may_write,
    quietly,
    rehearse,
    sharing,
)
from sksae.model_selection.workers import Workers
from sksae.training.precomputed import use_precomputed_fits

OWN_CONSTRAINTS: dict[str, list[Any]] = {
    "working_memory": [Interval(Real, 0, None, closed="neither"), None]
}


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


# Not an attribute: the search itself is sent to the workers with every task.
_run: ContextVar[_Run] = ContextVar("search under way")


class _BatchedSearch(BaseSearchCV):
    """Trains sparse autoencoders ahead, then lets scikit-learn fit and score with what it has."""

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
                ahead = WorkAhead(Path(folder), run.X, run.trainer.n_bytes)
                return self._evaluate(evaluate_candidates, list(candidates), ahead, **options)

        super()._run_search(evaluate, callback_ctx=callback_ctx)

    def _evaluate(
        self,
        evaluate_candidates: Callable[..., Mapping[str, Any]],
        candidates: list[dict[str, Any]],
        ahead: WorkAhead,
        **options: Any,
    ) -> Mapping[str, Any]:
        """Train all candidates on all splits, then evaluate them on the same."""
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
        seconds = np.zeros((len(candidates), len(splits)))
        # Of several in a row each needs the codes of the one before.
        for n_done in range(depth):
            asked = rehearse(estimators, n_done, X, y, splits, routed.estimator.fit, ahead)
            trained = run.trainer.train(asked.values())
            ahead.add({key: fit for key, (fit, _) in trained.items()})
            for cell, request in asked.items():
                if request.key in trained:
                    seconds[cell] += trained[request.key][1]
        run.seconds = seconds.ravel().tolist()
        if self.verbose > 0:
            print(f"[{type(self).__name__}] {run.trainer.summary()}")
        remembering = self._remembering(estimators, ahead)
        candidates = [
            _ForEvaluation(candidate, first, in_one_process(estimator))
            for candidate, first, estimator in zip(candidates, remembering, estimators, strict=True)
        ]
        with use_precomputed_fits(ahead):
            return evaluate_candidates(candidates, cv=_Drawn(splits), **options)

    def _remembering(self, estimators: list[Any], ahead: WorkAhead) -> list[dict[str, Any]]:
        """Return for each candidate parameters with which it finds steps that have been fitted."""
        if not isinstance(self.estimator, Pipeline):
            return [{}] * len(estimators)
        memory = self.estimator.memory
        # Threads cannot record warnings, and callbacks of the search hear of every step.
        apart = _run.get().trainer.workers.are_threads or is_watched(self)
        shared = [False] * len(estimators) if apart else sharing(estimators)
        return [
            {"memory": StepMemory(ahead, memory, is_shared=is_shared, may_be_written=writes)}
            for is_shared, writes in zip(shared, may_write(estimators), strict=True)
        ]

    def _format_results(
        self,
        candidate_params: list[dict[str, Any]],
        n_splits: int,
        out: list[dict[str, Any]],
        more_results: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        for result, seconds in zip(out, _run.get().seconds, strict=True):
            result["fit_time"] += seconds
        candidate_params = [dict(params) for params in candidate_params]
        return super()._format_results(candidate_params, n_splits, out, more_results)


def _listed(values: Any) -> list[Any]:
    """Return the values that a grid lists; none of a distribution."""
    return list(values) if isinstance(values, Sequence | np.ndarray) else []


class BatchedGridSearchCV(_BatchedSearch, GridSearchCV):
    """Grid search that trains the sparse autoencoders of all candidates at once.

    Candidates and folds that share shapes, solver and rows differ in numbers only, such as rho,
    beta, alpha, learning rate or ``max_iter``: they are trained side by side as one computation,
    each with penalties, stopping rule and end of its own, which costs far less than one after the
    other. Then `sklearn.model_selection.GridSearchCV` itself goes through fits and scores, where
    every sparse autoencoder takes what was trained for it. Steps of a Pipeline before it are
    fitted once for each split and setting of theirs; steps behind it once for all candidates that
    differ in the last step only. Steps that work in place, such as ``StandardScaler(copy=False)``,
    are fitted for each candidate.

    Scores are those of GridSearchCV up to rounding. Candidates that ask for the same training,
    with different classifiers behind say, share it.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer or estimator that contains one
        Such as a Pipeline with a classifier behind.

    param_grid : dict or list of dict
        Names of parameters and the values to try.

    scoring : str, callable, list, tuple or dict, default=None
        How to score; the estimator's own ``score`` by default. Without labels,
        :func:`sksae.metrics.sparsity_scorers`.

    n_jobs : int, default=None
        Processes that train groups of networks, then fit and score what comes behind the sparse
        autoencoder; new ones take seconds to begin. With one, on a GPU and with other engines than
        joblib's own processes, all networks are trained in this process, on as many cores as torch
        uses.

    refit : bool, str or callable, default=True
        Whether and by which score the best candidate is fitted on all rows.

    cv : int, cross-validation generator or iterable, default=None
        How to split.

    verbose : int, default=0
        From 1 on it is said how many networks were trained side by side, and which were not and
        why.

    pre_dispatch : int or str, default="2*n_jobs"
        Jobs sent to processes at a time.

    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails. It does not disturb those trained beside it.

    return_train_score : bool, default=False
        Whether to score training rows too.

    working_memory : float > 0 or None, default=None
        MiB that the networks in training may take, on all cores together; larger groups are cut.
        None takes that of :func:`sklearn.set_config`, 1024 by default. As much is kept, in files,
        of steps behind that candidates share. Besides, what steps before the sparse autoencoder
        make of the training rows of every split is kept, and these rows themselves if X is no
        array; of an array, a memory map say, they are read in place.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As those of GridSearchCV. The fit time of a candidate is that of its group over the
        group's members, and what the steps before and behind took.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : One candidate after the other.
    BatchedRandomizedSearchCV : Candidates drawn at random.

    Notes
    -----
    Fits with ``solver="lbfgs"``, with ``verbose`` or with callbacks of their own are made one by
    one. Candidates without a ``random_state`` start from one common seed, drawn for the search.
    Callbacks set on the search hear of fits, but not of the epochs of those trained side by side,
    which they cannot end.

    Where an estimator fits copies of its autoencoder, as a BaggingClassifier around one does, only
    the first copy is trained ahead, and the others in fits of their own.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.model_selection import BatchedGridSearchCV
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(16, max_iter=30, tol=0.05, random_state=0)
    >>> grid = {"rho": [0.05, 0.1, 0.2], "beta": [0.1, 1.0]}
    >>> search = BatchedGridSearchCV(sae, grid, cv=3).fit(X)
    >>> search.best_params_
    {'beta': 0.1, 'rho': 0.2}
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GridSearchCV._parameter_constraints,
        **OWN_CONSTRAINTS,
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | Literal["raise"] = np.nan,
        return_train_score: bool = False,
        working_memory: float | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.working_memory = working_memory

    def _grids(self) -> Any:
        return self.param_grid


class BatchedRandomizedSearchCV(_BatchedSearch, RandomizedSearchCV):
    """Randomized search that trains the sparse autoencoders of all candidates at once.

    `BatchedGridSearchCV` tells how; here the candidates are drawn from distributions, as in
    `sklearn.model_selection.RandomizedSearchCV`.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer or estimator that contains one
        Such as a Pipeline with a classifier behind.

    param_distributions : dict or list of dict
        Names of parameters, and lists of values or distributions with a method ``rvs``.

    n_iter : int, default=10
        How many candidates are drawn.

    scoring : str, callable, list, tuple or dict, default=None
        As in `BatchedGridSearchCV`, as all parameters from here on but ``random_state``.

    n_jobs : int, default=None
        Processes.

    refit : bool, str or callable, default=True
        Whether and by which score the best candidate is fitted on all rows.

    cv : int, cross-validation generator or iterable, default=None
        How to split.

    verbose : int, default=0
        From 1 on it is said how many networks were trained side by side.

    pre_dispatch : int or str, default="2*n_jobs"
        Jobs sent to processes at a time.

    random_state : int, RandomState instance or None, default=None
        What candidates are drawn from.

    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.

    return_train_score : bool, default=False
        Whether to score training rows too.

    working_memory : float > 0 or None, default=None
        MiB that the networks in training may take, on all cores together.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As in `BatchedGridSearchCV`.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : One candidate after the other.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.model_selection import BatchedRandomizedSearchCV
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(16, max_iter=30, tol=0.05, random_state=0)
    >>> distributions = {"rho": loguniform(0.02, 0.3), "beta": loguniform(0.1, 10)}
    >>> search = BatchedRandomizedSearchCV(sae, distributions, n_iter=8, cv=3, random_state=0)
    >>> len(search.fit(X).cv_results_["params"])
    8
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RandomizedSearchCV._parameter_constraints,
        **OWN_CONSTRAINTS,
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        param_distributions: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: float | Literal["raise"] = np.nan,
        return_train_score: bool = False,
        working_memory: float | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.working_memory = working_memory

    def _grids(self) -> Any:
        return self.param_distributions
