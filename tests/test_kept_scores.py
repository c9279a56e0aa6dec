"""The parts of sparse attention: M(S) of Zhao et al. 2019 and its gradient, masks, dead units."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sksae.engine.attention.dead_units import IdleUnits
from sksae.engine.attention.draws import Draws
from sksae.engine.attention.kept_scores import keep_strongest, weights_of
from sksae.engine.attention.masks import random_mask, turns
from sksae.engine.attention.modules import SparseAttention, make_module, sinusoids
from sksae.engine.attention.objective import parts_of
from sksae.engine.attention.sequences import Sequences
from sksae.model.attention import AttentionArchitecture, n_kept
from sksae.training.attention_start import starting_parameters


def kept_by_hand(scores, k, is_there):
    """Return M(S) row by row, as it is written."""
    found = np.full_like(scores, -np.inf)
    for row, head, query in np.ndindex(scores.shape[:3]):
        allowed = scores[row, head, query][is_there[row]]
        least = np.sort(allowed)[::-1][k[row] - 1]
        for key in np.flatnonzero(is_there[row]):
            if scores[row, head, query, key] >= least:
                found[row, head, query, key] = scores[row, head, query, key]
    return found


@pytest.mark.parametrize("length", [1, 5, 20])
@pytest.mark.parametrize("has_ties", [False, True])
def test_the_k_largest_scores_of_a_row_are_kept_and_equal_ones_with_them(length, has_ties):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((7, 2, length, length))
    if has_ties:
        scores = np.round(scores)
    is_there = rng.random((7, length)) < 0.7
    is_there[:, 0] = True
    k = n_kept(0.4, is_there.sum(axis=1))
    found = keep_strongest(
        torch.from_numpy(scores), torch.from_numpy(k), torch.from_numpy(is_there)
    )
    np.testing.assert_array_equal(found.numpy(), kept_by_hand(scores, k, is_there))
    if not has_ties:
        assert (np.isfinite(found.numpy()).sum(axis=-1) == k[:, None, None]).all()


def test_scores_that_are_equal_but_for_rounding_are_kept_together():
    scores = torch.tensor([[[[1.0, 1.0 + 1e-7, 0.5, -2.0]]]])
    found = keep_strongest(scores, torch.tensor([1]))
    assert found.isfinite().tolist() == [[[[True, True, False, False]]]]


def test_a_share_is_one_of_the_tokens_that_are_there_rounded_up_and_two_at_least():
    n_tokens = np.array([1, 2, 3, 8, 10])
    np.testing.assert_array_equal(n_kept(0.25, n_tokens), [1, 2, 2, 2, 3])
    np.testing.assert_array_equal(n_kept(0.3, n_tokens), [1, 2, 2, 3, 3])
    np.testing.assert_array_equal(n_kept(1.0, n_tokens), n_tokens)
    np.testing.assert_array_equal(n_kept(1e-9, n_tokens), [1, 2, 2, 2, 2])
    np.testing.assert_array_equal(n_kept(1, n_tokens), [1, 1, 1, 1, 1])
    np.testing.assert_array_equal(n_kept(3, n_tokens), [1, 2, 3, 3, 3])


def attention(d_model, n_heads):
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    module = SparseAttention(d_model, n_heads).double()
    torch.set_rng_state(torch_state)
    return module


@pytest.mark.parametrize("length", [1, 6, 20])
@pytest.mark.parametrize("has_padding", [False, True])
def test_all_scores_together_are_torchs_scaled_dot_product_attention(length, has_padding):
    module, rng = attention(12, 3), np.random.default_rng(0)
    tokens = torch.from_numpy(rng.standard_normal((4, length, 12)))
    is_there = torch.ones(4, length, dtype=torch.bool)
    if has_padding:
        is_there[:, 1 + length // 2 :] = False
    found, weights = module(tokens, is_there.sum(1), is_there if has_padding else None)
    q, k, v = (
        each.view(4, length, 3, 4).transpose(1, 2) for each in module.project(tokens).chunk(3, -1)
    )
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=is_there[:, None, None, :])
    torch.testing.assert_close(found, module.out(wanted.transpose(1, 2).reshape(4, length, 12)))
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3, length, dtype=torch.float64))


@pytest.mark.parametrize("length", [5, 20])
def test_the_gradient_passes_by_kept_scores_alone(length):
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.standard_normal((2, 2, length, length))).requires_grad_()
    values = torch.from_numpy(rng.standard_normal((2, 2, length, 3)))
    k = torch.tensor([2, 3])

    def output(given):
        return ((weights_of(keep_strongest(given, k)) @ values) ** 2).sum()

    output(scores).backward()
    gradient, kept = scores.grad.numpy(), np.isfinite(keep_strongest(scores, k).detach().numpy())
    assert (gradient[~kept] == 0.0).all()
    assert (gradient[kept] != 0.0).all()
    step, flat = 1e-6, scores.detach().numpy().reshape(-1)
    for at in rng.choice(flat.size, 40, replace=False):
        by = []
        for sign in (1.0, -1.0):
            moved = flat.copy()
            moved[at] += sign * step
            by.append(float(output(torch.from_numpy(moved.reshape(scores.shape)))))
        difference = (by[0] - by[1]) / (2 * step)
        assert gradient.reshape(-1)[at] == pytest.approx(difference, rel=1e-5, abs=1e-7)


# Masks.


def sequences(lengths, length=6):
    n_tokens = torch.tensor(lengths)
    is_there = torch.arange(length) < n_tokens[:, None]
    tokens = torch.zeros(len(lengths), length, 2)
    return Sequences(tokens, is_there, n_tokens, n_tokens, None)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.9])
def test_a_share_of_the_tokens_is_masked_and_one_of_a_row_never(fraction):
    batch = sequences([1, 2, 3, 6] * 2000)
    draws = Draws(0, torch.device("cpu"))
    draws.begin(0)
    masked = random_mask(batch, fraction, draws)
    assert not masked[~batch.is_there].any()
    n_masked = masked.sum(dim=1)
    assert (n_masked <= batch.n_tokens - 1).all()
    # The share of longer rows is met on average, unless one token has to stay.
    for length in (2, 3, 6):
        found = float(n_masked[batch.n_tokens == length].double().mean())
        assert found <= fraction * length + 0.05
        if fraction * length <= length - 1:
            assert found == pytest.approx(fraction * length, abs=0.05)
    # No place is masked more often than others.
    by_place = masked[batch.n_tokens == 6].double().mean(dim=0)
    np.testing.assert_allclose(by_place, by_place.mean(), atol=0.04)


def test_masks_are_a_function_of_seed_and_epoch():
    def draw(seed, epoch):
        draws = Draws(seed, torch.device("cpu"))
        draws.begin(epoch)
        return random_mask(sequences([6] * 50), 0.3, draws)

    assert (draw(1, 2) == draw(1, 2)).all()
    assert (draw(1, 2) != draw(1, 3)).any()
    assert (draw(1, 2) != draw(2, 2)).any()


@pytest.mark.parametrize("fraction", [0.0, 0.15, 0.3, 0.9])
def test_each_token_counts_once_and_is_masked_if_it_has_others(fraction):
    batch = sequences([1, 2, 3, 6])
    counted = torch.zeros(4, 6, dtype=torch.long)
    for is_masked, counts in turns(batch, fraction):
        counted += counts
        if fraction == 0.0:
            assert is_masked is None
            continue
        assert (is_masked == (counts & (batch.n_tokens > 1)[:, None])).all()
        assert (is_masked.sum(dim=1) < batch.n_tokens).all()
    assert (counted == batch.is_there).all()


def test_sinusoids_are_those_of_the_paper():
    found = sinusoids(7, 6, torch.empty(0, dtype=torch.float64)).numpy()
    for place, pair in np.ndindex(7, 3):
        angle = place / 10000 ** (2 * pair / 6)
        assert found[place, 2 * pair] == pytest.approx(np.sin(angle))
        assert found[place, 2 * pair + 1] == pytest.approx(np.cos(angle))
    assert sinusoids(3, 5, torch.empty(0)).shape == (3, 5)


# Dead units.


def test_units_that_no_token_keeps_learn_what_the_others_leave_over_and_no_others_do():
    sizes = AttentionArchitecture(3, 4, 6, 8, 8, 1, 2, 1.0, "sinusoidal", "topk")
    start = starting_parameters(sizes, 0.3, np.random.RandomState(0))
    module = make_module(sizes, parts_of(sizes, torch.from_numpy(start)))
    idle = IdleUnits(2, 3, torch.empty(0, dtype=torch.float64), 6, {})
    code = torch.zeros(5, 6, dtype=torch.float64)
    code[0, [0, 2, 3]] = 1.0
    rng = np.random.default_rng(0)
    hidden, error = (
        torch.from_numpy(rng.standard_normal((5, width))).requires_grad_() for width in (8, 3)
    )
    for _ in range(20):
        assert idle.missed(module, hidden, error) is None
        idle.watch(code)
    missed = idle.missed(module, hidden, error)
    # Of three dead units one learns of each token: the one with the largest pre-activation.
    dead = [1, 4, 5]
    pre = module.encode(hidden)[:, dead].detach()
    atoms = module.decode.weight[:, dead].t()[pre.argmax(dim=1)]
    wanted = ((pre.amax(dim=1)[:, None] * atoms - error) ** 2).sum(dim=1) / 2
    torch.testing.assert_close(missed, wanted)
    missed.sum().backward()
    assert hidden.grad is None
    assert error.grad is None
    assert (module.encode.weight.grad[[0, 2, 3]] == 0.0).all()
    assert (module.encode.weight.grad[dead].abs().sum(dim=1) > 0.0).any()
    known = IdleUnits(2, 3, torch.empty(0, dtype=torch.float64), 6, idle.state())
    torch.testing.assert_close(known.missed(module, hidden, error), missed)
