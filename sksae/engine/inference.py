"""A trained network at work: rows to codes, codes to rows, and how well they agree.

Everything is computed in the precision of what is given, chunk by chunk. Chunks with numbers that
it has no room for on the way are worked on in an extended range, at less speed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.batches import Rows, centre_rows, chunk_slices
from sksae.engine.device import inference_device, to_wide
from sksae.numbers import (
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
from sksae.shortage import AT_WORK, explained_shortage

# How far the centre of sparse rows may be from 0, as a norm in units of scale, before columns are
# centred as dense rows are: as far as scaled rows are from the centre.
NEAR = 6.0
# How far that of the other columns may be before products with them are summed in float64: in sums
# with many terms that cancel the centre, float32 loses more digits than in those of centred rows.
NEAR_ENOUGH = 1.5


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
        self._codec, self._dtype = codec, dtype
        self.torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        self.device = inference_device(device, self.torch_dtype)
        self.widest = max(max(coef.shape) for coef in codec.coefs)
        self._tensors: dict[int, Tensor] = {}
        self._norms: dict[int, float] = {}
        # Squares between the inverse of this and its own are ordinary numbers, and sums of many.
        self.large = sqrt(float(np.finfo(dtype).max)) / 2.0**10

    def as_tensor(self, array: np.ndarray) -> Tensor:
        """Return an array in this precision on this device, without a copy if it can be."""
        array = np.require(array, dtype=self._dtype, requirements=["A", "W"])
        # torch knows of no strides backwards, nor of others than whole entries.
        if any(stride < 0 or stride % array.itemsize for stride in array.strides):
            array = array.copy()
        return torch.from_numpy(array).to(self.device)

    def _kept(self, array: np.ndarray) -> Tensor:
        """Return one of the codec's arrays as a tensor, the same for every chunk."""
        if id(array) not in self._tensors:
            self._tensors[id(array)] = self.as_tensor(array)
        return self._tensors[id(array)]

    def _norm_of(self, array: np.ndarray) -> float:
        """Return the norm of one of the codec's arrays, found once."""
        if id(array) not in self._norms:
            self._norms[id(array)] = _norm(self._kept(array))
        return self._norms[id(array)]

    def fits(self, norm: float, first: int, last: int) -> bool:
        """Return whether nothing overflows on the way of rows of at most that norm through layers.

        By Cauchy and Schwarz, so that partial sums do not either.
        """
        codec = self._codec
        for layer in range(first, last):
            slope = codec.slopes[layer]
            norm = norm * self._norm_of(codec.coefs[layer]) + self._norm_of(codec.intercepts[layer])
            # Not even if it is nan.
            if not norm < self.large:
                return False
            if codec.activations[layer] not in HOMOGENEOUS:
                norm = sqrt(codec.coefs[layer].shape[1])
            elif slope is not None:
                norm *= max(1.0, self._norm_of(slope))
        return norm < self.large

    def _activate(self, layer: int, pre: Tensor) -> Tensor:
        activation = ACTIVATIONS[self._codec.activations[layer]]
        slope = self._codec.slopes[layer]
        out = torch.empty_like(pre) if activation.keeps_pre else pre
        activation.apply(pre, out, None if slope is None else self._kept(slope))
        return out

    def run(self, rows: Tensor, first: int, last: int) -> Tensor:
        """Send rows of shape (n_rows, n_in) through the layers from ``first`` up to ``last``."""
        for layer in range(first, last):
            weight = self._kept(self._codec.coefs[layer])
            bias = self._kept(self._codec.intercepts[layer])
            rows = self._activate(layer, torch.addmm(bias, rows, weight))
        return rows

    def first_of_centred(
        self, X: Matrix, last: int
    ) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Yield (which, (X[which] - centre) / scale, activation of the first layer) by chunks.

        The activation is None where something would overflow in the layers up to ``last``.
        """
        codec = self._codec
        rows = Rows(
            X, centre=codec.centre, scale=codec.scale, dtype=self.torch_dtype, device=self.device
        )
        weight, bias = self._kept(codec.coefs[0]), self._kept(codec.intercepts[0])
        offset_norm = float(np.linalg.norm(codec.offset))
        if offset_norm > 0.0:
            moved = codec.intercepts[0] + codec.offset @ codec.coefs[0].astype(np.float64)
            bias = self.as_tensor(moved)
        for which in chunk_slices(X.shape[0], self.widest):
            centred = rows.take(which)[0]
            hidden = None
            if self.fits(_norm(centred) + offset_norm, 0, last):
                hidden = self._activate(0, torch.addmm(bias, centred, weight))
            yield which, centred, hidden

    def first_of_sparse(
        self, X: sp.csr_array | sp.csr_matrix, last: int
    ) -> Iterator[tuple[slice, Tensor | None]]:
        """Yield (which, activation of the first layer) by chunks, without making them dense.

        The centre moves into the bias, in float64. One far from 0 and the entries that are near it
        would take the digits from each other in float32: such columns are centred as dense rows.
        """
        codec = self._codec
        is_far = _is_far(codec.centre / codec.scale)
        far = np.flatnonzero(is_far)
        offset = codec.offset - np.where(is_far, 0.0, codec.centre / codec.scale)
        offset_norm = float(np.linalg.norm(offset))
        bias = codec.intercepts[0] + offset @ codec.coefs[0].astype(np.float64)
        near_norm = np.linalg.norm(codec.centre[~is_far] / codec.scale)
        summed_in = self._dtype if near_norm <= NEAR_ENOUGH else np.dtype(np.float64)
        bias = bias.astype(summed_in)
        near = codec.coefs[0].astype(summed_in, copy=len(far) > 0)
        weight_of_far = self.as_tensor(near[far])
        if len(far):
            near[far] = 0.0
        has_room = 1.0 / self.large < codec.scale < self.large
        divisor = (summed_in if has_room else np.dtype(np.float64)).type(codec.scale)
        for which in chunk_slices(X.shape[0], self.widest):
            part = X[which]
            data = (part.data / divisor).astype(summed_in, copy=False)
            scaled = sp.csr_array((data, part.indices, part.indptr), shape=part.shape)
            norm = _norm(torch.from_numpy(data)) + offset_norm
            if len(far):
                centred = torch.empty(
                    (part.shape[0], len(far)), dtype=self.torch_dtype, device="cpu"
                )
                centre_rows(part[:, far], slice(None), codec.centre[far], codec.scale, centred)
                norm += _norm(centred)
            hidden = None
            if self.fits(norm, 0, last):
                pre = self.as_tensor(scaled @ near + bias)
                if len(far):
                    pre.addmm_(centred.to(self.device), weight_of_far)
                hidden = self._activate(0, pre)
            yield which, hidden


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
def encode(codec: Codec, X: Matrix, device: str, n_layers: int | None = None) -> np.ndarray:
    """Return the codes of some rows.

    Parameters
    ----------
    codec : Codec
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
    layers = _Layers(codec, float_dtype(X), device)
    n_layers = codec.n_encoder_layers if n_layers is None else n_layers
    codes = np.empty((X.shape[0], codec.coefs[n_layers - 1].shape[1]), float_dtype(X))
    if sp.issparse(X):
        chunks = layers.first_of_sparse(X, n_layers)
    else:
        first = layers.first_of_centred(X, n_layers)
        chunks = ((which, hidden) for which, _, hidden in first)
    for which, hidden in chunks:
        if hidden is None:
            found = _run(codec, _centred(codec, X[which]), 0, n_layers)
            codes[which] = _as_dtype(found, codes.dtype, "codes of")
        else:
            codes[which] = layers.run(hidden, 1, n_layers).cpu().numpy()
    return codes


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def decode(codec: Codec, codes: np.ndarray, device: str) -> np.ndarray:
    """Return the rows that some codes stand for, in the units of X.

    Parameters
    ----------
    codec : Codec
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
    layers = _Layers(codec, float_dtype(codes), device)
    middle, last = codec.n_encoder_layers, len(codec.coefs)
    X = np.empty((codes.shape[0], codec.coefs[-1].shape[1]), float_dtype(codes))
    has_room = all(
        1.0 / layers.large < size < layers.large
        for size in (codec.scale, 1.0 + float(np.abs(codec.mean).max()))
    )
    for which in chunk_slices(codes.shape[0], layers.widest):
        rows = layers.as_tensor(codes[which])
        if has_room and layers.fits(_norm(rows), middle, last):
            output = layers.run(rows, middle, last).cpu().numpy()
            X[which] = (output - codec.shift) * codec.scale + codec.mean
        else:
            found = _run(codec, extend(codes[which]), middle, last)
            moved = add(found, extend(np.full((1, 1), -codec.shift)))
            found = add(multiply(moved, codec.scale), extend(codec.mean[None]))
            X[which] = _as_dtype(found, X.dtype, "rows of the codes in")
    return X


@explained_shortage(AT_WORK)
@np.errstate(all="ignore")
def reconstruction_distances(codec: Codec, X: Matrix, device: str) -> Extended:
    """Return the norm of each row's reconstruction error in the units of X.

    Parameters
    ----------
    codec : Codec
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    device : str
        Where to compute.

    Returns
    -------
    distances : Extended, of shape (n_samples, 1)
    """
    layers, last = _Layers(codec, float_dtype(X), device), len(codec.coefs)
    values, exponent = np.empty((X.shape[0], 1)), np.empty((X.shape[0], 1), np.int64)
    offset = layers.as_tensor(codec.offset)
    for which, centred, hidden in layers.first_of_centred(X, last):
        if hidden is None:
            rows = _centred(codec, X[which])
            found = norms(add(_run(codec, rows, 0, last), multiply(rows, -1.0)))
        else:
            error = layers.run(hidden, 1, last).sub_(offset).sub_(centred)
            found = _norms(error, layers.large)
        values[which], exponent[which] = multiply(found, codec.scale)
    return Extended(values, exponent)


def _norms(rows: Tensor, large: float) -> Extended:
    """Return the norm of each row, of squares that do not overflow but may vanish."""
    found = to_wide(torch.linalg.vector_norm(rows, dim=-1)).cpu().numpy()
    values, exponent = extend(found[:, None])
    tiny = np.flatnonzero(found < 1.0 / large)
    if len(tiny):
        values[tiny], exponent[tiny] = norms(extend(rows[tiny].cpu().numpy()))
    return Extended(values, exponent)
