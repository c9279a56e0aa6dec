"""How data are divided among workers: each reads its own rows, side by side, and no others."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing, check_consistent_length

from sksae.base.shards.parquet import all_but_index
from sksae.base.shards.rows import ShardedRows
from sksae.distributed.columns import (
    ReadAs,
    computed,
    divided,
    matrix_of,
    parquet_column,
    schema_in_parquet,
    target_of,
)
from sksae.model.slices import equal_slices


class Rows(NamedTuple):
    """What a worker fits to.

    Attributes
    ----------
    X : array, CSR matrix, DataFrame or ShardedRows of shape (n_samples, n_features)
        Rows.
    y, sample_weight : array of shape (n_samples,) or (n_samples, n_outputs), or None
        Targets and weights.
    """

    X: Any
    y: Any
    sample_weight: Any


class Share(Protocol):
    """The rows of one worker, before it has them."""

    def read(self) -> Rows:
        """Return them; called in the worker."""
        ...


@dataclass(frozen=True)
class SharedArrays:
    """Rows in the object store.

    Attributes
    ----------
    rows : ObjectRef
        Of `Rows`.
    """

    rows: Any

    def read(self) -> Rows:
        """Return arrays that lie in the object store and cannot be written to."""
        import ray

        return Rows(*ray.get(self.rows))


@dataclass(frozen=True)
class SharedFiles:
    """Rows of files, which the worker opens.

    Attributes
    ----------
    X : ShardedRows
        The rows of this worker.
    rest : ObjectRef
        Of `Rows` without X.
    start : int
        The first row of this worker among all of the files.
    read_as : ReadAs
        Which columns of Parquet are targets and weights.
    """

    X: ShardedRows
    rest: Any
    start: int
    read_as: ReadAs

    def read(self) -> Rows:
        """Return rows that stay in their files."""
        import ray

        own = slice(self.start, self.start + len(self.X))
        rest = Rows(*ray.get(self.rest))._replace(X=self.X)
        return _with_columns(
            rest, self.read_as, lambda name: parquet_column(self.X.files, name)[own]
        )


@dataclass(frozen=True)
class SharedBlocks:
    """Rows of blocks of a Dataset.

    Attributes
    ----------
    blocks : list of ObjectRef
        Of dicts of arrays by column.
    rest : ObjectRef
        Of `Rows` without X.
    read_as : ReadAs
        Which columns are features, targets and weights.
    """

    blocks: list[Any]
    rest: Any
    read_as: ReadAs

    def read(self) -> Rows:
        """Return a DataFrame of columns of numbers, or the matrix in a column of vectors."""
        import ray

        blocks = [block for block in ray.get(self.blocks) if block]
        X = matrix_of(blocks, self.read_as.columns or [])
        rest = Rows(*ray.get(self.rest))._replace(X=X)
        return _with_columns(
            rest, self.read_as, lambda name: target_of([block[name] for block in blocks])
        )


def _with_columns(rows: Rows, read_as: ReadAs, column: Callable[[str], np.ndarray]) -> Rows:
    """Return rows with targets and weights from columns, where these have names."""
    return Rows(
        rows.X,
        rows.y if read_as.target is None else column(read_as.target),
        rows.sample_weight if read_as.weight is None else column(read_as.weight),
    )


def is_files(data: Any) -> bool:
    """Return whether data are names of files: a path, a pattern, a folder, or a list of them."""
    if isinstance(data, str | os.PathLike):
        return True
    is_list = isinstance(data, list | tuple) and len(data) > 0
    return is_list and all(isinstance(each, str | os.PathLike) for each in data)


def is_dataset(data: Any) -> bool:
    """Return whether data are a Dataset of Ray, without importing ray.data for others."""
    return type(data).__module__.partition(".")[0] == "ray" and hasattr(data, "to_numpy_refs")


def opened(data: Any, y: Any, sample_weight: Any, read_as: ReadAs, size: int) -> Any:
    """Return data that can be divided, of files as ShardedRows; Ray is not needed for this.

    Parameters
    ----------
    data : array, CSR matrix, DataFrame, Dataset of Ray, ShardedRows, path or list of paths
        All rows.
    y, sample_weight : array or None
        Their targets and weights, where they are no columns.
    read_as : ReadAs
        Names of columns, of a Dataset or of files.
    size : int
        How many workers.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If data do not know how many rows they have, rows, targets and weights are not of one
        length, there are fewer rows than workers, or files or columns are not there. Of a
        Dataset nothing is known yet.
    """
    if is_dataset(data):
        return data
    if is_files(data):
        X: Any = ShardedRows.open(data, columns=_columns_of_files(data, read_as))
    elif read_as != ReadAs():
        raise ValueError(
            "columns, target and a name as sample_weight are for a Dataset of Ray and for names of "
            f"files of Parquet, not for data of type {type(data).__name__}: select columns of it, "
            "and give y and sample_weight as arrays."
        )
    else:
        X = data if hasattr(data, "shape") else np.asarray(data)
    if len(X.shape) != 2:
        raise ValueError(
            "data must have rows and columns, or be files or a Dataset of Ray, got "
            f"{type(data).__name__} of shape {tuple(X.shape)}."
        )
    # An array of dask may not know how many rows it has; its dataframe never does.
    if not isinstance(X.shape[0], Integral):
        raise TypeError(
            f"data of type {type(data).__module__.partition('.')[0]}.{type(data).__name__} do not "
            "know how many rows they have: compute them before, or write them to files and give "
            "these."
        )
    check_consistent_length(X, y, sample_weight)
    cuts_of(int(X.shape[0]), size)
    return X.tocsr() if sp.issparse(X) else X


def shares_of(data: Any, y: Any, sample_weight: Any, read_as: ReadAs, size: int) -> list[Share]:
    """Divide data among workers.

    Parameters
    ----------
    data : array, CSR matrix, DataFrame, Dataset of Ray or ShardedRows
        All rows, `opened`.
    y, sample_weight, read_as, size
        Likewise.

    Raises
    ------
    ValueError
        If columns of a Dataset are not there, or it is not as long as targets and weights.
    """
    if is_dataset(data):
        return _of_dataset(data, y, sample_weight, read_as, size)
    cuts = cuts_of(data.shape[0], size)
    if isinstance(data, ShardedRows):
        return [
            SharedFiles(data.share(rank, size), _rest(y, sample_weight, own), own.start, read_as)
            for rank, own in enumerate(cuts)
        ]
    import ray

    return [
        SharedArrays(ray.put((_safe_indexing(data, own), *_taken(y, sample_weight, own))))
        for own in cuts
    ]


def cuts_of(n_rows: int, size: int) -> list[slice]:
    """Return the rows of each worker, as many for each to one row."""
    if size > n_rows:
        raise ValueError(
            f"num_workers must be at most the number of rows, {n_rows}, got {size}: use fewer."
        )
    return equal_slices(n_rows, size)


def _taken(y: Any, sample_weight: Any, own: slice) -> tuple[Any, Any]:
    y, weight = (None if each is None else _safe_indexing(each, own) for each in (y, sample_weight))
    return y, weight


def _rest(y: Any, sample_weight: Any, own: slice) -> Any:
    import ray

    return ray.put((None, *_taken(y, sample_weight, own)))


def _columns_of_files(data: Any, read_as: ReadAs) -> Sequence[str] | None:
    if not read_as.others:
        return read_as.columns
    schema = schema_in_parquet(data, read_as.others)
    read_as.check(schema.names)
    return read_as.columns or [name for name in all_but_index(schema) if name not in read_as.others]


def _of_dataset(data: Any, y: Any, sample_weight: Any, read_as: ReadAs, size: int) -> list[Share]:
    names = list(data.columns())
    read_as.check(names)
    columns = read_as.columns or [name for name in names if name not in read_as.others]
    read_as = read_as._replace(columns=columns)
    rows = computed(data, [*columns, *read_as.others])
    n_rows = rows.count()
    for name, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None and len(given) != n_rows:
            raise ValueError(f"{name} has {len(given)} rows, and data have {n_rows}.")
    cuts = cuts_of(n_rows, size)
    return [
        SharedBlocks(blocks, _rest(y, sample_weight, own), read_as)
        for blocks, own in zip(divided(rows, cuts), cuts, strict=True)
    ]
