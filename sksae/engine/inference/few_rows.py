"""Codes of a few rows, as a server asks for them, without the preparations that pay for many.

numpy does most of it on the CPU, as its calls take less time than torch's. Rows and numbers out of
the ordinary are left to `inference`, which does the same for any rows.
"""

from math import sqrt

import numpy as np

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codes import select_columns
from sksae.engine.inference.layers import Layers
from sksae.engine.products import NumpyProducts
from sksae.engine.threads import Crew
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.model.slices import CHUNK_ENTRIES

# With so few rows a second core would gain nothing, and to centre them in float64 costs less than
# to move the centre into a bias.
MOST_ROWS = 32
# How far the centre may be from 0, in units of the nearest row's distance from the centre: if it is
# further, rows lose digits in float32.
NEAR_ENOUGH = 1.5


def encode_few(layers: Layers, X: Matrix, n_layers: int) -> np.ndarray | None:
    """Return the codes of a few rows, or None if they are not few or not ordinary.

    Parameters
    ----------
    layers : Layers
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    n_layers : int
        After how many layers to stop.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components), or None
    """
    if not _are_few(layers, X):
        return None
    rows = _seen(layers.network, X)
    return None if rows is None else _run(layers, rows, 0, n_layers)


def decode_few(layers: Layers, codes: Matrix) -> np.ndarray | None:
    """Return the rows that a few codes stand for, or None if they are not few or not ordinary.

    Parameters
    ----------
    layers : Layers
        The network.
    codes : ndarray or CSR matrix of shape (n_samples, n_components)
        Codes.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), or None
    """
    network = layers.network
    if not _are_few(layers, codes):
        return None
    rows = _run(layers, codes, network.n_encoder_layers, len(network.layers))
    if rows is None:
        return None
    scaling = network.output_scaling
    wide = np.subtract(rows, scaling.shift, dtype=np.float64) * scaling.scale + scaling.mean
    X = wide.astype(layers.dtype, copy=False)
    return X if np.isfinite(X).all() else None


def _are_few(layers: Layers, rows: Matrix) -> bool:
    """Return whether rows are few, dense and on the CPU."""
    return (
        rows.shape[0] <= MOST_ROWS
        and isinstance(rows, np.ndarray)
        and rows.size <= CHUNK_ENTRIES
        and layers.device.type == "cpu"
    )


def _seen(network: FittedNetwork, X: np.ndarray) -> np.ndarray | None:
    """Return what the network sees of rows, in float64, or None if its centre is far from 0.

    Numbers that there is no room for become infinite, or nan.
    """
    rows, offset = np.subtract(X, network.scaling.centre, dtype=np.float64), network.scaling.offset
    rows /= network.scaling.scale
    if offset.any():
        nearest = sqrt(np.einsum("ij,ij->i", rows, rows).min())
        if not sqrt(offset @ offset) <= NEAR_ENOUGH * nearest:
            return None
        rows += offset
    return rows


def _run(layers: Layers, rows: np.ndarray, first: int, last: int) -> np.ndarray | None:
    """Send rows through some layers; return None if numbers on the way are not ordinary.

    Parameters
    ----------
    layers : Layers
        The network.
    rows : ndarray of shape (n_rows, n_in)
        What enters the layers.
    first, last : int
        Which layers: from ``first`` up to ``last``, which is not one of them.
    """
    dtype = layers.dtype
    rows = rows.astype(dtype, copy=False)
    with Crew(1):
        for layer in layers.network.layers[first:last]:
            pre = _product(layers, rows, layer.coef.astype(dtype, copy=False))
            np.add(pre, layer.intercept, out=pre, casting="same_kind")
            rows = ACTIVATIONS[layer.activation].evaluate(pre, layer.units)
            if not all(_norm(each) < layers.large for each in (pre, rows)):
                return None
            select_columns(layer.selection, rows)
    return rows


def _product(layers: Layers, rows: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Return rows times weights, by the library that is fastest at it here.

    Parameters
    ----------
    layers : Layers
        Whose library multiplies.
    rows : ndarray of shape (n_rows, n_in)
        Rows.
    coef : ndarray of shape (n_in, n_out)
        Weights.
    """
    if isinstance(layers.products, NumpyProducts):
        return np.dot(rows, coef)
    return (layers.as_tensor(rows) @ layers.as_tensor(coef)).numpy()


def _norm(rows: np.ndarray) -> float:
    """Return the norm of all entries; infinite or nan if its square is out of range."""
    return sqrt(square) if (square := float(np.vdot(rows, rows))) >= 0.0 else square
