"""What one file of rows is, whatever its format; and that it stays what it was."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import BinaryIO

import numpy as np

NUMERIC = "biuf"


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was opened first.

    Attributes
    ----------
    path : Path
        Where it lies.
    n_bytes, changed_at : int
        Its size, and when it was changed last, in ns.
    """

    path: Path
    n_bytes: int
    changed_at: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """Return the stamp of a file."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file to read it without a buffer, if it is what it was.

        Raises
        ------
        FileNotFoundError
            If it is gone.
        ValueError
            If it was changed.
        """
        with self._told_if_gone():
            file = open(self.path, "rb", buffering=0)  # noqa: SIM115  closed below
        with file:
            self._check(os.fstat(file.fileno()))
            yield file

    def check(self) -> None:
        """Raise, as `opened` does, if the file is not what it was."""
        with self._told_if_gone():
            found = self.path.stat()
        self._check(found)

    @contextmanager
    def _told_if_gone(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"X: the file {str(self.path)!r} has gone since ShardedRows.open: put it back, or "
                "open the files that are left."
            ) from error

    def _check(self, found: os.stat_result) -> None:
        if (found.st_size, found.st_mtime_ns) != (self.n_bytes, self.changed_at):
            raise ValueError(
                f"X: the file {str(self.path)!r} was changed since ShardedRows.open: open the "
                "files again."
            )


@dataclass(frozen=True)
class Shard(ABC):
    """One file of rows.

    Attributes
    ----------
    stamp : Stamp
        The file.
    n_rows, n_columns : int
        Its shape.
    dtype : dtype
        Of its numbers, in the byte order of this machine.
    """

    stamp: Stamp
    n_rows: int
    n_columns: int
    dtype: np.dtype

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.stamp.path

    @property
    def column_names(self) -> tuple[str, ...] | None:
        """Names of columns, where the file has them."""
        return None

    # Whether rows can be read from anywhere; otherwise blocks are read as a whole.
    reads_anywhere = True

    def cuts(self, block_rows: int) -> np.ndarray:
        """Return where blocks of rows that are read at once begin, and the end of the last.

        Parameters
        ----------
        block_rows : int
            How many rows a block should have, if the file does not say it.

        Returns
        -------
        cuts : ndarray of shape (n_blocks + 1,), int64
        """
        starts = np.arange(0, self.n_rows, block_rows, dtype=np.int64)
        return np.append(starts, self.n_rows)

    @abstractmethod
    def read(self, runs: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Return the rows of some runs, each from a first row up to another that is not of it.

        Parameters
        ----------
        runs : sequence of tuple of two int
            What to read; blocks where rows cannot be read from anywhere.

        Returns
        -------
        rows : list of ndarray of shape (n_rows, n_columns)
        """


def bad(path: Path, what: str, advice: str) -> ValueError:
    """Return the error about a file that cannot be one of the shards."""
    return ValueError(f"files: {str(path)!r} {what}: {advice}.")


def check_shape(path: Path, shape: Sequence[int], dtype: np.dtype) -> None:
    """Raise if what a file holds is no matrix of real numbers with a row and a column."""
    if len(shape) != 2:
        raise bad(
            path,
            f"holds an array of shape {tuple(shape)}",
            "it must have two dimensions, rows and columns",
        )
    if 0 in shape:
        raise bad(
            path, f"is empty, of shape {tuple(shape)}", "leave it out, or write its rows again"
        )
    if dtype.kind not in NUMERIC:
        raise bad(
            path,
            f"holds numbers of dtype {dtype}",
            "they must be floats, integers or bool, without Python objects",
        )


def common_dtype(shards: Sequence[Shard]) -> np.dtype:
    """Return the dtype of all shards, or raise about the first that is unlike those before."""
    first = shards[0]
    for shard in shards:
        if shard.n_columns != first.n_columns:
            raise bad(
                shard.path,
                f"has {shard.n_columns} columns, and {str(first.path)!r} has {first.n_columns}",
                "all files must have the same",
            )
        _check_names(shard, first)
        if shard.dtype.kind != first.dtype.kind:
            raise bad(
                shard.path,
                f"holds numbers of dtype {shard.dtype}, and {str(first.path)!r} of {first.dtype}",
                "all must be floats, or all integers, or all bool",
            )
    return reduce(np.promote_types, [shard.dtype for shard in shards])


def _check_names(shard: Shard, first: Shard) -> None:
    """Raise if a file with names has others than the first, or the same in another order."""
    if shard.column_names is None or first.column_names is None:
        return
    for own, other in zip(shard.column_names, first.column_names, strict=True):
        if own != other:
            raise bad(
                shard.path,
                f"has the column {own!r} where {str(first.path)!r} has {other!r}",
                "all files must have the same columns in the same order: name them as columns",
            )
