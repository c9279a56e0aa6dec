"""Networks trained one upon another as one network, and back.

Member k reads the code a of member k - 1 as ``shift + (a - mean) / scale``. That map stands before
a layer's weights, so it becomes a factor of the layer's input (a gain) and a part of its bias; the
weights are the members' own, and tied ones stay so. Likewise for the decoders, which follow each
other in reverse order and undo the maps.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sksae.scaling import Scaling

if TYPE_CHECKING:
    from sksae.engine.parameters import Architecture
    from sksae.transformer import SparseAutoencoderTransformer

    Members = Sequence[SparseAutoencoderTransformer]


class Layer(NamedTuple):
    """One layer, with float64 biases.

    Attributes
    ----------
    coef : ndarray of shape (n_in, n_out)
    intercept : ndarray of shape (n_out,)
    slope : ndarray of shape (n_out,) or None
    activation : str
    gain : float
        What the layer's input is multiplied by.
    tied : bool
        Whether its mirror has its weights; False for layers of a decoder.
    """

    coef: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray | None
    activation: str
    gain: float = 1.0
    tied: bool = False


class Place(NamedTuple):
    """Where a layer of the joined network comes from.

    Attributes
    ----------
    member, layer : int
        Which member, and which of its layers.
    gain : float
        What the layer's input is multiplied by in the joined network.
    shift : ndarray of shape (n_in,) or None
        What is then added to it.
    """

    member: int
    layer: int
    gain: float
    shift: np.ndarray | None


def n_encoder_layers(member: "SparseAutoencoderTransformer") -> int:
    """Return how many layers lead to the code."""
    return len(member.coefs_) // 2


def places(members: "Members") -> Iterator[Place]:
    """Yield the places of all layers, from the input to the code and on to the output.

    An encoder's first layer is given the code a below it and shall see z = shift + (a - mean) /
    scale; the first layer of a decoder is given the reconstruction z_hat of the member above and
    shall see a_hat = mean + (z_hat - shift) * scale. Both are gain * input + shift.
    """
    for index, member in enumerate(members):
        for layer in range(n_encoder_layers(member)):
            if index == 0 or layer > 0:
                yield Place(index, layer, 1.0, None)
            else:
                shift = member._shift - member.mean_ / member.scale_
                yield Place(index, layer, 1.0 / member.scale_, shift)
    for index, member in reversed(list(enumerate(members))):
        for layer in range(n_encoder_layers(member), len(member.coefs_)):
            if index == len(members) - 1 or layer > n_encoder_layers(member):
                yield Place(index, layer, 1.0, None)
            else:
                above = members[index + 1]
                shift = above.mean_ - above._shift * above.scale_
                yield Place(index, layer, above.scale_, shift)


def join(members: "Members") -> list[Layer]:
    """Return the layers of the whole network, which takes and gives rows as member 0 scales them.

    Parameters
    ----------
    members : sequence of SparseAutoencoderTransformer
        Fitted, each to codes of the one before.

    Returns
    -------
    layers : list of Layer
        Encoders in order, then decoders in reverse.
    """
    layers = []
    for place in places(members):
        member, at = members[place.member], place.layer
        coef = member.coefs_[at]
        layers.append(
            Layer(
                coef,
                member.intercepts_[at].astype(np.float64) + _through(place.shift, coef),
                member.slopes_[at],
                member._activations[at],
                float(place.gain),
                bool(member._tied and at < n_encoder_layers(member)),
            )
        )
    return layers


def separate(members: "Members", layers: Sequence[Layer]) -> "list[SparseAutoencoderTransformer]":
    """Return copies of the members with the layers of a network that `join` made of them.

    Parameters
    ----------
    members : sequence of SparseAutoencoderTransformer
        As given to `join`; not changed.
    layers : sequence of Layer
        As many as there are, or those of the encoders only: then decoders keep their weights,
        except where they are tied to the encoder's.

    Returns
    -------
    copies : list of SparseAutoencoderTransformer
    """
    copies = [copy(member) for member in members]
    for member in copies:
        member.coefs_, member.intercepts_ = list(member.coefs_), list(member.intercepts_)
        # The solver stood elsewhere.
        member.slopes_, member._state = list(member.slopes_), {}
    for place, layer in zip(places(members), layers, strict=False):
        member, at = copies[place.member], place.layer
        if layer.coef is member.coefs_[at]:
            # Not trained: what is as it was shall be so to the last bit.
            continue
        moved = layer.intercept - _through(place.shift, layer.coef)
        member.coefs_[at] = layer.coef
        member.intercepts_[at] = moved.astype(layer.coef.dtype)
        member.slopes_[at] = layer.slope
    for member in copies:
        if member._tied:
            encoder = member.coefs_[: n_encoder_layers(member)]
            mirrored = [np.ascontiguousarray(coef.T) for coef in reversed(encoder)]
            member.coefs_ = [*encoder, *mirrored]
    return copies


def _through(shift: np.ndarray | None, coef: np.ndarray) -> np.ndarray | float:
    """Return what a shift of the input adds to the pre-activations."""
    return 0.0 if shift is None else shift @ coef.astype(np.float64)


def architecture_of(
    layers: Sequence[Layer], n_encoder_layers: int, *, gives_rows: bool
) -> "Architecture":
    """Return what the engine is to know of layers, which reconstruct rows or something else."""
    from sksae.engine.parameters import Architecture

    return Architecture(
        sizes=(layers[0].coef.shape[0], *(layer.coef.shape[1] for layer in layers)),
        activations=tuple(layer.activation for layer in layers),
        n_encoder_layers=n_encoder_layers,
        tied=tuple(layer.tied for layer in layers[:n_encoder_layers]),
        gains=tuple(layer.gain for layer in layers),
        gives_rows=gives_rows,
    )


def to_centred(
    architecture: "Architecture", layers: Sequence[Layer], scaling: Scaling
) -> np.ndarray:
    """Return the flat vector of the same network for centred rows."""
    from sksae.engine.parameters import to_flat

    coefs, intercepts = [layer.coef for layer in layers], [layer.intercept for layer in layers]
    offset = architecture.gains[0] * scaling.offset
    intercepts[0] = intercepts[0] + offset @ coefs[0].astype(np.float64)
    return to_flat(architecture, coefs, intercepts, [layer.slope for layer in layers])


def from_centred(architecture: "Architecture", flat: np.ndarray, scaling: Scaling) -> list[Layer]:
    """Return the layers of a network for centred rows; undoes `to_centred`."""
    from sksae.engine.parameters import to_layers

    coefs, intercepts, slopes = to_layers(architecture, flat)
    wide = [intercept.astype(np.float64) for intercept in intercepts]
    wide[0] = wide[0] - architecture.gains[0] * scaling.offset @ coefs[0].astype(np.float64)
    ties = (*architecture.tied, *(False,) * (len(coefs) - len(architecture.tied)))
    return [
        Layer(*parts)
        for parts in zip(
            coefs, wide, slopes, architecture.activations, architecture.gains, ties, strict=True
        )
    ]
