"""A trained network on rows of any size, in an extended range, at less speed."""

import numpy as np

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codec import Codec
from sksae.numbers import (
    HOMOGENEOUS,
    Extended,
    Matrix,
    add,
    affine,
    divide,
    extend,
    to_floats,
)


def seen_of(codec: Codec, X: Matrix) -> Extended:
    """Return what the network sees of rows, whatever its size."""
    rows = X if isinstance(X, np.ndarray) else X.toarray()
    difference = add(extend(rows), extend(-codec.centre[None]))
    return add(divide(difference, codec.scale), extend(codec.offset[None]))


def run(codec: Codec, rows: Extended, first: int, last: int) -> Extended:
    """Send rows through layers, whatever their size."""
    for layer in range(first, last):
        name, slope = codec.activations[layer], codec.slopes[layer]
        pre = affine(rows, codec.coefs[layer], codec.intercepts[layer])
        if name in HOMOGENEOUS:
            slope = None if slope is None else slope.astype(np.float64)
            rows = extend(ACTIVATIONS[name].of(pre.values, slope), pre.exponent)
        else:
            rows = extend(ACTIVATIONS[name].of(to_floats(pre), None))
    return rows


def as_dtype(rows: Extended, dtype: np.dtype, what: str) -> np.ndarray:
    """Return rows in a precision that has room for them, or raise."""
    found = to_floats(rows).astype(dtype)
    if not np.isfinite(found).all():
        advice = "" if dtype == np.float64 else ": convert X to float64"
        raise ValueError(
            f"X holds values so large that the {what} it are beyond the range of {dtype}{advice}."
        )
    return found
