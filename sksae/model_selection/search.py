"""BatchedGridSearchCV and its randomized twin: scikit-learn's searches, trained all at once."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.utils._param_validation import Interval

from sksae.model_selection.batched_search import BatchedSearch

OWN_CONSTRAINTS: dict[str, list[Any]] = {
    "working_memory": [Interval(Real, 0, None, closed="neither"), None]
}


class BatchedGridSearchCV(BatchedSearch, GridSearchCV):
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
    cv_results_ : dict of ndarray
        A column for each parameter, score and time, a row for each candidate, as scikit-learn's
        searches have it. Fit times are seconds of this
        evaluation, in which scikit-learn fits with what is trained already, and of training: what
        the group took over its members. What steps before the autoencoder took when they were
        fitted for all is not in them, and of steps behind that are shared only the first candidate
        has it.

    best_estimator_ : estimator
        The best candidate, fitted on all rows; if ``refit`` is not False.

    best_score_ : float
        Its mean score on test rows; not if ``refit`` is a callable, or is False with several
        scores.

    best_params_ : dict
        Its parameters; not if ``refit`` is False with several scores.

    best_index_ : int
        Its row in ``cv_results_``; where ``best_params_`` is.

    scorer_ : callable or dict
        What scored; of several scores a dict, by name.

    n_splits_ : int
        How many splits there were.

    refit_time_ : float
        Seconds of the fit of the best candidate on all rows; if ``refit`` is not False.

    multimetric_ : bool
        Whether there were several scores.

    classes_ : ndarray of shape (n_classes,)
        Labels, if ``refit`` is not False and the estimator is a classifier.

    n_features_in_ : int
        Number of features, if ``best_estimator_`` has it.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, if ``best_estimator_`` has them.

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
    the first copy is trained so, and the others in fits of their own.

    Searches in several threads of one program can lose later warnings, on Python 3.11 for one:
    ``warnings.catch_warnings``, which this search and scikit-learn itself use around fits, holds
    for the whole process.

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


class BatchedRandomizedSearchCV(BatchedSearch, RandomizedSearchCV):
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
    cv_results_ : dict of ndarray
        A column for each parameter, score and time, a row for each candidate, as scikit-learn's
        searches have it. Times mean what they mean in `BatchedGridSearchCV`.

    best_estimator_ : estimator
        The best candidate, fitted on all rows; if ``refit`` is not False.

    best_score_ : float
        Its mean score on test rows; not if ``refit`` is a callable, or is False with several
        scores.

    best_params_ : dict
        Its parameters; not if ``refit`` is False with several scores.

    best_index_ : int
        Its row in ``cv_results_``; where ``best_params_`` is.

    scorer_ : callable or dict
        What scored; of several scores a dict, by name.

    n_splits_ : int
        How many splits there were.

    refit_time_ : float
        Seconds of the fit of the best candidate on all rows; if ``refit`` is not False.

    multimetric_ : bool
        Whether there were several scores.

    classes_ : ndarray of shape (n_classes,)
        Labels, if ``refit`` is not False and the estimator is a classifier.

    n_features_in_ : int
        Number of features, if ``best_estimator_`` has it.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features, if ``best_estimator_`` has them.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : One candidate after the other.

    Notes
    -----
    Searches in several threads of one program can lose later warnings, on Python 3.11 for one:
    ``warnings.catch_warnings``, which this search and scikit-learn itself use around fits, holds
    for the whole process.

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
