"""Where in an estimator the autoencoder stands, and what reaches it there."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sksae.base.protocols import HasNetwork, has_network
from sksae.metrics.checks import MatrixLike

Step: TypeAlias = Callable[[MatrixLike], MatrixLike]

# Whose fitted part is given the rows as they are: that part, and the parameter that it is made of.
WRAPPERS: dict[type[BaseEstimator], tuple[str, str]] = {
    BaseSearchCV: ("best_estimator_", "estimator"),
    FrozenEstimator: ("estimator", "estimator"),
    FixedThresholdClassifier: ("estimator_", "estimator"),
    SelfTrainingClassifier: ("estimator_", "estimator"),
    TransformedTargetRegressor: ("regressor_", "regressor"),
    TunedThresholdClassifierCV: ("estimator_", "estimator"),
}


class AutoencoderLocation(NamedTuple):
    """An autoencoder and what its estimator does to rows before they reach it."""

    autoencoder: HasNetwork
    before: tuple[Step, ...]


def autoencoder_and_its_rows(
    estimator: BaseEstimator, X: MatrixLike
) -> tuple[HasNetwork, MatrixLike]:
    """Return the last autoencoder of an estimator, and X as it reaches it.

    Parameters
    ----------
    estimator : BaseEstimator
        An autoencoder, or an estimator that `sparsity_scorers` says may hold one, at any depth.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows as the estimator takes them.

    Returns
    -------
    autoencoder : estimator with a network
        Fitted; of a stack the whole.
    X_reaching : {array-like, sparse matrix} of shape (n_samples, autoencoder.n_features_in_)
        Its rows.

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
            "This scorer needs a SparseAutoencoderTransformer, a stack, classifier or regressor of "
            "them, or a Pipeline, FeatureUnion, ColumnTransformer, FrozenEstimator or search with "
            f"one in it, got {estimator!r}."
        )
    # Before the other steps are used, whose errors would speak of them.
    check_is_fitted(location.autoencoder)
    for step in location.before:
        X = step(X)
    return location.autoencoder, X


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
            yield step, tuple(partial(_transform, earlier) for earlier in steps[:position])
    elif isinstance(estimator, FeatureUnion):
        for _, part in estimator.transformer_list:
            yield part, ()
    elif isinstance(estimator, ColumnTransformer):
        if hasattr(estimator, "transformers_"):
            branches = estimator.transformers_
        else:
            branches = [*estimator.transformers, ("remainder", estimator.remainder, [])]
        for _, part, columns in branches:
            yield part, (partial(_safe_indexing, indices=columns, axis=1),)
    elif hasattr(estimator, "best_estimator_"):  # of a search, whosever it is
        yield estimator.best_estimator_, ()
    else:
        for wrapper, (fitted, parameter) in WRAPPERS.items():
            if isinstance(estimator, wrapper):
                yield getattr(estimator, fitted, getattr(estimator, parameter)), ()


def _transform(step: Any, X: MatrixLike) -> MatrixLike:
    return step.transform(X)
