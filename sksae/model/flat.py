"""Weights, biases and slopes as the one flat vector that is trained, and back."""

from collections.abc import Sequence
from itertools import islice
from math import prod

import numpy as np

from sksae.model.architecture import Architecture


def to_layers(
    architecture: Architecture, flat: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray | None]]:
    """Split one network's flat vector into weights, biases and slopes (None where none) by layer.

    Returns
    -------
    coefs : list of ndarray of shape (n_in, n_out)
    intercepts : list of ndarray of shape (n_out,)
    slopes : list of ndarray of shape (n_out,) or None
        Arrays of their own, not views.
    """
    bounds = np.cumsum([prod(shape) for shape in architecture.shapes])[:-1]
    blocks = iter([block.copy() for block in np.split(flat, bounds)])
    n_layers = architecture.n_layers
    coefs: list[np.ndarray] = []
    for layer, owner in enumerate(architecture.owners):
        n_in, n_out = architecture.sizes[layer : layer + 2]
        if owner != layer:
            coefs.append(np.ascontiguousarray(coefs[owner].T))
        elif architecture.on_rows(layer):
            coefs.append(next(blocks).reshape(n_in, n_out))
        else:
            coefs.append(np.ascontiguousarray(next(blocks).reshape(n_out, n_in).T))
    intercepts = list(islice(blocks, n_layers))
    return coefs, intercepts, [next(blocks) if has else None for has in architecture.has_slopes]


def to_flat(
    architecture: Architecture,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    slopes: Sequence[np.ndarray | None],
) -> np.ndarray:
    """Join weights, biases and slopes by layer into one flat vector; undoes `to_layers`.

    Of tied layers the encoder's weights count.

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    coefs : sequence of ndarray of shape (n_in, n_out)
        Weights of each layer.
    intercepts : sequence of ndarray of shape (n_out,)
        Biases of each.
    slopes : sequence of ndarray of shape (n_out,) or None
        Of prelu units; None where there are none.
    """
    weights = [
        coefs[layer] if architecture.on_rows(layer) else coefs[layer].T
        for layer in architecture.own
    ]
    learned = [slope for slope in slopes if slope is not None]
    return np.concatenate([block.ravel() for block in (*weights, *intercepts, *learned)])
