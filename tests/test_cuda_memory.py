"""On a CUDA device whose memory is nearly full; see test_cuda.py."""

import warnings

import numpy as np
import pytest
import torch
from on_device import DEVICE, ON_DEVICE, X, assert_close, make, needs_cuda

pytestmark = [*ON_DEVICE, needs_cuda]


@pytest.fixture
def little_memory():
    """Return a function that reserves the GPU's memory but for so many bytes."""
    held = []

    def leave(n_bytes):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(DEVICE)
        held.append(torch.empty(max(0, free - n_bytes), dtype=torch.uint8, device=DEVICE))
        return held[-1]

    yield leave
    held.clear()
    torch.cuda.empty_cache()


WIDE = {"n_components": 4096, "batch_size": 16384, "max_iter": 2, "dtype": "float32"}


@pytest.mark.parametrize("name", ["kl", "l1", "topk", "batchtopk"])
def test_a_batch_larger_than_memory_is_processed_in_parts(name, little_memory):
    params = WIDE | {"sparsity": name} | ({"rho": 16} if "topk" in name else {})
    rows = np.random.default_rng(0).normal(size=(16384, 256)).astype(np.float32)
    expected = make(**params).fit(rows)
    torch.cuda.empty_cache()
    # Parameters and moments take less than 100 MB, a batch's activations 512 MB and more.
    little_memory(350_000_000)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = make(**params).fit(rows)
    told = [str(each.message) for each in told if "Memory ended" in str(each.message)]
    assert len(told) == 1
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-3)
    assert_close([model.loss_curve_], [expected.loss_curve_], 1e-3)


@pytest.mark.parametrize("method", ["transform", "score_samples"])
def test_rows_are_encoded_in_little_memory(method, little_memory):
    rows = np.random.default_rng(0).normal(size=(20_000, 256)).astype(np.float32)
    model = make(**WIDE | {"batch_size": 512, "max_iter": 1}).fit(rows[:2048])
    expected = getattr(model, method)(rows)
    torch.cuda.empty_cache()
    little_memory(40_000_000)
    assert_close([getattr(model, method)(rows)], [expected], 1e-4)


def test_parameters_larger_than_memory_are_an_error(little_memory):
    little_memory(50_000_000)
    model = make(**WIDE | {"n_components": 2**17})
    with pytest.raises(MemoryError, match=r"Out of memory.*n_components.*device"):
        model.fit(np.random.default_rng(0).normal(size=(512, 256)))
    assert not hasattr(model, "n_features_in_")


def test_a_fit_leaves_nothing_on_the_device():
    make().fit(X).transform(X)
    before = torch.cuda.memory_allocated(DEVICE)
    for params in ({}, {"sparsity": "batchtopk", "rho": 2}, {"solver": "lbfgs"}):
        make(**params).fit(X).transform(X)
    # But for what the library of products keeps for itself.
    assert torch.cuda.memory_allocated(DEVICE) <= before + 1_000_000
