"""Rows to codes, codes to rows, and their score, against the same in plain numpy."""

import numpy as np
import pytest
from oracle import activate, network_of, scaled
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import r2_score

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine.inference import few_rows
from sksae.training.moments import _describe

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ACTIVATIONS = ("sigmoid", "tanh", "relu", "prelu", "identity")
PRECISION = {np.float32: 1e-6, np.float64: 1e-10}

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
each_depth = pytest.mark.parametrize("hidden_layer_sizes", [(), (5,), (7, 5)])
each_dtype = pytest.mark.parametrize("dtype", PRECISION)
each_container = pytest.mark.parametrize("container", [np.asarray, csr_array])


@pytest.fixture(scope="module")
def X():
    """Rows far from zero and from unit variance, with many zeros."""
    rng = np.random.default_rng(0)
    return rng.gamma(2.0, 15.0, (23, 6)) * (rng.random((23, 6)) > 0.4)


@pytest.fixture(params=["few", "many"])
def either_way(request, monkeypatch):
    """Rows go the way of a few, or that of many."""
    if request.param == "many":
        monkeypatch.setattr(few_rows, "MOST_ROWS", 0)


def fit(X, **params):
    params = {"n_components": 4, "sparsity": None, "max_iter": 3, "random_state": 0} | params
    model = SparseAutoencoderTransformer(**params).fit(X)
    # Training barely moves slopes and biases in so short a time.
    rng = np.random.default_rng(1)
    for array in (*model.intercepts_, *model.slopes_):
        if array is not None:
            array += rng.uniform(-0.3, 0.3, array.shape).astype(array.dtype)
    return model


def run(network, rows, layers):
    for layer in layers:
        rows = rows @ network.coefs[layer] + network.intercepts[layer]
        rows = activate(np, network.activations[layer], rows, network.slopes[layer])
    return rows


def encode(model, X):
    network = network_of(model)
    return run(network, scaled(model, X), range(len(network.coefs) // 2))


def decode(model, codes):
    network = network_of(model)
    n_layers = len(network.coefs)
    z = run(network, np.asarray(codes, np.float64), range(n_layers // 2, n_layers))
    shift = scaled(model, model.mean_[None])
    return (z - shift) * model.scale_ + model.mean_


def assert_same(got, expected, dtype):
    assert got.dtype == dtype
    size = np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=PRECISION[dtype], atol=size * PRECISION[dtype])


@pytest.mark.each_once
@pytest.mark.usefixtures("either_way")
@each_container
@each_dtype
@each_depth
@each_activation
def test_transform_is_the_encoder_in_numpy(X, activation, hidden_layer_sizes, dtype, container):
    model = fit(X, activation=activation, hidden_layer_sizes=hidden_layer_sizes)
    given = container(X.astype(dtype))
    assert_same(model.transform(given), encode(model, X.astype(dtype)), dtype)


@pytest.mark.usefixtures("either_way")
@each_container
@each_dtype
@pytest.mark.parametrize("hidden_activation", ACTIVATIONS)
def test_hidden_layers_have_their_own_activation(X, hidden_activation, dtype, container):
    model = fit(X, hidden_layer_sizes=(5,), hidden_activation=hidden_activation)
    given = container(X.astype(dtype))
    assert_same(model.transform(given), encode(model, X.astype(dtype)), dtype)


@pytest.mark.usefixtures("either_way")
@each_container
@each_dtype
@pytest.mark.parametrize("trained_in", ["float32", "float64"])
@pytest.mark.parametrize(
    "params",
    [{"output_activation": "sigmoid"}, {"scale_data": False}],
    ids=["shifted", "unscaled"],
)
def test_transform_scales_as_training_did(X, params, trained_in, dtype, container):
    X = X / 100.0
    model = fit(X, dtype=trained_in, **params)
    given = container(X.astype(dtype))
    assert_same(model.transform(given), encode(model, X.astype(dtype)), dtype)


@pytest.mark.usefixtures("either_way")
@each_dtype
@each_depth
@pytest.mark.parametrize("output_activation", ACTIVATIONS)
def test_inverse_transform_is_the_decoder_in_numpy(X, output_activation, hidden_layer_sizes, dtype):
    model = fit(
        X,
        output_activation=output_activation,
        hidden_layer_sizes=hidden_layer_sizes,
        scale_data=output_activation != "relu",
    )
    codes = np.random.default_rng(2).random((5, 4)).astype(dtype)
    assert_same(model.inverse_transform(codes), decode(model, codes), dtype)


@pytest.mark.usefixtures("either_way")
@each_dtype
def test_round_trip_keeps_shape_and_precision(X, dtype):
    model = fit(X, n_components=8)
    codes = model.transform(X.astype(dtype))
    assert codes.shape == (23, 8)
    back = model.inverse_transform(codes)
    assert back.shape == X.shape
    assert back.dtype == dtype


def test_round_trip_gives_back_what_few_numbers_can_tell():
    rng = np.random.default_rng(0)
    X = 1000.0 + rng.normal(size=(200, 2)) @ rng.normal(size=(2, 10))
    model = SparseAutoencoderTransformer(
        4, sparsity=None, activation="identity", alpha=0.0, solver="lbfgs", random_state=0
    ).fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X, atol=0.1)
    assert model.score(X) > 0.999


def test_anything_but_float32_is_computed_in_float64(X):
    model = fit(X)
    for given in (X.astype(int), X.astype(np.float16), X.astype(np.float64).tolist()):
        assert model.transform(given).dtype == np.float64
    codes = np.ones((2, 4), dtype=int)
    assert model.inverse_transform(codes).dtype == np.float64


@each_container
def test_chunks_do_not_show(X, container, monkeypatch):
    monkeypatch.setattr(few_rows, "MOST_ROWS", 0)
    model = fit(X, hidden_layer_sizes=(5,))
    given = container(X)
    whole = model.transform(given), model.inverse_transform(model.transform(X))
    scores = model.score_samples(given)
    monkeypatch.setattr("sksae.model.slices.CHUNK_ENTRIES", 1)
    monkeypatch.setattr("sksae.model.slices.MIN_CHUNK_ROWS", 4)
    assert_same(model.transform(given), whole[0], np.float64)
    assert_same(model.inverse_transform(whole[0]), whole[1], np.float64)
    np.testing.assert_allclose(model.score_samples(given), scores, rtol=1e-10)


def test_float32_rows_far_from_zero_keep_their_digits():
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(100, 5))).astype(np.float32)
    model = fit(X, max_iter=20)
    precise = model.transform(X.astype(np.float64))
    np.testing.assert_allclose(model.transform(X), precise, atol=1e-6 * np.abs(precise).max())


# Scores.


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    "params",
    [{}, {"output_activation": "sigmoid"}, {"hidden_layer_sizes": (5,)}, {"scale_data": False}],
    ids=["plain", "shifted", "deep", "unscaled"],
)
@each_container
def test_score_is_r2_of_the_reconstruction(X, container, params, weighted):
    X = X / 100.0
    model = fit(X, **params)
    weight = np.random.default_rng(3).integers(0, 4, len(X)) if weighted else None
    expected = r2_score(
        X,
        model.inverse_transform(model.transform(X)),
        sample_weight=weight,
        multioutput="variance_weighted",
    )
    score = model.score(container(X), sample_weight=weight)
    assert isinstance(score, float)
    assert score == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_score_of_float32_rows_agrees_with_that_of_float64(X):
    model = fit(X)
    assert model.score(X.astype(np.float32)) == pytest.approx(model.score(X), abs=1e-6)


def test_score_ignores_y(X):
    model = fit(X)
    assert model.score(X, np.arange(len(X))) == model.score(X)


@each_container
def test_score_samples_are_minus_squared_errors(X, container):
    model = fit(X)
    error = np.sum((model.inverse_transform(model.transform(X)) - X) ** 2, axis=1)
    scores = model.score_samples(container(X))
    assert scores.shape == (len(X),)
    np.testing.assert_allclose(scores, -error, rtol=1e-10)


def test_score_of_one_row_is_undefined(X):
    model = fit(X)
    with pytest.warns(UndefinedMetricWarning, match="two"):
        assert np.isnan(model.score(X[:1]))
    assert np.isfinite(model.score_samples(X[:1])).all()


@each_container
def test_score_of_equal_rows_is_that_of_r2_score(container):
    X = np.full((5, 3), 7.0)
    model = SparseAutoencoderTransformer(2, sparsity=None, random_state=0).fit(X)
    for rows, score in ((X, 1.0), (X + 1.0, 0.0)):
        assert model.score(container(rows)) == score
        back = model.inverse_transform(model.transform(rows))
        assert r2_score(rows, back, multioutput="variance_weighted") == score


def test_score_of_a_single_row_of_any_weight_is_that_of_equal_rows(X):
    weight = np.zeros(len(X))
    weight[3] = 1.0
    assert fit(X).score(X, sample_weight=weight) == 0.0


@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score", "score_samples"])
def test_an_unfitted_model_says_so(method):
    with pytest.raises(NotFittedError, match="fit"):
        getattr(SparseAutoencoderTransformer(), method)(np.ones((3, 2)))


def test_inverse_transform_names_the_width_it_expects(X):
    with pytest.raises(ValueError, match="n_components=4"):
        fit(X).inverse_transform(np.ones((2, 5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inverse_transform_takes_finite_codes_only(X, bad):
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        fit(X).inverse_transform(np.full((2, 4), bad))


# Columns whose mean dwarfs their deviation.


def with_far_columns(container, dtype, far):
    """Return rows of which two columns are far from 0, one of them constant."""
    X = np.random.default_rng(0).random((300, 6))
    X[:, 3] = far
    X[:, 4] += far / 100.0
    X[X < 0.2] = 0.0
    return container(X.astype(dtype))


def assert_agree(codes, others):
    deviation = others.std(axis=0)
    deviation[deviation < 1e-3] = 1.0
    np.testing.assert_allclose(codes / deviation, others / deviation, rtol=1e-6, atol=1e-5)


@pytest.mark.each_once
@pytest.mark.filterwarnings("ignore:.*(column|columns) ")
@pytest.mark.filterwarnings("ignore:.*mean squared deviation")
@pytest.mark.parametrize("far", [1.7e9, 1e6, 3e4])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"output_activation": "sigmoid"},
        {"activation": "relu", "hidden_layer_sizes": (5,)},
        {"scale_data": False},
    ],
    ids=["plain", "shifted", "deep", "unscaled"],
)
@each_dtype
def test_sparse_rows_have_the_codes_of_dense_rows_however_far_columns_are(params, dtype, far):
    dense, sparse = (with_far_columns(each, dtype, far) for each in (np.asarray, csr_array))
    model = fit(dense, max_iter=20, **params)
    assert_agree(model.transform(sparse), model.transform(dense))
    assert_agree(model.transform(sparse), model.transform(dense.astype(np.float64)))
    assert model.score(sparse) == pytest.approx(model.score(dense), abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*(column|columns) ")
@each_dtype
def test_stacks_of_sparse_rows_do_as_those_of_dense_rows_however_far_columns_are(dtype):
    dense, sparse = (with_far_columns(each, dtype, 1.7e9) for each in (np.asarray, csr_array))
    y = np.asarray(dense[:, 0] > 0.5, int)
    members = [SparseAutoencoderTransformer(size, max_iter=3) for size in (4, 3)]
    stack = StackedSparseAutoencoder(members, max_iter=2, random_state=0).fit(dense)
    assert_agree(stack.transform(sparse), stack.transform(dense))
    assert stack.score(sparse) == pytest.approx(stack.score(dense), abs=1e-6)
    for estimator in (SparseAutoencoderClassifier, SparseAutoencoderRegressor):
        models = [
            estimator(members, freeze=1, max_iter=2, random_state=0).fit(rows, y)
            for rows in (dense, sparse)
        ]
        for model in models:
            assert_agree(model.transform(sparse), model.transform(dense))
            np.testing.assert_allclose(model.predict(sparse), model.predict(dense), atol=1e-4)
        assert_agree(models[1].transform(sparse), models[0].transform(dense))


@pytest.mark.parametrize("hidden_layer_sizes", [(), (16,)])
def test_sparse_rows_of_many_columns_keep_as_many_digits_as_dense_rows(hidden_layer_sizes):
    rng = np.random.default_rng(0)
    X = rng.random((300, 5)) @ rng.random((5, 784)) * (rng.random((300, 784)) < 0.6)
    X = X.astype(np.float32)
    model = SparseAutoencoderTransformer(
        8, hidden_layer_sizes=hidden_layer_sizes, max_iter=15, random_state=0
    ).fit(X)
    exact = model.transform(X.astype(np.float64))
    np.testing.assert_allclose(model.transform(csr_array(X)), exact, atol=5e-6 * exact.std())


@pytest.mark.parametrize("far", [1.7e12, 0.1])
def test_moments_of_sparse_rows_lose_no_digits_to_columns_far_from_zero(far):
    X = np.random.default_rng(0).random((20_000, 3))
    X[:, 1] = far + 0.3
    X[::2, 2] = far
    weight = np.random.default_rng(1).random(len(X))
    for given in (None, weight):
        mean, columns = _describe(X, None, given)
        sparse_mean, sparse_columns = _describe(csr_array(X), None, given)
        np.testing.assert_allclose(sparse_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(sparse_columns.variance, columns.variance, rtol=1e-10)
        assert sparse_columns.variance[1] == 0.0
