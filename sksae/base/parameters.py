"""An estimator's parameters as a specification, and how to speak of its rows."""

from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from inspect import signature
from typing import Any, TypeVar, cast

from sklearn.base import BaseEstimator

from sksae.process.warning import membership_of
from sksae.training.advice import RowsTold
from sksae.training.specification import Specification, TrainingSpecification, specify
from sksae.training.validation import check_ints

S = TypeVar("S", bound=TrainingSpecification)


def specification_of(estimator: BaseEstimator) -> Specification:
    """Return the autoencoder that an estimator's parameters ask for, or raise if they cannot."""
    return specify(*_given_and_usual(estimator, Specification))


def training_specification_of(estimator: BaseEstimator, kind: type[S]) -> S:
    """Return how an estimator's parameters say that layers are to be trained."""
    return kind.of(*_given_and_usual(estimator, kind))


def rows_told_of(estimator: BaseEstimator) -> RowsTold:
    """Return how to speak of the rows that an autoencoder is being fitted to."""
    membership = membership_of(estimator)
    owner = estimator if membership is None else membership.whole
    return RowsTold(
        names=getattr(owner, "feature_names_in_", None),
        are_codes=membership is not None and membership.on_codes,
    )


def _given_and_usual(
    estimator: BaseEstimator, kind: type[TrainingSpecification]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all parameters, and what they are by default.

    A subclass may have others in its ``__init__``, or not tell of all: what a specification needs
    are attributes all the same.
    """
    names = {each.name for each in fields(kind)} - {"given", "usual"}
    given = estimator.get_params(deep=False)
    given |= {name: getattr(estimator, name) for name in names}
    check_ints(given)
    return given, dict(_defaults(cast("Hashable", type(estimator))))


@cache
def _defaults(owner: type) -> Mapping[str, Any]:
    """Return the defaults in the signatures of a class and of those that it is derived from."""
    defaults: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        for each in signature(base).parameters.values():
            if each.default is not each.empty:
                defaults[each.name] = each.default
    return defaults
