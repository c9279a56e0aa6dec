"""Arrays and dataframes of dask: through files to a fit, given to fit, and their codes."""

import sys

import numpy as np
import pytest
from sharded import make_rows

from sksae import ShardedRows, SparseAutoencoderTransformer
from sksae.distributed import fit_on_ray

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def rows():
    return make_rows(1200)


@pytest.fixture
def blocks(rows):
    """Rows in a dozen blocks, as 10 and 11 come before 2 in the order of letters."""
    return da.from_array(rows, chunks=(100, rows.shape[1]))


def small():
    return SparseAutoencoderTransformer(4, max_iter=30, tol=0.1, random_state=0)


def names(X):
    return [path.rpartition("/")[2] for path in X.files]


def test_files_of_a_stack_are_rows_in_the_order_of_blocks(blocks, rows, tmp_path):
    da.to_npy_stack(str(tmp_path / "rows"), blocks)
    X = ShardedRows.open(tmp_path / "rows")
    assert names(X) == [f"{k}.npy" for k in range(12)]
    np.testing.assert_array_equal(X[:], rows)


def test_blocks_of_some_columns_are_joined_in_a_stack(rows, tmp_path):
    da.to_npy_stack(str(tmp_path / "rows"), da.from_array(rows, chunks=(100, 4)))
    np.testing.assert_array_equal(ShardedRows.open(tmp_path / "rows")[:], rows)


def test_an_empty_block_is_refused_by_name_and_can_be_joined(blocks, rows, tmp_path):
    some = blocks[da.from_array(np.arange(1200) >= 150, chunks=100)]
    da.to_npy_stack(str(tmp_path / "empty"), some)
    with pytest.raises(ValueError, match=r"0\.npy' is empty"):
        ShardedRows.open(tmp_path / "empty")
    joined = some.compute_chunk_sizes().rechunk((200, rows.shape[1]))
    da.to_npy_stack(str(tmp_path / "joined"), joined)
    np.testing.assert_array_equal(ShardedRows.open(tmp_path / "joined")[:], rows[150:])


def test_partitions_are_rows_in_their_order_without_the_index(blocks, rows, tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    pytest.importorskip("pyarrow")
    frame = dd.from_dask_array(blocks, columns=list("abcdef"))
    frame.to_parquet(tmp_path / "table")
    X = ShardedRows.open(tmp_path / "table")
    assert names(X) == [f"part.{k}.parquet" for k in range(12)]
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X[:], rows)


def test_a_fit_to_an_array_is_one_to_its_rows_to_the_bit(blocks, rows):
    sae = small().fit(blocks)
    np.testing.assert_array_equal(sae.coefs_[0], small().fit(rows).coefs_[0])
    # Blocks whose lengths dask does not know are computed like others.
    chosen = small().fit(blocks[blocks[:, 0] > 0.5])
    np.testing.assert_array_equal(chosen.coefs_[0], small().fit(rows[rows[:, 0] > 0.5]).coefs_[0])


def test_a_dataframe_given_to_fit_is_computed(blocks, rows):
    dd = pytest.importorskip("dask.dataframe")
    sae = small().fit(dd.from_dask_array(blocks, columns=list("abcdef")))
    np.testing.assert_allclose(sae.coefs_[0], small().fit(rows).coefs_[0], atol=1e-4)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_codes_of_blocks_are_codes_of_rows(scheduler, blocks, rows):
    sae = small().fit(rows)
    codes = blocks.map_blocks(sae.transform, dtype=np.float32, chunks=(blocks.chunks[0], (4,)))
    assert codes.shape == (1200, 4)
    with dask.config.set(scheduler=scheduler):
        np.testing.assert_allclose(codes.compute(), sae.transform(rows), atol=1e-6)
        errors = blocks.map_blocks(sae.score_samples, dtype=np.float32, drop_axis=1)
        np.testing.assert_allclose(errors.compute(), sae.score_samples(rows), rtol=1e-4)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_rows_in_files_are_an_array_of_dask(scheduler, blocks, rows, tmp_path):
    da.to_npy_stack(str(tmp_path / "rows"), blocks)
    sae, X = small().fit(rows), ShardedRows.open(tmp_path / "rows")
    kept = X.map_to(tmp_path / "codes", sae.transform)
    codes = da.from_array(kept, chunks=(150, 4))
    with dask.config.set(scheduler=scheduler):
        np.testing.assert_array_equal(codes.compute(), kept[:])
        np.testing.assert_array_equal(codes[5:900:3, 1:3].compute(), kept[:][5:900:3, 1:3])
        np.testing.assert_array_equal(codes[::-1].compute(), kept[:][::-1])


def test_data_for_ray_that_do_not_know_their_length_are_refused(blocks, rows, monkeypatch):
    dataframe = pytest.importorskip("dask.dataframe")
    monkeypatch.setitem(sys.modules, "ray", None)
    columns = [f"c{j}" for j in range(rows.shape[1])]
    for data in (blocks[blocks[:, 0] > 0], dataframe.from_dask_array(blocks, columns=columns)):
        with pytest.raises(TypeError, match=r"dask\.\w+ do not know how many rows .* compute them"):
            fit_on_ray(small(), data, num_workers=2)
