"""X (array, memmap, CSR) -> tensors of centred rows on the device.

The network sees ``(x - centre) / scale``. The centre is subtracted as precisely as in float64 and
only the result is rounded, so that a feature whose mean dwarfs its deviation loses no digits. A
matrix that fits is prepared once and kept on the device; a larger one, a memmap say, is read one
batch at a time, and a CSR matrix is densified one batch at a time: neither is ever copied whole.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.model.numbers import as_floats, exponent_of
from sksae.model.slices import chunk_slices, shared_batches
from sksae.model.visits import Order, OrdersVisits
from sksae.process.processes import ALONE, Processes

# Prepared copies in the CPU's memory take up to this, all those of a process together: of rows to
# train on, of rows held out, of trainings in several threads. Other rows are read batch by batch.
RESIDENT_BYTES = 2**28
Which = slice | np.ndarray


class Batch(NamedTuple):
    """Some rows, and what a network is to make of them.

    Attributes
    ----------
    rows : Tensor of shape (1, n_rows, n_features)
        What enters the network.
    target : Tensor of shape (1, n_rows, n_targets)
        What its output is compared with.
    weight : Tensor of shape (1, n_rows, 1) or None
        What each row counts, relative to the mean over all; None where all are alike.
    n_of_all : int or None
        Rows that a minibatch has in all processes together; None if these are all.
    has_any : bool
        Whether these are rows, and not one that counts nothing in the place of none.
    """

    rows: Tensor
    target: Tensor
    weight: Tensor | None
    n_of_all: int | None = None
    has_any: bool = True

    @property
    def n_together(self) -> int:
        """Rows of all processes together."""
        return self.rows.shape[1] if self.n_of_all is None else self.n_of_all

    def some(self, which: slice) -> "Batch":
        """Return some of its rows."""
        if which == slice(0, self.rows.shape[1]):
            return self
        rows, target, weight = self[:3]
        weight = None if weight is None else weight[:, which]
        return Batch(rows[:, which], target[:, which], weight, *self[3:])


@np.errstate(all="ignore")
def centre_rows(
    X: np.ndarray | sp.csr_array | sp.csr_matrix,
    which: Which,
    centre: np.ndarray,
    scale: float,
    out: Tensor,
) -> None:
    """Write ``(X[which] - centre) / scale`` into ``out``, dense.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Source, without duplicate entries if sparse.
    which : slice or ndarray of int
        Rows.
    centre : ndarray of shape (n_features,), float64
        Subtracted.
    scale : float
        Divided by.
    out : Tensor of shape (n_rows, n_features), on the CPU
        Result.
    """
    rows: Any = as_floats(X[which])
    target = out.numpy()
    needs_room = is_extreme(centre, scale, target.dtype)
    if needs_room:
        # Differences of numbers near the end of the range, and quotients, want room.
        unit = exponent_of(scale)
        rows = rows.astype(np.float64)
        values = rows.data if sp.issparse(rows) else rows
        np.ldexp(values, -unit, out=values)
        centre, scale = np.ldexp(centre, -unit), float(np.ldexp(scale, -unit))
    if sp.issparse(rows):
        lengths = np.diff(rows.indptr)
        at = np.repeat(np.arange(rows.shape[0]) * rows.shape[1], lengths) + rows.indices
        target[...] = -centre / scale
        target.reshape(-1)[at] = (rows.data - centre[rows.indices]) / scale
    elif rows.dtype == target.dtype and not needs_room:
        # As exact as in float64: the centre is subtracted as a sum of two floats.
        high = centre.astype(target.dtype)
        low = (centre - high).astype(target.dtype)
        np.subtract(rows, high, out=target)
        if low.any():
            np.subtract(target, low, out=target)
        if scale != 1.0:
            np.multiply(target, target.dtype.type(1.0 / scale), out=target)
    else:
        np.divide(rows - centre, scale, out=target, casting="same_kind")


def is_extreme(centre: np.ndarray, scale: float, dtype: np.dtype) -> bool:
    """Return whether a difference from that centre, or the inverse of scale, may be out of range.

    Rows much larger than both may be, too, but not those that a network is trained on.

    Parameters
    ----------
    centre : ndarray of shape (n_features,)
        Subtracted from rows.
    scale : float
        Divided by.
    dtype : dtype
        Whose range it is.
    """
    largest = float(np.finfo(dtype).max) ** 0.5
    return not (1.0 / largest < scale < largest and np.abs(centre).max(initial=0.0) < largest)


class Rows:
    """The rows that a network is trained or scored on.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Source; never written to.
    centre : ndarray of shape (n_features,), float64
        Subtracted from every row.
    scale : float
        Every row is then divided by it.
    dtype, device : torch.dtype, torch.device
        Of the tensors given out.
    index : ndarray of int, optional
        The rows of X that count; all by default.
    sample_weight : ndarray of shape (n_samples,), optional
        Weight of each row of X; all alike by default.
    target : ndarray of shape (n_samples, n_targets), optional
        What the output for each row of X is compared with: numbers, or a label as an integer. By
        default the row itself.
    processes : Processes
        Those that fit a model together, each with rows of its own; means are over the rows of all.
        Where this one has none, a row that counts nothing stands in for them: `has_any` is False.

    Attributes
    ----------
    n_rows : int
        Rows of this process.
    n_of_all : int
        Rows of all processes.
    """

    def __init__(
        self,
        X: np.ndarray | sp.csr_array | sp.csr_matrix,
        *,
        centre: np.ndarray,
        scale: float,
        dtype: torch.dtype,
        device: torch.device,
        index: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        target: np.ndarray | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        n_own = X.shape[0] if index is None else len(index)
        self._lengths = processes.gathered(n_own)
        self.n_of_all, self.has_any = sum(self._lengths), n_own > 0
        if not self.has_any:
            X, index, sample_weight = centre[None], None, np.zeros(1)
            target = None if target is None else np.zeros((1, *target.shape[1:]), target.dtype)
        self._source, self._index = X, index
        self._centre, self._scale = centre, scale
        self.dtype, self.device = dtype, device
        self.n_rows = max(n_own, 1)
        self.n_features = X.shape[1]
        self._buffers: dict[int, Tensor] = {}
        self._resident: Tensor | None = None
        self._target: Tensor | None = None
        if target is not None:
            wanted = torch.as_tensor(target if index is None else target[index], device=device)
            self._target = wanted.to(dtype) if wanted.is_floating_point() else wanted
        self._weight: Tensor | None = None
        if sample_weight is not None or processes.are_several:
            self._weigh(sample_weight, index)

    def _weigh(self, sample_weight: np.ndarray | None, index: np.ndarray | None) -> None:
        """Keep what rows count relative to the mean over all, unless all are alike everywhere."""
        weight = np.ones(self.n_rows) if sample_weight is None else sample_weight
        weight = weight if index is None or sample_weight is None else weight[index]
        mean = self.processes.total(weight.sum()) / self.n_of_all
        relative = np.asarray(weight / mean, dtype=np.float64)
        if self.processes.any(bool(np.any(relative != 1.0))):
            self._weight = torch.as_tensor(relative, dtype=self.dtype, device=self.device)

    def keep_resident(self) -> None:
        """Prepare all rows once and keep them on the device, if they fit."""
        if sp.issparse(self._source) or not self._finds_room():
            return
        if self.device.type == "cpu":
            # numpy's memory lies in huge pages where there are any, which are the sooner written.
            like = torch.empty(0, dtype=self.dtype, device="cpu").numpy()
            resident = torch.from_numpy(np.empty((self.n_rows, self.n_features), like.dtype))
            for rows in chunk_slices(self.n_rows, self.n_features):
                self._prepare(resident[rows], rows)
        else:
            shape = (self.n_rows, self.n_features)
            try:
                resident = torch.empty(shape, dtype=self.dtype, device=self.device)
            except torch.OutOfMemoryError:
                # What is free may be in pieces. They are read batch by batch then.
                return
            for rows in chunk_slices(self.n_rows, self.n_features):
                resident[rows] = self.take(rows)[0]
        self._resident = resident
        self._buffers.clear()

    def let_go(self) -> None:
        """Give up the prepared copy, if there is one."""
        self._resident = None
        _RESIDENT.discard(self)

    def reader(self) -> "Rows":
        """Return the same rows with buffers of their own, to be read beside these."""
        other = copy(self)
        other._buffers = {}
        return other

    @property
    def n_bytes(self) -> int:
        """What a prepared copy takes."""
        return self.n_rows * self.n_features * self.dtype.itemsize

    def _finds_room(self) -> bool:
        """Return whether a prepared copy fits beside the others, and count it among them if so."""
        if self.device.type == "cuda":
            return self.n_bytes <= torch.cuda.mem_get_info(self.device)[0] // 2
        with _COUNTING:
            taken = sum(rows.n_bytes for rows in _RESIDENT if rows is not self)
            if self.n_bytes > RESIDENT_BYTES - taken:
                return False
            _RESIDENT.add(self)
            return True

    def order(self, random: np.random.Generator) -> Order:
        """Return a random order of the rows: any one alike, but for rows that lie in files."""
        if isinstance(self._source, OrdersVisits):
            return self._source.visiting_order(random, self._index)
        return random.permutation(self.n_rows)

    def cut(self, batch_size: int) -> tuple[list[slice], list[int]]:
        """Cut the rows into minibatches; see `shared_batches`."""
        slices, counts = shared_batches(self._lengths, self.processes.rank, batch_size)
        if min(self._lengths) < len(slices) and self._weight is None:
            # Some have a row that counts nothing, and all go by weights as they do.
            self._weight = torch.ones(self.n_rows, dtype=self.dtype, device=self.device)
        return slices, counts

    def batches(
        self, slices: list[slice], order: Order | None, counts: list[int] | None = None
    ) -> Iterator[Batch]:
        """Yield one minibatch after another, each valid until the next.

        Parameters
        ----------
        slices : list of slice
            The batches, as positions in the order.
        order : Order, optional
            Order in which the rows are visited; as they are by default.
        counts : list of int, optional
            How many rows each has in all processes together; its own by default.
        """
        if counts is None:
            counts = [which.stop - which.start for which in slices]
        picks: Iterable[Which | Tensor]
        if order is None:
            picks = slices
        elif self._resident is None:
            picks = (order[which] for which in slices)
        else:
            on_device = torch.from_numpy(order[:]).to(self.device)
            picks = [on_device[which] for which in slices]
        for pick, which, count in zip(picks, slices, counts, strict=True):
            batch = self.batch(pick) if which.stop > which.start else self._nothing()
            yield batch._replace(n_of_all=count)

    def _nothing(self) -> Batch:
        """Return a row that counts nothing, in the place of none."""
        row = torch.zeros(1, 1, self.n_features, dtype=self.dtype, device=self.device)
        target = row if self._target is None else torch.zeros_like(self._target[:1]).unsqueeze(0)
        return Batch(row, target, row.new_zeros(1, 1, 1), has_any=False)

    def batch(self, which: Which | Tensor) -> Batch:
        """Return some rows with their targets and weights; valid until the next call."""
        rows = self.take(which)
        target = rows if self._target is None else self._target[which].unsqueeze(0)
        return Batch(rows, target, self.weight(which), has_any=self.has_any)

    def take(self, which: Which | Tensor) -> Tensor:
        """Return some rows, centred; valid until the next call with as many rows.

        Parameters
        ----------
        which : slice, ndarray of int, or Tensor of int if the rows are resident
            Positions among the rows that count.

        Returns
        -------
        rows : Tensor of shape (1, n_taken, n_features)
        """
        if self._resident is None:
            assert not isinstance(which, Tensor)
            return self._read(which)
        if isinstance(which, slice):
            return self._resident[which].unsqueeze(0)
        assert isinstance(which, Tensor)
        out = self._buffer(len(which), self.device)
        if self.device.type == "cpu":
            # Two thirds of the time of torch's index_select; to clip saves it a copy.
            positions = which.numpy()
            np.take(self._resident.numpy(), positions, axis=0, out=out[0].numpy(), mode="clip")
        else:
            torch.index_select(self._resident, 0, which, out=out[0])
        return out

    def weight(self, which: Which | Tensor) -> Tensor | None:
        """Return the weights of some rows, relative to the mean over all.

        Returns
        -------
        weight : Tensor of shape (1, n_taken, 1), or None where all are alike
        """
        return None if self._weight is None else self._weight[which].view(1, -1, 1)

    def chunks(self, widest: int) -> Iterator[Batch]:
        """Walk over all rows in order, each chunk valid until the next."""
        for which in chunk_slices(self.n_rows, widest):
            yield self.batch(which)

    def blank(self, *, at_zero: bool) -> Tensor:
        """Return what the mean row becomes, or a row of zeros, shape (n_features,)."""
        row = -self._centre / self._scale if at_zero else np.zeros(self.n_features)
        return torch.as_tensor(row, dtype=self.dtype, device=self.device)

    def _buffer(self, n_rows: int, device: torch.device) -> Tensor:
        if n_rows not in self._buffers:
            shape = (1, n_rows, self.n_features)
            self._buffers[n_rows] = torch.empty(shape, dtype=self.dtype, device=device)
        return self._buffers[n_rows]

    def _read(self, which: Which) -> Tensor:
        n_taken = which.stop - which.start if isinstance(which, slice) else len(which)
        out = self._buffer(n_taken, torch.device("cpu"))
        self._prepare(out[0], which)
        return out.to(self.device)

    def _prepare(self, out: Tensor, which: Which) -> None:
        source = which if self._index is None else self._index[which]
        centre_rows(self._source, source, self._centre, self._scale, out)


# The rows that have a prepared copy which counts against RESIDENT_BYTES.
_RESIDENT: WeakSet[Rows] = WeakSet()
_COUNTING = Lock()


def _count_anew() -> None:
    """Forget copies of the parent's other threads, of which a fork has none, and their lock."""
    global _RESIDENT, _COUNTING
    _RESIDENT, _COUNTING = WeakSet(), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_anew)


@contextmanager
def kept_resident(*parts: Rows) -> Iterator[None]:
    """Keep prepared copies of rows meanwhile, of the first ones first, as far as they fit."""
    try:
        for rows in parts:
            rows.keep_resident()
        yield
    finally:
        for rows in parts:
            rows.let_go()
