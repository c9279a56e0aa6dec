"""Fits made beforehand: where `fit` looks before it trains.

A search may train many networks side by side, then let scikit-learn fit and score one candidate
after the other; each of these fits takes what was trained for it instead of training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sksae.scaling import Matrix
from sksae.training.plan import Plan

if TYPE_CHECKING:
    from sksae.engine.jobs import Trained
    from sksae.engine.watching import NonFiniteLossError
    from sksae.transformer import SparseAutoencoderTransformer


class Fit(NamedTuple):
    """A training that an estimator asks for, and what came of it."""

    plan: Plan
    outcome: "Trained | NonFiniteLossError"


class Source(Protocol):
    """Who has fits made beforehand."""

    def find(
        self,
        estimator: "SparseAutoencoderTransformer",
        X: Matrix,
        sample_weight: np.ndarray | None,
    ) -> Fit | None:
        """Return what training that estimator on those rows came to, if it was made."""


_source: ContextVar[Source | None] = ContextVar("source of fits", default=None)


@contextmanager
def fits_from(source: Source) -> Iterator[None]:
    """Let every `fit` in this context look there first."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def find_fit(
    estimator: "SparseAutoencoderTransformer", X: Matrix, sample_weight: np.ndarray | None
) -> Fit | None:
    """Return what training that estimator on those rows came to, if it was made beforehand."""
    source = _source.get()
    return None if source is None else source.find(estimator, X, sample_weight)
