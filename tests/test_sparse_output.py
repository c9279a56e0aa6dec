"""Codes as sparse matrices: given by transform, taken by inverse_transform, metrics and others."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from batched import assert_same_results, search_both
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from tracing import traced

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
    metrics,
)
from sksae.engine.inference import outlets, walk
from sksae.engine.inference.layers import Layers
from sksae.engine.inference.outlets import SparseCodes, of_array, of_tensor
from sksae.model_selection import BatchedGridSearchCV

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*has no effect with sparsity"),
]

CODES = {
    "topk": {"sparsity": "topk", "rho": 0.15},
    "batchtopk": {"sparsity": "batchtopk", "rho": 0.15},
    "l1": {"sparsity": "l1", "beta": 0.3},
    "deep": {"sparsity": "topk", "rho": 0.15, "hidden_layer_sizes": (16,)},
    "tied": {"sparsity": "topk", "rho": 0.15, "tied_weights": True},
    "unscaled": {"sparsity": "topk", "rho": 0.15, "scale_data": False, "alpha": 1e-4},
}
each_code = pytest.mark.parametrize("code", CODES)


def make(code="topk", n_components=40, **params):
    few = {"max_iter": 4, "tol": 0.1, "random_state": 0}
    return SparseAutoencoderTransformer(n_components, **(few | CODES[code] | params))


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((1300, 4)) ** 2 @ rng.normal(size=(4, 10)) + 0.1 * rng.random((1300, 10))


@pytest.fixture(scope="module")
def y(X):
    return (X[:, 0] > np.median(X[:, 0])).astype(int)


@pytest.fixture(scope="module")
def fitted(X):
    """One model of each code, to be copied where parameters are set."""
    return {code: make(code).fit(X) for code in CODES}


def with_params(model, **params):
    return pickle.loads(pickle.dumps(model)).set_params(**params)


def assert_canonical(codes):
    """Check that a CSR matrix has sorted indices and no zeros, by what it holds."""
    assert codes.data.all()
    for start, stop in zip(codes.indptr[:-1], codes.indptr[1:], strict=True):
        assert (np.diff(codes.indices[start:stop]) > 0).all()


# transform.


@pytest.mark.each_once
@each_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [1, 7, 1300], ids=["one row", "few rows", "chunks"])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_entries_are_those_of_dense_codes(fitted, X, code, dtype, n_rows, container):
    rows = container(X[:n_rows].astype(dtype))
    dense = fitted[code].transform(rows)
    codes = with_params(fitted[code], sparse_output=True).transform(rows)
    assert isinstance(codes, sp.csr_matrix)
    assert codes.dtype == dtype
    assert codes.indices.dtype == codes.indptr.dtype == np.int32
    assert_canonical(codes)
    assert_array_equal(codes.toarray(), dense)


def test_scikit_learn_says_which_of_the_two_containers(fitted, X):
    model = with_params(fitted["topk"], sparse_output=True)
    with config_context(sparse_interface="sparray"):
        assert type(model.transform(X)) is sp.csr_array


def test_several_threads_give_the_same_codes(fitted, X, monkeypatch):
    model = with_params(fitted["topk"], sparse_output=True)
    alone = model.transform(X)
    monkeypatch.setattr(walk, "n_parts", lambda *_: 3)
    together = model.transform(X)
    assert_canonical(together)
    assert_allclose(together.toarray(), alone.toarray(), rtol=1e-12)


def test_rows_that_no_unit_is_active_in(X):
    model = make(sparse_output=True).fit(X)
    model.intercepts_[0] = np.full_like(model.intercepts_[0], -1e3)
    codes = model.transform(X)
    assert codes.shape == (1300, 40)
    assert codes.nnz == 0
    assert_allclose(model.inverse_transform(codes), model.inverse_transform(codes.toarray()))


@pytest.mark.parametrize("at", [0, 700])
def test_rows_beyond_the_ordinary_range(fitted, X, at):
    rows = X.copy()
    rows[at] *= 1e180
    dense = fitted["topk"].transform(rows)
    codes = with_params(fitted["topk"], sparse_output=True).transform(rows)
    assert_array_equal(codes.toarray(), dense)
    assert_allclose(
        fitted["topk"].inverse_transform(codes)[at], fitted["topk"].inverse_transform(dense)[at]
    )


def test_rows_with_nan_are_refused(fitted, X):
    rows = X.copy()
    rows[900, 3] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        with_params(fitted["topk"], sparse_output=True).transform(rows)


def test_indices_are_wide_where_they_must_be(fitted, monkeypatch):
    layers = Layers(fitted["topk"].__sksae_network__(), np.dtype(np.float32), "cpu")
    codes = SparseCodes(layers, 3, 40)
    codes.writer().write(slice(0, 3), np.eye(3, 40, dtype=np.float32))
    asked = []

    def index_dtype(largest):
        asked.append(largest)
        return np.int64

    monkeypatch.setattr(outlets, "index_dtype", index_dtype)
    found = codes.to_csr()
    assert asked == [40]
    assert found.indices.dtype == found.indptr.dtype == np.int64
    assert_array_equal(found.toarray(), np.eye(3, 40))


def test_indices_are_narrow_where_they_have_room():
    assert outlets.index_dtype(2**31 - 1) is np.int32
    assert outlets.index_dtype(2**31) is np.int64


def test_entries_are_found_on_a_device_as_on_the_cpu():
    codes = np.random.default_rng(0).normal(size=(5, 7)).clip(min=0.0)
    codes[0, 0] = -0.0
    for ours, theirs in zip(of_tensor(torch.from_numpy(codes)), of_array(codes), strict=True):
        assert_array_equal(ours, theirs)


def test_codes_are_never_dense_at_once():
    rng = np.random.default_rng(0)
    X = rng.random((3000, 4)).astype(np.float32)
    model = make(n_components=2000, rho=5, max_iter=1, batch_size=256, sparse_output=True)
    model.fit(X[:64])
    of_dense = 3000 * 2000 * 4
    with traced() as memory:
        codes = model.transform(X)
        # numpy's memory: what torch has is that of a chunk.
        assert memory.peak < of_dense / 10
    with traced() as memory:
        model.inverse_transform(codes)
        assert memory.peak < of_dense / 10


# Which codes, and which containers.


@pytest.mark.parametrize(
    "params",
    [
        {"sparsity": "kl"},
        {"sparsity": "kl", "activation": "tanh"},
        {"sparsity": None},
        {"sparsity": None, "activation": "identity"},
        {"sparsity": "l2"},
        {"sparsity": "l1", "activation": "prelu"},
        {"sparsity": "l1", "activation": "sigmoid"},
    ],
    ids=str,
)
def test_codes_without_exact_zeros_are_refused(X, params):
    model = SparseAutoencoderTransformer(5, max_iter=1, **params)
    message = f"sparse_output=True needs codes .* which sparsity={params['sparsity']!r}"
    with pytest.raises(ValueError, match=message):
        clone(model).set_params(sparse_output=True).fit(X)
    model.fit(X).set_params(sparse_output=True)
    with pytest.raises(ValueError, match=message):
        model.transform(X)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_tables_are_refused_before_any_work(fitted, X, container, monkeypatch):
    message = rf"sparse_output=True and set_output\(transform='{container}'\) exclude"
    model = make(sparse_output=True).set_output(transform=container)
    with pytest.raises(ValueError, match=message):
        model.fit_transform(X)
    assert not hasattr(model, "coefs_")
    model.fit(X)
    monkeypatch.setattr("sksae.transformer.encode_sparse", None)
    with pytest.raises(ValueError, match=message):
        model.transform(X)
    stack = StackedSparseAutoencoder([make(sparse_output=True)])
    with config_context(transform_output=container), pytest.raises(ValueError, match=message):
        stack.fit_transform(X)
    assert not hasattr(stack, "autoencoders_")


def test_dense_codes_go_into_tables_as_ever(fitted, X):
    pytest.importorskip("pandas")
    model = with_params(fitted["topk"]).set_output(transform="pandas")
    assert list(model.transform(X).columns) == list(model.get_feature_names_out())


# inverse_transform.


@each_code
@pytest.mark.parametrize("n_rows", [3, 1300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_codes_are_decoded_as_dense_ones(fitted, X, code, n_rows, dtype):
    model = fitted[code]
    codes = model.transform(X[:n_rows].astype(dtype))
    found = model.inverse_transform(sp.csr_array(codes))
    assert found.dtype == dtype
    close = {"rtol": 0, "atol": 1e-5 if dtype == "float32" else 1e-12}
    assert_allclose(found, model.inverse_transform(codes), **close)


@pytest.mark.parametrize("sparsity", ["kl", "l2", None])
def test_codes_of_any_kind_may_be_sparse(X, sparsity):
    model = SparseAutoencoderTransformer(12, sparsity=sparsity, max_iter=2, random_state=0).fit(X)
    codes = np.where((at := model.transform(X)) > np.median(at), at, 0.0)
    found = model.inverse_transform(sp.csr_matrix(codes))
    assert_allclose(found, model.inverse_transform(codes), atol=1e-12)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csc_array, sp.coo_array, sp.lil_matrix])
def test_sparse_codes_of_any_container(fitted, X, container):
    model = fitted["topk"]
    codes = model.transform(X)
    assert_allclose(model.inverse_transform(container(codes)), model.inverse_transform(codes))


def test_entries_in_any_order_twice_and_zero(fitted):
    model = fitted["topk"]
    parts = np.array([1.0, 2.0, 0.5, 0.0]), np.array([9, 2, 9, 3]), np.array([0, 3, 3, 4])
    codes = sp.csr_array(parts, shape=(3, 40))
    given = [each.copy() for each in parts]
    assert_allclose(model.inverse_transform(codes), model.inverse_transform(codes.toarray()))
    for array, before in zip((codes.data, codes.indices, codes.indptr), given, strict=True):
        assert_array_equal(array, before)


def test_sparse_codes_of_integers(fitted):
    codes = sp.csr_array(np.eye(4, 40, dtype=np.int64))
    found = fitted["topk"].inverse_transform(codes)
    assert found.dtype == np.float64
    assert_allclose(found, fitted["topk"].inverse_transform(codes.toarray()))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (sp.csr_array(np.ones((3, 39))), "X has 39 columns, .* n_components=40"),
        (sp.csr_array(np.full((3, 40), np.nan)), "Input X contains NaN"),
        (sp.csr_array(np.full((3, 40), np.inf)), "Input X contains infinity"),
        (sp.csr_array((0, 40)), "0 sample"),
    ],
    ids=["width", "nan", "infinity", "no rows"],
)
def test_wrong_sparse_codes_are_refused(fitted, codes, message):
    with pytest.raises(ValueError, match=message):
        fitted["topk"].inverse_transform(codes)


# In the company of scikit-learn.


@pytest.mark.parametrize("last", [LogisticRegression(), TruncatedSVD(3, algorithm="arpack")])
def test_steps_behind_take_sparse_codes(X, y, last):
    dense, sparse = (
        make_pipeline(make(sparse_output=sparse), clone(last)).fit(X, y) for sparse in (False, True)
    )
    answer = "predict_proba" if hasattr(last, "predict_proba") else "transform"
    assert_allclose(
        abs(getattr(sparse, answer)(X)), abs(getattr(dense, answer)(X)), rtol=0, atol=1e-4
    )


def test_fit_transform_names_clones_and_files(X, tmp_path):
    model = make(sparse_output=True)
    codes = model.fit_transform(X)
    assert_array_equal(codes.toarray(), model.transform(X).toarray())
    assert list(model.get_feature_names_out()[:1]) == ["sparseautoencodertransformer0"]
    assert clone(model).sparse_output
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    for other in (loaded, pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.transform(X).toarray(), codes.toarray())


def test_unions_and_column_transformers_stack_sparse_codes(X):
    parts = [make(sparse_output=True, random_state=seed) for seed in (1, 2)]
    union = make_union(*parts).fit(X)
    assert sp.issparse(union.transform(X))
    assert_array_equal(union.transform(X).toarray()[:, :40], parts[0].fit_transform(X).toarray())
    columns = ColumnTransformer([("codes", parts[0], [0, 1, 2, 3])], sparse_threshold=0.9)
    assert sp.issparse(columns.fit_transform(X))


def test_searches_are_those_of_dense_codes(X, y):
    scores = []
    for sparse in (False, True):
        pipe = make_pipeline(make(sparse_output=sparse), LogisticRegression())
        grid = {"sparseautoencodertransformer__rho": [0.1, 0.3]}
        search = GridSearchCV(pipe, grid, cv=2).fit(X, y)
        scores.append(search.cv_results_["mean_test_score"])
    assert_allclose(*scores, atol=0.01)


def test_batched_searches_train_once_for_both(X, y, trainings):
    pipe = make_pipeline(make(dtype="float64"), LogisticRegression())
    grid = {
        "sparseautoencodertransformer__sparse_output": [False, True],
        "sparseautoencodertransformer__rho": [0.1, 0.2],
    }
    ours = BatchedGridSearchCV(pipe, grid, cv=2, refit=False).fit(X, y)
    assert trainings["alone"] == []
    assert sum(trainings["ahead"]) == 4  # of two folds and two rho
    theirs = GridSearchCV(pipe, grid, cv=2, refit=False).fit(X, y)
    assert_same_results(ours, theirs)


def test_a_candidate_that_cannot_be_sparse_spoils_no_other(X):
    sae = SparseAutoencoderTransformer(5, max_iter=2, dtype="float64", random_state=0)
    grid = {"sparse_output": [True, False]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = search_both(sae, grid, X, refit=False, cv=2)
    assert np.isnan(ours.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert_same_results(ours, theirs)


# Metrics.


@pytest.mark.parametrize(
    "metric",
    [
        metrics.l0,
        metrics.feature_density,
        metrics.dead_units,
        metrics.dead_fraction,
        metrics.mean_activation,
        metrics.hoyer_sparsity,
        metrics.treves_rolls_sparseness,
        lambda codes: metrics.l0(codes, threshold=0.1, relative=True),
        lambda codes: metrics.kl_sparsity(codes / codes.max(), 0.1),
    ],
)
def test_metrics_of_sparse_codes_are_those_of_dense_ones(fitted, X, metric):
    dense = fitted["topk"].transform(X)
    codes = with_params(fitted["topk"], sparse_output=True).transform(X)
    assert_allclose(metric(codes), metric(dense), rtol=1e-12)


def test_scorers_are_those_of_dense_codes(fitted, X):
    sparse = with_params(fitted["topk"], sparse_output=True)
    for scorer in metrics.sparsity_scorers().values():
        assert scorer(sparse, X) == pytest.approx(scorer(fitted["topk"], X), rel=1e-12)


# Stacks, classifiers and regressors.


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("n_rows", [5, 1300])
def test_the_last_member_says_whether_codes_of_a_stack_are_sparse(X, inner, n_rows, monkeypatch):
    def members(last):
        first = make(n_components=30, sparse_output=inner)
        return [first, make(n_components=20, sparse_output=last)]

    dense, sparse = (
        StackedSparseAutoencoder(members(last), max_iter=2, random_state=0).fit(X)
        for last in (False, True)
    )
    monkeypatch.setattr(
        "sksae.stacking.encoding.chunk_slices",
        lambda n, _: [slice(0, min(n, 600)), *([slice(600, n)] if n > 600 else [])],
    )
    rows = X[:n_rows]
    codes = sparse.transform(rows)
    assert isinstance(codes, sp.csr_matrix)
    assert isinstance(dense.transform(rows), np.ndarray)
    assert_canonical(codes)
    assert_array_equal(codes.toarray(), dense.transform(rows))
    assert_allclose(sparse.inverse_transform(codes), dense.inverse_transform(codes.toarray()))
    assert sparse.score(rows) == dense.score(rows)
    # A member gives its codes as it was asked to, and takes those of the one before either way.
    assert sp.issparse(sparse.autoencoders_[0].transform(rows)) == inner
    one_by_one = sparse.autoencoders_[1].transform(sparse.autoencoders_[0].transform(rows))
    assert_allclose(one_by_one.toarray(), codes.toarray(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
def test_supervised_stacks_predict_as_with_dense_codes(X, y, kind):
    dense, sparse = (
        kind([make(sparse_output=each)], max_iter=2, random_state=0).fit(X, y)
        for each in (False, True)
    )
    assert_array_equal(sparse.predict(X), dense.predict(X))
    codes = sparse.transform(X)
    assert isinstance(codes, sp.csr_matrix)
    assert_array_equal(codes.toarray(), dense.transform(X))


def test_frozen_members_and_pipelines_keep_what_they_were_asked_for(fitted, X):
    model = with_params(fitted["topk"], sparse_output=True)
    stack = StackedSparseAutoencoder([FrozenEstimator(model)], finetune=False).fit(X)
    from_pipeline = StackedSparseAutoencoder.from_pipeline(make_pipeline(model))
    for each in (stack, from_pipeline):
        assert_array_equal(each.transform(X).toarray(), model.transform(X).toarray())


def test_a_stack_names_the_member_whose_code_has_no_zeros(X):
    stack = StackedSparseAutoencoder([make(), SparseAutoencoderTransformer(3, sparse_output=True)])
    with pytest.raises(ValueError, match="'sae1' of autoencoders: sparse_output=True needs"):
        stack.fit(X)


def test_nonsense_for_members_is_still_told_by_fit(X):
    for given in ([], ["sae"], [()], "sae"):
        with pytest.raises((TypeError, ValueError), match="autoencoders"):
            StackedSparseAutoencoder(given).fit_transform(X)
