"""SearchDisplay: how good and how sparse the candidates of a search are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import NotFittedError

from sksae.inspection.displays.checks import check_lengths, check_places, check_shape
from sksae.inspection.displays.drawing import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    Axes,
    Figure,
    check_matplotlib,
    draw_legend,
    one_axes,
)
from sksae.inspection.texts import shortened
from sksae.metrics.checks import check_options
from sksae.metrics.scoring import Results, rank, standard_errors

VALUE_LENGTH = 30


class SearchDisplay:
    """The quality of a search's candidates against their sparsity.

    Make it by `from_estimator`. Each candidate is a dot with one standard error of its mean score
    over the folds. A dot is full if the candidate is within one standard error of the best one
    (``within_se``; the dashed line shows this limit), and hollow otherwise. Three candidates are
    marked, and the legend has their parameters: the best, the sparsest of the good ones (which
    :func:`~sksae.metrics.refit_sparsest` chooses), and the one that the search has chosen
    (``best_index_``).

    Parameters
    ----------
    scores, sparseness : array-like of shape (n_candidates,)
        Of each candidate, greater is better and sparser. Where one of them is no finite number
        the candidate is not drawn.
    score_errors : array-like of shape (n_candidates,)
        Standard errors of the scores; nan is none.
    good : array-like of int
        Candidates that are good enough.
    best, sparsest : int
        The candidate with the best score; the sparsest of the good ones.
    chosen : int or None, default=None
        The candidate that the search has chosen, if there is one.
    lowest : float or None, default=None
        The lowest score of a good candidate.
    labels : sequence of str, default=None
        The parameters of each candidate; by default its number.
    score_name : str, default="score"
        What the score is called.
    sparsity_name : str, default="sparsity"
        What the sparsity is called.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What `plot` has drawn into.
    ax_ : matplotlib Axes
        The axes.

    See Also
    --------
    sksae.metrics.refit_sparsest : The rule.
    sksae.metrics.sparsity_scorers : Scores of sparsity for a search.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import SearchDisplay
    >>> from sksae.metrics import refit_sparsest, sparsity_scorers
    >>> X = load_digits().data[:300]
    >>> sae = SparseAutoencoderTransformer(20, sparsity="topk", max_iter=10, random_state=0)
    >>> search = GridSearchCV(
    ...     sae, {"rho": [2, 5, 10]}, scoring=sparsity_scorers(), refit=refit_sparsest(), cv=3
    ... )
    >>> display = SearchDisplay.from_estimator(search.fit(X))
    >>> display.chosen == display.sparsest
    True
    """

    figure_: Figure
    ax_: Axes

    def __init__(
        self,
        scores: ArrayLike,
        sparseness: ArrayLike,
        score_errors: ArrayLike,
        *,
        good: ArrayLike,
        best: int,
        sparsest: int,
        chosen: int | None = None,
        lowest: float | None = None,
        labels: Sequence[str] | None = None,
        score_name: str = "score",
        sparsity_name: str = "sparsity",
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        self.sparseness = np.asarray(sparseness, dtype=np.float64)
        self.score_errors = np.asarray(score_errors, dtype=np.float64)
        self.good = np.asarray(good, dtype=np.intp)
        self.best = best
        self.sparsest = sparsest
        self.chosen = chosen
        self.lowest = lowest
        self.labels = labels
        self.score_name = score_name
        self.sparsity_name = sparsity_name

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        *,
        score: str = "explained_variance",
        sparsity: str | Callable[[Mapping[str, Any]], ArrayLike] = "hoyer",
        within_se: float = 1.0,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the candidates of a fitted search.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV or another search with ``cv_results_``
            Fitted, with ``scoring`` of two scores at least, or of one if sparsity is a function.
        score : str, default="explained_variance"
            The score to compare, greater is better: a key of ``scoring``, or "score" where
            ``scoring`` is a single scorer.
        sparsity : str or callable, default="hoyer"
            The measure of sparsity, greater is sparser: a key of ``scoring``, or a function that
            takes ``cv_results_`` and returns a number for each candidate.
        within_se : float >= 0, default=1.0
            A good candidate is at most so many standard errors below the best one.
        ax : matplotlib Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : SearchDisplay
            With the candidates drawn.

        Raises
        ------
        ValueError
            If ``cv_results_`` lacks a score, or no candidate has both; if an argument is out of
            its range.
        TypeError
            If it is no search.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.

        Warns
        -----
        UserWarning
            If the search has a single split, which has no standard error.
        """
        check_matplotlib("SearchDisplay")
        check_options("SearchDisplay", within_se=within_se, score=score, sparsity=sparsity)
        results = results_of(search)
        ranking = rank(results, within_se=within_se, score=score, sparsity=sparsity)
        display = cls(
            ranking.scores,
            ranking.sparseness,
            standard_errors(results, score),
            good=ranking.good,
            best=ranking.best,
            sparsest=ranking.sparsest,
            chosen=getattr(search, "best_index_", None),
            lowest=ranking.lowest,
            labels=labels_of(results["params"]),
            score_name=score,
            sparsity_name=sparsity if isinstance(sparsity, str) else name_of(sparsity),
        )
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the candidates.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : SearchDisplay
            Itself.

        Raises
        ------
        ValueError
            If what was given to the constructor is empty or does not fit together.
        ImportError
            If matplotlib is not installed.
        """
        self._check()
        ax = one_axes(ax, caller="SearchDisplay", size=(6.0, 4.6))
        x, y = self.sparseness, self.scores
        is_drawn = np.isfinite(x) & np.isfinite(y)
        is_good = np.zeros(len(y), dtype=bool)
        is_good[self.good] = True
        has_error = is_drawn & np.isfinite(self.score_errors)
        if has_error.any():
            ax.errorbar(
                x[has_error],
                y[has_error],
                self.score_errors[has_error],
                fmt="none",
                ecolor=GREY,
                elinewidth=1.0,
                capsize=2.0,
                zorder=1,
            )
        if self.lowest is not None:
            ax.axhline(self.lowest, color=GREY, linestyle="--", linewidth=1.0, zorder=0)
        good, others = is_drawn & is_good, is_drawn & ~is_good
        ax.plot(x[good], y[good], "o", color=BLUE, label=f"good enough: {good.sum()}")
        ax.plot(
            x[others],
            y[others],
            "o",
            color=BLUE,
            markerfacecolor=ax.get_facecolor(),
            label=f"others: {others.sum()}",
        )
        self._mark(ax, self.best, "s", GREY, 11, "best")
        self._mark(ax, self.sparsest, "D", VERMILLION, 14, "sparsest good one")
        if self.chosen is not None:
            self._mark(ax, self.chosen, "o", GREEN, 18, "chosen by the search")
        if not is_drawn.all():
            ax.plot([], [], " ", label=f"without a score, not drawn: {(~is_drawn).sum()}")
        ax.set_xlabel(f"{self.sparsity_name}  (sparser →)", parse_math=False)
        ax.set_ylabel(f"{self.score_name}  (better →)", parse_math=False)
        ax.margins(0.08)
        draw_legend(ax, 1)
        self.figure_, self.ax_ = ax.figure, ax
        return self

    def _check(self) -> None:
        """Raise unless what the constructor was given fits together."""
        caller = "SearchDisplay"
        check_shape(caller, ("n_candidates",), scores=self.scores)
        check_shape(
            caller,
            self.scores.shape,
            sparseness=self.sparseness,
            score_errors=self.score_errors,
        )
        n = len(self.scores)
        check_lengths(caller, "candidates", n, labels=self.labels)
        marked = {"best": self.best, "sparsest": self.sparsest, "chosen": self.chosen}
        check_places(caller, "candidates", n, good=self.good, **marked)

    def _mark(
        self, ax: Axes, candidate: int, marker: str, colour: str, size: float, what: str
    ) -> None:
        """Draw a frame around a candidate, and name it in the legend with its parameters."""
        label = f"candidate {candidate}" if self.labels is None else self.labels[candidate]
        ax.plot(
            self.sparseness[candidate],
            self.scores[candidate],
            marker,
            color=colour,
            markersize=size,
            markerfacecolor="none",
            markeredgewidth=1.5,
            linestyle="none",
            label=f"{what}: {label}",
        )


def results_of(search: Any) -> Results:
    """Return the ``cv_results_`` of a search, or raise if there are none."""
    if hasattr(search, "cv_results_"):
        return search.cv_results_
    if hasattr(search, "cv") and hasattr(search, "estimator"):
        raise NotFittedError(
            f"This {type(search).__name__} instance is not fitted yet. Call 'fit' with "
            "appropriate arguments before SearchDisplay.from_estimator."
        )
    raise TypeError(
        "SearchDisplay needs a fitted search, GridSearchCV, RandomizedSearchCV or one of "
        f"sksae.model_selection, got {search!r}."
    )


def labels_of(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells candidates apart: the parameters in which they differ.

    Names are the last parts of those of the search, if these are not the same.
    """
    names = list(dict.fromkeys(name for each in params for name in each))
    differing = [name for name in names if len({repr(each.get(name)) for each in params}) > 1]
    short = {name: name.rpartition("__")[2] for name in differing or names}
    if len(set(short.values())) < len(short):
        short = {name: name for name in short}
    return [
        ", ".join(f"{short[name]}={value_told(each[name])}" for name in short if name in each)
        for each in params
    ]


def value_told(value: Any) -> str:
    """Return a parameter's value as it stands in a legend."""
    return f"{value:.3g}" if isinstance(value, float) else shortened(value, VALUE_LENGTH)


def name_of(function: Callable) -> str:
    """Return what a function that says how sparse candidates are is called."""
    name = getattr(function, "__name__", "sparsity")
    return "sparsity" if name == "<lambda>" else name
