"""Rows in many files as one matrix, which is read as it is needed."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from sksae.base.shards.finding import Files, find_files
from sksae.base.shards.mapping import write_mapped
from sksae.base.shards.parquet import open_parquet
from sksae.base.shards.raw import open_npy, open_safetensors
from sksae.base.shards.selection import Chosen, choose, is_lazy_key, order_of
from sksae.base.shards.shard import Shard, bad, common_dtype
from sksae.base.shards.store import Store
from sksae.model.slices import chunk_slices, equal_slices
from sksae.model.visits import Order
from sksae.process.warning import warn_user

BUFFER_BYTES = 2**27


class ShardedRows:
    r"""The rows of many files as one matrix, read from disk as they are needed.

    It takes the place of an array ``X`` in all estimators of sksae, their ``partial_fit``,
    ``transform``, ``score`` and ``predict`` as well as ``fit``, in :mod:`sksae.metrics`, and in
    scikit-learn's splits and searches. Rows are never in memory all at once, except in
    :mod:`sksae.sequence`, which reads all.

    ``X[which]`` reads rows into an array: an int gives a row, and a slice, a list or array of int,
    or a mask gives a matrix. ``X[which, ...]`` reads nothing: it gives the same rows as
    ShardedRows. scikit-learn takes rows in this way (``train_test_split``, ``cross_val_score``,
    ``GridSearchCV``), so its splits stay in their files too. ``X[:, columns]`` reads some columns
    of all rows. ``numpy.asarray(X)`` reads everything, and so do estimators of other packages.

    Only headers are read by `open`. Files may not change as long as they are in use: one that did
    raises an error that names it. Pickles hold paths and no rows.

    **Order.** With ``shuffle=True`` the rows of files are not visited in any order alike, as that
    would read a block of a file for each row. In each epoch blocks of rows, ``buffer_bytes / 32``
    large (in files of Parquet row groups), are put into a random order over all files. Those that
    fit into ``buffer_bytes`` together are read, and their rows are shuffled. So a minibatch has
    rows from about 32 random places in the files, and the next minibatches have rows from the same
    places. If files are sorted by class or time, this is nearly as good as any order; if each block
    is alike in itself and there are many kinds of blocks, use a larger buffer. Where all rows fit
    into the buffer, the order is that of an array: then a fit on the files and a fit on the array
    agree to the last bit. Without ``shuffle``, and with "lbfgs", they always do.

    Parameters
    ----------
    store : Store
        The files, as `open` makes it.
    rows : range or ndarray of int
        Which of their rows.

    Attributes
    ----------
    shape : tuple of two int
        Rows and columns.
    dtype : dtype
        Of all files: float16 to float64, integers or bool. Files of different precision are read in
        the highest.
    ndim, size, nbytes : int
        As of an array; ``nbytes`` is what it would take in memory.
    files : list of str
        Paths of the files, in the order of their rows.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sksae import ShardedRows, SparseAutoencoderTransformer
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows = np.random.default_rng(0).random((600, 8), dtype=np.float32)
    >>> for k, part in enumerate(np.split(rows, 3)):
    ...     np.save(folder / f"part-{k}.npy", part)
    >>> X = ShardedRows.open(folder / "*.npy")
    >>> X
    ShardedRows(3 files, shape=(600, 8), dtype=float32)
    >>> sae = SparseAutoencoderTransformer(4, max_iter=30, tol=0.1, random_state=0).fit(X)
    >>> codes = X.map_to(folder / "codes", sae.transform)
    >>> codes.shape
    (600, 4)
    """

    def __init__(self, store: Store, rows: Chosen) -> None:
        self._store, self._rows = store, rows

    @classmethod
    def open(
        cls,
        files: Files,
        *,
        columns: Sequence[str] | str | None = None,
        tensor: str | None = None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> Self:
        """Return the rows of files, of which only the headers are read.

        Parameters
        ----------
        files : str, path or list of them
            A file, a pattern such as ``"rows/*.npy"``, a folder, or a list of files. Those of a
            pattern or folder are taken in natural order, 2 before 10; a list keeps its order. In a
            folder, files whose names begin with a dot or an underscore are left out. Names end in
            ``.npy``, ``.parquet`` (needs pyarrow) or ``.safetensors``.
        columns : sequence of str or str, default=None
            Columns of Parquet files: of numbers, or a single one of lists of numbers that all have
            one length. None is all of them, which must have the same names in the same order in
            each file; the index of pandas or dask, which they write as a column too, is none.
            Missing floats are read as nan.
        tensor : str, default=None
            Which tensor of safetensors files; may be None if they have one. bfloat16 is read as
            float32.
        buffer_bytes : int, default=134217728
            How much of the files is kept in memory; more makes a shuffled order more random. Row
            groups of Parquet are read as a whole, even if one of them takes more than this.

        Returns
        -------
        X : ShardedRows
            All rows, files one after another.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ImportError
            If there are Parquet files and no pyarrow.
        TypeError, ValueError
            If an argument is invalid; or if a file is truncated, cannot be read, is empty, is not
            two-dimensional, has other columns than the first one or numbers of another kind (as
            integers among floats). The error names the file.

        Warns
        -----
        UserWarning
            If a row group is larger than ``buffer_bytes``.
        """
        if isinstance(buffer_bytes, bool) or not isinstance(buffer_bytes, Integral):
            raise TypeError(f"buffer_bytes must be an int, got {type(buffer_bytes).__name__}.")
        if buffer_bytes < 1:
            raise ValueError(f"buffer_bytes must be at least 1, got {buffer_bytes}.")
        names = [columns] if isinstance(columns, str) else columns
        paths = find_files(files)
        kinds = {path.suffix for path in paths}
        if names is not None and ".parquet" not in kinds:
            raise ValueError("columns has no effect without files of Parquet: leave it out.")
        if names is not None and not names:
            raise ValueError("columns must name one column at least, got none.")
        if tensor is not None and ".safetensors" not in kinds:
            raise ValueError("tensor has no effect without files of safetensors: leave it out.")
        shards = [_open_shard(path, names, tensor) for path in paths]
        store = Store(shards, common_dtype(shards), int(buffer_bytes))
        largest = int(np.diff(store.cuts).max())
        if largest > store.buffer_rows and not shards[0].reads_anywhere:
            n_bytes = largest * store.n_columns * store.dtype.itemsize
            warn_user(
                f"files: row groups take up to {n_bytes / 1e6:.3g} MB in memory, and "
                f"buffer_bytes={buffer_bytes} is less, so that rows are shuffled within one of "
                "them only: give a larger buffer_bytes, or write files with smaller row groups "
                "(row_group_size of pyarrow.parquet.write_table)."
            )
        return cls(store, range(store.n_rows))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self._rows), self._store.n_columns

    @property
    def dtype(self) -> np.dtype:
        """Of all numbers."""
        return self._store.dtype

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take in memory."""
        return self.size * self.dtype.itemsize

    @property
    def files(self) -> list[str]:
        """Paths of the files, in the order of their rows."""
        return [os.fspath(shard.path) for shard in self._store.shards]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        n_files = len(self._store.shards)
        named = "1 file" if n_files == 1 else f"{n_files} files"
        return f"{type(self).__name__}({named}, shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, key: Any) -> Any:
        if is_lazy_key(key):
            if isinstance(key[0], Integral):
                return self[key[0]]
            return type(self)(self._store, choose(self._rows, key[0]))
        if isinstance(key, tuple):
            return self._columns(*key) if len(key) == 2 else self._refuse(key)
        if isinstance(key, Integral) and not isinstance(key, bool | np.bool_):
            return self._read(choose(self._rows, [key]))[0]
        return self._read(choose(self._rows, key))

    def __iter__(self) -> Iterator[np.ndarray]:
        for which in self._chunks():
            yield from self[which]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("ShardedRows lie in files: an array of them is always a copy.")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def share(self, rank: int, size: int) -> Self:
        """Return the part of the rows that one of several processes works on.

        Parts are rows side by side, in the order of the processes, and differ by one row at most.
        They are whole files where files are equally long and as many as processes, or a multiple
        of that; otherwise a process shares a file with its neighbour.

        Parameters
        ----------
        rank : int
            Number of the process, from 0.
        size : int
            How many processes there are.

        Returns
        -------
        X : ShardedRows
            Its rows, still in their files.

        Raises
        ------
        TypeError
            If a number is no int, as those in ``os.environ`` are texts.
        ValueError
            If there is no such process, or there are more processes than rows.
        """
        for name, number in (("rank", rank), ("size", size)):
            if not isinstance(number, Integral):
                raise TypeError(f"{name} must be an int, got {number!r}: use int(...).")
        if not 0 <= rank < size:
            raise ValueError(f"rank must be from 0 to size - 1 = {size - 1}, got {rank}.")
        if size > len(self):
            raise ValueError(
                f"size must be at most the number of rows, {len(self)}, got {size}: use fewer "
                "processes."
            )
        return self[equal_slices(len(self), size)[rank], ...]

    def map_to(
        self, folder: str | os.PathLike[str], function: Callable[[np.ndarray], Any]
    ) -> "ShardedRows":
        """Write what a function makes of the rows to files, one for each file, and open these.

        Parameters
        ----------
        folder : str or path
            Where files are written, new or empty. Each is named by its number and by the file that
            its rows are from: ``00000-part.npy``. All of them get their names when the last one
            is written: after an error there is none.
        function : callable
            ``sae.transform`` say. It gets up to 1024 rows as an array, and returns an array of as
            many rows, of the same number of columns and dtype each time.

        Returns
        -------
        X : ShardedRows
            What was written, in the order of the rows, with the same ``buffer_bytes``.

        Raises
        ------
        FileExistsError
            If there is something in the folder.
        TypeError, ValueError
            If the function returns something else, as a sparse matrix.
        """
        if not len(self):
            raise ValueError("There are no rows to map.")
        parts = [
            (f"{k:05d}-{name}", self[rows, ...]) for k, (name, rows) in enumerate(self._parts())
        ]
        written = write_mapped(parts, Path(folder), function)
        return ShardedRows.open(written, buffer_bytes=self._store.buffer_bytes)

    def visiting_order(self, random: np.random.Generator, index: np.ndarray | None = None) -> Order:
        """Return a random order of rows in which few blocks are read at a time.

        Parameters
        ----------
        random : Generator
            What it is drawn from.
        index : ndarray of int, default=None
            The rows that count; None is all.

        Returns
        -------
        order : sequence of int
            Positions among the rows that count.
        """
        chosen = self._rows if index is None else choose(self._rows, index)
        return order_of(chosen, random, self._store.cuts, self._store.buffer_rows)

    def check_finite(self, who: str | None = None) -> None:
        """Raise if a row holds nan or an infinity, or if a file has gone or was changed.

        Files that were checked before are not read again.

        Parameters
        ----------
        who : str, default=None
            Who does not take such rows, for the error.

        Raises
        ------
        FileNotFoundError, ValueError
            Which names the file, and the row and column in it.
        """
        store, finite = self._store, self._store.finite
        for shard in store.shards:
            shard.stamp.check()
        if self.dtype.kind != "f":
            return
        for k, (shard, first) in enumerate(zip(store.shards, store.firsts, strict=False)):
            if k in finite:
                continue
            own = self._rows_between(int(first), int(first) + shard.n_rows)
            if len(own):
                for which in chunk_slices(len(own), store.n_columns):
                    self._check_finite(own[which], who)
            if len(own) == shard.n_rows:
                finite.add(k)

    def _check_finite(self, chosen: Chosen, who: str | None) -> None:
        rows = self._read(chosen)
        with np.errstate(all="ignore"):
            if np.isfinite(rows.sum()):
                return
        wrong = np.argwhere(~np.isfinite(rows))
        if not len(wrong):
            return
        at, column = wrong[0]
        shard, row = self._store.where(int(chosen[at]))
        what = "NaN" if np.isnan(rows[at, column]) else "infinity"
        takes_none = "" if who is None else f" {who} does not take such rows:"
        raise ValueError(
            f"Input X contains {what} in row {row}, column {column} of {str(shard.path)!r}."
            f"{takes_none or ' Such rows cannot be used:'} put numbers in their place, or leave "
            "them out."
        )

    def _rows_between(self, first: int, end: int) -> Chosen:
        """Return the different rows of a file that are chosen, sorted."""
        if isinstance(self._rows, range):
            start = min(max(first, self._rows.start), self._rows.stop)
            return range(start, max(start, min(end, self._rows.stop)))
        return np.unique(self._rows[(self._rows >= first) & (self._rows < end)])

    def _parts(self) -> Iterator[tuple[str, slice]]:
        """Yield the positions of rows for one file each, and the name of the file they are from.

        Rows that are not in the order of their files are cut into as many parts as there are files.
        """
        store, rows = self._store, self._rows
        if isinstance(rows, range):
            bounds = np.clip(store.firsts, rows.start, rows.stop) - rows.start
        elif (np.diff(rows) >= 0).all():
            bounds = np.searchsorted(rows, store.firsts)
        else:
            for which in equal_slices(len(rows), min(len(rows), len(store.shards))):
                yield "rows", which
            return
        for shard, (start, stop) in zip(store.shards, pairwise(bounds.tolist()), strict=True):
            if stop > start:
                yield shard.path.stem, slice(start, stop)

    def _chunks(self) -> list[slice]:
        return chunk_slices(len(self), self.shape[1]) if len(self) else []

    def _read(self, chosen: Chosen) -> np.ndarray:
        if isinstance(chosen, range):
            return self._store.run(chosen.start, chosen.stop)
        return self._store.take(chosen)

    def _columns(self, which: Any, columns: Any) -> np.ndarray:
        """Return some columns of rows, of which few are in memory at a time."""
        if not isinstance(which, slice):
            self._refuse((which, columns))
        other = self[which, ...]
        none = np.empty((0, self.shape[1]), self.dtype)[:, columns]
        return np.concatenate([none, *(other[rows][:, columns] for rows in other._chunks())])

    def _refuse(self, key: tuple[Any, ...]) -> np.ndarray:
        raise IndexError(
            "ShardedRows take X[which], X[which, ...] and X[start:stop, columns], got "
            f"{len(key)} indices: read rows first, X[which][...]."
        )


def _open_shard(path: Path, columns: Sequence[str] | None, tensor: str | None) -> Shard:
    try:
        if path.suffix == ".npy":
            return open_npy(path)
        if path.suffix == ".safetensors":
            return open_safetensors(path, tensor)
        return open_parquet(path, columns)
    except PermissionError as error:
        raise bad(path, "cannot be read", "give yourself the right to read it") from error
