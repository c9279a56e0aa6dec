"""On a CUDA device: codes of tokens agree with the CPU; see test_cuda.py."""

import numpy as np
import pytest
from on_device import DEVICE, ON_DEVICE, WEIGHT, X, assert_close, make, on_cpu

from sksae.model.attention import TOKEN_SPARSITIES
from sksae.sequence import SparseAttentionEncoder, TokenCodes

pytestmark = ON_DEVICE

WIDTH = 3
# Rows of 1 to 4 tokens, and one token without its first feature.
PADDED = X.copy()
PADDED[np.arange(4).repeat(WIDTH) >= 1 + np.arange(len(X))[:, None] % 4] = np.nan
PADDED[1, 0] = np.nan
# What is drawn on a GPU is not what is drawn on a CPU.
DRAWS_NOTHING = {"mask_fraction": 0.0}


def encoder(**params):
    defaults = {
        "n_components": 8,
        "token_width": WIDTH,
        "d_model": 8,
        "n_heads": 2,
        "dim_feedforward": 12,
        "max_iter": 4,
        "batch_size": 64,
        "random_state": 0,
        "dtype": "float64",
        "device": DEVICE,
    }
    if params.get("sparsity", "kl") in ("kl", "topk", "batchtopk"):
        defaults["rho"] = 0.3
    return SparseAttentionEncoder(**(defaults | params))


def learnt(model):
    return [*model.parameters_.values(), model.loss_curve_, model.active_share_]


def made_of(model, rows):
    return [
        model.transform(rows),
        np.nan_to_num(model.tokens(rows)),
        np.nan_to_num(model.attention_weights(rows[:20])),
        model.score(rows, sample_weight=WEIGHT),
    ]


@pytest.mark.parametrize("density", [0.25, 2, 1.0])
@pytest.mark.parametrize("sparsity", TOKEN_SPARSITIES)
def test_attention_agrees_with_the_cpu(sparsity, density):
    model = encoder(sparsity=sparsity, attention_density=density, **DRAWS_NOTHING)
    expected = on_cpu(model, PADDED, sample_weight=WEIGHT)
    model.fit(PADDED, sample_weight=WEIGHT)
    assert_close(learnt(model), learnt(expected), 1e-6)
    assert_close(made_of(model, PADDED), made_of(expected, PADDED), 1e-6)


def test_inference_by_attention_agrees_with_the_cpu():
    model = on_cpu(encoder(), PADDED)
    expected = made_of(model, PADDED)
    model.set_params(device=DEVICE)
    assert_close(made_of(model, PADDED), expected, 1e-9)
    found = made_of(model, PADDED.astype(np.float32))
    assert found[0].dtype == np.float32
    assert_close(found[1:], expected[1:], 1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_and_dropout_are_drawn_on_the_device(dtype):
    params = {"dtype": dtype, "dropout": 0.2}
    first, second = (encoder(**params).fit(PADDED) for _ in range(2))
    assert_close(learnt(first), learnt(second), 1e-9 if dtype == "float64" else 1e-4)
    # Other numbers than the CPU's, and as many.
    expected = on_cpu(encoder(**params), PADDED)
    assert first.loss_curve_[-1] == pytest.approx(expected.loss_curve_[-1], rel=0.3)


def test_pieces_of_rows_agree_with_the_cpu():
    model, expected = encoder(**DRAWS_NOTHING), encoder(**DRAWS_NOTHING, device="cpu")
    for weight in (None, WEIGHT):
        for each in (model, expected):
            each.partial_fit(PADDED, sample_weight=weight)
    assert_close(learnt(model), learnt(expected), 1e-6)


@pytest.mark.parametrize("sparsity", ["kl", "topk"])
def test_pooled_codes_agree_with_the_cpu(sparsity):
    params = {"sparsity": sparsity} | ({"rho": 2} if sparsity == "topk" else {})

    def fitted(device):
        autoencoder = make(device=device, **params)
        model = TokenCodes(autoencoder, token_width=WIDTH, n_segments=2).fit(PADDED)
        codes = model.tokens(PADDED)
        return [model.transform(PADDED), np.nan_to_num(model.inverse_tokens(codes))]

    assert_close(fitted(DEVICE), fitted("cpu"), 1e-6)
