"""Where in an estimator the autoencoder stands, and what reaches it there."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _get_feature_names, check_is_fitted

from sksae.base.protocols import HasNetwork, has_network
from sksae.metrics.checks import MatrixLike

# Whose fitted part is given the rows as they are: that part, and the parameter that it is made of.
WRAPPERS: dict[type[BaseEstimator], tuple[str, str]] = {
    BaseSearchCV: ("best_estimator_", "estimator"),
    FrozenEstimator: ("estimator", "estimator"),
    FixedThresholdClassifier: ("estimator_", "estimator"),
    SelfTrainingClassifier: ("estimator_", "estimator"),
    TransformedTargetRegressor: ("regressor_", "regressor"),
    TunedThresholdClassifierCV: ("estimator_", "estimator"),
}


class Step(Protocol):
    """What is done to rows before they reach an autoencoder."""

    def __call__(self, X: MatrixLike) -> MatrixLike:
        """Return what becomes of rows."""

    def names(self, names: np.ndarray | None) -> np.ndarray | None:
        """Return the names of the features that it gives, None if they are not known."""


class Transformed(NamedTuple):
    """Rows are transformed by an estimator."""

    step: Any

    def __call__(self, X: MatrixLike) -> MatrixLike:
        """Return what becomes of rows."""
        return self.step.transform(X)

    def names(self, names: np.ndarray | None) -> np.ndarray | None:
        """Return the names of the features that it gives, None if they are not known."""
        for given in (names, None):
            # Steps may have no names, refuse those of other rows than were fitted, or fail.
            with suppress(Exception):
                return np.asarray(self.step.get_feature_names_out(given), dtype=object)
        return None


class Chosen(NamedTuple):
    """Of rows some columns are taken."""

    columns: Any

    def __call__(self, X: MatrixLike) -> MatrixLike:
        """Return these columns."""
        return _safe_indexing(X, self.columns, axis=1)

    def names(self, names: np.ndarray | None) -> np.ndarray | None:
        """Return their names, None if they are not known."""
        columns = self.columns
        if isinstance(columns, str):
            return np.array([columns], dtype=object)
        if not isinstance(columns, slice) and len(columns) and isinstance(columns[0], str):
            return np.asarray(columns, dtype=object)
        return None if names is None else _safe_indexing(names[None], columns, axis=1)[0]


class AutoencoderLocation(NamedTuple):
    """An autoencoder and what its estimator does to rows before they reach it."""

    autoencoder: HasNetwork
    before: tuple[Step, ...]

    def rows(self, X: MatrixLike) -> MatrixLike:
        """Return rows of the estimator as they reach the autoencoder."""
        for step in self.before:
            X = step(X)
        return X

    def feature_names(self, X: MatrixLike | None = None) -> np.ndarray | None:
        """Return the names of the features that reach the autoencoder, None if there are none.

        Parameters
        ----------
        X : {array-like, sparse matrix}, optional
            Rows of the estimator, whose columns may have names.
        """
        own = getattr(self.autoencoder, "feature_names_in_", None)
        if own is not None:
            return np.asarray(own, dtype=object)
        names = None if X is None else _get_feature_names(X)
        for step in self.before:
            names = step.names(names)
        return None if names is None else np.asarray(names, dtype=object)


def fitted_autoencoder(estimator: BaseEstimator, *, needed_by: str) -> AutoencoderLocation:
    """Return the location of the last autoencoder of an estimator, which must be fitted.

    Parameters
    ----------
    estimator : BaseEstimator
        An autoencoder, or an estimator that `sparsity_scorers` says may hold one, at any depth.
    needed_by : str
        Who asks; an error begins with it.

    Raises
    ------
    ValueError
        If there is no autoencoder.
    NotFittedError
        If it is not fitted.
    """
    location = find_autoencoder(estimator)
    if location is None:
        raise ValueError(
            f"{needed_by} needs a SparseAutoencoderTransformer, a stack, classifier or regressor "
            "of them, or a Pipeline, FeatureUnion, ColumnTransformer, FrozenEstimator or search "
            f"with one in it, got {estimator!r}."
        )
    if hasattr(estimator, "cv_results_") and not hasattr(estimator, "best_estimator_"):
        raise NotFittedError(
            f"This {type(estimator).__name__} has kept no fitted estimator: search with "
            "refit=True, or with the name of a score."
        )
    # Before the other steps are used, whose errors would speak of them.
    check_is_fitted(location.autoencoder)
    return location


def find_autoencoder(estimator: Any) -> AutoencoderLocation | None:
    """Return the location of the last autoencoder, or None if there is none."""
    if has_network(estimator):
        return AutoencoderLocation(estimator, ())
    found = None
    for part, before in _parts(estimator):
        location = find_autoencoder(part)
        if location is not None:
            found = AutoencoderLocation(location.autoencoder, (*before, *location.before))
    return found


def _parts(estimator: Any) -> Iterator[tuple[Any, tuple[Step, ...]]]:
    """Yield what an estimator is made of, each with what is done to rows before they reach it."""
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        for position, step in enumerate(steps):
            yield step, tuple(Transformed(earlier) for earlier in steps[:position])
    elif isinstance(estimator, FeatureUnion):
        for _, part in estimator.transformer_list:
            yield part, ()
    elif isinstance(estimator, ColumnTransformer):
        if hasattr(estimator, "transformers_"):
            branches = estimator.transformers_
        else:
            branches = [*estimator.transformers, ("remainder", estimator.remainder, [])]
        for _, part, columns in branches:
            yield part, (Chosen(columns),)
    elif hasattr(estimator, "best_estimator_"):  # of a search, whosever it is
        yield estimator.best_estimator_, ()
    else:
        for wrapper, (fitted, parameter) in WRAPPERS.items():
            if isinstance(estimator, wrapper):
                yield getattr(estimator, fitted, getattr(estimator, parameter)), ()
