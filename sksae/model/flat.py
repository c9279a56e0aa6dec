"""Weights, biases and parameters of units as the one flat vector that is trained, and back."""

from collections.abc import Mapping, Sequence
from itertools import islice
from math import prod

import numpy as np

from sksae.model.architecture import Architecture


def to_layers(
    architecture: Architecture, flat: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], list[dict[str, np.ndarray]]]:
    """Split one network's flat vector into weights, biases and parameters of units by layer.

    Returns
    -------
    coefs : list of ndarray of shape (n_in, n_out)
    intercepts : list of ndarray of shape (n_out,)
    units : list of dict of str to ndarray of shape (n_out,)
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
        elif architecture.layout(layer) == "rows":
            coefs.append(next(blocks).reshape(n_in, n_out))
        else:
            coefs.append(np.ascontiguousarray(next(blocks).reshape(n_out, n_in).T))
    intercepts = list(islice(blocks, n_layers))
    units = [{name: next(blocks) for name in names} for names in architecture.unit_parameters]
    return coefs, intercepts, units


def to_flat(
    architecture: Architecture,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    units: Sequence[Mapping[str, np.ndarray]],
) -> np.ndarray:
    """Join weights, biases and parameters of units into one flat vector; undoes `to_layers`.

    Of tied layers the encoder's weights count.

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    coefs : sequence of ndarray of shape (n_in, n_out)
        Weights of each layer.
    intercepts : sequence of ndarray of shape (n_out,)
        Biases of each.
    units : sequence of mapping of str to ndarray of shape (n_out,)
        What each layer learns for each unit besides, by name.
    """
    weights = [
        coefs[layer] if architecture.layout(layer) == "rows" else coefs[layer].T
        for layer in architecture.own
    ]
    of_units = [
        own[name]
        for own, names in zip(units, architecture.unit_parameters, strict=True)
        for name in names
    ]
    return np.concatenate([block.ravel() for block in (*weights, *intercepts, *of_units)])
