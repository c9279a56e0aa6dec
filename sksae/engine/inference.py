"""A trained network at work: rows to codes, codes to rows, and how well they agree.

Everything is computed in the precision of what is given, chunk by chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.batches import Rows, chunk_slices
from sksae.engine.device import inference_device, to_wide

Matrix: TypeAlias = np.ndarray | sp.csr_array | sp.csr_matrix


@dataclass(frozen=True)
class Codec:
    """A trained network and the scaling around it, as numpy arrays.

    It sees ``z = shift + (x - mean) / scale`` and reconstructs z.

    Attributes
    ----------
    activations : tuple of str
        One for each layer.
    coefs, intercepts, slopes : list of ndarray
        Of each layer, from input to output; slopes are None where there are none.
    mean : ndarray of shape (n_features,)
    scale, shift : float
    """

    activations: tuple[str, ...]
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    slopes: list[np.ndarray | None]
    mean: np.ndarray
    scale: float
    shift: float

    @property
    def n_encoder_layers(self) -> int:
        return len(self.coefs) // 2


class _Layers:
    """A codec's layers as tensors of one precision on one device."""

    def __init__(self, codec: Codec, dtype: np.dtype, device: str) -> None:
        self._codec, self._dtype = codec, dtype
        self.torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        self.device = inference_device(device, self.torch_dtype)
        self.widest = max(max(coef.shape) for coef in codec.coefs)
        self._tensors: dict[int, Tensor] = {}

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

    def first_of_centred(self, X: Matrix) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield (which, (X[which] - mean) / scale, activation of the first layer) by chunks."""
        codec = self._codec
        rows = Rows(
            X, centre=codec.mean, scale=codec.scale, dtype=self.torch_dtype, device=self.device
        )
        intercept = codec.intercepts[0]
        if codec.shift != 0.0:
            intercept = intercept + codec.shift * codec.coefs[0].sum(axis=0, dtype=np.float64)
        weight, bias = self.as_tensor(codec.coefs[0]), self.as_tensor(intercept)
        for which in chunk_slices(X.shape[0], self.widest):
            centred = rows.take(which)[0]
            yield which, centred, self._activate(0, torch.addmm(bias, centred, weight))

    def first_of_sparse(self, X: sp.csr_array | sp.csr_matrix) -> Iterator[tuple[slice, Tensor]]:
        """Yield (which, activation of the first layer) by chunks, without making them dense.

        Mean, scale and shift move into weight and bias, in float64.
        """
        codec = self._codec
        coef = codec.coefs[0].astype(np.float64)
        bias = codec.intercepts[0] + (codec.shift - codec.mean / codec.scale) @ coef
        coef, bias = (coef / codec.scale).astype(self._dtype), bias.astype(self._dtype)
        for which in chunk_slices(X.shape[0], self.widest):
            pre = torch.from_numpy(X[which] @ coef + bias).to(self.device)
            yield which, self._activate(0, pre)


def encode(codec: Codec, X: Matrix, device: str, n_layers: int | None = None) -> np.ndarray:
    """Return the codes of some rows.

    Parameters
    ----------
    codec : Codec
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features), float32 or float64
        Rows.
    device : str
        Where to compute.
    n_layers : int, optional
        After how many layers to stop; by default after all of the encoder.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components), of X's dtype
        Activation of the last of these layers.
    """
    layers = _Layers(codec, X.dtype, device)
    n_layers = codec.n_encoder_layers if n_layers is None else n_layers
    codes = np.empty((X.shape[0], codec.coefs[n_layers - 1].shape[1]), X.dtype)
    if sp.issparse(X):
        chunks = layers.first_of_sparse(X)
    else:
        chunks = ((which, hidden) for which, _, hidden in layers.first_of_centred(X))
    for which, hidden in chunks:
        codes[which] = layers.run(hidden, 1, n_layers).cpu().numpy()
    return codes


def decode(codec: Codec, codes: np.ndarray, device: str) -> np.ndarray:
    """Return the rows that some codes stand for, in the units of X.

    Parameters
    ----------
    codec : Codec
        The network.
    codes : ndarray of shape (n_samples, n_components), float32 or float64
        Codes.
    device : str
        Where to compute.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), of the codes' dtype
    """
    layers = _Layers(codec, codes.dtype, device)
    X = np.empty((codes.shape[0], codec.coefs[-1].shape[1]), codes.dtype)
    for which in chunk_slices(codes.shape[0], layers.widest):
        rows = layers.run(layers.as_tensor(codes[which]), codec.n_encoder_layers, len(codec.coefs))
        output = rows.cpu().numpy()
        X[which] = (output - codec.shift) * codec.scale + codec.mean
    return X


def squared_errors(codec: Codec, X: Matrix, device: str) -> np.ndarray:
    """Return each row's squared reconstruction error in the units of X.

    Parameters
    ----------
    codec : Codec
        The network.
    X : ndarray or CSR matrix of shape (n_samples, n_features), float32 or float64
        Rows.
    device : str
        Where to compute.

    Returns
    -------
    errors : ndarray of shape (n_samples,), float64
    """
    layers = _Layers(codec, X.dtype, device)
    errors = np.empty(X.shape[0])
    for which, centred, hidden in layers.first_of_centred(X):
        output = layers.run(hidden, 1, len(codec.coefs))
        distance = torch.linalg.vector_norm(output - codec.shift - centred, dim=-1)
        errors[which] = to_wide(distance).square_().cpu().numpy() * codec.scale**2
    return errors
