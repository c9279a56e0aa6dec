"""Sums of short vectors over processes, here over threads that talk by gloo as processes do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist

from sksae.engine.short_sums import LONGEST_IN_BYTES, is_short, reduce_short_

OPERATIONS = {
    "sum": (dist.ReduceOp.SUM, np.sum),
    "largest": (dist.ReduceOp.MAX, np.max),
    "smallest": (dist.ReduceOp.MIN, np.min),
}


def reduced_by_all(vectors, operations, folder):
    """Return what each of several processes has after reductions of its vector, one for each."""
    size = len(vectors)
    store = dist.FileStore(str(folder / "store"), size)

    def work(rank):
        group = dist.ProcessGroupGloo(store, rank, size, timedelta(seconds=20))
        found = []
        for operation in operations:
            found.append(torch.tensor(vectors[rank]))
            reduce_short_(found[-1], operation, group)
        return [each.numpy() for each in found]

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(work, range(size)))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8])
def test_all_have_the_result_to_the_same_bits(size, tmp_path):
    vectors = np.random.default_rng(size).normal(size=(size, 37))
    vectors[:, 3] = [(-1) ** rank * 0.0 for rank in range(size)]
    vectors[size // 2, 5] = np.nan
    vectors[:, 7] = np.inf
    found = reduced_by_all(vectors, [each for each, _ in OPERATIONS.values()], tmp_path)
    for result, (_, plain) in zip(found[0], OPERATIONS.values(), strict=True):
        np.testing.assert_allclose(result, plain(vectors, axis=0), rtol=1e-13, atol=1e-13)
    for of_process in found[1:]:
        for one, first in zip(of_process, found[0], strict=True):
            assert one.tobytes() == first.tobytes()


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_dtypes_stay(dtype, tmp_path):
    vectors = np.arange(12).reshape(3, 4).astype(dtype)
    found = reduced_by_all(vectors, [dist.ReduceOp.SUM], tmp_path)
    np.testing.assert_array_equal(found[2][0], vectors.sum(axis=0))
    assert found[2][0].dtype == dtype


def test_long_ones_are_left_to_gloo():
    assert is_short(torch.zeros(LONGEST_IN_BYTES // 4))
    assert not is_short(torch.zeros(LONGEST_IN_BYTES // 4 + 1))
    assert not is_short(torch.zeros(1, device="meta"))
