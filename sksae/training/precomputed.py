"""Precomputed fits: where `fit` looks before it trains.

A search may train many networks side by side, then let scikit-learn fit and score one candidate
after the other; each of these fits takes what was trained for it instead of training.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import numpy as np

from sksae.model.failure import NonFiniteLossError
from sksae.model.numbers import Matrix
from sksae.model.tasks import TrainingResult
from sksae.training.plan import Plan
from sksae.training.specification import Specification


class Fit(NamedTuple):
    """A training that was asked for, and what came of it."""

    plan: Plan
    outcome: TrainingResult | NonFiniteLossError


class FitProvider(Protocol):
    """Who has precomputed fits."""

    def find(
        self,
        given: Mapping[str, Any],
        specify: Callable[[], Specification],
        X: Matrix,
        sample_weight: np.ndarray | None,
        *,
        is_watched: bool,
    ) -> Fit | None:
        """Return what training that autoencoder on those rows came to, if it is known.

        Parameters
        ----------
        given : mapping
            The autoencoder's parameters that training goes by.
        specify : callable
            Returns what they ask for, or raises a ValueError if they make no sense.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Validated rows.
        sample_weight : ndarray of shape (n_samples,) or None
            Validated weights.
        is_watched : bool
            Whether somebody hears of every epoch, by callbacks.
        """


_provider: ContextVar[FitProvider | None] = ContextVar("provider of fits", default=None)


@contextmanager
def use_precomputed_fits(provider: FitProvider) -> Iterator[None]:
    """Let every `fit` in this context look there first."""
    token = _provider.set(provider)
    try:
        yield
    finally:
        _provider.reset(token)


def provider_in_use() -> FitProvider | None:
    """Return where a `fit` is to look first, if anywhere."""
    return _provider.get()
