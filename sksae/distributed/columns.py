"""Columns by name, of Datasets of Ray and of files of Parquet: features, targets and weights."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sksae.base.shards.finding import find_files


class ReadAs(NamedTuple):
    """What columns are read as.

    Attributes
    ----------
    columns : list of str or None
        Features; None is all others.
    target : str or None
        The column of targets.
    weight : str or None
        The column of weights.
    """

    columns: list[str] | None = None
    target: str | None = None
    weight: str | None = None

    @property
    def others(self) -> list[str]:
        """Columns that are no features."""
        return [name for name in (self.target, self.weight) if name is not None]

    def check(self, names: Sequence[str]) -> None:
        """Raise unless all columns are there, once each, and one of them is a feature."""
        wanted = [*(self.columns or []), *self.others]
        for name in wanted:
            if name not in names:
                raise ValueError(f"data have no column {name!r}; they have {', '.join(names)}.")
            if wanted.count(name) > 1:
                raise ValueError(
                    f"Column {name!r} is named more than once in columns, target and "
                    "sample_weight: a column has one use."
                )
        if self.columns is None and len(names) == len(self.others):
            raise ValueError(f"data have no columns besides {', '.join(names)}: nothing to learn.")


def pieces_of(lengths: Sequence[int], own: slice) -> list[tuple[int, slice]]:
    """Return which blocks, and which rows of each, make up some of the rows of all blocks.

    Parameters
    ----------
    lengths : sequence of int
        Rows of each block.
    own : slice
        Rows of all blocks, one after another, of which there are some.

    Examples
    --------
    >>> pieces_of([3, 0, 4], slice(2, 5))
    [(0, slice(2, 3, None)), (2, slice(0, 2, None))]
    """
    found, first = [], 0
    for at, length in enumerate(lengths):
        start, stop = max(own.start - first, 0), min(own.stop - first, length)
        if start < stop:
            found.append((at, slice(start, stop)))
        first += length
    return found


def blocks_of(data: Any, columns: Sequence[str]) -> list[tuple[Any, int]]:
    """Return the blocks of a Dataset, in the order of its rows, and the number of rows of each.

    Each is an ObjectRef of a dict of arrays by column. Nothing of them comes into this process.
    """
    import ray

    chosen = data.select_columns(list(columns))
    options = chosen.context.execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        refs = chosen.to_numpy_refs()
    finally:
        options.preserve_order = before
    count = ray.remote(num_cpus=0)(_n_rows)
    lengths = ray.get([count.remote(ref) for ref in refs])
    return list(zip(refs, lengths, strict=True))


def _n_rows(block: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(block.values()))) if block else 0


def matrix_of(blocks: Sequence[Mapping[str, np.ndarray]], columns: Sequence[str]) -> Any:
    """Return the features of blocks: columns of numbers side by side, or a column of vectors.

    Parameters
    ----------
    blocks : sequence of dict of str to ndarray
        Columns by name.
    columns : sequence of str
        Those that are features.

    Returns
    -------
    X : DataFrame of shape (n_samples, n_columns), or ndarray of shape (n_samples, n_features)
        With the names of columns of numbers; a column of vectors, or of lists of numbers of one
        length, is an array.

    Raises
    ------
    ValueError
        If a column holds something else, or there are others besides one of vectors.
    """
    found = {name: _column(name, [block[name] for block in blocks]) for name in columns}
    wide = [name for name, column in found.items() if column.ndim != 1]
    if wide and len(found) > 1:
        raise ValueError(
            f"Column {wide[0]!r} holds vectors: make it the only one, columns=[{wide[0]!r}]."
        )
    if wide:
        only = found[wide[0]]
        return only.reshape(len(only), -1)
    import pandas as pd

    # One array, which the DataFrame holds and gives back without a copy.
    return pd.DataFrame(np.column_stack(list(found.values())), columns=list(found), copy=False)


def _column(name: str, parts: Sequence[np.ndarray]) -> np.ndarray:
    try:
        whole = np.concatenate([_dense(part) for part in parts])
    except ValueError as error:
        raise ValueError(f"Column {name!r} holds vectors of several lengths.") from error
    if whole.dtype.kind not in "fiub":
        raise ValueError(
            f"Column {name!r} holds no numbers but {whole.dtype}: name the columns that do, by "
            "columns=[...]."
        )
    return whole


def _dense(part: np.ndarray) -> np.ndarray:
    """Return a column of lists as a matrix; missing numbers are nan."""
    if part.dtype != object or not len(part):
        return part
    if any(isinstance(each, np.ndarray | list) for each in part):
        return np.stack([np.asarray(each) for each in part])
    if all(each is None or isinstance(each, float | int) for each in part):
        return part.astype(np.float64)
    return part


def names_in_parquet(files: Any) -> list[str]:
    """Return the names of columns in the first of some files, of which only the header is read."""
    first = find_files(files)[0]
    if first.suffix != ".parquet":
        raise ValueError(
            f"Columns have names in files of Parquet only, and {str(first)!r} is none: give y and "
            "sample_weight as arrays."
        )
    from sksae.process.extras import check_installed

    check_installed("fit_on_ray of files of Parquet", "parquet", "pyarrow.parquet")
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(first).names)


def parquet_column(files: Sequence[str], name: str) -> np.ndarray:
    """Return one column of all files."""
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(path, columns=[name]) for path in files]
    return np.concatenate([table[name].to_numpy() for table in tables])
