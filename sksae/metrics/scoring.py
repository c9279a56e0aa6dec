"""Metrics for a search: scorers of a fitted autoencoder, and the rule for the sparsest good one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from sksae.base.protocols import HasNetwork
from sksae.metrics.activity import activity_of, mask_of, thresholds_in
from sksae.metrics.checks import MatrixLike, check_options, check_threshold
from sksae.metrics.codes import dead_fraction, l0
from sksae.metrics.lookup import fitted_autoencoder
from sksae.metrics.sparseness import hoyer_sparsity
from sksae.model.numbers import Matrix
from sksae.process.warning import warn_user

Results: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class SparsityScorer:
    """A function of (estimator, X, y=None) that scores the autoencoder in an estimator.

    Attributes
    ----------
    metric : str
        A key of `METRICS`.
    threshold, relative, tol : float or None, bool, float
        What makes a unit active, and what makes it dead.
    """

    metric: str
    threshold: float | None
    relative: bool
    tol: float

    def __call__(self, estimator: BaseEstimator, X: MatrixLike, y: object = None) -> float:
        """Return the score of the autoencoder in a fitted ``estimator`` on rows X; y is ignored.

        Raises
        ------
        ValueError
            If there is no autoencoder.
        NotFittedError
            If it is not fitted.
        """
        location = fitted_autoencoder(estimator, needed_by="This scorer")
        return METRICS[self.metric](self, location.autoencoder, location.rows(X))

    def count_active(self, autoencoder: HasNetwork, activities: Matrix) -> float:
        """Return the mean number of active units in a row."""
        if self.threshold is None:
            active = mask_of(activities, thresholds_in(autoencoder, [activities]))
            return float(active.sum() / activities.shape[0])
        return l0(activities, threshold=self.threshold, relative=self.relative)


METRICS: dict[str, Callable[[SparsityScorer, HasNetwork, MatrixLike], float]] = {
    "explained_variance": lambda _, autoencoder, X: _explained_variance(autoencoder, X),
    "neg_l0": lambda scorer, autoencoder, X: (
        -scorer.count_active(autoencoder, _activity(autoencoder, X))
    ),
    "neg_mean_activation": lambda _, autoencoder, X: (
        -float(abs(_activity(autoencoder, X)).mean(dtype=np.float64))
    ),
    "neg_dead_fraction": lambda scorer, autoencoder, X: (
        -dead_fraction(_activity(autoencoder, X), tol=scorer.tol)
    ),
    "hoyer": lambda _, autoencoder, X: float(hoyer_sparsity(_activity(autoencoder, X)).mean()),
}


@np.errstate(all="ignore")
def sparsity_scorers(
    *, threshold: float | None = None, relative: bool = False, tol: float = 0.05
) -> dict[str, SparsityScorer]:
    """Return scorers of reconstruction and sparsity for a search over parameters.

    Each scorer is a function of (estimator, X, y=None). The fitted estimator may be

    - a ``SparseAutoencoderTransformer``;
    - a ``StackedSparseAutoencoder``, ``SparseAutoencoderClassifier`` or
      ``SparseAutoencoderRegressor``, which counts as one autoencoder with the code of its last
      member;
    - an estimator of scikit-learn that contains one of these (the last of them, if there are more):
      a Pipeline, FeatureUnion, ColumnTransformer or FrozenEstimator, a search (its
      ``best_estimator_``), a TransformedTargetRegressor, SelfTrainingClassifier,
      FixedThresholdClassifier or TunedThresholdClassifierCV.

    X goes through the steps before the
    autoencoder. Only the autoencoder's own columns count, and other steps beside or behind it, such
    as a classifier, have no effect on the score. No y is needed. For all scorers greater is better:

    - "explained_variance": R^2 of the reconstruction of the autoencoder's input, as its ``score``
      returns it; nan, with a warning, for a ``SparseAutoencoderClassifier`` or
      ``SparseAutoencoderRegressor``, whose decoders are those of pre-training;
    - "neg_l0": minus the mean number of active units in a row (`is_active`, or `l0` with the
      ``threshold``);
    - "neg_mean_activation": minus the mean of abs(a) over rows and units;
    - "neg_dead_fraction": minus the share of dead units, `dead_fraction`;
    - "hoyer": the mean over rows of `hoyer_sparsity`.

    For tanh codes with ``sparsity="kl"``, which rest at -1, all scorers use (1 + a) / 2. For
    coefficients (``transform_algorithm``), which rest at 0, they do not.

    Parameters
    ----------
    threshold : float >= 0 or None, default=None
        abs(a) of an active unit is larger than this, as in `l0`; None uses `is_active`.
    relative : bool, default=False
        Whether the threshold is a share of each unit's largest abs(a) in the rows scored. Needs a
        threshold.
    tol : float in [0, 1), default=0.05
        A unit that is not dead varies by more than this share of its largest abs(a).

    Returns
    -------
    scorers : dict of str to callable
        Use it as ``scoring``, alone or together with others:
        ``{"accuracy": "accuracy", **sparsity_scorers()}``. They can be pickled. A scorer raises
        NotFittedError for an autoencoder that is not fitted, and ValueError if there is none.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    See Also
    --------
    refit_sparsest : A rule that chooses a candidate by these scores.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.metrics import refit_sparsest, sparsity_scorers
    >>> X = load_digits().data[:300]
    >>> sae = SparseAutoencoderTransformer(30, tol=0.01, random_state=0)
    >>> scoring, refit = sparsity_scorers(), refit_sparsest(sparsity="neg_mean_activation")
    >>> search = GridSearchCV(sae, {"rho": [0.05, 0.3]}, scoring=scoring, refit=refit, cv=3)
    >>> activity = search.fit(X).cv_results_["mean_test_neg_mean_activation"]
    >>> bool(activity[0] > activity[1])
    True
    """
    check_options("sparsity_scorers", tol=tol)
    if threshold is not None:
        check_threshold("sparsity_scorers", threshold, relative)
    elif relative:
        raise ValueError(
            "relative=True needs a threshold, a share of each unit's largest activation such as "
            "0.1: threshold=None counts what is_active says."
        )
    return {name: SparsityScorer(name, threshold, relative, tol) for name in METRICS}


@np.errstate(all="ignore")
def refit_sparsest(
    within_se: float = 1.0,
    *,
    score: str = "explained_variance",
    sparsity: str | Callable[[Results], ArrayLike] = "hoyer",
) -> Callable[[Results], int]:
    r"""Return a rule for ``GridSearchCV(refit=...)``: the sparsest candidate among the good ones.

    A candidate is good if its mean score over the folds is at least

    .. math:: \bar s_{best} - c \, \frac{\mathrm{sd}(s_{best})}{\sqrt{k}} ,

    the score of the best candidate minus c (``within_se``) standard errors of this score over its k
    folds; sd is the square root of the unbiased variance. With c = 1 this is the one-standard-error
    rule that [1]_ uses to prune classification trees. Among equally sparse candidates the rule
    chooses the one with the best score, then the first.

    Parameters
    ----------
    within_se : float >= 0, default=1.0
        A good candidate is at most so many standard errors below the best one.
    score : str, default="explained_variance"
        The score that must stay good, greater is better: a key of ``scoring``, such as "accuracy",
        or "score" if ``scoring`` is a single scorer.
    sparsity : str or callable, default="hoyer"
        The measure of sparsity, greater is sparser: a key of ``scoring``, such as those of
        `sparsity_scorers`; or a function that takes ``cv_results_`` and returns a number for
        each candidate.

    Returns
    -------
    refit : callable
        Takes ``cv_results_`` and returns the index of the candidate. Candidates with a nan or
        infinity for score or sparsity, such as those that failed in a fold, are never chosen. It
        raises ValueError if there are no others, or if ``cv_results_`` lacks what it needs. With a
        single split there is no standard error; then it chooses the best candidate, with a warning.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and Regression Trees",
           1984, section 3.4.3.

    Examples
    --------
    >>> from sksae.metrics import refit_sparsest
    >>> results = {
    ...     "mean_test_accuracy": [0.90, 0.88, 0.80],
    ...     "split0_test_accuracy": [0.93, 0.88, 0.80],
    ...     "split1_test_accuracy": [0.87, 0.88, 0.80],
    ...     "mean_test_neg_l0": [-30.0, -12.0, -5.0],
    ... }
    >>> refit_sparsest(score="accuracy", sparsity="neg_l0")(results)
    1
    """
    check_options("refit_sparsest", within_se=within_se, score=score, sparsity=sparsity)
    return partial(_sparsest_index, within_se=within_se, score=score, sparsity=sparsity)


def _sparsest_index(
    results: Results,
    *,
    within_se: float,
    score: str,
    sparsity: str | Callable[[Results], ArrayLike],
) -> int:
    """Return the index of the sparsest candidate among those as good as the best one.

    Parameters
    ----------
    results : mapping
        The search's ``cv_results_``.
    within_se, score, sparsity
        As in `refit_sparsest`.
    """
    return rank(results, within_se=within_se, score=score, sparsity=sparsity).sparsest


class Ranking(NamedTuple):
    """What `refit_sparsest` goes by.

    Attributes
    ----------
    scores, sparseness : ndarray of shape (n_candidates,), float64
        Of each candidate, greater is better and sparser.
    best : int
        The candidate with the best score.
    lowest : float
        The lowest score of a good candidate.
    good : ndarray of int of shape (n_good,)
        Candidates that are.
    sparsest : int
        The sparsest of them.
    """

    scores: np.ndarray
    sparseness: np.ndarray
    best: int
    lowest: float
    good: np.ndarray
    sparsest: int


def rank(
    results: Results,
    *,
    within_se: float,
    score: str,
    sparsity: str | Callable[[Results], ArrayLike],
) -> Ranking:
    """Return how candidates of a search compare.

    Parameters
    ----------
    results : mapping
        The search's ``cv_results_``.
    within_se, score, sparsity
        As in `refit_sparsest`.

    Raises
    ------
    ValueError
        If results lack what is asked for, or no candidate has both numbers.
    """
    mean = _column(results, f"mean_test_{score}")
    if isinstance(sparsity, str):
        sparseness = _column(results, f"mean_test_{sparsity}")
    else:
        sparseness = np.asarray(sparsity(results), dtype=np.float64)
        if sparseness.shape != mean.shape:
            raise ValueError(
                f"sparsity must return one number for each of {len(mean)} candidates, got an "
                f"array of shape {sparseness.shape}."
            )
    usable = np.flatnonzero(np.isfinite(mean) & np.isfinite(sparseness))
    if len(usable) == 0:
        raise ValueError(
            f"No candidate has both a score ({score!r}) and a sparsity ({sparsity!r}): all "
            "failed, or their scorers did. Search with error_score='raise' to see why."
        )
    best = int(usable[mean[usable].argmax()])
    margin = within_se * _standard_error(results, score, best) if within_se > 0.0 else 0.0
    lowest = float(mean[best] - margin)
    good = usable[mean[usable] >= lowest]
    # The last key is the first to be sorted by; lexsort is stable, so ties go to the first.
    sparsest = int(good[np.lexsort((-mean[good], -sparseness[good]))[0]])
    return Ranking(mean, sparseness, best, lowest, good, sparsest)


def _column(results: Results, name: str) -> np.ndarray:
    if name not in results:
        known = [key for key in results if key.startswith("mean_test_")]
        raise ValueError(
            f"cv_results_ has no {name!r}, only {known}: `score` and `sparsity` must be keys of "
            "the search's `scoring` ('score' for a single scorer)."
        )
    return np.asarray(results[name], dtype=np.float64)


def standard_errors(results: Results, score: str) -> np.ndarray:
    """Return the standard error of each candidate's mean score over the folds.

    Parameters
    ----------
    results : mapping
        The search's ``cv_results_``.
    score : str
        Key of the search's ``scoring``.

    Returns
    -------
    errors : ndarray of shape (n_candidates,), float64
        nan with a single split, which has none.

    Raises
    ------
    ValueError
        If results have no scores of the folds.
    """
    folds: list[np.ndarray] = []
    while f"split{len(folds)}_test_{score}" in results:
        fold = results[f"split{len(folds)}_test_{score}"]
        folds.append(np.asarray(fold, dtype=np.float64))
    if not folds:
        raise ValueError(
            f"cv_results_ has no 'split0_test_{score}': the standard error needs the scores of "
            "the folds."
        )
    if len(folds) == 1:
        return np.full(folds[0].shape, nan)
    # Candidates that failed have no finite scores.
    with np.errstate(invalid="ignore"):
        return np.std(folds, axis=0, ddof=1) / np.sqrt(len(folds))


def _standard_error(results: Results, score: str, candidate: int) -> float:
    """Return that of one candidate, or 0 with a warning if there is a single split."""
    error = float(standard_errors(results, score)[candidate])
    if f"split1_test_{score}" not in results:
        warn_user("A single split has no standard error: the best candidate is chosen.")
        return 0.0
    return error


def _explained_variance(autoencoder: HasNetwork, X: MatrixLike) -> float:
    """Return R^2 of the reconstruction, or nan with a warning where there is none."""
    if not autoencoder.__sksae_network__().decoder:
        warn_user(
            f"explained_variance is nan: a {type(autoencoder).__name__} reconstructs nothing, as "
            "its decoders are those of pre-training and do not know the fine-tuned codes. Search "
            "by its own score, or score a StackedSparseAutoencoder."
        )
        return nan
    return autoencoder.score(X)


def _activity(autoencoder: HasNetwork, X: MatrixLike) -> Matrix:
    return activity_of(autoencoder, autoencoder.transform(X))
