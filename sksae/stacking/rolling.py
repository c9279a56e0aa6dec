"""Members of a stack that have been trained together, rolled up into autoencoders again."""

from collections.abc import Sequence
from typing import TypeVar

from sksae.base.attributes import with_network
from sksae.base.protocols import Autoencoder
from sksae.model.network import Layer
from sksae.model.unrolled import roll_up

A = TypeVar("A", bound=Autoencoder)


def with_layers(members: Sequence[A], layers: Sequence[Layer]) -> list[A]:
    """Return copies of members with the layers of the network that they are unrolled to.

    Parameters
    ----------
    members : sequence of autoencoder
        Fitted, each to codes of the one before.
    layers : sequence of Layer
        Of all, or of the encoders only (see `roll_up`).
    """
    networks = roll_up([member.__sksae_network__() for member in members], layers)
    return list(map(with_network, members, networks))
