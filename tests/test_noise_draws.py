"""Noise: what is drawn, and from what seed."""

import numpy as np
import pytest
import torch
from denoising import corrupted, corruption_of, each_kind

from sksae.engine.batches import Batch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gaussian_noise_is_normal_of_the_level(dtype):
    rows = torch.full((500, 80), 3.0, dtype=dtype)
    noise = corrupted(corruption_of("gaussian", 80, dtype=dtype), rows) - 3.0
    assert noise.dtype == rows.numpy().dtype
    assert noise.std() == pytest.approx(0.7, rel=0.02)
    assert abs(noise.mean()) < 4 * 0.7 / np.sqrt(noise.size)
    # As a normal variable has it: 68.3 % within one deviation, 95.4 % within two.
    for width, share in ((1, 0.6827), (2, 0.9545)):
        assert (abs(noise) < width * 0.7).mean() == pytest.approx(share, abs=0.01)
    # Neither rows nor columns go together.
    for table in (noise, noise.T):
        by_chance = 5 / np.sqrt(table.shape[1])
        assert abs(np.corrcoef(table) - np.eye(len(table))).max() < by_chance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_masking_blanks_a_share_of_entries_independently(dtype):
    blank = np.arange(80.0)
    rows = torch.full((500, 80), -3.0, dtype=dtype)
    shown = corrupted(corruption_of("masking", 80, dtype=dtype, blank=blank), rows)
    is_blank = shown != -3.0
    np.testing.assert_array_equal(shown, np.where(is_blank, blank, -3.0))
    assert is_blank.mean() == pytest.approx(0.4, abs=0.01)
    # Neither whole rows nor whole columns: counts vary as those of independent draws.
    assert is_blank.sum(axis=1).std() == pytest.approx(np.sqrt(80 * 0.4 * 0.6), rel=0.15)
    assert is_blank.sum(axis=0).std() == pytest.approx(np.sqrt(500 * 0.4 * 0.6), rel=0.4)


@each_kind
def test_draws_are_a_function_of_seed_and_epoch(kind):
    rows = np.random.default_rng(0).random((30, 4))

    def draw(seed, epoch, n_earlier=0):
        corruption = corruption_of(kind, seed=seed)
        for _ in range(n_earlier):
            corrupted(corruption, rows)
        corruption.begin(epoch)
        return np.concatenate([corrupted(corruption, rows) for _ in range(2)])

    first = draw(5, 3)
    np.testing.assert_array_equal(draw(5, 3, n_earlier=2), first)
    for other in (draw(5, 4), draw(6, 3), draw(3, 5)):
        assert (other != first).any()
    # The second batch of an epoch has draws of its own.
    assert (first[:30] != first[30:]).any()


@each_kind
def test_nothing_is_written_to_the_rows(kind):
    rows = torch.rand(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = rows.clone()
    batch = Batch(rows[None], rows[None], None)
    shown = corruption_of(kind)(batch)
    assert torch.equal(rows, before)
    assert shown.target is batch.target
    assert not torch.equal(shown.rows, shown.target)
