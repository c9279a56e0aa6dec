"""Layers as the flat vector that is trained, for centred rows, and back."""

from collections.abc import Sequence

import numpy as np

from sksae.model.architecture import Architecture
from sksae.model.flat import to_flat, to_layers
from sksae.model.network import Layer, sizes_of
from sksae.model.scaling import Scaling


def architecture_of(
    layers: Sequence[Layer], n_encoder_layers: int, *, output_layout: str = "rows"
) -> Architecture:
    """Return what the engine is to know of layers, which reconstruct rows or something else.

    Parameters
    ----------
    layers : sequence of Layer
        From input to output.
    n_encoder_layers : int
        How many of them lead to a code.
    output_layout : {"rows", "columns"}, default="rows"
        How the output layer works.
    """
    return Architecture(
        sizes=sizes_of(layers),
        activations=tuple(layer.activation for layer in layers),
        n_encoder_layers=n_encoder_layers,
        tied=tuple(layer.is_tied for layer in layers[:n_encoder_layers]),
        input_scales=tuple(layer.input_scale for layer in layers),
        selections=tuple(layer.selection for layer in layers),
        output_layout=output_layout,
    )


def to_centred(architecture: Architecture, layers: Sequence[Layer], scaling: Scaling) -> np.ndarray:
    """Return the flat vector of the same layers for centred rows.

    Parameters
    ----------
    architecture : Architecture
        Of the layers.
    layers : sequence of Layer
        For rows as the scaling gives them.
    scaling : Scaling
        Of the rows.

    Returns
    -------
    flat : ndarray of shape (n_parameters,)

    Raises
    ------
    ValueError
        If the mean row is so far from where the scaling puts 0 that a bias is not finite.
    """
    coefs = [layer.coef for layer in layers]
    intercepts = [layer.intercept.astype(np.float64) for layer in layers]
    offset = architecture.input_scales[0] * scaling.offset
    intercepts[0] = intercepts[0] + offset @ coefs[0].astype(np.float64)
    _check_within_reach(intercepts[0], coefs[0].dtype)
    return to_flat(architecture, coefs, intercepts, [layer.units for layer in layers])


def from_centred(
    architecture: Architecture, flat: np.ndarray, scaling: Scaling
) -> tuple[Layer, ...]:
    """Return the layers, with float64 intercepts, of a flat vector; undoes `to_centred`.

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    flat : ndarray of shape (n_parameters,)
        Parameters, for centred rows.
    scaling : Scaling
        Of the rows.

    Raises
    ------
    ValueError
        As in `to_centred`.
    """
    coefs, intercepts, units = to_layers(architecture, flat)
    wide = [intercept.astype(np.float64) for intercept in intercepts]
    wide[0] = wide[0] - architecture.input_scales[0] * scaling.offset @ coefs[0].astype(np.float64)
    _check_within_reach(wide[0], coefs[0].dtype)
    ties = (*architecture.tied, *(False,) * (len(coefs) - len(architecture.tied)))
    parts = zip(
        coefs,
        wide,
        units,
        architecture.activations,
        architecture.input_scales,
        ties,
        architecture.selections,
        strict=True,
    )
    return tuple(Layer(*each) for each in parts)


def _check_within_reach(intercept: np.ndarray, dtype: np.dtype) -> None:
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(intercept.astype(dtype)).all()
    if not is_finite:
        raise ValueError(
            "X holds rows so far from mean_, in units of scale_, that biases are beyond the range "
            f"of {dtype}: fit anew to all rows, or scale X as the rows before were scaled."
        )
