"""A trained network on rows whose numbers floats have no room for, at less speed."""

import numpy as np

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codes import select_columns
from sksae.model.codes import Selection
from sksae.model.network import FittedNetwork
from sksae.model.numbers import (
    HOMOGENEOUS,
    OF_SIZE,
    Extended,
    Matrix,
    add,
    affine,
    as_dense,
    divide,
    extend,
    to_floats,
)
from sksae.model.scaling import Scaling


def seen_of(scaling: Scaling, X: Matrix) -> Extended:
    """Return what a network of that scaling sees of rows, whatever its size."""
    difference = add(extend(as_dense(X)), extend(-scaling.centre[None]))
    return add(divide(difference, scaling.scale), extend(scaling.offset[None]))


def run(network: FittedNetwork, rows: Extended, first: int, last: int) -> Extended:
    """Send rows through layers, whatever their size.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    rows : Extended
        What enters the layers.
    first, last : int
        Which layers: from ``first`` up to ``last``, which is not one of them.
    """
    for layer in network.layers[first:last]:
        name = layer.activation
        pre = affine(rows, layer.coef, layer.intercept)
        if name in HOMOGENEOUS:
            units = {
                name: _at(each, pre.exponent) if name in OF_SIZE else each
                for name, each in layer.units.items()
            }
            out, exponent = ACTIVATIONS[name].evaluate(pre.values, units), pre.exponent
        else:
            out, exponent = ACTIVATIONS[name].evaluate(to_floats(pre), {}), np.zeros((), int)
        _select(layer.selection, out, exponent)
        rows = extend(out, exponent)
    return rows


def _select(selection: Selection | None, out: np.ndarray, exponent: np.ndarray) -> None:
    """Leave of activations what a layer keeps, in place.

    Parameters
    ----------
    selection : Selection or None
        What that is; None is all.
    out : ndarray of shape (n_rows, n_units)
        Activations, but for the exponent.
    exponent : ndarray of int of shape (n_rows, 1) or ()
        Of each row.
    """
    if selection is None or selection.threshold is None:
        # Rows have one exponent each: their units compare as they are.
        select_columns(selection, out)
    else:
        out[out <= _at(np.full(1, selection.threshold), exponent)] = 0.0


def _at(sizes: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return what numbers are in the units of each row, 2**exponent, shape (n_rows, n)."""
    shape = np.broadcast_shapes(sizes.shape, exponent.shape)
    found: np.ndarray = to_floats(Extended(np.broadcast_to(sizes, shape), -exponent))
    return found


def as_dtype(rows: Extended, dtype: np.dtype, what: str) -> np.ndarray:
    """Return rows in a precision that has room for them, or raise.

    Parameters
    ----------
    rows : Extended
        Rows.
    dtype : dtype
        The precision.
    what : str
        What an error calls them, to be read before "it".

    Raises
    ------
    ValueError
        If that precision has no room for them.
    """
    found = to_floats(rows).astype(dtype)
    if not np.isfinite(found).all():
        advice = "" if dtype == np.float64 else ": convert X to float64"
        raise ValueError(
            f"X holds values so large that the {what} it are beyond the range of {dtype}{advice}."
        )
    return found
