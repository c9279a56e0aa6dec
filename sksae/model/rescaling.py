"""A fitted network that is to see its rows by another scaling than it was trained with."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sksae.model.codes import Selection
from sksae.model.network import FittedNetwork
from sksae.model.numbers import HOMOGENEOUS, OF_SIZE, root_mean_square
from sksae.model.scaling import Scaling, scaled_deviation

# The weights of units that are not homogeneous may take so much of a change of scale: far longer
# or shorter than those that training starts from they saturate, or hardly move any more. So do
# biases that take up a mean so many deviations away.
FURTHEST_STRETCH, FURTHEST_SHIFT = 4.0, 4.0


def rescaled(network: FittedNetwork, after: Scaling, *, keep_codes: bool = False) -> FittedNetwork:
    """Return a network that sees rows by another scaling.

    Its output is exactly what it was if the mean has not moved too far, the output is linear and
    either all layers are of activations f(c x) = c f(x), as relu, or weights are not tied and the
    scale has not changed too much; in the second case also if the output is x and not z. Otherwise
    the network is kept in the space of scaled rows: it makes of them what it made of rows of the
    earlier scale.

    Parameters
    ----------
    network : FittedNetwork
        As it is.
    after : Scaling
        The other scaling, of the same kind.
    keep_codes : bool, default=False
        Whether it is the codes, and not the output, that shall be as they were.
    """
    before = network.scaling
    growth = after.scale / before.scale
    is_linear = network.output_activation == "identity"
    # Its decoder knows nothing of the scaling.
    makes_x = network.output_scaling is not before
    is_homogeneous = all(name in HOMOGENEOUS for name in network.activations)
    coefs = [layer.coef for layer in network.layers]
    intercepts = [layer.intercept for layer in network.layers]
    stretch = code_size = 1.0
    if is_linear and is_homogeneous and not keep_codes and _is_near(network, after):
        intercepts = [intercept / growth for intercept in intercepts]
        intercepts[0] = intercepts[0] + _moved(before, after) / growth @ coefs[0]
        intercepts[-1] = intercepts[-1] + (before.mean - after.mean) / after.scale
        stretch, code_size = before.stretch, 1.0 / growth
    elif can_keep_codes(network, after) and (
        keep_codes or ((is_linear or makes_x) and not network.is_tied)
    ):
        # The first weights and the last make up for the other scale.
        moved = before.shift * (1.0 - growth) + _moved(before, after)
        intercepts[0] = intercepts[0] + moved @ coefs[0]
        coefs[0] = coefs[0] * growth
        if network.is_tied:
            coefs[-1] = np.ascontiguousarray(coefs[0].T)
        elif not makes_x:
            coefs[-1] = coefs[-1] / growth
            intercepts[-1] = intercepts[-1] / growth + (before.mean - after.mean) / after.scale
        stretch = before.stretch * growth
    layers = tuple(
        layer._replace(
            coef=_like(layer.coef, coef),
            intercept=_like(layer.intercept, intercept),
            units=_units_of_size(layer.units, code_size),
            selection=_of_size(layer.selection, code_size),
        )
        for layer, coef, intercept in zip(network.layers, coefs, intercepts, strict=True)
    )
    scaling = replace(
        before, mean=after.mean, scale=after.scale, centre=after.centre, stretch=stretch
    )
    return replace(network, layers=layers, scaling=scaling)


def can_keep_codes(network: FittedNetwork, after: Scaling) -> bool:
    """Return whether a network's first weights can make up for another scaling."""
    before = network.scaling
    stretch = before.stretch * after.scale / before.scale
    is_moderate = 1.0 / FURTHEST_STRETCH <= stretch <= FURTHEST_STRETCH
    return is_moderate and _is_near(network, after)


def _is_near(network: FittedNetwork, after: Scaling) -> bool:
    """Return whether the mean has moved by few deviations only."""
    moved = root_mean_square(after.mean - network.scaling.mean)
    deviation = after.scale * scaled_deviation(len(after.mean), network.row_range)
    return moved <= FURTHEST_SHIFT * deviation


def _moved(before: Scaling, after: Scaling) -> np.ndarray:
    """Return the later mean as the network saw it before."""
    return (after.mean - before.mean) / before.scale


def _of_size(selection: Selection | None, size: float) -> Selection | None:
    """Return what a layer keeps whose activations are so many times as large as they were."""
    if selection is None or selection.threshold is None:
        return selection
    return selection._replace(threshold=size * selection.threshold)


def _units_of_size(units: Mapping[str, np.ndarray], size: float) -> Mapping[str, np.ndarray]:
    """Return what units learn whose activations are so many times as large as they were."""
    return {
        name: _like(each, size * each) if name in OF_SIZE else each for name, each in units.items()
    }


def _like(array: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values in the precision of an array."""
    return values.astype(array.dtype, copy=False)
