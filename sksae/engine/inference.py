"""A trained network at work: rows to codes, codes to rows, and how well they agree.

Everything is computed in the precision of what is given, chunk by chunk. Chunks with numbers that
it has no room for on the way are worked on in an extended range, at less speed.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from math import sqrt
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.batches import Rows, centre_rows, chunk_slices, equal_slices, is_extreme
from sksae.engine.device import inference_device, to_wide
from sksae.engine.products import Operand, products_for
from sksae.engine.threads import Crew, n_cores, n_parts
from sksae.model.network import FittedNetwork
from sksae.model.numbers import (
    HOMOGENEOUS,
    Extended,
    Matrix,
    add,
    affine,
    divide,
    extend,
    float_dtype,
    multiply,
    norms,
    to_floats,
)
from sksae.process.shortage import AT_WORK, explained_shortage

# How far the centre of sparse rows may be from 0, as a norm in units of scale, before columns are
# centred as dense rows are: as far as scaled rows are from the centre.
NEAR = 6.0
# How far that of the other columns may be before products with them are summed in float64: in sums
# with many terms that cancel the centre, float32 loses more digits than in those of centred rows.
NEAR_ENOUGH = 1.5
# And how far it may be if centred rows are not to lose any at all.
NEGLIGIBLE = 1e-2
# Of so few rows the products take less time than to move a bias by a product in float64.
FEW_ROWS = 32
# On the CPU a chunk has about so many rows at most: it is to be found in the cache of its core.
MOST_CHUNK_ROWS = 512


@dataclass(frozen=True)
class Codec:
    """A trained network and the scaling around it, as numpy arrays.

    It sees ``z = shift + (x - mean) / scale`` and reconstructs z. From x the centre is subtracted
    first, as in training: numbers are small then.

    Attributes
    ----------
    activations : tuple of str
        One for each layer.
    coefs, intercepts, slopes : list of ndarray
        Of each layer, from input to output; slopes are None where there are none.
    mean : ndarray of shape (n_features,)
    scale, shift : float
    centre : ndarray of shape (n_features,)
    """

    activations: tuple[str, ...]
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    slopes: list[np.ndarray | None]
    mean: np.ndarray
    scale: float
    shift: float
    centre: np.ndarray

    @classmethod
    def of(cls, network: FittedNetwork) -> Self:
        """Return a network's."""
        layers, scaling = network.layers, network.scaling
        return cls(
            activations=network.activations,
            coefs=[layer.coef for layer in layers],
            intercepts=[layer.intercept for layer in layers],
            slopes=[layer.slope for layer in layers],
            mean=scaling.mean,
            scale=scaling.scale,
            shift=scaling.shift,
            centre=scaling.centre,
        )

    @property
    def n_encoder_layers(self) -> int:
        return len(self.coefs) // 2

    @cached_property
    def offset(self) -> np.ndarray:
        """What the centre is in the space of z."""
        return self.shift + (self.centre - self.mean) / self.scale


class _Layers:
    """A codec's layers as tensors of one precision on one device."""

    def __init__(self, codec: Codec, dtype: np.dtype, device: str) -> None:
        self.codec, self.dtype = codec, dtype
        self.torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
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
        """Return one of the codec's arrays as a matrix, the same for every chunk."""
        if id(array) not in self._operands:
            tensor = self.as_tensor(array)
            self._operands[id(array)] = Operand(tensor.view(1, -1, tensor.shape[-1]))
        return self._operands[id(array)]

    def memory_for(self, layer: int, n_rows: int) -> Tensor:
        """Return room for what a layer makes of some rows."""
        shape = (n_rows, self.codec.coefs[layer].shape[1])
        return torch.empty(shape, dtype=self.torch_dtype, device=self.device)

    def prepare(self, first: int, last: int) -> None:
        """Make the matrices of layers before several threads ask for them."""
        for layer in range(first, last):
            arrays = (self.codec.coefs[layer], self.codec.intercepts[layer])
            for array in (*arrays, self.codec.slopes[layer]):
                if array is not None:
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
        activation = ACTIVATIONS[self.codec.activations[layer]]
        slope = self.codec.slopes[layer]
        if slope is None:
            activation.apply(pre, pre, None)
            return pre
        out = torch.empty_like(pre)
        activation.apply(pre, out, self.kept(slope).tensor[0])
        return out if self.is_ordinary(out) else None

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
            codec, pre = self.codec, out if layer == last - 1 else None
            if pre is None:
                pre = self.memory_for(layer, len(rows))
            weight, bias = self.kept(codec.coefs[layer]), self.kept(codec.intercepts[layer])
            self.products.affine(Operand(rows[None]), weight, Operand(pre[None]))(bias.tensor)
            rows = self.activate(layer, pre)
        return rows


class _FirstOfCentred:
    """The way of rows through the first layer, centred and dense.

    Parameters
    ----------
    layers : _Layers
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    only_forward : bool
        Whether the centred rows are wanted for nothing else. Then most of the centring is done
        by the bias, if rows are many; of a few the whole goes into the layer, if it may.
    """

    def __init__(self, layers: _Layers, X: Matrix, *, only_forward: bool) -> None:
        self._layers, codec = layers, layers.codec
        centre, scale, offset = codec.centre, codec.scale, codec.offset
        is_few = X.shape[0] <= FEW_ROWS and layers.device.type == "cpu"
        self._gain, self._adds = 1.0, only_forward and is_few and bool(offset.any())
        if only_forward and not is_few and not is_extreme(centre, scale, layers.dtype):
            high = centre.astype(layers.dtype).astype(np.float64)
            low = (centre - high) / scale
            if np.linalg.norm(low) <= NEGLIGIBLE:
                centre, offset = high, offset - low
            scale, self._gain = 1.0, 1.0 / scale
        self._offset = offset
        self._rows = Rows(
            X, centre=centre, scale=scale, dtype=layers.torch_dtype, device=layers.device
        )
        if not self._adds:
            self._bias = self._moved_bias()

    def _moved_bias(self) -> Tensor:
        """Return the bias of the layer for rows that are centred."""
        codec, layers = self._layers.codec, self._layers
        if not self._offset.any():
            return layers.kept(codec.intercepts[0]).tensor
        moved = codec.intercepts[0] + self._offset @ codec.coefs[0].astype(np.float64)
        return layers.as_tensor(moved)

    def _bias_for(self, rows: Tensor) -> Tensor:
        """Return the bias for some centred rows, to which the offset may be added instead."""
        if not self._adds:
            return self._bias
        array = rows[0].numpy()
        nearest = sqrt(np.einsum("ij,ij->i", array, array).min())
        if not np.linalg.norm(self._offset) <= NEAR_ENOUGH * nearest:
            return self._moved_bias()
        np.add(array, self._offset, out=array, casting="same_kind")
        return self._layers.kept(self._layers.codec.intercepts[0]).tensor

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
        bias, weight = self._bias_for(rows), layers.kept(layers.codec.coefs[0])
        layers.products.affine(Operand(rows), weight, Operand(out[None]), self._gain)(bias)
        return rows[0], layers.activate(0, out)


class _FirstOfSparse:
    """The way of sparse rows through the first layer, without making them dense.

    The centre moves into the bias, in float64. One far from 0 and the entries that are near it
    would take the digits from each other in float32: such columns are centred as dense rows.
    """

    def __init__(self, layers: _Layers, X: sp.csr_array | sp.csr_matrix) -> None:
        self._layers, self._X, codec = layers, X, layers.codec
        is_far = _is_far(codec.centre / codec.scale)
        self._far = far = np.flatnonzero(is_far)
        offset = codec.offset - np.where(is_far, 0.0, codec.centre / codec.scale)
        bias = codec.intercepts[0] + offset @ codec.coefs[0].astype(np.float64)
        near_norm = np.linalg.norm(codec.centre[~is_far] / codec.scale)
        summed_in = layers.dtype if near_norm <= NEAR_ENOUGH else np.dtype(np.float64)
        self._bias, self._summed_in = bias.astype(summed_in), summed_in
        self._near = codec.coefs[0].astype(summed_in, copy=len(far) > 0)
        self._weight_of_far = layers.as_tensor(self._near[far])
        if len(far):
            self._near[far] = 0.0
        has_room = 1.0 / layers.large < codec.scale < layers.large
        self._divisor = (summed_in if has_room else np.dtype(np.float64)).type(codec.scale)

    def reader(self) -> Self:
        """Return it: it has no buffers."""
        return self

    def __call__(self, which: slice, out: Tensor) -> tuple[None, Tensor | None]:
        """Return None and the activation of rows, or None if there was no room for it."""
        layers, codec, far, part = self._layers, self._layers.codec, self._far, self._X[which]
        data = (part.data / self._divisor).astype(self._summed_in, copy=False)
        scaled = sp.csr_array((data, part.indices, part.indptr), shape=part.shape)
        pre = layers.as_tensor(scaled @ self._near + self._bias)
        if len(far):
            centred = torch.empty((part.shape[0], len(far)), dtype=layers.torch_dtype, device="cpu")
            centre_rows(part[:, far], slice(None), codec.centre[far], codec.scale, centred)
            pre.addmm_(centred.to(layers.device), self._weight_of_far)
        return None, layers.activate(0, pre)


def _walk(
    layers: _Layers, n_rows: int, first: int, last: int, function: Callable[[Iterator[slice]], None]
) -> None:
    """Call a function with the chunks of rows of each member of a crew, side by side.

    Parameters
    ----------
    layers : _Layers
        The network.
    n_rows : int
        All rows.
    first, last : int
        Which layers they go through.
    function : callable
        ``function(chunks)`` takes slices of rows.
    """
    coefs = layers.codec.coefs[first:last]
    on_cpu = layers.device.type == "cpu"
    work = float(n_rows) * sum(coef.size for coef in coefs)
    n_members = n_parts(work, n_rows, n_cores()) if on_cpu else 1
    widest = max(max(coef.shape) for coef in coefs)
    most = MOST_CHUNK_ROWS if on_cpu else None

    def chunks(part: slice) -> Iterator[slice]:
        for chunk in chunk_slices(part.stop - part.start, widest, most):
            yield slice(part.start + chunk.start, part.start + chunk.stop)

    layers.prepare(first, last)
    with Crew(n_members) as crew:
        crew.run([partial(function, chunks(part)) for part in equal_slices(n_rows, n_members)])


def _is_far(centre: np.ndarray) -> np.ndarray:
    """Return which columns are furthest from 0: those without which the norm is small."""
    is_far = np.zeros(len(centre), dtype=bool)
    if np.linalg.norm(centre) <= NEAR:
        return is_far
    order = np.argsort(np.abs(centre))
    is_far[order] = ~(np.cumsum(np.square(centre[order])) <= NEAR**2)
    return is_far


def _norm(tensor: Tensor) -> float:
    """Return the norm of all entries; infinite or nan if its square is out of range."""
    flat = tensor.reshape(-1)
    return sqrt(square) if (square := float(torch.dot(flat, flat))) >= 0.0 else square


def _centred(codec: Codec, X: Matrix) -> Extended:
    """Return what the network sees of rows, whatever its size."""
    rows = X if isinstance(X, np.ndarray) else X.toarray()
    difference = add(extend(rows), extend(-codec.centre[None]))
    return add(divide(difference, codec.scale), extend(codec.offset[None]))


def _run(codec: Codec, rows: Extended, first: int, last: int) -> Extended:
    """Send rows through layers, whatever their size."""
    for layer in range(first, last):
        name, slope = codec.activations[layer], codec.slopes[layer]
        pre = affine(rows, codec.coefs[layer], codec.intercepts[layer])
        if name in HOMOGENEOUS:
            slope = None if slope is None else slope.astype(np.float64)
            rows = extend(ACTIVATIONS[name].of(pre.values, slope), pre.exponent)
        else:
            rows = extend(ACTIVATIONS[name].of(to_floats(pre), None))
    return rows


def _as_dtype(rows: Extended, dtype: np.dtype, what: str) -> np.ndarray:
    """Return rows in a precision that has room for them, or raise."""
    found = to_floats(rows).astype(dtype)
    if not np.isfinite(found).all():
        advice = "" if dtype == np.float64 else ": convert X to float64"
        raise ValueError(
            f"X holds values so large that the {what} it are beyond the range of {dtype}{advice}."
        )
    return found


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def encode(
    network: FittedNetwork, X: Matrix, device: str, n_layers: int | None = None
) -> np.ndarray:
    """Return the codes of some rows.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    device : str
        Where to compute.
    n_layers : int, optional
        After how many layers to stop; by default after all of the encoder.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components), float32 if X is, else float64
        Activation of the last of these layers.

    Raises
    ------
    ValueError
        If they are beyond the range of that precision.
    """
    codec = Codec.of(network)
    layers = _Layers(codec, float_dtype(X), device)
    n_layers = codec.n_encoder_layers if n_layers is None else n_layers
    codes = np.empty((X.shape[0], codec.coefs[n_layers - 1].shape[1]), layers.dtype)
    on_cpu = layers.device.type == "cpu"
    first: _FirstOfCentred | _FirstOfSparse
    if sp.issparse(X):
        first = _FirstOfSparse(layers, X)
    else:
        first = _FirstOfCentred(layers, X, only_forward=True)

    def encode_rows(chunks: Iterator[slice]) -> None:
        enter = first.reader()
        for which in chunks:
            n_rows = which.stop - which.start
            # On the CPU the last layer writes where the codes are to be.
            target = torch.from_numpy(codes[which]) if on_cpu else None
            out = target if n_layers == 1 else None
            _, hidden = enter(which, layers.memory_for(0, n_rows) if out is None else out)
            found = layers.run(hidden, 1, n_layers, target)
            if found is None:
                exact = _run(codec, _centred(codec, X[which]), 0, n_layers)
                codes[which] = _as_dtype(exact, codes.dtype, "codes of")
            elif target is None or found.data_ptr() != target.data_ptr():
                codes[which] = found.cpu().numpy()

    _walk(layers, X.shape[0], 0, n_layers, encode_rows)
    return codes


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def decode(network: FittedNetwork, codes: np.ndarray, device: str) -> np.ndarray:
    """Return the rows that some codes stand for, in the units of X.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    codes : ndarray of shape (n_samples, n_components)
        Codes.
    device : str
        Where to compute.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float32 if the codes are, else float64

    Raises
    ------
    ValueError
        If they are beyond the range of that precision.
    """
    codec = Codec.of(network)
    layers = _Layers(codec, float_dtype(codes), device)
    middle, last = codec.n_encoder_layers, len(codec.coefs)
    X = np.empty((codes.shape[0], codec.coefs[-1].shape[1]), float_dtype(codes))
    has_room = all(
        1.0 / layers.large < size < layers.large
        for size in (codec.scale, 1.0 + float(np.abs(codec.mean).max()))
    )

    def decode_rows(chunks: Iterator[slice]) -> None:
        for which in chunks:
            output = None
            if has_room:
                output = layers.run(layers.as_tensor(codes[which]), middle, last)
            if output is not None:
                found = output.sub_(codec.shift).mul_(codec.scale).cpu().numpy()
                np.add(found, codec.mean, out=X[which], casting="same_kind")
            else:
                exact = _run(codec, extend(codes[which]), middle, last)
                moved = add(exact, extend(np.full((1, 1), -codec.shift)))
                exact = add(multiply(moved, codec.scale), extend(codec.mean[None]))
                X[which] = _as_dtype(exact, X.dtype, "rows of the codes in")

    _walk(layers, codes.shape[0], middle, last, decode_rows)
    return X


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def reconstruction_distances(network: FittedNetwork, X: Matrix, device: str) -> Extended:
    """Return the norm of each row's reconstruction error in the units of X.

    Parameters
    ----------
    network : FittedNetwork
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    device : str
        Where to compute.

    Returns
    -------
    distances : Extended, of shape (n_samples, 1)
    """
    codec = Codec.of(network)
    layers, last = _Layers(codec, float_dtype(X), device), len(codec.coefs)
    values, exponent = np.empty((X.shape[0], 1)), np.empty((X.shape[0], 1), np.int64)
    offset = layers.as_tensor(codec.offset)
    first = _FirstOfCentred(layers, X, only_forward=False)

    def measure_rows(chunks: Iterator[slice]) -> None:
        enter = first.reader()
        for which in chunks:
            out = layers.memory_for(0, which.stop - which.start)
            centred, hidden = enter(which, out)
            output, found = layers.run(hidden, 1, last), None
            if output is not None:
                found = _norms(output.sub_(offset).sub_(centred), layers.large)
            if found is None:
                rows = _centred(codec, X[which])
                found = norms(add(_run(codec, rows, 0, last), multiply(rows, -1.0)))
            values[which], exponent[which] = multiply(found, codec.scale)

    _walk(layers, X.shape[0], 0, last, measure_rows)
    return Extended(values, exponent)


def _norms(rows: Tensor, large: float) -> Extended | None:
    """Return the norm of each row, whose squares may vanish; None if they overflow."""
    found = to_wide(torch.linalg.vector_norm(rows, dim=-1)).cpu().numpy()
    # Not even if it is nan.
    if not (found < large).all():
        return None
    values, exponent = extend(found[:, None])
    tiny = np.flatnonzero(found < 1.0 / large)
    if len(tiny):
        values[tiny], exponent[tiny] = norms(extend(rows[tiny].cpu().numpy()))
    return Extended(values, exponent)
