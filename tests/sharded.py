"""Files of rows for tests of ShardedRows: one matrix, cut into files of each kind."""

import numpy as np

from sksae import ShardedRows

KINDS = ("npy", "npy by column", "safetensors", "parquet", "parquet lists", "parquet free lists")


def make_rows(n_rows=600, n_columns=6, dtype=np.float32, seed=0):
    """Return rows of few patterns, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    rows = rng.random((n_rows, 3)) @ rng.random((3, n_columns)) + 0.05 * rng.random((n_rows, 1))
    return rows.astype(dtype)


def write_npy(folder, rows, n_files=7):
    """Write rows to .npy files, and return a pattern for them."""
    for k, part in enumerate(np.array_split(rows, n_files)):
        np.save(folder / f"part-{k}.npy", part)
    return folder / "part-*.npy"


def in_files(folder, rows, n_files=7, **options):
    """Return rows in .npy files."""
    return ShardedRows.open(write_npy(folder, rows, n_files), **options)


def write_kind(kind, folder, rows, n_files=3):
    """Write rows to files of some kind; return a pattern for them, or None without the package."""
    for k, part in enumerate(np.array_split(rows, n_files)):
        path = folder / f"part-{k}"
        if kind == "npy":
            np.save(path.with_suffix(".npy"), part)
        elif kind == "npy by column":
            np.save(path.with_suffix(".npy"), np.asfortranarray(part))
        elif kind == "safetensors":
            from safetensors.numpy import save_file

            save_file({"rows": np.ascontiguousarray(part)}, path.with_suffix(".safetensors"))
        else:
            write_parquet(kind, path.with_suffix(".parquet"), part)
    return folder / f"part-*.{kind.split()[0]}"


def write_parquet(kind, path, rows, row_group_size=50):
    """Write rows to a file of Parquet: a column for each of theirs, or one column of lists."""
    import pyarrow as pa
    from pyarrow import parquet

    if kind == "parquet":
        columns = {f"x{j}": rows[:, j] for j in range(rows.shape[1])}
    else:
        values = pa.array(rows.reshape(-1))
        if kind == "parquet lists":
            lists = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
        else:
            offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
            lists = pa.ListArray.from_arrays(offsets, values)
        columns = {"embedding": lists}
    parquet.write_table(pa.table(columns), path, row_group_size=row_group_size)


def skip_without_package(kind, pytest):
    """Skip a test whose kind of file needs a package that is not there."""
    if kind != kind.removeprefix("parquet"):
        pytest.importorskip("pyarrow")
    if kind == "safetensors":
        pytest.importorskip("safetensors")
