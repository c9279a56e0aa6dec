"""The codes of rows by pursuit on the atoms of a dictionary, in the place of its first layer."""

from collections.abc import Iterator
from copy import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows
from sksae.engine.device import bookkeeping_device, to_float64
from sksae.engine.inference import extended_range
from sksae.engine.inference.first_layer import FirstOfCentred
from sksae.engine.inference.layers import Layers
from sksae.engine.inference.pursuit import Support, choose_atoms, fit_coefficients
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Extended, Matrix, add, extend

# Numbers of float64 that a block of rows has for its atoms and correlations: 32 MB.
BLOCK_ENTRIES = 2**22


def n_passes(network: FittedNetwork) -> int:
    """Return how often rows are multiplied by a layer's weights on the way to their codes."""
    return 1 if network.pursuit is None else network.pursuit.n_active or 1


class Dictionary:
    """The atoms of a network and how it is pursued.

    Parameters
    ----------
    layers : Layers
        A network of one layer each way that has a pursuit.
    """

    def __init__(self, layers: Layers) -> None:
        network, device = layers.network, bookkeeping_device(layers.device)
        assert network.pursuit is not None
        self.n_active = network.pursuit.n_active
        self._atoms = layers.kept(network.decoder[0].coef).tensor[0].to(device)
        if self.n_active is not None:
            # No more of them are independent.
            self.n_active = min(self.n_active, network.n_features)
            size = torch.linalg.vector_norm(self._atoms, dim=1, keepdim=True, dtype=torch.float64)
            size = torch.where(size > 0.0, size, 1.0).to(self._atoms.dtype)
            self._directions = self._atoms / size

    def pursue(self, targets: Tensor, codes: Tensor) -> None:
        """Write the coefficients that rebuild some rows.

        Parameters
        ----------
        targets : Tensor of float64 of shape (n_rows, n_features)
            Scaled rows, less the bias of the output.
        codes : Tensor of shape (n_rows, n_components)
            Written to. Where the encoder chooses the atoms it holds activations: those are chosen
            that are not 0.
        """
        n_components, n_features = self._atoms.shape
        if self.n_active is None:
            support = support_of(codes)
            n_units = support.n_units
        else:
            n_units = torch.full((len(targets),), self.n_active, device=targets.device)
        for rows in _blocks(n_units, n_features, n_components):
            if self.n_active is None:
                own = support.of(rows)
            else:
                own = choose_atoms(self._directions, targets[rows], self.n_active)
            found = fit_coefficients(self._atoms, targets[rows], own)
            dense = codes.new_zeros((len(rows), n_components))
            codes[rows] = dense.scatter_add_(1, found.units, found.values.to(codes.dtype))


def support_of(codes: Tensor) -> Support:
    """Return which units are not 0 in some rows."""
    at = (codes != 0.0).reshape(-1).nonzero()[:, 0]
    rows = at.div(codes.shape[1], rounding_mode="floor")
    n_units = torch.bincount(rows, minlength=len(codes))
    place = torch.arange(len(at), device=at.device) - (n_units.cumsum(0) - n_units)[rows]
    units = at.new_zeros((len(codes), int(n_units.max())))
    units[rows, place] = at % codes.shape[1]
    return Support(units, n_units)


def _blocks(n_units: Tensor, n_features: int, n_components: int) -> Iterator[Tensor]:
    """Yield the places of rows that are worked on together, those of most units first.

    Parameters
    ----------
    n_units : Tensor of int of shape (n_rows,)
        Of each row.
    n_features, n_components : int
        Shape of the dictionary.
    """
    order = n_units.argsort(descending=True, stable=True)
    while len(order):
        most = max(1, int(n_units[order[0]]))
        length = max(1, BLOCK_ENTRIES // (most * n_features + n_components))
        yield order[:length]
        order = order[length:]


class PursuedCodes:
    """Codes of rows by pursuit, which stand where the activations of the first layer do.

    Parameters
    ----------
    layers : Layers
        A network of one layer each way that has a pursuit.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    """

    def __init__(self, layers: Layers, X: Matrix) -> None:
        self._layers, network = layers, layers.network
        self._dictionary = Dictionary(layers)
        scaling = network.scaling
        self._way_in: FirstOfCentred | Rows
        if self._dictionary.n_active is None:
            self._way_in = FirstOfCentred(layers, X, only_forward=False)
        else:
            self._way_in = Rows(
                X,
                centre=scaling.centre,
                scale=scaling.scale,
                dtype=layers.torch_dtype,
                device=layers.device,
            )
        moved = scaling.offset - network.decoder[0].intercept.astype(np.float64)
        self._moved = torch.from_numpy(moved).to(bookkeeping_device(layers.device))

    def reader(self) -> Self:
        """Return the same with buffers of its own."""
        other = copy(self)
        other._way_in = self._way_in.reader()
        return other

    def __call__(self, which: slice, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return centred rows, and their codes or None if there was no room for them.

        ``out`` is memory for the latter.
        """
        codes: Tensor | None = out
        if isinstance(self._way_in, Rows):
            rows = self._way_in.take(which)[0]
        else:
            rows, codes = self._way_in(which, out)
        if codes is None or not self._layers.is_ordinary(rows):
            return rows, None
        found = codes.to(self._moved.device)
        self._dictionary.pursue(to_float64(rows) + self._moved, found)
        return rows, found.to(codes.device) if self._layers.is_ordinary(found) else None


def run_extended(network: FittedNetwork, rows: Extended, last: int) -> Extended:
    """Send rows through the layers up to ``last``, or their codes by pursuit, whatever their size.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    rows : Extended
        What it sees.
    last : int
        Which layer is the first that they do not reach.
    """
    if network.pursuit is None:
        return extended_range.run(network, rows, 0, last)
    layers = Layers(network, np.dtype(np.float64), "cpu")
    dictionary = Dictionary(layers)
    target = add(rows, extend(-network.decoder[0].intercept[None]))
    if dictionary.n_active is None:
        codes = extended_range.run(network, rows, 0, 1).values
    else:
        codes = np.empty((len(rows.values), network.n_components))
    # Coefficients are as large as what they rebuild.
    dictionary.pursue(torch.from_numpy(target.values), torch.from_numpy(codes))
    return extended_range.run(network, extend(codes, target.exponent), 1, last)
