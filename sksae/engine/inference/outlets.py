"""Where codes go as they are made, chunk by chunk: into an array, or into their entries alone."""

from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.inference.layers import Layers


class Writer(Protocol):
    """What one thread hands its codes to."""

    def room_for(self, which: slice) -> Tensor | None:
        """Return memory in which the last layer may compute the codes of some rows, if any."""

    def write(self, which: slice, codes: Tensor | np.ndarray) -> None:
        """Take the codes of some rows, which may lie in that memory or elsewhere."""


class Outlet(Protocol):
    """Where the codes of all rows go."""

    def writer(self) -> Writer:
        """Return what a thread hands its codes to."""


class DenseCodes:
    """Codes as an array.

    Parameters
    ----------
    layers : Layers
        The network.
    n_rows, n_components : int
        Shape of the array.
    """

    def __init__(self, layers: Layers, n_rows: int, n_components: int) -> None:
        self.array = np.empty((n_rows, n_components), layers.dtype)
        self._on_cpu = layers.device.type == "cpu"

    def writer(self) -> "DenseCodes":
        """Return it: threads write to rows of their own."""
        return self

    def room_for(self, which: slice) -> Tensor | None:
        """Return the rows themselves, on the CPU."""
        return torch.from_numpy(self.array[which]) if self._on_cpu else None

    def write(self, which: slice, codes: Tensor | np.ndarray) -> None:
        """Take codes, which on the CPU are mostly there already."""
        rows = self.array[which]
        if isinstance(codes, np.ndarray):
            rows[...] = codes
        elif not self._on_cpu or codes.data_ptr() != rows.ctypes.data:
            rows[...] = codes.cpu().numpy()


class SparseCodes:
    """The entries of codes that are not 0, row by row; of a chunk alone all codes are there.

    Parameters
    ----------
    layers : Layers
        The network.
    n_rows, n_components : int
        Shape of the codes.
    """

    def __init__(self, layers: Layers, n_rows: int, n_components: int) -> None:
        self._layers, self._shape = layers, (n_rows, n_components)
        self._n_entries = np.zeros(n_rows, np.int64)
        # By the chunk's first row: units and values of its entries.
        self._chunks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def writer(self) -> "_ChunkWriter":
        """Return one that has memory for a chunk of its own."""
        return _ChunkWriter(self, self._layers, self._shape[1])

    def take(self, which: slice, units: np.ndarray, values: np.ndarray, of_row: np.ndarray) -> None:
        """Take the entries of some rows.

        Parameters
        ----------
        which : slice
            The rows.
        units, values : ndarray of shape (n_entries,)
            Row after row, in each row by units.
        of_row : ndarray of int of shape (n_rows,)
            How many entries each row has.
        """
        self._n_entries[which] = of_row
        self._chunks[which.start] = units, values

    def to_csr(self) -> sp.csr_array:
        """Return the codes; what was taken is given away.

        Indices are int32 where they have room.
        """
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._n_entries)])
        index = index_dtype(max(int(ends[-1]), self._shape[1]))
        indices, data = np.empty(ends[-1], index), np.empty(ends[-1], self._layers.dtype)
        for first in sorted(self._chunks):
            units, values = self._chunks.pop(first)
            entries = slice(ends[first], ends[first] + len(units))
            indices[entries], data[entries] = units, values
        codes = sp.csr_array((data, indices, ends.astype(index)), shape=self._shape)
        codes.has_canonical_format = True
        return codes


def index_dtype(largest: int) -> type[np.signedinteger]:
    """Return the integers that have room for indices up to a largest one.

    ``scipy.sparse.get_index_dtype`` says the same, from scipy 1.15 on.
    """
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


class _ChunkWriter:
    """What one thread hands codes to, of which the entries are kept."""

    def __init__(self, codes: SparseCodes, layers: Layers, n_components: int) -> None:
        self._codes, self._layers, self._n_components = codes, layers, n_components
        # Of the longest chunk so far: fresh pages for each would take as long as its entries.
        self._memory: Tensor | None = None

    def room_for(self, which: slice) -> Tensor:
        """Return memory of this thread's own, the same for each chunk."""
        n_rows = which.stop - which.start
        # Where memory has ended chunks become shorter, and so must this.
        if self._memory is None or not n_rows <= len(self._memory) < 2 * n_rows:
            self._memory = None
            layers, shape = self._layers, (n_rows, self._n_components)
            self._memory = torch.empty(shape, dtype=layers.torch_dtype, device=layers.device)
        return self._memory[:n_rows]

    def write(self, which: slice, codes: Tensor | np.ndarray) -> None:
        """Take the entries of codes."""
        n_rows = which.stop - which.start
        if isinstance(codes, Tensor) and codes.device.type == "cpu":
            codes = codes.numpy()
        at, values = of_array(codes) if isinstance(codes, np.ndarray) else of_tensor(codes)
        rows, units = np.divmod(at, self._n_components)
        of_row = np.bincount(rows, minlength=n_rows)
        self._codes.take(which, units.astype(np.int32), values, of_row)


def of_array(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of what is not 0, in the flat array, and the values there."""
    # By a mask: numpy looks for entries of floats twenty times as slowly.
    at = np.flatnonzero(codes != 0.0)
    return at, codes.reshape(-1)[at]


def of_tensor(codes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of a tensor, of which entries alone leave its device."""
    flat = codes.reshape(-1)
    at = flat.nonzero()[:, 0]
    return at.cpu().numpy(), flat[at].cpu().numpy()
