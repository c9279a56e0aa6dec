"""Where in an estimator the autoencoder stands, and what reaches it there."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sksae.metrics.checks import MatrixLike
from sksae.transformer import SparseAutoencoderTransformer

Step: TypeAlias = Callable[[MatrixLike], MatrixLike]


class Place(NamedTuple):
    """An autoencoder and what its estimator does to rows before they reach it."""

    autoencoder: SparseAutoencoderTransformer
    before: tuple[Step, ...]


def autoencoder_and_its_rows(
    estimator: BaseEstimator, X: MatrixLike
) -> tuple[SparseAutoencoderTransformer, MatrixLike]:
    """Return the last autoencoder of an estimator, and X as it reaches it.

    Parameters
    ----------
    estimator : BaseEstimator
        An autoencoder, or a Pipeline, FeatureUnion or ColumnTransformer with one, at any depth.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows as the estimator takes them.

    Returns
    -------
    autoencoder : SparseAutoencoderTransformer
        Fitted.
    X_reaching : {array-like, sparse matrix} of shape (n_samples, autoencoder.n_features_in_)
        Its rows.

    Raises
    ------
    ValueError
        If there is no autoencoder.
    NotFittedError
        If it is not fitted.
    """
    place = find_autoencoder(estimator)
    if place is None:
        raise ValueError(
            "This scorer needs a SparseAutoencoderTransformer, or a Pipeline, FeatureUnion or "
            f"ColumnTransformer with one in it, got {estimator!r}."
        )
    # Before the other steps are used, whose errors would speak of them.
    check_is_fitted(place.autoencoder)
    for step in place.before:
        X = step(X)
    return place.autoencoder, X


def find_autoencoder(estimator: Any) -> Place | None:
    """Return the place of the last autoencoder, or None if there is none."""
    if isinstance(estimator, SparseAutoencoderTransformer):
        return Place(estimator, ())
    found = None
    for part, before in _parts(estimator):
        place = find_autoencoder(part)
        if place is not None:
            found = Place(place.autoencoder, (*before, *place.before))
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


def _transform(step: Any, X: MatrixLike) -> MatrixLike:
    return step.transform(X)
