"""Rows that are sequences of tokens: codes of tokens, pooled by row."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tracing import traced

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.metrics import is_active
from sksae.sequence import SparseAttentionEncoder, TokenCodes, pad_tokens

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
WIDTH, LENGTH = 5, 4
X = rng.normal(size=(30, LENGTH * WIDTH))


def sae(n_components=6, **params):
    return SparseAutoencoderTransformer(
        n_components, **({"max_iter": 3, "random_state": 0} | params)
    )


def topk(**params):
    return sae(sparsity="topk", rho=2, **params)


CODES = {
    "kl": sae(),
    "tanh": sae(activation="tanh"),
    "topk": topk(),
    "topk, sparse": topk(sparse_output=True),
    "omp, sparse": topk(sparse_output=True, transform_algorithm="omp"),
    "l1, deep": sae(sparsity="l1", hidden_layer_sizes=(7,)),
    "stack": StackedSparseAutoencoder([7, 6], max_iter=2, random_state=0),
}


def ragged(lengths, seed=1):
    """Return rows of so many tokens, padded with NaN to the longest."""
    draws = np.random.default_rng(seed)
    tokens = draws.normal(size=(sum(lengths), WIDTH))
    return pad_tokens(tokens, np.repeat(np.arange(len(lengths)), lengths))


def dense(codes):
    return codes.toarray() if sp.issparse(codes) else np.asarray(codes)


# Pooling.


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("rows", [X, ragged([1, 4, 2, 3, 4, 1, 2])], ids=["whole", "ragged"])
def test_codes_are_those_of_tokens_pooled_one_by_one(name, rows):
    model = TokenCodes(CODES[name], token_width=WIDTH).fit(rows)
    pooled = model.transform(rows)
    assert sp.issparse(pooled) == ("sparse" in name)
    autoencoder = model.autoencoder_
    for row, found in zip(rows, dense(pooled), strict=True):
        tokens = row.reshape(-1, WIDTH)
        codes = autoencoder.transform(tokens[~np.isnan(tokens[:, 0])])
        active = dense(is_active(codes, autoencoder))
        codes = dense(codes)
        expected = np.r_[codes.max(axis=0), codes.mean(axis=0), active.mean(axis=0)]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_poolings_are_in_the_order_given():
    every = TokenCodes(topk(), token_width=WIDTH).fit(X)
    some = TokenCodes(topk(), token_width=WIDTH, pooling=["active_share", "max"]).fit(X)
    whole = every.transform(X)
    np.testing.assert_array_equal(some.transform(X), np.c_[whole[:, 12:], whole[:, :6]])
    names = [f"sparseautoencodertransformer{unit}" for unit in range(6)]
    assert list(some.get_feature_names_out()) == [
        f"{name}_{pooling}" for pooling in ("active_share", "max") for name in names
    ]
    one = TokenCodes(topk(), token_width=WIDTH, pooling="max").fit(X)
    np.testing.assert_array_equal(one.transform(X), whole[:, :6])


@pytest.mark.parametrize("name", ["kl", "topk, sparse"])
def test_segments_are_pooled_by_themselves(name):
    rows = ragged([6, 1, 5, 4, 6, 2])
    model = TokenCodes(CODES[name], token_width=WIDTH, n_segments=4).fit(rows)
    found = dense(model.transform(rows))
    tokens, taken = rows.reshape(6, 6, WIDTH), FrozenEstimator(model.autoencoder_)
    for segment, positions in enumerate([[0], [1, 2], [3], [4, 5]]):
        part = tokens[:, positions].reshape(6, -1)
        expected = dense(TokenCodes(taken, token_width=WIDTH).fit(part).transform(part))
        np.testing.assert_allclose(found[:, 18 * segment : 18 * (segment + 1)], expected, atol=1e-7)
    names = model.get_feature_names_out()
    assert len(names) == found.shape[1]
    assert names[18].endswith("0_max_segment1")


def test_a_row_is_one_token_by_default():
    model = TokenCodes(topk(), pooling="max").fit(X)
    assert model.length_ == 1
    np.testing.assert_array_equal(model.transform(X), topk().fit_transform(X))


def test_tokens_that_are_left_out_change_nothing():
    short = ragged([2, 1, 2, 2, 1])
    wide = np.full((5, 6 * WIDTH), np.nan)
    # Anywhere, and more of them.
    wide.reshape(5, 6, WIDTH)[:, [1, 4]] = short.reshape(5, 2, WIDTH)
    one, other = (TokenCodes(sae(), token_width=WIDTH).fit(rows) for rows in (short, wide))
    np.testing.assert_array_equal(one.autoencoder_.coefs_[0], other.autoencoder_.coefs_[0])
    np.testing.assert_array_equal(one.transform(short), other.transform(wide))


@pytest.mark.parametrize("sparse_output", [False, True])
def test_a_row_without_tokens_has_zeros(sparse_output):
    model = TokenCodes(topk(sparse_output=sparse_output), token_width=WIDTH).fit(X)
    rows = np.vstack([X[:2], np.full((1, X.shape[1]), np.nan)])
    found = dense(model.transform(rows))
    np.testing.assert_array_equal(found[2], 0.0)
    np.testing.assert_array_equal(found[:2], dense(model.transform(X[:2])))
    np.testing.assert_array_equal(dense(model.transform(rows[2:])), 0.0)


def test_a_single_missing_value_is_the_mean_of_its_feature():
    model = TokenCodes(sae(), token_width=WIDTH).fit(X)
    rows, filled = X.copy(), X.copy()
    rows[3, WIDTH + 2] = np.nan
    filled[3, WIDTH + 2] = X.reshape(-1, WIDTH)[:, 2].mean()
    np.testing.assert_allclose(model.transform(rows), model.transform(filled), atol=1e-12)
    fitted = TokenCodes(sae(), token_width=WIDTH).fit(rows)
    expected = np.nanmean(rows.reshape(-1, WIDTH), axis=0)
    np.testing.assert_allclose(fitted.token_mean_, expected, atol=1e-15)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("scale", [1.0, 1e305])
def test_means_of_features_are_weighted(container, scale):
    weight = np.repeat([0.0, 1.0, 3.0], 10)
    model = TokenCodes(sae(), token_width=WIDTH).fit(container(X), sample_weight=scale * weight)
    expected = np.average(X.reshape(-1, WIDTH), axis=0, weights=np.repeat(weight, 4))
    np.testing.assert_allclose(model.token_mean_, expected, rtol=1e-12)
    # Each piece counts by its rows, however its weights are scaled.
    model.partial_fit(container(X), sample_weight=np.full(len(X), 7.0))
    expected = (expected + X.reshape(-1, WIDTH).mean(axis=0)) / 2
    np.testing.assert_allclose(model.token_mean_, expected, rtol=1e-12)


def test_rows_of_weight_0_do_not_fill_in_for_what_is_missing():
    rows = X.copy()
    rows[:5, 0] = np.nan
    weight = np.ones(len(X))
    weight[20:] = 0.0
    model = TokenCodes(sae(), token_width=WIDTH).fit(rows, sample_weight=weight)
    other = TokenCodes(sae(), token_width=WIDTH)
    changed = rows.copy()
    changed[20:] = 1e6
    other.fit(changed, sample_weight=weight)
    np.testing.assert_array_equal(model.token_mean_, other.token_mean_)
    np.testing.assert_array_equal(model.transform(rows), other.transform(rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_of_rows_is_kept(dtype):
    model = TokenCodes(sae(), token_width=WIDTH).fit(X.astype(dtype))
    assert model.transform(X.astype(dtype)).dtype == dtype
    assert model.tokens(X.astype(dtype)).dtype == dtype


def test_sparse_rows_are_dense_ones():
    rows = np.maximum(X, 0.5) - 0.5
    model = TokenCodes(topk(), token_width=WIDTH).fit(rows)
    found = TokenCodes(topk(), token_width=WIDTH).fit(sp.csr_array(rows))
    np.testing.assert_allclose(
        found.transform(sp.csr_array(rows)), model.transform(rows), rtol=1e-4, atol=1e-5
    )


def test_whole_numbers_are_not_converted_at_once():
    whole = np.rint(4 * X).astype(np.int8)
    model = TokenCodes(sae(), token_width=WIDTH).fit(whole)
    np.testing.assert_allclose(model.transform(whole), model.transform(whole.astype(float)))


# Training.


def test_weights_of_rows_are_those_of_their_tokens():
    rows = ragged([2, 1, 3, 3])
    weight = np.array([1.0, 2.0, 0.0, 3.0])
    model = TokenCodes(sae(), token_width=WIDTH).fit(rows, sample_weight=weight)
    tokens = rows.reshape(-1, WIDTH)
    tokens = tokens[~np.isnan(tokens[:, 0])]
    expected = sae().fit(tokens, sample_weight=np.repeat(weight, [2, 1, 3, 3]))
    np.testing.assert_array_equal(model.autoencoder_.coefs_[0], expected.coefs_[0])


def test_pieces_train_as_pieces_of_tokens():
    model, expected = TokenCodes(sae(), token_width=WIDTH), sae()
    for piece in np.array_split(X, 3):
        model.partial_fit(piece)
        expected.partial_fit(piece.reshape(-1, WIDTH))
    np.testing.assert_array_equal(model.autoencoder_.coefs_[0], expected.coefs_[0])
    np.testing.assert_allclose(model.token_mean_, X.reshape(-1, WIDTH).mean(axis=0), atol=1e-15)
    with pytest.raises(AttributeError, match=r"as its SparseAutoencoderTransformer has none"):
        TokenCodes(sae(solver="lbfgs")).partial_fit(X)


def test_an_autoencoder_that_is_fitted_is_taken_as_it_is():
    fitted = sae().fit(X.reshape(-1, WIDTH))
    model = TokenCodes(FrozenEstimator(fitted), token_width=WIDTH).fit(X[:10])
    np.testing.assert_array_equal(
        model.tokens(X), fitted.transform(X.reshape(-1, WIDTH)).reshape(30, 4, 6)
    )


def test_coefficients_of_a_frozen_autoencoder_are_active_where_they_are_not_zero():
    fitted = topk(transform_algorithm="omp").fit(X.reshape(-1, WIDTH))
    model = TokenCodes(FrozenEstimator(fitted), token_width=WIDTH, pooling="active_share").fit(X)
    expected = (fitted.transform(X.reshape(-1, WIDTH)) != 0).reshape(30, LENGTH, 6).mean(axis=1)
    np.testing.assert_allclose(model.transform(X), expected)


def test_a_seed_goes_to_an_autoencoder_that_has_none():
    one, same, other = (
        TokenCodes(sae(random_state=None), token_width=WIDTH, random_state=seed).fit(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.transform(X), same.transform(X))
    assert not np.array_equal(one.transform(X), other.transform(X))
    assert one.autoencoder.random_state is None


def test_warnings_say_whose_they_are():
    model = TokenCodes(sae(sparsity="l2", rho=0.3), token_width=WIDTH)
    with pytest.warns(UserWarning, match="TokenCodes, member 'autoencoder': rho=0.3 has no"):
        model.fit(X)


def test_callbacks_hear_of_its_epochs():
    seen = []

    class Listener:
        max_propagation_depth = None

        def setup(self, estimator, context):
            pass

        teardown = setup

        def on_fit_task_begin(self, estimator, context):
            seen.append(context.task_name)

        def on_fit_task_end(self, estimator, context):
            return False

    TokenCodes(sae(), token_width=WIDTH).set_callbacks(Listener()).fit(X)
    assert seen.count("epoch") == 3
    assert seen[0] == "fit"


def test_a_fit_that_fails_leaves_it_as_it_was():
    model = TokenCodes(sae(), token_width=WIDTH).fit(X)
    before = model.transform(X)
    with pytest.raises(ValueError, match="inf"):
        model.fit(np.full((5, 2 * WIDTH), np.inf))
    np.testing.assert_array_equal(model.transform(X), before)


# Tokens.


def test_tokens_and_back():
    rows = ragged([2, 1, 3, 3])
    model = TokenCodes(topk(sparse_output=True), token_width=WIDTH).fit(rows)
    codes = model.tokens(rows)
    assert codes.shape == (4, 3, 6)
    missing = np.isnan(rows.reshape(4, 3, WIDTH)[:, :, 0])
    np.testing.assert_array_equal(np.isnan(codes).all(axis=2), missing)
    back = model.inverse_tokens(codes)
    assert back.shape == rows.shape
    np.testing.assert_array_equal(np.isnan(back), np.isnan(rows))
    there = ~missing.ravel()
    expected = model.autoencoder_.inverse_transform(codes.reshape(-1, 6)[there])
    np.testing.assert_array_equal(back.reshape(-1, WIDTH)[there], expected)


def test_padding():
    tokens = np.arange(12.0).reshape(6, 2)
    rows = pad_tokens(tokens, ["b", "b", "a", "c", "c", "c"])
    expected = [[0, 1, 2, 3, np.nan, np.nan], [4, 5, *[np.nan] * 4], [6, 7, 8, 9, 10, 11]]
    np.testing.assert_array_equal(rows, expected)
    assert pad_tokens(tokens, ["b", "b", "a", "c", "c", "c"], length=5).shape == (3, 10)
    assert pad_tokens(tokens.astype(np.float32), np.zeros(6)).dtype == np.float32


def test_padding_of_groups_that_do_not_fit():
    tokens = np.arange(6.0).reshape(3, 2)
    with pytest.raises(ValueError, match=r"those of 'a' stand apart: sort both first"):
        pad_tokens(tokens, ["a", "b", "a"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        pad_tokens(tokens, ["a", "b"])
    with pytest.raises(ValueError, match="length=1 is less than the 2 tokens of group 'a'"):
        pad_tokens(tokens, ["a", "a", "b"], length=1)
    with pytest.raises(ValueError, match="contains NaN"):
        pad_tokens([[np.nan, 1.0]], ["a"])


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, np.datetime64("nat")])
def test_tokens_of_no_group_are_named(nothing):
    groups = np.array(["a", "a", nothing, nothing], dtype=object)
    with pytest.raises(ValueError, match=r"groups must have no missing values, got .* token 2"):
        pad_tokens(np.ones((4, 2)), groups)


def test_groups_may_be_of_any_kind():
    tokens = np.arange(8.0).reshape(4, 2)
    for groups in ([True, True, False, False], pd.Series(["x", "x", "y", "y"], dtype="category")):
        assert pad_tokens(tokens, groups).shape == (2, 4)
    mixed = np.array([1, 1, "1", "1"], dtype=object)
    assert pad_tokens(tokens, mixed).shape == (2, 4)
    with pytest.raises(TypeError, match="groups must have the group of each token, got None"):
        pad_tokens(tokens, None)
    with pytest.raises(TypeError, match=r"length must be an int or None, got 3\.5"):
        pad_tokens(tokens, mixed, length=3.5)


def test_a_row_without_tokens_is_rebuilt_as_one():
    model = TokenCodes(sae(), token_width=WIDTH).fit(X)
    nothing = np.full((2, X.shape[1]), np.nan)
    np.testing.assert_array_equal(model.inverse_tokens(model.tokens(nothing)), nothing)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        model.inverse_tokens(np.ones((0, 4, 6)))


# What it refuses.


@pytest.mark.parametrize("dtype", [np.float16, ">f8", np.longdouble])
@pytest.mark.parametrize(
    "model",
    [
        TokenCodes(sae(), token_width=WIDTH),
        SparseAttentionEncoder(
            6, token_width=WIDTH, n_heads=1, d_model=4, max_iter=2, random_state=0
        ),
    ],
    ids=["pooled", "attention"],
)
def test_floats_of_any_precision_may_have_nan(model, dtype):
    rows = ragged([2, 1, 3, 3]).astype(dtype)
    found = clone(model).fit(rows).transform(rows)
    expected = clone(model).fit(rows.astype(np.float64)).transform(rows.astype(np.float64))
    np.testing.assert_array_equal(found, expected)


def test_nan_in_a_sparse_matrix_is_refused():
    rows = sp.csr_array(ragged([2, 1, 3, 3]))
    with pytest.raises(ValueError, match="A sparse X must not hold NaN"):
        TokenCodes(sae(), token_width=WIDTH).fit(rows)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_segments": 5}, "n_segments=5 must be at most the number of tokens in a row, 4"),
        ({"n_segments": 0}, "n_segments must be an int of at least 1, got 0"),
        ({"n_segments": 2.5}, "n_segments must be an int of at least 1, got 2.5"),
        ({"n_segments": "3"}, "n_segments must be an int of at least 1, got '3'"),
        ({"pooling": None}, "pooling must have some of"),
        ({"pooling": 3}, "pooling must have some of"),
    ],
)
def test_what_is_set_after_a_fit_is_checked_too(params, message):
    model = TokenCodes(sae(), token_width=WIDTH).fit(X).set_params(**params)
    for ask in (lambda: model.transform(X), model.get_feature_names_out):
        with pytest.raises(ValueError, match=message):
            ask()


def test_pieces_have_tokens_of_one_width():
    model = TokenCodes(sae(), token_width=WIDTH).partial_fit(X).set_params(token_width=WIDTH // 5)
    with pytest.raises(ValueError, match="is another one than that of earlier pieces, 5"):
        model.partial_fit(X)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"token_width": 7}, ValueError, "token_width=7 must divide the number of features, 20"),
        ({"token_width": 40}, ValueError, "token_width=40 must divide"),
        ({"n_segments": 2}, ValueError, "n_segments=2 must be at most the number of tokens"),
        ({"token_width": 0}, ValueError, "The 'token_width' parameter"),
        (
            {"pooling": "sum"},
            ValueError,
            "pooling must have some of 'max', 'mean' or 'active_share'",
        ),
        ({"pooling": []}, ValueError, "pooling must have some of"),
        ({"pooling": ["max", "max"]}, ValueError, "each once"),
        ({"autoencoder": LogisticRegression()}, TypeError, "autoencoder must be a Sparse"),
        ({"autoencoder": SparseAutoencoderClassifier()}, TypeError, "autoencoder must be a Sparse"),
        ({"autoencoder": 3}, ValueError, "The 'autoencoder' parameter"),
        ({"autoencoder": sae(rho=-1)}, ValueError, "'rho' parameter"),
    ],
)
def test_parameters_that_cannot_be(params, error, message):
    with pytest.raises(error, match=message):
        TokenCodes(**params).fit(X)


def test_rows_that_cannot_be():
    with pytest.raises(ValueError, match="X has no token: all of its entries are NaN"):
        TokenCodes(sae(), token_width=WIDTH).fit(np.full((3, 10), np.nan))
    with pytest.raises(NotFittedError):
        TokenCodes(sae()).transform(X)
    model = TokenCodes(sae(), token_width=WIDTH).fit(X)
    with pytest.raises(ValueError, match="X has 10 features, but TokenCodes is expecting 20"):
        model.transform(X[:, :10])
    with pytest.raises(ValueError, match=r"codes must have the shape \(n_samples, 4, 6\)"):
        model.inverse_tokens(np.zeros((2, 3, 6)))


# In scikit-learn.


def test_a_search_over_its_autoencoder():
    digits = load_digits()
    model = make_pipeline(
        TokenCodes(topk(max_iter=2, tol=1.0), token_width=8), LogisticRegression(max_iter=200)
    )
    search = GridSearchCV(model, {"tokencodes__autoencoder__rho": [1, 3]}, cv=2)
    search.fit(digits.data[:300] / 16, digits.target[:300])
    assert search.best_score_ > 0.6


def test_it_is_pickled_with_its_answers():
    model = TokenCodes(topk(), token_width=WIDTH).fit(X)
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.transform(X), model.transform(X))


def test_data_frames_come_out():
    model = TokenCodes(sae(), token_width=WIDTH).set_output(transform="pandas").fit(X)
    frame = model.transform(X)
    assert list(frame.columns) == list(model.get_feature_names_out())


def test_codes_of_all_tokens_are_never_in_memory():
    rows = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)
    model = TokenCodes(sae(256, max_iter=1), token_width=2, pooling="max").fit(rows[:100])
    codes_of_all = 4000 * 8 * 256 * 4
    with traced() as memory:
        model.transform(rows)
    assert memory.peak < codes_of_all
