"""The first layer of a trained network, for dense rows and for sparse ones; and of its decoder."""

from copy import copy
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.batches import Rows, centre_rows, is_extreme
from sksae.engine.inference.layers import Layers
from sksae.engine.products import Operand
from sksae.model.numbers import Matrix

# How far the centre of sparse rows may be from 0, as a norm in units of scale, before columns are
# centred as dense rows are: as far as scaled rows are from the centre.
NEAR = 6.0
# How far that of the other columns may be before products with them are summed in float64: in sums
# with many terms that cancel the centre, float32 loses more digits than in those of centred rows.
NEAR_ENOUGH = 1.5
# And how far it may be if centred rows are not to lose any at all.
NEGLIGIBLE = 1e-2


class FirstOfCentred:
    """The first layer, for rows that are centred and made dense.

    Parameters
    ----------
    layers : Layers
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    only_forward : bool
        Whether nothing else needs the centred rows. Then the bias takes up what it can of the
        centring.
    """

    def __init__(self, layers: Layers, X: Matrix, *, only_forward: bool) -> None:
        self._layers, first = layers, layers.network.layers[0]
        scaling = layers.network.scaling
        centre, scale, offset = scaling.centre, scaling.scale, scaling.offset
        self._input_scale = 1.0
        if only_forward and not is_extreme(centre, scale, layers.dtype):
            high = centre.astype(layers.dtype).astype(np.float64)
            low = (centre - high) / scale
            if np.linalg.norm(low) <= NEGLIGIBLE:
                centre, offset = high, offset - low
            scale, self._input_scale = 1.0, 1.0 / scale
        self._rows = Rows(
            X, centre=centre, scale=scale, dtype=layers.torch_dtype, device=layers.device
        )
        bias = first.intercept
        if offset.any():
            bias = bias + offset @ first.coef.astype(np.float64)
        self._bias = layers.as_tensor(bias)

    def reader(self) -> Self:
        """Return the same with buffers of its own."""
        other = copy(self)
        other._rows = self._rows.reader()
        return other

    def __call__(self, which: slice, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return centred rows, and their activation or None if there was no room for it.

        ``out`` is memory for the latter.
        """
        layers, rows = self._layers, self._rows.take(which)
        weight = layers.kept(layers.network.layers[0].coef)
        result = Operand(out[None])
        layers.products.affine(Operand(rows), weight, result, self._input_scale)(self._bias)
        return rows[0], layers.activate(0, out)


class FirstOfSparse:
    """The first layer, for sparse rows, which are not made dense.

    The bias takes up the centre, in float64. In columns whose centre is far from 0, entries and
    centre nearly cancel, which float32 has too few digits for: these are centred as dense rows.
    """

    def __init__(self, layers: Layers, X: sp.csr_array | sp.csr_matrix) -> None:
        self._layers, self._X = layers, X
        first, scaling = layers.network.layers[0], layers.network.scaling
        centre = scaling.centre / scaling.scale
        is_far = _is_far(centre)
        self._far = far = np.flatnonzero(is_far)
        offset = scaling.offset - np.where(is_far, 0.0, centre)
        bias = first.intercept + offset @ first.coef.astype(np.float64)
        near_norm = np.linalg.norm(centre[~is_far])
        summed_in = layers.dtype if near_norm <= NEAR_ENOUGH else np.dtype(np.float64)
        self._bias, self._summed_in = bias.astype(summed_in), summed_in
        self._near = first.coef.astype(summed_in, copy=len(far) > 0)
        self._weight_of_far = layers.as_tensor(self._near[far])
        if len(far):
            self._near[far] = 0.0
        has_room = 1.0 / layers.large < scaling.scale < layers.large
        self._divisor = (summed_in if has_room else np.dtype(np.float64)).type(scaling.scale)

    def reader(self) -> Self:
        """Return it: it has no buffers."""
        return self

    def __call__(self, which: slice, out: Tensor) -> tuple[None, Tensor | None]:
        """Return None and the activation of rows, or None if there was no room for it."""
        layers, scaling = self._layers, self._layers.network.scaling
        far, part = self._far, self._X[which]
        data = (part.data / self._divisor).astype(self._summed_in, copy=False)
        scaled = sp.csr_array((data, part.indices, part.indptr), shape=part.shape)
        pre = layers.as_tensor(scaled @ self._near + self._bias)
        if len(far):
            centred = torch.empty((part.shape[0], len(far)), dtype=layers.torch_dtype, device="cpu")
            centre_rows(
                part[:, far],
                slice(None),
                scaling.centre[far],
                scaling.scale,
                centred,
            )
            pre.addmm_(centred.to(layers.device), self._weight_of_far)
        return None, layers.activate(0, pre)


class LayerOfSparse:
    """A layer behind sparse codes, which are not made dense.

    Parameters
    ----------
    layers : Layers
        The network.
    layer : int
        Which of them.
    codes : CSR matrix of shape (n_samples, n_in)
        What enters it.
    """

    def __init__(self, layers: Layers, layer: int, codes: sp.csr_array | sp.csr_matrix) -> None:
        self._layers, self._layer, self._codes = layers, layer, codes
        one = layers.network.layers[layer]
        self._weight = one.coef.astype(layers.dtype, copy=False)
        self._bias = one.intercept.astype(layers.dtype, copy=False)

    def __call__(self, which: slice) -> Tensor | None:
        """Return the activation of some rows, or None if there was no room for it."""
        part = self._codes[which].astype(self._layers.dtype, copy=False)
        pre = part @ self._weight
        pre += self._bias
        return self._layers.activate(self._layer, self._layers.as_tensor(pre))


def _is_far(centre: np.ndarray) -> np.ndarray:
    """Return which columns are furthest from 0: those without which the norm is small."""
    is_far = np.zeros(len(centre), dtype=bool)
    if np.linalg.norm(centre) <= NEAR:
        return is_far
    order = np.argsort(np.abs(centre))
    is_far[order] = ~(np.cumsum(np.square(centre[order])) <= NEAR**2)
    return is_far
