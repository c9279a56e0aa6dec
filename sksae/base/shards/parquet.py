"""Files of Parquet: their columns as rows of a matrix, one row group at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from sksae.base.shards.shard import Shard, Stamp, bad, check_shape
from sksae.process.extras import check_installed

# A row group may be as large as the file, and takes six times as much if it is read at once.
# How much of it pyarrow has in memory at a time; so many columns at least, of which each takes some
# MB for its pages; and how much of the file is read ahead for each.
BATCH_BYTES, COLUMNS_AT_ONCE, BUFFER_BYTES = 2**22, 16, 2**16


@dataclass(frozen=True)
class ParquetShard(Shard):
    """A file of Parquet, of which a row group is read at once.

    Attributes
    ----------
    columns : tuple of str
        Those of numbers; or one of lists.
    is_list : bool
        Whether it is one of lists.
    group_cuts : tuple of int
        Where row groups begin, and the end of the last.
    """

    columns: tuple[str, ...]
    is_list: bool
    group_cuts: tuple[int, ...]

    reads_anywhere = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """See `Shard.column_names`."""
        return self.columns

    def cuts(self, block_rows: int) -> np.ndarray:
        """See `Shard.cuts`: the file's own row groups."""
        return np.asarray(self.group_cuts, dtype=np.int64)

    def read(self, runs: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """See `Shard.read`."""
        from pyarrow.parquet import ParquetFile

        with (
            self.stamp.opened() as file,
            _named(self.path),
            ParquetFile(file, buffer_size=BUFFER_BYTES) as parquet,
        ):
            return [self._read_group(parquet, start, stop) for start, stop in runs]

    def _read_group(self, parquet: Any, start: int, stop: int) -> np.ndarray:
        """Return a row group as an array; pyarrow itself has a part of it at a time.

        Parameters
        ----------
        parquet : pyarrow.parquet.ParquetFile
            The file.
        start, stop : int
            Its rows.
        """
        rows = np.empty((stop - start, self.n_columns), self.dtype)
        group, itemsize = self.group_cuts.index(start), self.dtype.itemsize
        per_column = BUFFER_BYTES + (stop - start) * itemsize
        n_at_once = max(COLUMNS_AT_ONCE, BATCH_BYTES // per_column)
        for first in range(0, len(self.columns), n_at_once):
            names, at = list(self.columns[first : first + n_at_once]), 0
            n_numbers = self.n_columns if self.is_list else len(names)
            n_rows = max(1, BATCH_BYTES // (n_numbers * itemsize))
            for batch in parquet.iter_batches(
                n_rows, row_groups=[group], columns=names, use_threads=False
            ):
                out = rows[at : at + batch.num_rows]
                if self.is_list:
                    out[:] = self._of_lists(batch.column(names[0]), start + at)
                else:
                    for j, name in enumerate(names, start=first):
                        out[:, j] = self._numbers(batch.column(name), f"column {name!r}")
                at += batch.num_rows
        return rows

    def _of_lists(self, lists: Any, start: int) -> np.ndarray:
        from pyarrow import compute

        lengths = np.asarray(compute.list_value_length(lists).fill_null(-1))
        other = np.flatnonzero(lengths != self.n_columns)
        if len(other):
            found = "no list" if lengths[other[0]] < 0 else f"a list of {lengths[other[0]]}"
            raise ValueError(
                f"X: row {start + other[0]} of {str(self.path)!r} has {found} in column "
                f"{self.columns[0]!r}, where the first row has a list of {self.n_columns}: all "
                "must be of one length."
            )
        values = self._numbers(lists.flatten(), f"column {self.columns[0]!r}")
        return values.reshape(-1, self.n_columns)

    def _numbers(self, values: Any, what: str) -> np.ndarray:
        """Return numbers of pyarrow as an array: missing floats as nan, no other may be missing."""
        if values.null_count and self.dtype.kind != "f":
            raise ValueError(
                f"X: {what} of {str(self.path)!r} has missing values: fill them, or leave out "
                "their rows."
            )
        return np.asarray(values)


def open_parquet(path: Path, columns: Sequence[str] | None) -> ParquetShard:
    """Return the shard in a file of Parquet.

    Its metadata are read, and of lists without a fixed size the first one.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str or None
        Which columns; None is all but the index of pandas or dask.
    """
    check_installed("ShardedRows.open, for files of Parquet,", "parquet", "pyarrow.parquet")
    from pyarrow.parquet import ParquetFile

    stamp = Stamp.of(path)
    with stamp.opened() as file, _named(path), ParquetFile(file) as parquet:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        names = all_but_index(schema) if columns is None else tuple(columns)
        if not names:
            raise bad(path, "has no column", "leave it out, or name the index as columns")
        missing = [name for name in names if name not in schema.names]
        if missing:
            raise bad(
                path,
                f"has no column {missing[0]!r}",
                f"columns must be of {', '.join(map(repr, schema.names[:10]))}",
            )
        types = [schema.field(name).type for name in names]
        is_list = len(types) == 1 and _is_list(types[0])
        kinds = [types[0].value_type] if is_list else types
        for name, kind in zip(names, kinds, strict=True):
            _check_numeric(path, name, kind)
        dtype = reduce(np.promote_types, [np.dtype(kind.to_pandas_dtype()) for kind in kinds])
        n_columns = len(names)
        if is_list and metadata.num_rows:
            n_columns = _length_of_lists(parquet, names[0], types[0])
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    check_shape(path, (metadata.num_rows, n_columns), dtype)
    # Empty row groups, which some programs write, hold no block.
    cuts = (0, *np.cumsum([n for n in groups if n]).tolist())
    if len(cuts) != len(groups) + 1:
        raise bad(path, "has row groups without rows", "write it again")
    return ParquetShard(stamp, metadata.num_rows, n_columns, dtype, names, is_list, cuts)


def all_but_index(schema: Any) -> tuple[str, ...]:
    """Return the columns that pandas takes for columns: it writes the index of rows as one too.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of a file.
    """
    index = []
    with suppress(ValueError, TypeError, KeyError):  # the metadata may be anybody's
        # An index that only counts is no column, and described by a dict.
        index = [each for each in schema.pandas_metadata["index_columns"] if isinstance(each, str)]
    return tuple(name for name in schema.names if name not in index)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have errors of pyarrow name the file."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        raise bad(path, "cannot be read as Parquet", str(error).rstrip(".")) from error


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def _check_numeric(path: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise bad(
            path,
            f"has the column {name!r} of type {kind}",
            "name columns of numbers, or one column of lists of numbers, as columns",
        )


def _length_of_lists(parquet: Any, name: str, kind: Any) -> int:
    """Return how long lists are; where the type does not say it, how long the first is."""
    if hasattr(kind, "list_size"):
        return int(kind.list_size)
    (first,) = next(parquet.iter_batches(1, columns=[name], use_threads=False)).column(0)
    return 0 if first.as_py() is None else len(first)
