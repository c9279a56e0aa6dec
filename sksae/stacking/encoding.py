"""From rows to the codes of a stack, through its members' encoders."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sksae.base.inference import encode, encode_sparse
from sksae.base.protocols import Autoencoder
from sksae.base.reading import network_as_read
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.model.slices import chunk_slices
from sksae.process.shortage import AT_WORK, explained_shortage


class Encoder(NamedTuple):
    """A member's network as it is read, and where it computes."""

    network: FittedNetwork
    device: str


@explained_shortage(AT_WORK)
def encode_through(
    members: Sequence[Autoencoder], X: Matrix, n_layers: int | None = None
) -> Matrix:
    """Return what the first encoder layers of a stack, by default all of them, make of rows.

    Parameters
    ----------
    members : sequence of autoencoder
        Fitted, each to codes of the one before.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    n_layers : int, optional
        How many layers.
    """
    encoders = _encoders(members)
    first, *others = _chunks(encoders, X)
    if not others:
        return _encode_rows(encoders, X, n_layers)
    part = _encode_rows(encoders, X[first], n_layers)
    codes = np.empty((X.shape[0], part.shape[1]), part.dtype)
    codes[first] = part
    for rows in others:
        codes[rows] = _encode_rows(encoders, X[rows], n_layers)
    return codes


@explained_shortage(AT_WORK)
def encode_sparse_through(members: Sequence[Autoencoder], X: Matrix) -> sp.csr_array:
    """Return the entries of a stack's codes; of some rows alone all codes are there.

    Parameters
    ----------
    members : sequence of autoencoder
        Fitted, each to codes of the one before.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    """
    *before, last = encoders = _encoders(members)
    parts = [
        encode_sparse(last.network, _encode_rows(before, X[rows], None), last.device)
        for rows in _chunks(encoders, X)
    ]
    return parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")


def _encoders(members: Sequence[Autoencoder]) -> list[Encoder]:
    return [Encoder(network_as_read(member), member.device) for member in members]


def _chunks(encoders: Sequence[Encoder], X: Matrix) -> Iterator[slice]:
    """Yield rows so few that codes in between take little memory; all if there are none between.

    Parameters
    ----------
    encoders : sequence of Encoder
        Of all members.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    """
    if len(encoders) == 1:
        yield slice(0, X.shape[0])
    else:
        widest = max(encoder.network.n_components for encoder in encoders)
        yield from chunk_slices(X.shape[0], widest)


def _encode_rows(encoders: Sequence[Encoder], X: Matrix, n_layers: int | None) -> Matrix:
    """Return what the layers make of some rows, all at once.

    Parameters
    ----------
    encoders : sequence of Encoder
        Of all members.
    X, n_layers
        As in `encode_through`.
    """
    for network, device in encoders:
        taken = network.n_encoder_layers
        if n_layers is not None:
            taken = min(taken, n_layers)
            n_layers -= taken
        if taken == 0:
            break
        X = encode(network, X, device, taken)
    return X
