"""Blocks of rows of all files: which file each lies in, and the last ones read, up to a limit."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from threading import Lock, enumerate, get_ident
from typing import Any

import numpy as np

from sksae.base.shards.order import BLOCKS_IN_BUFFER
from sksae.base.shards.shard import Shard


class Store:
    """The rows of some files, one after another.

    Rows that lie side by side are read as they are asked for. Rows from anywhere are read with
    their blocks, if these fit into the buffer, and blocks stay there until others need the room.

    Parameters
    ----------
    shards : sequence of Shard
        The files, alike in columns.
    dtype : dtype
        Of all rows.
    buffer_bytes : int
        How many bytes of blocks are kept.

    Attributes
    ----------
    cuts : ndarray of shape (n_blocks + 1,), int64
        Where blocks begin, counted over all files, and the number of rows.
    firsts : ndarray of shape (n_shards + 1,), int64
        Where files begin, and the number of rows.
    buffer_rows : int
        How many rows the buffer has room for.
    """

    def __init__(self, shards: Sequence[Shard], dtype: np.dtype, buffer_bytes: int) -> None:
        self.shards, self.dtype, self.buffer_bytes = tuple(shards), dtype, buffer_bytes
        self.n_columns = shards[0].n_columns
        row_bytes = self.n_columns * dtype.itemsize
        self.buffer_rows = max(1, buffer_bytes // row_bytes)
        block_rows = max(1, self.buffer_rows // BLOCKS_IN_BUFFER)
        self.firsts = np.cumsum([0, *(shard.n_rows for shard in shards)])
        cuts = [shard.cuts(block_rows) for shard in shards]
        starts = [own[:-1] + first for own, first in zip(cuts, self.firsts, strict=False)]
        self.cuts = np.append(np.concatenate(starts), self.firsts[-1])
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        own = {"finite", "_blocks", "_lock"}
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        # Files whose rows are known to be finite.
        self.finite: set[int] = set()
        # Of each block that is kept its rows, and the thread that asked for it last.
        self._blocks: OrderedDict[int, tuple[np.ndarray, int]] = OrderedDict()
        self._lock = Lock()

    @property
    def n_rows(self) -> int:
        """Of all files."""
        return int(self.firsts[-1])

    def where(self, row: int) -> tuple[Shard, int]:
        """Return the file of a row, and which of its rows it is."""
        k = int(np.searchsorted(self.firsts, row, side="right")) - 1
        return self.shards[k], int(row - self.firsts[k])

    def run(self, start: int, stop: int) -> np.ndarray:
        """Return rows that lie side by side, of one file or several."""
        out = np.empty((stop - start, self.n_columns), self.dtype)
        k = int(np.searchsorted(self.firsts, start, side="right")) - 1
        at = start
        while at < stop:
            shard, first = self.shards[k], int(self.firsts[k])
            end = min(stop, int(self.firsts[k + 1]))
            if shard.reads_anywhere:
                (out[at - start : end - start],) = shard.read([(at - first, end - first)])
            else:
                self._from_blocks(at, end, out[at - start : end - start])
            at, k = end, k + 1
        return out

    def _from_blocks(self, start: int, stop: int, out: np.ndarray) -> None:
        block = int(np.searchsorted(self.cuts, start, side="right")) - 1
        at = start
        while at < stop:
            low, high = int(self.cuts[block]), int(self.cuts[block + 1])
            end = min(stop, high)
            out[at - start : end - start] = self._block(block)[at - low : end - low]
            at, block = end, block + 1

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows, in the order in which they are asked for.

        Parameters
        ----------
        rows : ndarray of int of shape (n_taken,)
            Counted over all files.
        """
        if not len(rows):
            return np.empty((0, self.n_columns), self.dtype)
        if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self.run(int(rows[0]), int(rows[-1]) + 1)
        out = np.empty((len(rows), self.n_columns), self.dtype)
        blocks = np.searchsorted(self.cuts, rows, side="right") - 1
        order = np.argsort(blocks, kind="stable")
        wanted, starts = np.unique(blocks[order], return_index=True)
        groups = dict(zip(wanted.tolist(), np.split(order, starts[1:]), strict=True))
        with self._lock:
            kept = self._blocks.keys() & groups.keys()
        # Those that are here first: what is read next may take their place.
        for block in kept:
            at = groups.pop(block)
            out[at] = self._part(block, rows[at])
        n_read = sum(int(self.cuts[block + 1] - self.cuts[block]) for block in groups)
        if n_read <= self.buffer_rows:
            for block, at in groups.items():
                out[at] = self._part(block, rows[at])
        else:
            self._scattered(groups, rows, out)
        return out

    def _scattered(self, groups: dict[int, np.ndarray], rows: np.ndarray, out: np.ndarray) -> None:
        """Write rows of more blocks than there is room for into an array, one after another.

        Parameters
        ----------
        groups : dict of int to ndarray
            Of each block, which of the rows asked for lie in it.
        rows : ndarray of int
            All that are asked for.
        out : ndarray of shape (n_taken, n_columns)
            Where they go.
        """
        by_shard: dict[int, list[np.ndarray]] = {}
        for block, at in groups.items():
            k = int(np.searchsorted(self.firsts, self.cuts[block], side="right")) - 1
            if self.shards[k].reads_anywhere:
                by_shard.setdefault(k, []).append(at)
            else:
                out[at] = self._part(block, rows[at])
        for k, parts in by_shard.items():
            at = np.concatenate(parts)
            own, inverse = np.unique(rows[at] - self.firsts[k], return_inverse=True)
            runs = [(int(run[0]), int(run[-1]) + 1) for run in _runs(own)]
            out[at] = np.concatenate(self.shards[k].read(runs))[inverse]

    def _part(self, block: int, rows: np.ndarray) -> np.ndarray:
        return self._block(block)[rows - self.cuts[block]]

    def _block(self, block: int) -> np.ndarray:
        """Return a block, from the buffer if it is there."""
        with self._lock:
            if block in self._blocks:
                self._blocks.move_to_end(block)
                found, _ = self._blocks[block]
                self._blocks[block] = found, get_ident()
                return found
        shard, start = self.where(int(self.cuts[block]))
        n_rows = int(self.cuts[block + 1] - self.cuts[block])
        (found,) = shard.read([(start, start + n_rows)])
        found = found.astype(self.dtype, copy=False)
        with self._lock:
            self._blocks[block] = found, get_ident()
            self._make_room()
        return found

    def _make_room(self) -> None:
        """Let go of the blocks that were used longest ago.

        But not of the last one of a thread at work, which reads on in it: large ones would be read
        again for each few rows.
        """
        too_many = sum(found.nbytes for found, _ in self._blocks.values()) - self.buffer_bytes
        if too_many <= 0:
            return
        at_work = {thread.ident for thread in enumerate()}
        last = {thread: block for block, (_, thread) in self._blocks.items()}
        spared = {block for thread, block in last.items() if thread in at_work}
        for block in [block for block in self._blocks if block not in spared]:
            if too_many <= 0:
                return
            too_many -= self._blocks.pop(block)[0].nbytes


def _runs(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the parts of sorted different rows that lie side by side."""
    ends = np.flatnonzero(np.diff(rows) > 1) + 1
    for start, stop in pairwise([0, *ends.tolist(), len(rows)]):
        yield rows[start:stop]
