"""A fitted network at work, by the engine, which is imported when there is something to do."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from sksae.model.network import FittedNetwork
from sksae.model.numbers import Extended, Matrix


def encode(
    network: FittedNetwork,
    X: Matrix,
    device: str,
    n_layers: int | None = None,
    check: Callable[[], object] | None = None,
) -> np.ndarray:
    """Return the codes of some rows; see `engine.inference.walk.encode`."""
    from sksae.engine.inference import walk

    return walk.encode(network, X, device, n_layers, check)


def encode_sparse(
    network: FittedNetwork, X: Matrix, device: str, check: Callable[[], object] | None = None
) -> sp.csr_array:
    """Return the entries of codes; see `engine.inference.walk.encode_sparse`."""
    from sksae.engine.inference import walk

    return walk.encode_sparse(network, X, device, check)


def decode(network: FittedNetwork, codes: Matrix, device: str) -> np.ndarray:
    """Return the rows that some codes stand for; see `engine.inference.walk.decode`."""
    from sksae.engine.inference import walk

    return walk.decode(network, codes, device)


def reconstruction_distances(network: FittedNetwork, X: Matrix, device: str) -> Extended:
    """Return how far rows are rebuilt off; see `engine.inference.walk.reconstruction_distances`."""
    from sksae.engine.inference import walk

    return walk.reconstruction_distances(network, X, device)


def exciting_rows(
    network: FittedNetwork, units: np.ndarray, radius: float, device: str
) -> np.ndarray:
    """Return what excites units most; see `engine.inference.excitation.exciting_rows`."""
    from sksae.engine.inference import excitation

    return excitation.exciting_rows(network, units, radius, device)
