"""From rows to the codes of a stack, through its members' encoders."""

from collections.abc import Sequence

import numpy as np

from sksae.base.inference import encode
from sksae.base.protocols import Autoencoder
from sksae.model.numbers import Matrix
from sksae.model.slices import chunk_slices


def encode_through(
    members: Sequence[Autoencoder], X: Matrix, n_layers: int | None = None
) -> Matrix:
    """Return what the first encoder layers of a stack, by default all of them, make of rows.

    Parameters
    ----------
    members : sequence of autoencoder
        Fitted, each to codes of the one before.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    n_layers : int, optional
        How many layers.
    """
    # Codes in between are made of so many rows at a time that they take little memory.
    widest = max(member.__sksae_network__().n_components for member in members)
    first, *others = chunk_slices(X.shape[0], widest)
    if len(members) == 1 or not others:
        return _encode_rows(members, X, n_layers)
    part = _encode_rows(members, X[first], n_layers)
    codes = np.empty((X.shape[0], part.shape[1]), part.dtype)
    codes[first] = part
    for rows in others:
        codes[rows] = _encode_rows(members, X[rows], n_layers)
    return codes


def _encode_rows(members: Sequence[Autoencoder], X: Matrix, n_layers: int | None) -> Matrix:
    """Return what the layers make of some rows, all at once.

    Parameters
    ----------
    members, X, n_layers
        As in `encode_through`.
    """
    for member in members:
        network = member.__sksae_network__()
        taken = network.n_encoder_layers
        if n_layers is not None:
            taken = min(taken, n_layers)
            n_layers -= taken
        if taken == 0:
            break
        X = encode(network, X, member.device, taken)
    return X
