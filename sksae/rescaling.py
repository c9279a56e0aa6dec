"""A fitted network that is to see its rows by another scaling than it was trained with."""

from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from sksae.numbers import HOMOGENEOUS
from sksae.scaling import Scaling, scaled_deviation, scaling_of
from sksae.seen import Seen, root_mean_square

if TYPE_CHECKING:
    from sksae.transformer import SparseAutoencoderTransformer

# The weights of units that are not homogeneous may take so much of a change of scale: far longer
# or shorter than those that training starts from they saturate, or hardly move any more. So do
# biases that take up a mean so many deviations away.
FURTHEST_STRETCH, FURTHEST_SHIFT = 4.0, 4.0


def scaling_in_use(fitted: "SparseAutoencoderTransformer") -> Scaling:
    """Return the scaling that a fitted network sees rows by."""
    return Scaling(
        mean=fitted.mean_,
        scale=fitted.scale_,
        shift=fitted._shift,
        centre=fitted._centre,
        scaled=fitted._scaled,
        stretch=fitted._stretch,
    )


def after_piece(fitted: "SparseAutoencoderTransformer", piece: Seen) -> tuple[Seen, Scaling | None]:
    """Return what is known after one more piece, and another scaling if that shows the last wrong.

    Parameters
    ----------
    fitted : SparseAutoencoderTransformer
        Whose rows were not all alike.
    piece : Seen
        What the piece tells.
    """
    output_activation = fitted._activations[-1]
    so_far = Seen(**fitted._seen)
    seen = so_far.followed_by(piece)
    deviation = seen.mean_deviation
    if fitted._scaled:
        deviation = fitted.scale_ * scaled_deviation(len(seen.mean), output_activation)
    if not seen.is_far_from(fitted._centre, deviation):
        return seen, None
    if so_far.is_young:
        seen = so_far.turned_into(piece)
    return seen, scaling_of(
        seen.mean,
        seen.mean_deviation,
        scale_data=fitted._scaled,
        output_activation=output_activation,
    )


def rescaled(
    fitted: "SparseAutoencoderTransformer", after: Scaling, *, keep_codes: bool = False
) -> "SparseAutoencoderTransformer":
    """Return a copy of a fitted network that sees rows by another scaling.

    Its output is exactly what it was if the mean has not moved too far, the output is linear and
    either all layers are of activations f(c x) = c f(x), as relu, or weights are not tied and the
    scale has not changed too much. Otherwise the network is kept in the space of scaled rows: it
    makes of them what it made of rows of the earlier scale.

    Parameters
    ----------
    fitted : SparseAutoencoderTransformer
        Not changed.
    after : Scaling
        The other scaling, of the same kind.
    keep_codes : bool, default=False
        Whether it is the codes, and not the output, that shall be as they were.
    """
    before = scaling_in_use(fitted)
    network = copy(fitted)
    network.mean_, network.scale_, network._centre = after.mean, after.scale, after.centre
    # The solver stood elsewhere.
    network._state = {}
    growth = after.scale / before.scale
    is_linear = fitted._activations[-1] == "identity"
    is_homogeneous = all(name in HOMOGENEOUS for name in fitted._activations)
    if is_linear and is_homogeneous and not keep_codes and _is_near(fitted, after):
        biases = [intercept / growth for intercept in fitted.intercepts_]
        biases[0] = biases[0] + _moved(before, after) / growth @ fitted.coefs_[0]
        biases[-1] = biases[-1] + (before.mean - after.mean) / after.scale
        network.intercepts_ = _like(fitted.intercepts_, biases)
    elif can_keep_codes(fitted, after) and (keep_codes or (is_linear and not fitted._tied)):
        _stretch_weights(network, fitted, before, after)
        network._stretch = fitted._stretch * growth
    else:
        network._stretch = 1.0
    return network


def can_keep_codes(fitted: "SparseAutoencoderTransformer", after: Scaling) -> bool:
    """Return whether a network's first weights can make up for another scaling."""
    stretch = fitted._stretch * after.scale / fitted.scale_
    is_moderate = 1.0 / FURTHEST_STRETCH <= stretch <= FURTHEST_STRETCH
    return is_moderate and _is_near(fitted, after)


def _is_near(fitted: "SparseAutoencoderTransformer", after: Scaling) -> bool:
    """Return whether the mean has moved by few deviations only."""
    moved = root_mean_square(after.mean - fitted.mean_)
    deviation = after.scale * scaled_deviation(len(after.mean), fitted._activations[-1])
    return moved <= FURTHEST_SHIFT * deviation


def _stretch_weights(
    network: "SparseAutoencoderTransformer",
    fitted: "SparseAutoencoderTransformer",
    before: Scaling,
    after: Scaling,
) -> None:
    """Let the first weights and the last make up for the other scale."""
    growth = after.scale / before.scale
    coefs, biases = list(fitted.coefs_), list(fitted.intercepts_)
    biases[0] = biases[0] + (before.shift * (1.0 - growth) + _moved(before, after)) @ coefs[0]
    coefs[0] = coefs[0] * growth
    if fitted._tied:
        coefs[-1] = np.ascontiguousarray(coefs[0].T)
    else:
        coefs[-1] = coefs[-1] / growth
        biases[-1] = biases[-1] / growth + (before.mean - after.mean) / after.scale
    network.coefs_ = _like(fitted.coefs_, coefs)
    network.intercepts_ = _like(fitted.intercepts_, biases)


def _moved(before: Scaling, after: Scaling) -> np.ndarray:
    """Return the later mean as the network saw it before."""
    return (after.mean - before.mean) / before.scale


def _like(arrays: list[np.ndarray], values: list[np.ndarray]) -> list[np.ndarray]:
    """Return values in the precision of other arrays."""
    return [
        value.astype(array.dtype, copy=False) for array, value in zip(arrays, values, strict=True)
    ]
