"""The sparse autoencoders in an estimator."""

from typing import Any

from sklearn.base import BaseEstimator

from sksae.base.protocols import Autoencoder, is_autoencoder


def autoencoders_in(estimator: Any) -> list[Autoencoder]:
    """Return the sparse autoencoders that an estimator is or contains."""
    if is_autoencoder(estimator):
        return [estimator]
    if not isinstance(estimator, BaseEstimator):
        return []
    parts = estimator.get_params(deep=True).values()
    return [part for part in parts if is_autoencoder(part)]


def only_reads(estimator: Any) -> bool:
    """Return whether it is known that fits of an estimator do not write to their rows."""
    # A subclass of somebody else's may do anything.
    return is_autoencoder(estimator) and type(estimator).__module__.startswith("sksae.")
