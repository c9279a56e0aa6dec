"""The methods by which autoencoders are known, whatever their class.

Metrics, stacks and searches look for these methods in other estimators, never for a class.
"""

from typing import Any, Protocol, Self, TypeGuard

import numpy as np

from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.training.specification import Specification


class HasNetwork(Protocol):
    """An estimator that has learnt a network, or is going to."""

    def __sksae_network__(self) -> FittedNetwork:
        """Return the network, from rows to the code and back; raise `NotFittedError` before."""

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return a name for each unit of the code."""

    def transform(self, X: Any) -> Matrix:
        """Return codes."""

    def score(self, X: Any) -> float:
        """Return how well the estimator serves its purpose."""


class Autoencoder(HasNetwork, Protocol):
    """A single autoencoder, trained by itself."""

    device: str
    early_stopping: bool
    random_state: int | np.random.RandomState | None
    n_components: int
    rho: float
    sparse_output: bool
    transform_n_active: int | None
    transform_algorithm: str
    n_features_in_: int
    n_iter_: int
    loss_: float
    beta_: float | None

    def __sksae_specification__(self) -> Specification:
        """Return what the parameters ask for, or raise a ValueError if they cannot be."""

    def inverse_transform(self, X: Matrix) -> np.ndarray:
        """Return rows."""

    def partial_fit(
        self, X: Matrix, y: object = None, sample_weight: np.ndarray | None = None
    ) -> Self:
        """Learn from one more piece of rows X of weights ``sample_weight``; not of every solver."""

    def fit(self, X: Matrix, y: object = None, sample_weight: np.ndarray | None = None) -> Self:
        """Learn from rows X of weights ``sample_weight``; y is ignored."""


def has_network(estimator: object) -> TypeGuard[HasNetwork]:
    """Return whether an estimator is a sparse autoencoder, or made of them."""
    return hasattr(type(estimator), "__sksae_network__")


def is_trained_here(estimator: object) -> bool:
    """Return whether sksae trains an estimator itself, and knows how to keep and to resume that."""
    return has_network(estimator) or hasattr(type(estimator), "__sksae_attention__")


def is_autoencoder(estimator: object) -> TypeGuard[Autoencoder]:
    """Return whether an estimator is a single sparse autoencoder."""
    return hasattr(type(estimator), "__sksae_specification__")
