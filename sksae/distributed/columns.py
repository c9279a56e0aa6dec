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


def computed(data: Any, columns: Sequence[str]) -> Any:
    """Return a Dataset of Ray with some columns, whose blocks lie in the object store in order."""
    chosen = data.select_columns(list(columns))
    options = chosen.context.execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        return chosen.materialize()
    finally:
        options.preserve_order = before


def divided(data: Any, cuts: Sequence[slice]) -> list[list[Any]]:
    """Return for each of some parts of a computed Dataset its blocks.

    Parameters
    ----------
    data : MaterializedDataset
        All rows. Nothing of them comes into this process.
    cuts : sequence of slice
        The rows of each part, which lie side by side.

    Returns
    -------
    blocks : list of list of ObjectRef
        Each of a dict of arrays by column.
    """
    parts = data.split_at_indices([own.stop for own in cuts[:-1]]) if len(cuts) > 1 else [data]
    return [part.to_numpy_refs() for part in parts]


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


def target_of(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return a column of targets or weights whole; texts as an array of texts, not of objects."""
    whole = np.concatenate(parts)
    if whole.dtype == object and all(isinstance(each, str) for each in whole):
        return whole.astype(str)
    return whole


def schema_in_parquet(files: Any, needed: Sequence[str]) -> Any:
    """Return the pyarrow.Schema of the first of some files, of which only headers are read.

    Raises
    ------
    ImportError
        If there is no pyarrow.
    ValueError
        If a file is none of Parquet, or lacks a column that is needed.
    """
    paths = find_files(files)
    for path in paths:
        if path.suffix != ".parquet":
            raise ValueError(
                f"Columns have names in files of Parquet only, and {str(path)!r} is none: give y "
                "and sample_weight as arrays."
            )
    from sksae.process.extras import check_installed

    check_installed("fit_on_ray of files of Parquet", "parquet", "pyarrow.parquet")
    import pyarrow.parquet

    schemas = [pyarrow.parquet.read_schema(path) for path in paths]
    for path, schema in zip(paths, schemas, strict=True):
        for name in needed:
            if name not in schema.names:
                there = ", ".join(schema.names)
                raise ValueError(f"{str(path)!r} has no column {name!r}; it has {there}.")
    return schemas[0]


def parquet_column(files: Sequence[str], name: str) -> np.ndarray:
    """Return one column of all files."""
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(path, columns=[name]) for path in files]
    return target_of([table[name].to_numpy() for table in tables])
