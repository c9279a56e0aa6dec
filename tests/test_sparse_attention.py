"""SparseAttentionEncoder: codes of tokens that know the others of their row by sparse attention."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.special import erf
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.utils import check_random_state, estimator_checks

from sksae import Checkpoint
from sksae.engine.attention.draws import Draws
from sksae.engine.attention.masks import random_mask
from sksae.engine.attention.modules import make_module
from sksae.engine.attention.sequences import Sequences
from sksae.engine.codes.kl import kl_divergence
from sksae.export import slim
from sksae.model.attention import TOKEN_SPARSITIES, n_kept
from sksae.sequence import SparseAttentionEncoder
from sksae.sequence.attention_attributes import network_in

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_sparsity = pytest.mark.parametrize("sparsity", TOKEN_SPARSITIES)
WIDTH, LENGTH = 3, 5


def make(**params):
    defaults = {
        "n_components": 6,
        "token_width": WIDTH,
        "d_model": 8,
        "dim_feedforward": 10,
        "n_heads": 2,
        "rho": 0.3,
        "batch_size": 16,
        "max_iter": 3,
        "random_state": 0,
    }
    if params.get("sparsity", "kl") not in ("kl", "topk", "batchtopk"):
        del defaults["rho"]
    return SparseAttentionEncoder(**(defaults | params))


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((40, 4)) @ rng.random((4, LENGTH * WIDTH)) + rng.random((40, LENGTH * WIDTH))


@pytest.fixture(scope="module")
def padded(X):
    """Rows of 0 to 5 tokens, some left out in the middle, some with a single NaN."""
    X, rng = X.copy(), np.random.default_rng(1)
    tokens = X.reshape(len(X), LENGTH, WIDTH)
    lengths = rng.integers(1, LENGTH + 1, len(X))
    lengths[3] = 0
    tokens[np.arange(LENGTH) >= lengths[:, None]] = np.nan
    tokens[6, 0] = np.nan
    tokens[:5, 0, 1] = np.nan
    return X


def same(one, other):
    """Return whether two encoders learnt the same bits."""
    names = one.parameters_.keys()
    return all((one.parameters_[name] == other.parameters_[name]).all() for name in names)


# The formulas, in plain numpy.


def norm(values, gain, bias):
    mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
    return (values - mean) / np.sqrt(variance + 1e-5) * gain + bias


def codes_by_hand(encoder, tokens):
    """Return the pre-activations and codes of one row's tokens, and the weights of attention."""
    p, width = encoder.parameters_, encoder.d_model
    p = {name: value.astype(np.float64) for name, value in p.items()}
    hidden = (tokens - encoder.mean_) / encoder.scale_ @ p["embed.weight"].T + p["embed.bias"]
    hidden = hidden + p["positions"][: len(tokens)]
    n_best = int(np.ceil(encoder.attention_density * len(tokens)))
    size, found = width // encoder.n_heads, []
    for at in range(encoder.n_blocks):
        block = {key.removeprefix(f"blocks.{at}."): value for key, value in p.items()}
        normed = norm(hidden, block["norm_attention.weight"], block["norm_attention.bias"])
        qkv = normed @ block["attention.project.weight"].T + block["attention.project.bias"]
        heads = []
        for head in range(encoder.n_heads):
            of_head = slice(head * size, (head + 1) * size)
            q, k, v = (qkv[:, each * width : (each + 1) * width][:, of_head] for each in range(3))
            scores = q @ k.T / np.sqrt(size)
            least = np.sort(scores, axis=1)[:, -n_best, None]
            exp = np.where(scores >= least, np.exp(scores), 0.0)
            weights = exp / exp.sum(axis=1, keepdims=True)
            heads.append(weights @ v)
            found.append(weights)
        gathered = np.hstack(heads) @ block["attention.out.weight"].T + block["attention.out.bias"]
        hidden = hidden + gathered
        normed = norm(hidden, block["norm_feedforward.weight"], block["norm_feedforward.bias"])
        inner = normed @ block["widen.weight"].T + block["widen.bias"]
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        hidden = hidden + inner @ block["narrow.weight"].T + block["narrow.bias"]
    pre = norm(hidden, p["norm.weight"], p["norm.bias"]) @ p["encode.weight"].T + p["encode.bias"]
    code = 1 / (1 + np.exp(-pre)) if encoder.sparsity == "kl" else np.maximum(pre, 0.0)
    if encoder.sparsity == "topk":
        code[code < np.sort(code, axis=1)[:, -round(encoder.rho * code.shape[1]), None]] = 0.0
    if encoder.sparsity == "batchtopk":
        code[pre <= encoder.threshold_] = 0.0
    shape = encoder.n_blocks, encoder.n_heads, len(tokens), len(tokens)
    return code, np.reshape(found, shape)


@each_sparsity
def test_codes_are_what_the_docstring_says(X, sparsity):
    encoder = make(sparsity=sparsity, attention_density=0.4).fit(X)
    found, weights = encoder.tokens(X[:8]), encoder.attention_weights(X[:8])
    for at, row in enumerate(X[:8].reshape(8, LENGTH, WIDTH)):
        code, of_row = codes_by_hand(encoder, row)
        np.testing.assert_allclose(found[at], code, atol=1e-9)
        np.testing.assert_allclose(weights[at], of_row, atol=1e-9)


@each_sparsity
def test_the_loss_is_the_objective(X, sparsity):
    # One step over all rows, too small to move anything.
    weight = np.random.default_rng(2).integers(0, 3, len(X)) if sparsity == "l1" else None
    encoder = make(
        sparsity=sparsity,
        mask_fraction=0.0,
        learning_rate=1e-12,
        batch_size=len(X),
        max_iter=1,
        alpha=0.1,
        dtype="float64",
    ).fit(X, sample_weight=weight)
    own = np.ones(len(X)) if weight is None else weight
    if sparsity == "batchtopk":
        # All of one minibatch, of which as many are kept as of all tokens later.
        assert np.count_nonzero(encoder.tokens(X)) == round(0.3 * 6) * len(X) * LENGTH
    tokens = (X.reshape(-1, WIDTH) - encoder.mean_) / encoder.scale_
    codes = encoder.tokens(X).reshape(len(tokens), -1)
    p, of_token = encoder.parameters_, np.repeat(own, LENGTH)
    rebuilt = codes @ p["decode.weight"].T + p["decode.bias"]
    error = np.average(((rebuilt - tokens) ** 2).sum(axis=1) / 2, weights=of_token)
    if sparsity == "kl":
        mean = torch.from_numpy(codes.mean(axis=0))
        penalty = 6.0 * float(kl_divergence(0.3, mean).sum())
    elif sparsity == "l1":
        penalty = 0.12 * np.average(codes.sum(axis=1), weights=of_token)
    elif sparsity == "l2":
        penalty = 0.3 * (codes**2).sum(axis=1).mean() / 2
    else:
        penalty = 0.0
    decay = 0.05 * sum(
        (value**2).sum() for name, value in p.items() if value.ndim == 2 and name != "positions"
    )
    parts = encoder.loss_parts_
    assert parts["reconstruction"][0] == pytest.approx(error, rel=1e-9)
    assert parts["sparsity"][0] == pytest.approx(penalty, rel=1e-9)
    assert parts["decay"][0] == pytest.approx(decay, rel=1e-9)
    assert encoder.loss_curve_[0] == pytest.approx(error + penalty + decay, rel=1e-9)


def test_masked_tokens_count_more_than_visible_ones(padded):
    weight = np.random.default_rng(2).integers(1, 4, len(padded)).astype(float)
    encoder = make(
        mask_fraction=0.4,
        visible_weight=0.3,
        learning_rate=1e-12,
        batch_size=len(padded),
        max_iter=1,
        dtype="float64",
    ).fit(padded, sample_weight=weight)
    network = network_in(vars(encoder))
    module = make_module(
        network.architecture,
        {name: torch.from_numpy(each) for name, each in encoder.parameters_.items()},
    )
    # The one minibatch, and its masks.
    order = np.random.default_rng([encoder._seed, 0]).permutation(len(padded) - 1)
    rows = np.delete(padded, 3, axis=0)[order]
    weight = torch.from_numpy(np.delete(weight, 3)[order])
    z = torch.from_numpy((rows.reshape(-1, LENGTH, WIDTH) - encoder.mean_) / encoder.scale_)
    is_there = ~z.isnan().all(dim=2)
    n_tokens = is_there.sum(dim=1)
    kept = torch.from_numpy(n_kept(0.25, n_tokens.numpy()))
    batch = Sequences(z.nan_to_num(0.0), is_there, n_tokens, kept, weight)
    draws = Draws(encoder._seed, torch.device("cpu"))
    draws.begin(0)
    is_masked = random_mask(batch, 0.4, draws)
    hidden = module(batch.tokens, kept, is_there, is_masked)
    missed = module.decode(module.encode(hidden).sigmoid()) - batch.tokens
    counts = (0.3 + 0.7 * is_masked.double()) * is_there * weight[:, None]
    n_tokens = n_tokens.double()
    n_masked = torch.minimum(0.4 * n_tokens, n_tokens - 1)
    on_average = ((n_masked + 0.3 * (n_tokens - n_masked)) * weight).sum()
    error = (missed.square().sum(dim=2) * counts).sum() / 2 / on_average
    assert encoder.loss_parts_["reconstruction"][0] == pytest.approx(error.item(), rel=1e-9)


def test_tokens_have_the_norm_of_rows_that_autoencoders_see(padded):
    encoder = make().fit(padded)
    tokens = padded.reshape(-1, WIDTH)
    tokens = tokens[~np.isnan(tokens).all(axis=1)]
    mean = np.nanmean(tokens, axis=0)
    np.testing.assert_allclose(encoder.mean_, mean)
    z = (np.where(np.isnan(tokens), mean, tokens) - mean) / encoder.scale_
    assert (z**2).sum(axis=1).mean() == pytest.approx(36.0)


def test_the_score_is_r2_of_tokens_rebuilt_while_they_are_masked(X):
    encoder = make(mask_fraction=0.5, max_iter=20).fit(X)
    network = network_in(vars(encoder))
    parameters = {
        name: torch.from_numpy(each).double() for name, each in encoder.parameters_.items()
    }
    module = make_module(network.architecture, parameters)
    z = torch.from_numpy((X.reshape(-1, LENGTH, WIDTH) - encoder.mean_) / encoder.scale_)
    rebuilt = torch.empty_like(z)
    for turn in range(2):
        is_masked = torch.zeros(len(X), LENGTH, dtype=torch.bool)
        is_masked[:, turn::2] = True
        hidden = module(z, torch.full((len(X),), 2), None, is_masked)
        rebuilt[is_masked] = module.decode(module.encode(hidden).sigmoid())[is_masked].detach()
        # What stands under a mask is not seen.
        other = module(
            torch.where(is_masked[..., None], 9.0, z), torch.full((len(X),), 2), None, is_masked
        )
        assert (other == hidden).all()
    error = float(((rebuilt - z) ** 2).sum())
    deviation = float(((z - z.mean(dim=(0, 1))) ** 2).sum())
    assert encoder.score(X) == pytest.approx(1 - error / deviation)


# Padding.


@each_sparsity
def test_codes_of_tokens_are_rebuilt_as_the_score_without_masks_says(X, sparsity):
    encoder = make(sparsity=sparsity, dtype="float64", mask_fraction=0.0).fit(X)
    tokens = X.reshape(-1, WIDTH)
    back = encoder.inverse_tokens(encoder.tokens(X)).reshape(-1, WIDTH)
    error = np.square(back - tokens).sum() / np.square(tokens - tokens.mean(axis=0)).sum()
    np.testing.assert_allclose(1 - error, encoder.score(X), rtol=1e-9)


def test_tokens_that_are_left_out_are_nan_when_rebuilt(padded):
    encoder = make().fit(padded)
    back = encoder.inverse_tokens(encoder.tokens(padded)).reshape(-1, LENGTH, WIDTH)
    left_out = np.isnan(padded.reshape(-1, LENGTH, WIDTH)).all(axis=2)
    np.testing.assert_array_equal(np.isnan(back).all(axis=2), left_out)
    np.testing.assert_array_equal(np.isnan(back).any(axis=2), left_out)
    codes = encoder.tokens(padded[:2])
    codes[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="codes must be NaN in all units of a token, or in none"):
        encoder.inverse_tokens(codes)
    with pytest.raises(ValueError, match=r"codes must have the shape \(n_samples, 5, 6\)"):
        encoder.inverse_tokens(codes[:, :2])


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("density", [0.5, 2])
def test_a_row_padded_further_has_the_same_codes(X, positions, density):
    encoder = make(positions=positions, attention_density=density).fit(X)
    architecture = network_in(vars(encoder)).architecture
    parameters = {
        name: torch.from_numpy(each).double() for name, each in encoder.parameters_.items()
    }
    short = X.copy()
    short[:, 3 * WIDTH :] = np.nan
    found = encoder.tokens(short)
    assert np.isnan(found[:, 3:]).all()
    # The same three tokens, and no padding at all.
    z = torch.from_numpy((X.reshape(-1, LENGTH, WIDTH) - encoder.mean_) / encoder.scale_)[:, :3]
    module = make_module(architecture, parameters)
    codes = module.encode(module(z, torch.full((len(X),), 2))).sigmoid()
    np.testing.assert_allclose(found[:, :3], codes.detach().numpy(), atol=1e-12)


def test_tokens_that_are_left_out_take_part_in_nothing(padded):
    encoder = make().fit(padded)
    codes, weights = encoder.tokens(padded), encoder.attention_weights(padded)
    left_out = np.isnan(padded.reshape(-1, LENGTH, WIDTH)).all(axis=2)
    np.testing.assert_array_equal(np.isnan(codes), np.repeat(left_out[..., None], 6, axis=2))
    is_query = np.broadcast_to(~left_out[:, None, None, :, None], weights.shape)
    assert np.isnan(weights[~is_query]).all()
    assert (
        weights[np.broadcast_to(left_out[:, None, None, None, :], weights.shape) & is_query] == 0
    ).all()
    np.testing.assert_allclose(weights.sum(axis=-1)[is_query[..., 0]], 1.0)
    # A quarter of up to five tokens, rounded up, are two at most, and two are kept at least.
    n_there = (~left_out).sum(axis=1)
    n_used = np.nan_to_num(weights).astype(bool).sum(axis=-1).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(n_used, n_there.clip(max=2))
    pooled = encoder.transform(padded)
    assert (pooled[3] == 0.0).all()
    np.testing.assert_allclose(pooled[0, :6], np.nanmax(codes[0], axis=0))
    np.testing.assert_allclose(pooled[0, 6:12], np.nanmean(codes[0], axis=0))
    active = codes[0][~left_out[0]] > encoder.largest_activation_ / 2
    np.testing.assert_allclose(pooled[0, 12:], active.mean(axis=0))


def test_rows_without_tokens_are_left_out_of_training(padded):
    there = np.delete(padded, 3, axis=0)
    assert same(make().fit(padded), make().fit(there))
    with pytest.raises(ValueError, match="X has no token"):
        make().fit(np.full((4, LENGTH * WIDTH), np.nan))
    with pytest.raises(ValueError, match="X has no token"):
        make().fit(there).score(np.full((4, LENGTH * WIDTH), np.nan))


def test_a_single_nan_stands_for_the_mean_of_its_feature(X):
    encoder, missing, filled = make().fit(X), X.copy(), X.copy()
    missing[:, 4], filled[:, 4] = np.nan, encoder.mean_[1]
    np.testing.assert_allclose(encoder.transform(missing), encoder.transform(filled), atol=1e-12)


def test_rows_of_one_token_are_codes_of_an_autoencoder(X):
    encoder = make(token_width=None, max_iter=150, alpha=0.0).fit(X)
    assert encoder.length_ == 1
    assert (encoder.attention_weights(X) == 1.0).all()
    # The only token is rebuilt unmasked: from itself.
    rebuilt = encoder.tokens(X)[:, 0] @ encoder.components_
    rebuilt += encoder.parameters_["decode.bias"] * encoder.scale_ + encoder.mean_
    r2 = 1 - ((rebuilt - X) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum()
    assert encoder.score(X) == pytest.approx(r2)
    assert r2 > 0.1


# What is learnt.


def test_a_masked_token_is_rebuilt_from_the_one_that_tells_it():
    # Two tokens of a row say the same, and two others: attention has to find the right one.
    rng = np.random.default_rng(0)
    pairs = rng.standard_normal((200, 2, 2))
    X = pairs.repeat(2, axis=1).reshape(200, -1)
    params = {"token_width": 2, "attention_density": 0.5, "sparsity": None, "rho": 0.05}
    encoder = make(**params, n_components=16, d_model=16, n_heads=4, max_iter=150).fit(X)
    assert encoder.score(X) > 0.8
    shuffled = X.reshape(-1, 2)[rng.permutation(800)].reshape(200, -1)
    assert encoder.score(shuffled) < 0.0


def test_batchtopk_keeps_as_many_units_on_average_as_rho_says(padded):
    encoder = make(sparsity="batchtopk", rho=2).fit(padded)
    codes = encoder.tokens(padded)
    codes = codes[~np.isnan(codes[..., 0])]
    assert np.count_nonzero(codes) == 2 * len(codes)
    np.testing.assert_allclose(encoder.active_share_, (codes > 0).mean(axis=0))


def test_statistics_are_those_of_the_training_tokens(padded):
    encoder = make(dtype="float64").fit(padded)
    codes = encoder.tokens(padded)
    codes = codes[~np.isnan(codes[..., 0])]
    np.testing.assert_allclose(encoder.mean_activation_, codes.mean(axis=0))
    np.testing.assert_allclose(encoder.largest_activation_, codes.max(axis=0))
    np.testing.assert_allclose(encoder.active_share_, (codes > codes.max(axis=0) / 2).mean(axis=0))


def test_early_stopping_returns_the_best_parameters(X):
    encoder = make(early_stopping=True, max_iter=40, validation_fraction=0.25)
    encoder.set_params(learning_rate=1.0, learning_rate_schedule="constant").fit(X)
    curve = encoder.validation_score_curve_
    assert len(curve) == encoder.n_iter_
    held_out = np.sort(np.random.default_rng(encoder._seed).permutation(len(X))[:10])
    rest = np.delete(X, held_out, axis=0)
    assert encoder.score(X[held_out]) == pytest.approx(max(curve), abs=1e-4)
    assert curve[-1] < max(curve)
    np.testing.assert_allclose(encoder.mean_, rest.reshape(-1, WIDTH).mean(axis=0))


def test_training_ends_when_the_loss_has_settled(X):
    encoder = make(max_iter=500, tol=0.3, n_iter_no_change=4).fit(X)
    assert encoder.n_iter_ < 100


# Weights.


def test_rows_of_weight_0_are_left_out(X):
    weight = np.ones(len(X))
    weight[::3] = 0.0
    weighted = make().fit(X, sample_weight=weight)
    assert same(weighted, make().fit(X[weight > 0]))
    assert weighted.score(X, sample_weight=weight) == pytest.approx(weighted.score(X[weight > 0]))


@pytest.mark.parametrize(
    "check",
    [
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ],
)
@pytest.mark.parametrize("sparsity", ["kl", "l1", "batchtopk"])
def test_weights_equal_repetitions_where_all_rows_are_one_step(check, sparsity):
    # Masks would differ, as there are other rows to be masked.
    encoder = make(token_width=5, sparsity=sparsity, mask_fraction=0.0, dtype="float64")
    encoder.set_params(batch_size=256, max_iter=20, learning_rate=1e-3)
    getattr(estimator_checks, check)("SparseAttentionEncoder", encoder)


# Going on.


def test_a_first_pass_over_a_piece_is_an_epoch_at_a_constant_rate(X):
    fitted = make(max_iter=1, learning_rate_schedule="constant").fit(X)
    passed = make().partial_fit(X)
    assert same(fitted, passed)
    assert (passed.n_iter_, passed.n_steps_) == (1, 3)
    mean, scale = passed.mean_, passed.scale_
    passed.partial_fit(10 * X)
    assert (passed.n_iter_, passed.n_steps_) == (2, 6)
    assert (passed.mean_ == mean).all()
    assert passed.scale_ == scale


def test_warm_starts_go_on_to_the_bits_of_one_fit(padded):
    whole = make(max_iter=4, learning_rate_schedule="constant", dropout=0.2).fit(padded)
    halves = make(max_iter=2, learning_rate_schedule="constant", dropout=0.2, warm_start=True)
    halves.fit(padded)
    halves = pickle.loads(pickle.dumps(halves)).fit(padded)
    assert same(whole, halves)
    assert halves.loss_curve_ == whole.loss_curve_
    assert halves.n_steps_ == whole.n_steps_


def test_scaling_waits_for_tokens_that_differ(X):
    encoder = make().partial_fit(np.full((20, LENGTH * WIDTH), 3.0))
    assert encoder.scale_ == 1.0
    encoder.partial_fit(X)
    np.testing.assert_allclose(encoder.mean_, X.reshape(-1, WIDTH).mean(axis=0))


def test_going_on_with_other_sizes_is_refused(X):
    encoder = make(warm_start=True).fit(X)
    before = pickle.dumps(encoder.parameters_)
    for change in ({"d_model": 4}, {"attention_density": 0.5}, {"sparsity": "l1", "rho": 0.05}):
        other = pickle.loads(pickle.dumps(encoder)).set_params(**change)
        with pytest.raises(ValueError, match=f"was fitted with {next(iter(change))}="):
            other.fit(X)
        assert pickle.dumps(other.parameters_) == before
    with pytest.raises(ValueError, match="early_stopping=True"):
        make(early_stopping=True).partial_fit(X)


# Seeds, files, and the rest of the contract.


def test_seeds_decide_all_and_no_global_generator_is_used(X):
    torch_state, numpy_state = torch.get_rng_state(), check_random_state(None).get_state()[1].copy()
    one, other = (make(dropout=0.2).fit(X) for _ in range(2))
    assert same(one, other)
    assert one.loss_curve_ == other.loss_curve_
    assert (torch.get_rng_state() == torch_state).all()
    assert (check_random_state(None).get_state()[1] == numpy_state).all()
    assert not same(one, make(dropout=0.2, random_state=1).fit(X))
    assert not same(one, make(dropout=0.3).fit(X))


WITHOUT_TORCH = """
import pickle, sys
encoder = pickle.loads(sys.stdin.buffer.read())
assert "torch" not in sys.modules
encoder.get_feature_names_out(), repr(encoder)
assert "torch" not in sys.modules
"""


def test_a_file_holds_no_tensors_and_loads_without_torch(padded):
    encoder = make(sparsity="batchtopk").fit(padded)
    pickled = pickle.dumps(encoder)
    assert b"torch" not in pickled
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], input=pickled, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    loaded = pickle.loads(pickled)
    for method in ("transform", "tokens", "attention_weights"):
        np.testing.assert_array_equal(
            getattr(loaded, method)(padded), getattr(encoder, method)(padded)
        )
    damaged = bytearray(pickled)
    at = pickled.index(encoder.parameters_["embed.weight"].tobytes())
    damaged[at] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        pickle.loads(bytes(damaged))


def test_a_fit_that_fails_leaves_the_encoder_as_it_was(X):
    def said(encoder):
        return pickle.dumps(sorted(vars(encoder).items(), key=lambda item: item[0]))

    encoder = make().fit(X)
    before = said(encoder)
    for params, rows, message in [
        ({"learning_rate": 1e30}, X, "lower the learning rate"),
        ({"token_width": 4}, X, "token_width=4 must divide"),
        ({}, X[:, :-1], "token_width=3 must divide"),
    ]:
        old = {name: getattr(encoder, name) for name in params}
        with pytest.raises(ValueError, match=message):
            encoder.set_params(**params).fit(rows)
        encoder.set_params(**old)
        assert said(encoder) == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"attention_density": 0}, "'attention_density' parameter"),
        ({"attention_density": 0.0}, "'attention_density' parameter"),
        ({"attention_density": 1.1}, "'attention_density' parameter"),
        ({"attention_density": 6}, "attention_density=6 is a number of tokens, and rows have 5"),
        ({"n_heads": 3}, "n_heads=3 must divide d_model=8"),
        ({"token_width": 7}, "token_width=7 must divide the number of features, 15"),
        ({"n_segments": 6}, "n_segments=6 must be at most"),
        ({"sparsity": "gated"}, "'sparsity' parameter.*'batchtopk'"),
        ({"sparsity": "topk", "rho": 0.01}, "rounds to no active unit"),
        ({"sparsity": "topk", "beta": 1.0}, "nothing to weigh"),
        ({"rho": 6}, "must be less than n_components=6"),
        ({"pooling": ["min"]}, "pooling must have some of"),
        ({"mask_fraction": 1.0}, "'mask_fraction' parameter"),
        ({"device": "nowhere"}, "device='nowhere'"),
        ({"dtype": "bfloat16"}, "'dtype' parameter"),
    ],
)
def test_errors_name_the_parameter(X, params, message):
    with pytest.raises(ValueError, match=message):
        make(**params).fit(X)


def test_what_has_no_effect_or_is_not_done_is_told(X):
    with pytest.warns(UserWarning, match="rho=0.1 has no effect with sparsity='l1'"):
        make(sparsity="l1", rho=0.1).fit(X)
    with pytest.warns(UserWarning, match="attention_density=1 keeps one score"):
        make(attention_density=1).fit(X)
    with pytest.warns(UserWarning, match="beta=1.0 has no effect with sparsity=None"):
        make(sparsity=None, beta=1.0).fit(X)
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        make(tol=1e-9).fit(X)
    with pytest.warns(UndefinedMetricWarning, match="less than two tokens"):
        assert np.isnan(make(token_width=None).fit(X).score(X[:1]))


class Epochs:
    """Counts epochs, reads models between them, and ends the fit after some."""

    max_propagation_depth = None

    def __init__(self, X, last):
        self.X, self.last, self.codes = X, last, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        if context.task_name != "epoch":
            return False
        self.codes.append(fitted_estimator.tokens(self.X))
        return len(self.codes) == self.last


@pytest.mark.parametrize("sparsity", ["kl", "batchtopk"])
def test_callbacks_hear_of_each_epoch_see_the_model_and_can_end_the_fit(X, sparsity):
    epochs = Epochs(X, 4)
    encoder = make(sparsity=sparsity, max_iter=10).set_callbacks(epochs).fit(X)
    assert encoder.n_iter_ == len(epochs.codes) == 4
    # A code that selects by the batch has its threshold when the fit has ended.
    last = encoder.tokens(X)
    assert np.isfinite(epochs.codes[-1]).all()
    if sparsity == "kl":
        np.testing.assert_array_equal(epochs.codes[-1], last)
    assert (epochs.codes[0] != last).any()


class Killed(BaseException):
    """Stands for the end of a process."""


def test_a_fit_that_was_killed_goes_on_from_its_checkpoint_to_the_same_bits(X, tmp_path):
    params = {"max_iter": 6, "dropout": 0.1, "early_stopping": True}
    whole, path = make(**params).fit(X), tmp_path / "fit.npz"

    class Kill(Epochs):
        def on_fit_task_end(self, estimator, context, **known):
            if context.task_name == "epoch" and context.task_id == 3:
                raise Killed
            return False

    with pytest.raises(Killed):
        make(**params).set_callbacks(Checkpoint(path, every=1), Kill(X, 0)).fit(X)
    assert path.exists()
    heard, keeping = Epochs(X, 0), Checkpoint(path, every=1, resume=True)
    resumed = make(**params).set_callbacks(keeping, heard).fit(X)
    assert len(heard.codes) == 3  # of the six epochs three had been kept
    assert same(whole, resumed)
    # Another fit that goes on from it is not the one that was kept.
    with pytest.raises(ValueError, match="another fit"):
        resumed.set_params(warm_start=True).fit(X)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.validation_score_curve_ == whole.validation_score_curve_


def test_rows_may_be_sparse_or_of_other_numbers(X):
    sparse = np.where(X > 1.2, X, 0.0)
    dense = make().fit(sparse)
    of_csr = make().fit(csr_array(sparse))
    assert same(dense, of_csr)
    codes = of_csr.transform(csr_array(sparse))
    np.testing.assert_allclose(codes, dense.transform(sparse), atol=1e-12)
    assert of_csr.score(csr_array(sparse)) == pytest.approx(dense.score(sparse))
    whole_numbers = (10 * X).astype(np.int16)
    np.testing.assert_array_equal(
        make().fit(whole_numbers).tokens(whole_numbers),
        make().fit(whole_numbers.astype(float)).tokens(whole_numbers.astype(float)),
    )


def test_outputs_have_the_precision_of_rows_and_names(X):
    encoder = make(n_segments=2, pooling=("max", "mean")).fit(X)
    for method in ("transform", "tokens", "attention_weights"):
        found = getattr(encoder, method)
        assert found(X.astype(np.float32)).dtype == np.float32
        assert found(X).dtype == np.float64
        np.testing.assert_allclose(found(X.astype(np.float32)), found(X), atol=1e-4)
    pandas = pytest.importorskip("pandas")
    table = encoder.set_output(transform="pandas").transform(X)
    assert isinstance(table, pandas.DataFrame)
    assert table.shape == (len(X), 2 * 2 * 6)
    codes = encoder.tokens(X)
    first = table["sparseattentionencoder4_mean_segment0"]
    np.testing.assert_allclose(first, codes[:, :2, 4].mean(axis=1))
    last = table["sparseattentionencoder4_max_segment1"]
    np.testing.assert_allclose(last, codes[:, 2:, 4].max(axis=1))


def test_rows_do_not_depend_on_their_company(padded):
    encoder = make().fit(padded)
    together = encoder.transform(padded)
    alone = np.concatenate([encoder.transform(row[None]) for row in padded])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_values_far_from_the_training_rows_are_refused_where_they_overflow(X):
    encoder = make().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="overflow"):
            encoder.transform(np.full((1, LENGTH * WIDTH), 1e300))
    tiny = make().fit(1e-200 * X)
    np.testing.assert_allclose(tiny.transform(1e-200 * X), make().fit(X).transform(X), atol=1e-4)


class Press(Epochs):
    """Presses Ctrl-C at the end of the third epoch."""

    def on_fit_task_end(self, estimator, context, **known):
        if context.task_name == "epoch" and context.task_id == 2:
            raise KeyboardInterrupt
        return False


def test_a_fit_that_the_user_ends_keeps_what_it_has_learnt(X):
    with pytest.warns(UserWarning, match="interrupted by user"):
        encoder = make(max_iter=50).set_callbacks(Press(X, 0)).fit(X)
    assert encoder.n_iter_ == 3
    assert np.isfinite(encoder.transform(X)).all()
    encoder.set_callbacks().partial_fit(X)
    assert encoder.n_iter_ == 4


def test_a_slim_copy_answers_the_same_and_cannot_go_on(X):
    encoder = make(sparsity="topk").fit(X)
    small = slim(encoder)
    assert len(pickle.dumps(small)) < 0.7 * len(pickle.dumps(encoder))
    np.testing.assert_array_equal(small.transform(X), encoder.transform(X))
    assert small.score(X) == encoder.score(X)
    with pytest.raises(ValueError, match="made slim"):
        small.partial_fit(X)


@pytest.mark.slow
def test_codes_of_digits_tell_more_than_those_of_random_weights():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = load_digits(return_X_y=True)
    rows, test_rows, labels, test_labels = train_test_split(X, y, random_state=0, stratify=y)
    accuracy = {}
    for name, params in {
        "trained": {},
        "untrained": {"max_iter": 1, "learning_rate": 1e-12},
    }.items():
        encoder = SparseAttentionEncoder(token_width=8, random_state=0, **params)
        pipe = make_pipeline(encoder, StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        accuracy[name] = clone(pipe).fit(rows, labels).score(test_rows, test_labels)
    assert accuracy["trained"] > accuracy["untrained"] + 0.005
    assert accuracy["trained"] > 0.93
