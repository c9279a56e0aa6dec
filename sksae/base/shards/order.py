"""The order in which an epoch visits rows of files: shuffled within windows of nearby blocks."""

from collections.abc import Iterator

import numpy as np

# A buffer holds about so many blocks, from anywhere in the files.
BLOCKS_IN_BUFFER = 32


class WindowedOrder:
    """A permutation of positions that is drawn window by window, as it is read from front to back.

    Blocks of rows that lie side by side are put into a random order; those that fit into the buffer
    together are a window, and the rows of a window are shuffled. A function of the seed alone.

    Parameters
    ----------
    random : Generator
        What is drawn from.
    cuts : ndarray of shape (n_pieces + 1,), int64
        Where pieces of blocks begin, as positions of rows in the order of their places.
    sizes : ndarray of shape (n_pieces,), int64
        How many rows the block of each has in all: so many are in memory.
    buffer_rows : int
        How many rows a window's blocks may have together.
    at : ndarray of shape (n_rows,) or None
        Positions of rows by their places; None where they are in this order.
    """

    def __init__(
        self,
        random: np.random.Generator,
        cuts: np.ndarray,
        sizes: np.ndarray,
        buffer_rows: int,
        at: np.ndarray | None = None,
    ) -> None:
        self._cuts, self._at = cuts, at
        self._pieces = random.permutation(len(sizes))
        self._firsts = _first_pieces(sizes[self._pieces], buffer_rows)
        n_rows = np.diff(cuts)[self._pieces]
        self._starts = np.concatenate([[0], np.cumsum(n_rows)])[self._firsts]
        self._seed = int(random.integers(2**63))
        self._drawn: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, which: slice) -> np.ndarray:
        start, stop, _ = which.indices(len(self))
        return np.concatenate([np.empty(0, np.int64), *self._parts(start, stop)])

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self[:]

    def _parts(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield what some rows of the order are, window by window."""
        window = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            first, end = self._starts[window], min(stop, int(self._starts[window + 1]))
            yield self._window(window)[start - first : end - first]
            start, window = end, window + 1

    def _window(self, window: int) -> np.ndarray:
        """Return the positions of a window, in their random order."""
        if self._drawn[0] != window:
            pieces = self._pieces[self._firsts[window] : self._firsts[window + 1]]
            parts = [np.arange(self._cuts[k], self._cuts[k + 1]) for k in pieces]
            rows = np.random.default_rng([self._seed, window]).permutation(np.concatenate(parts))
            self._drawn = window, rows if self._at is None else self._at[rows]
        return self._drawn[1]


def _first_pieces(sizes: np.ndarray, buffer_rows: int) -> np.ndarray:
    """Return which piece each window begins with, and the number of pieces: as many as fit."""
    firsts, n_rows = [0], 0
    for piece, size in enumerate(sizes.tolist()):
        if n_rows and n_rows + size > buffer_rows:
            firsts.append(piece)
            n_rows = 0
        n_rows += size
    return np.array([*firsts, len(sizes)])
