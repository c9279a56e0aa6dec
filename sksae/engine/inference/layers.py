"""The layers of a trained network, in one precision on one device.

Rows of which numbers on the way are too large for that precision are refused: they are for
`extended`.
"""

from math import sqrt

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codes import selector
from sksae.engine.device import inference_device
from sksae.engine.products import Operand, products_for
from sksae.model.network import FittedNetwork


class Layers:
    """A network's layers as tensors of one precision on one device."""

    def __init__(self, network: FittedNetwork, dtype: np.dtype, device: str) -> None:
        self.network, self.dtype = network, dtype
        self.torch_dtype = torch.float32 if dtype == np.float32 else torch.float64
        self.device = inference_device(device, self.torch_dtype)
        self.products = products_for(self.device)
        self._operands: dict[int, Operand] = {}
        # Squares between the inverse of this and its own are ordinary numbers, and sums of many.
        self.large = sqrt(float(np.finfo(dtype).max)) / 2.0**10

    def as_tensor(self, array: np.ndarray) -> Tensor:
        """Return an array in this precision on this device, without a copy if it can be."""
        if array.dtype != self.dtype or not array.flags.behaved:
            array = np.require(array, dtype=self.dtype, requirements=["A", "W"])
        # torch knows of no strides backwards, nor of others than whole entries.
        if any(stride < 0 or stride % array.itemsize for stride in array.strides):
            array = array.copy()
        return torch.from_numpy(array).to(self.device)

    def kept(self, array: np.ndarray) -> Operand:
        """Return one of the network's arrays as a matrix, the same for every chunk."""
        if id(array) not in self._operands:
            tensor = self.as_tensor(array)
            self._operands[id(array)] = Operand(tensor.view(1, -1, tensor.shape[-1]))
        return self._operands[id(array)]

    def memory_for(self, layer: int, n_rows: int) -> Tensor:
        """Return room for what a layer makes of some rows."""
        shape = (n_rows, self.network.layers[layer].coef.shape[1])
        return torch.empty(shape, dtype=self.torch_dtype, device=self.device)

    def prepare(self, first: int, last: int) -> None:
        """Make the matrices of layers before several threads ask for them."""
        for layer in range(first, last):
            one = self.network.layers[layer]
            for array in (one.coef, one.intercept, *one.units.values()):
                self.kept(array)

    def is_ordinary(self, rows: Tensor) -> bool:
        """Return whether nothing overflowed on the way to numbers, nor will in their squares.

        What overflows once in a sum stays infinite, or becomes nan.
        """
        return _norm(rows) < self.large

    def activate(self, layer: int, pre: Tensor) -> Tensor | None:
        """Return the activation of a layer, or None if its numbers are not ordinary.

        It may be written over the pre-activation.
        """
        if not self.is_ordinary(pre):
            return None
        one = self.network.layers[layer]
        activation = ACTIVATIONS[one.activation]
        out = torch.empty_like(pre) if activation.keeps_pre else pre
        units = {name: self.kept(array).tensor[0] for name, array in one.units.items()}
        activation.forward(pre, out, units)
        if units and not self.is_ordinary(out):
            return None
        select = selector(one.selection)
        if select is not None:
            select(out, -1)
        return out

    def run(
        self, rows: Tensor | None, first: int, last: int, out: Tensor | None = None
    ) -> Tensor | None:
        """Send rows of shape (n_rows, n_in) through the layers from ``first`` up to ``last``.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_in), or None
            None is passed on.
        first, last : int
            Which layers.
        out : Tensor of shape (n_rows, n_out), optional
            Memory that the last layer may use for what it returns.

        Returns
        -------
        activation : Tensor of shape (n_rows, n_out), or None if there was no room for it
        """
        for layer in range(first, last):
            if rows is None:
                return None
            one, pre = self.network.layers[layer], out if layer == last - 1 else None
            if pre is None:
                pre = self.memory_for(layer, len(rows))
            weight, bias = self.kept(one.coef), self.kept(one.intercept)
            self.products.affine(Operand(rows[None]), weight, Operand(pre[None]))(bias.tensor)
            rows = self.activate(layer, pre)
        return rows


def _norm(tensor: Tensor) -> float:
    """Return the norm of all entries; infinite or nan if its square is out of range."""
    flat = tensor.reshape(-1)
    return sqrt(square) if (square := float(torch.dot(flat, flat))) >= 0.0 else square
