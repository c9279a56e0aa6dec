"""Work that fails for want of memory is done again on halves, in order, and frees what it held."""

import weakref

import pytest
import torch

from sksae.engine import threads
from sksae.engine.portions import Portions, free_memory

CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB."


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_memory_ends_in_many_words(error):
    done = []

    def work(which):
        if which == slice(0, 8):
            raise error
        done.append(which)

    Portions().each(slice(0, 8), work)
    assert done == [slice(0, 4), slice(4, 8)]


def test_other_errors_are_raised_at_once():
    seen = []

    def fail(which):
        seen.append(which)
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        Portions().each(slice(0, 8), fail)
    assert seen == [slice(0, 8)]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 20])
def test_portions_are_all_rows_in_order_and_stay_small(most):
    portions, done, failed = Portions(), [], []

    def work(which):
        if which.stop - which.start > most:
            failed.append(which)
            raise torch.OutOfMemoryError(CUDA)
        done.extend(range(which.start, which.stop))

    portions.each(slice(3, 20), work)
    n_failed = len(failed)
    portions.each(slice(20, 40), work)
    assert done == list(range(3, 40))
    assert n_failed <= 5
    # What was learnt holds for later rows.
    assert len(failed) == n_failed


def test_what_failed_leaves_no_buffers_behind():
    held = []

    def work(which):
        room = torch.empty(which.stop - which.start)
        held.append(weakref.ref(room))
        if len(room) > 2:
            raise torch.OutOfMemoryError(CUDA)

    def in_threads(which):
        with threads.Crew(2) as crew:
            crew.run([lambda: work(which), lambda: work(which)])

    for each in (work, in_threads):
        Portions().each(slice(0, 8), each)
        free_memory()
        assert all(ref() is None for ref in held)
