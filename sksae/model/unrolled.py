"""Networks trained one upon another as one network, and back.

Hinton and Salakhutdinov (2006, "Reducing the dimensionality of data with neural networks") call
the whole the unrolled network. Member k reads the code a of member k - 1 as ``shift + (a - mean) /
scale``. That map stands before a layer's weights, so it becomes a factor of the layer's input, its
``input_scale``, and a part of its bias; the weights are the members' own, and tied ones stay so.
Likewise for the decoders, which follow each other in reverse order and undo the maps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sksae.model.network import FittedNetwork, Layer


class LayerSource(NamedTuple):
    """Where a layer of the unrolled network comes from.

    Attributes
    ----------
    member, layer : int
        Which member, and which of its layers.
    input_scale : float
        What the layer's input is multiplied by in the unrolled network.
    shift : ndarray of shape (n_in,) or None
        What is then added to it.
    """

    member: int
    layer: int
    input_scale: float
    shift: np.ndarray | None


def layer_sources(members: Sequence[FittedNetwork]) -> Iterator[LayerSource]:
    """Yield the sources of all layers, from the input to the code and on to the output.

    An encoder's first layer is given the code a below it and shall see z = shift + (a - mean) /
    scale; the first layer of a decoder is given the reconstruction z_hat of the member above and
    shall see a_hat = mean + (z_hat - shift) * scale. Both are input_scale * input + shift.
    """
    for index, member in enumerate(members):
        for layer in range(member.n_encoder_layers):
            if index == 0 or layer > 0:
                yield LayerSource(index, layer, 1.0, None)
            else:
                own = member.scaling
                yield LayerSource(index, layer, 1.0 / own.scale, own.shift - own.mean / own.scale)
    for index, member in reversed(list(enumerate(members))):
        for layer in range(member.n_encoder_layers, len(member.layers)):
            if index == len(members) - 1 or layer > member.n_encoder_layers:
                yield LayerSource(index, layer, 1.0, None)
            else:
                above = members[index + 1].output_scaling
                yield LayerSource(index, layer, above.scale, above.mean - above.shift * above.scale)


def unroll(members: Sequence[FittedNetwork]) -> FittedNetwork:
    """Return the whole network, which takes and gives rows as member 0 scales them.

    Parameters
    ----------
    members : sequence of FittedNetwork
        Each trained on codes of the one before.

    Returns
    -------
    whole : FittedNetwork
        Encoders in order, then decoders in reverse; intercepts in float64.
    """
    layers = []
    for source in layer_sources(members):
        layer = members[source.member].layers[source.layer]
        intercept = layer.intercept.astype(np.float64) + _through(source.shift, layer.coef)
        layers.append(layer._replace(intercept=intercept, input_scale=float(source.input_scale)))
    n_encoder_layers = sum(member.n_encoder_layers for member in members)
    first, last = members[0], members[-1]
    return FittedNetwork(tuple(layers), n_encoder_layers, first.scaling, last.sparsity, first.loss)


def roll_up(members: Sequence[FittedNetwork], layers: Sequence[Layer]) -> list[FittedNetwork]:
    """Return the members with the layers of a network that `unroll` made of them.

    Parameters
    ----------
    members : sequence of FittedNetwork
        As given to `unroll`.
    layers : sequence of Layer
        As many as there are, or those of the encoders only: then decoders keep their weights,
        except where they are tied to the encoder's. Those that were trained tell for how many
        active units.

    Returns
    -------
    members : list of FittedNetwork
    """
    own = [list(member.layers) for member in members]
    for source, layer in zip(layer_sources(members), layers, strict=False):
        before = own[source.member][source.layer]
        if layer.coef is before.coef:
            # Not trained: what is as it was shall be so to the last bit.
            continue
        intercept = (layer.intercept - _through(source.shift, layer.coef)).astype(layer.coef.dtype)
        own[source.member][source.layer] = before._replace(
            coef=layer.coef,
            intercept=intercept,
            units=layer.units,
            selection=layer.selection,
        )
    return [
        replace(member, layers=tuple(_mirrored(layers, member.n_encoder_layers)))
        for member, layers in zip(members, own, strict=True)
    ]


def _mirrored(layers: list[Layer], n_encoder_layers: int) -> list[Layer]:
    """Return layers of which the decoder's have the weights that they share with the encoder's."""
    for at, layer in enumerate(layers[:n_encoder_layers]):
        mirror = len(layers) - 1 - at
        if layer.is_tied:
            layers[mirror] = layers[mirror]._replace(coef=np.ascontiguousarray(layer.coef.T))
    return layers


def _through(shift: np.ndarray | None, coef: np.ndarray) -> np.ndarray | float:
    """Return what a shift of the input adds to the pre-activations."""
    return 0.0 if shift is None else shift @ coef.astype(np.float64)
