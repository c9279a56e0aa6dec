"""What a unit stands for among rows: the atom that it adds, or the row that excites it most."""

from typing import Any

import numpy as np

from sksae.base.inference import exciting_rows
from sksae.base.protocols import HasNetwork, is_autoencoder
from sksae.inspection.subject import Subject
from sksae.model.codes import RECTIFIED
from sksae.model.network import FittedNetwork
from sksae.model.scaling import usual_norm


def has_atoms(autoencoder: HasNetwork) -> bool:
    """Return whether units add atoms to rows: the decoder is one linear map of the code."""
    return is_autoencoder(autoencoder) and len(autoencoder.__sksae_network__().layers) == 2


def added_atoms(subject: Subject) -> np.ndarray | None:
    """Return what each unit adds to a row, (n_units, n_features); None if there are no atoms."""
    autoencoder: Any = subject.autoencoder
    return np.asarray(autoencoder.components_) if has_atoms(autoencoder) else None


def pictured(subject: Subject, units: np.ndarray) -> np.ndarray:
    """Return what units stand for, to be shown.

    Parameters
    ----------
    subject : Subject
        Whose units.
    units : ndarray of int of shape (n_units,)
        Which of them.

    Returns
    -------
    shown : ndarray of shape (n_units, n_features), float64
        ``components_`` where there are such; else, for each unit, by how much the row that excites
        it most differs from the mean one, in the units of what reaches the autoencoder.
    """
    autoencoder: Any = subject.autoencoder
    if has_atoms(autoencoder):
        return np.asarray(autoencoder.components_[units], dtype=np.float64)
    network = subject.network
    radius = usual_norm(network.n_features, _row_range(network), scaled=network.scaling.scaled)
    return exciting_rows(network, units, radius, device_of(autoencoder))


def device_of(autoencoder: Any) -> str:
    """Return where an autoencoder, or the first of a stack, computes."""
    return getattr(autoencoder, "autoencoders_", [autoencoder])[0].device


def most_used(subject: Subject, n_most: int) -> np.ndarray:
    """Return the units that are used most in the training rows, most used first.

    Where nothing is known of the training rows, or there are not more units than asked for, it is
    the first ones, in their order.

    Parameters
    ----------
    subject : Subject
        Whose units.
    n_most : int
        How many at most.
    """
    if subject.n_units <= n_most:
        return np.arange(subject.n_units)
    # Units of other codes are active a little in all rows.
    is_counted = subject.network.code_activation in RECTIFIED
    name = "active_share_" if is_counted else "mean_activation_"
    use = np.asarray(getattr(subject.autoencoder, name, np.nan), dtype=np.float64)
    if np.isnan(use).any():
        return np.arange(n_most)
    return np.argsort(-np.abs(use), kind="stable")[:n_most]


def _row_range(network: FittedNetwork) -> str:
    """Return into whose range scaled rows fit; that of an encoder alone is not known any more."""
    return network.row_range if network.decoder else "identity"
