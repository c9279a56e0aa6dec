"""What a function makes of rows, file by file, in files of its own."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sp

from sksae.base.shards.raw import write_npy_header
from sksae.base.shards.shard import NUMERIC
from sksae.model.slices import chunk_slices
from sksae.process.files import write_whole

# As many rows at a time, as what is made of them may be much wider.
MOST_ROWS = 1024


def new_folder(folder: Path) -> Path:
    """Return a folder without files, made if it is not there, for files that belong together.

    Raises
    ------
    FileExistsError
        If there is something in it, or it is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"folder must be new or empty, got {str(folder)!r}: name another, or remove what is "
            "there."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_mapped(
    parts: list[tuple[str, Any]], folder: Path, function: Callable[[np.ndarray], Any]
) -> list[Path]:
    """Write what a function makes of rows, one .npy file for each part; all of them or none.

    Parameters
    ----------
    parts : list of tuple of str and rows
        Names of files, and the rows for each: anything with a shape that slices give arrays of.
    folder : Path
        Where files go.
    function : callable
        Makes rows of rows.
    """
    was_there = folder.exists()
    folder = new_folder(folder)
    form = _Form()
    contents = {
        folder / f"{name}.npy": partial(_write, rows, function, form) for name, rows in parts
    }
    try:
        write_whole(contents)
    except BaseException:
        if not was_there:
            folder.rmdir()
        raise
    return list(contents)


class _Form:
    """The number of columns and the dtype that all that is made must have."""

    def __init__(self) -> None:
        self._known: tuple[int, np.dtype] | None = None

    def checked(self, made: Any, n_rows: int) -> np.ndarray:
        """Return what was made of some rows as an array, or raise if it is none to be written."""
        if sp.issparse(made):
            raise TypeError(
                "function must return arrays, got a sparse matrix: use sparse_output=False, or "
                "call transform for parts of the rows and keep their sparse codes."
            )
        made = np.asarray(made)
        if made.ndim != 2 or len(made) != n_rows or made.dtype.kind not in NUMERIC:
            raise ValueError(
                "function must return a two-dimensional array of numbers, one row for each that it "
                f"gets, got dtype {made.dtype} and shape {made.shape} of {n_rows} rows."
            )
        form = made.shape[1], made.dtype
        if self._known not in (None, form):
            raise ValueError(
                "function must return rows of the same number of columns and dtype each time, got "
                f"{form} after {self._known}."
            )
        self._known = form
        return made


def _write(rows: Any, function: Callable[[np.ndarray], Any], form: _Form, file: BinaryIO) -> None:
    """Write the file of one part.

    Parameters
    ----------
    rows : rows
        Those of the part.
    function : callable
        Makes rows of rows.
    form : _Form
        What all files have alike.
    file : file
        Where it is written.
    """
    for start, made in _made(rows, function, form):
        if start == 0:
            write_npy_header(file, (rows.shape[0], made.shape[1]), made.dtype)
        file.write(np.ascontiguousarray(made).reshape(-1).view(np.uint8).data)


def _made(
    rows: Any, function: Callable[[np.ndarray], Any], form: _Form
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield what a function makes of some rows at a time, and where these begin."""
    for which in chunk_slices(len(rows), rows.shape[1], MOST_ROWS):
        given = rows[which]
        yield which.start, form.checked(function(given), len(given))
