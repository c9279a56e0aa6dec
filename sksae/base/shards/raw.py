"""Files whose numbers lie one after another, .npy and .safetensors: their headers and their rows.

They are read by plain reads and not mapped: pages of a mapped file would count as memory of the
process.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sksae.base.shards.shard import Shard, Stamp, bad, check_shape

# Names of safetensors. bfloat16 is the upper half of a float32.
DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "BF16": "<u2",
}
LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class RawShard(Shard):
    """A file whose numbers lie one after another.

    Attributes
    ----------
    offset : int
        Where they begin, in bytes.
    stored : dtype
        As they lie in the file.
    by_column : bool
        Whether it has one column after another, as Fortran has.
    is_bfloat16 : bool
        Whether what is stored are the upper halves of float32.
    """

    offset: int
    stored: np.dtype
    by_column: bool = False
    is_bfloat16: bool = False

    def read(self, runs: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """See `Shard.read`."""
        with self.stamp.opened() as file:
            return [self._converted(self._read_run(file, *run)) for run in runs]

    def _read_run(self, file: BinaryIO, start: int, stop: int) -> np.ndarray:
        size = self.stored.itemsize
        if not self.by_column:
            rows = np.empty((stop - start, self.n_columns), self.stored)
            self._fill(file, self.offset + start * self.n_columns * size, rows)
            return rows
        columns = np.empty((self.n_columns, stop - start), self.stored)
        for j, column in enumerate(columns):
            self._fill(file, self.offset + (j * self.n_rows + start) * size, column)
        return np.ascontiguousarray(columns.T)

    def _fill(self, file: BinaryIO, position: int, out: np.ndarray) -> None:
        """Read as many bytes as an array has into it: a single read may give fewer."""
        file.seek(position)
        left = out.reshape(-1).view(np.uint8).data
        while len(left):
            n_read = file.readinto(left)  # type: ignore[attr-defined]
            if not n_read:
                raise ValueError(f"X: the file {str(self.path)!r} ended while it was read.")
            left = left[n_read:]

    def _converted(self, rows: np.ndarray) -> np.ndarray:
        if self.is_bfloat16:
            wide = rows.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        return rows.astype(self.dtype, copy=False)


def open_npy(path: Path) -> RawShard:
    """Return the shard in a file that numpy.save wrote; only its header is read."""
    stamp = Stamp.of(path)
    with stamp.opened() as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            # Later versions are for names of fields, which no matrix has.
            if read_header is None:
                raise ValueError(f"it has version {version} of the format")
            shape, by_column, stored = read_header(file)
        except (ValueError, EOFError) as error:
            raise bad(path, "is no file of numpy.save", str(error).rstrip(".")) from error
        offset = file.tell()
    check_shape(path, shape, stored)
    _check_length(stamp, offset + prod(shape) * stored.itemsize)
    n_rows, n_columns = shape
    dtype = stored.newbyteorder("=")
    return RawShard(stamp, n_rows, n_columns, dtype, offset, stored, by_column)


def open_safetensors(path: Path, tensor: str | None) -> RawShard:
    """Return the shard in a file of safetensors; only its header is read.

    Parameters
    ----------
    path : Path
        The file.
    tensor : str or None
        Which of its tensors; None where there is one only.

    References
    ----------
    https://github.com/huggingface/safetensors, "Format".
    """
    stamp = Stamp.of(path)
    entries, offset = _read_header(stamp)
    if tensor is None and len(entries) == 1:
        (tensor,) = entries
    if tensor not in entries:
        names = ", ".join(map(repr, sorted(entries)[:5])) + ", ..." * (len(entries) > 5)
        what = "holds several tensors" if tensor is None else f"has no tensor {tensor!r}"
        raise bad(path, what, f"give the name of one of them as tensor, it has {names or 'none'}")
    try:
        entry = entries[tensor]
        kind, shape = entry["dtype"], tuple(int(size) for size in entry["shape"])
        start, stop = (int(each) for each in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise bad(path, "has a header that is damaged", "write it again") from error
    if kind not in DTYPES:
        raise bad(path, f"holds numbers of kind {kind}", f"they must be of {', '.join(DTYPES)}")
    stored, is_bfloat16 = np.dtype(DTYPES[kind]), kind == "BF16"
    check_shape(path, shape, stored)
    if min(start, *shape) < 0 or stop - start != prod(shape) * stored.itemsize:
        raise bad(path, "has a header that is damaged", "write it again")
    _check_length(stamp, offset + stop)
    dtype = np.dtype(np.float32) if is_bfloat16 else stored.newbyteorder("=")
    n_rows, n_columns = shape
    return RawShard(
        stamp, n_rows, n_columns, dtype, offset + start, stored, is_bfloat16=is_bfloat16
    )


def _read_header(stamp: Stamp) -> tuple[dict[str, dict[str, Any]], int]:
    """Return what a file of safetensors says of its tensors, and where their bytes begin."""
    with stamp.opened() as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, stamp.n_bytes - 8):
            raise bad(
                stamp.path,
                "is no whole file of safetensors",
                "its header is longer than the file, or shorter than any",
            )
        text = file.read(length)
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise bad(stamp.path, "is no file of safetensors", "its header cannot be read") from error
    return entries, 8 + length


def _check_length(stamp: Stamp, expected: int) -> None:
    if stamp.n_bytes < expected:
        raise bad(
            stamp.path,
            f"is truncated: it has {stamp.n_bytes} bytes, and its header asks for {expected}",
            "copy or write it again",
        )


def write_npy_header(file: BinaryIO, shape: tuple[int, int], dtype: np.dtype) -> None:
    """Write what a .npy file begins with, before its rows."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
