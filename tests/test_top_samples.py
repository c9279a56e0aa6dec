"""Which rows a unit stands for."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tracing import traced

import sksae.inspection.subject
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.inspection import top_samples
from sksae.metrics import is_active

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def sae(digits):
    return SparseAutoencoderTransformer(20, max_iter=15, random_state=0).fit(digits[0])


@pytest.fixture(scope="module")
def topk(digits):
    return SparseAutoencoderTransformer(
        20, sparsity="topk", rho=3, max_iter=15, random_state=0, sparse_output=True
    ).fit(digits[0])


def test_top_rows_are_the_strongest(sae, digits):
    codes = sae.transform(digits[0])
    indices, activations = top_samples(sae, digits[0], 4, 7)
    np.testing.assert_array_equal(indices, np.argsort(-codes[:, 4], kind="stable")[:7])
    np.testing.assert_array_equal(activations, codes[indices, 4])


def test_the_decile_is_that_of_active_rows(sae, digits):
    codes = sae.transform(digits[0])
    active = is_active(codes, sae)[:, 4]
    strongest = np.argsort(-codes[:, 4], kind="stable")[: int(np.ceil(active.sum() / 10))]
    every, _ = top_samples(sae, digits[0], 4, 1000, which="top_decile")
    np.testing.assert_array_equal(every, strongest)
    some, activations = top_samples(sae, digits[0], 4, 3, which="top_decile", random_state=1)
    assert set(some) < set(strongest)
    assert (np.diff(activations) <= 0.0).all()


@pytest.mark.parametrize("name", ["sae", "topk"])
def test_inactive_rows_are_not_active(name, digits, request):
    model = request.getfixturevalue(name)
    codes = sp.csr_array(model.transform(digits[0])).toarray()
    indices, activations = top_samples(model, digits[0], 2, 40, which="inactive")
    assert len(set(indices)) == 40
    assert not is_active(codes, model)[indices, 2].any()
    np.testing.assert_allclose(activations, codes[indices, 2], atol=1e-6)


def test_a_unit_that_is_active_in_few_rows_has_few(topk, digits):
    codes = topk.transform(digits[0]).toarray()
    unit = int((codes != 0.0).sum(axis=0).argmin())
    n_active = np.count_nonzero(codes[:, unit])
    assert len(top_samples(topk, digits[0], unit, 1797).indices) == n_active


def test_blocks_make_no_difference(sae, digits, monkeypatch):
    whole = top_samples(sae, digits[0], 4, 30)
    monkeypatch.setattr(sksae.inspection.subject, "BLOCK_ENTRIES", 1000)
    in_blocks = top_samples(sae, digits[0], 4, 30)
    np.testing.assert_array_equal(whole.indices, in_blocks.indices)
    np.testing.assert_allclose(whole.activations, in_blocks.activations)


def test_rows_beyond_memory_are_walked_over(sae, tmp_path, monkeypatch):
    X = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=(100_000, 64))
    X[:] = np.tile(load_digits().data, (56, 1))[:100_000]
    monkeypatch.setattr(sksae.inspection.subject, "BLOCK_ENTRIES", 2**18)
    top_samples(sae, X[:2000], 0)
    with traced() as memory:
        top_samples(sae, X, 0)
    assert memory.peak < X.nbytes / 2


@pytest.mark.parametrize("container", [pd.DataFrame, sp.csr_array, np.asfortranarray])
def test_containers_make_no_difference(sae, digits, container):
    X = container(digits[0])
    np.testing.assert_array_equal(
        top_samples(sae, X, 4, 7).indices, top_samples(sae, digits[0], 4, 7).indices
    )


def test_a_pipeline_of_texts_takes_texts():
    texts = ["a cat sat", "the dog ran", "cat and cat", "fish swim"] * 20
    pipe = make_pipeline(
        TfidfVectorizer(),
        SparseAutoencoderTransformer(3, sparsity="topk", rho=1, max_iter=30, random_state=0),
    ).fit(texts)
    codes = pipe.transform(texts)
    unit = int(codes.max(axis=0).argmax())
    indices, _ = top_samples(pipe, texts, unit, 5)
    np.testing.assert_array_equal(indices, np.argsort(-codes[:, unit], kind="stable")[:5])


def test_searches_stacks_and_classifiers_have_units(digits):
    X, y = digits[0][:200], digits[1][:200]
    sae = SparseAutoencoderTransformer(5, max_iter=3, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), sae), {}, cv=2).fit(X)
    stack = StackedSparseAutoencoder([6, 5], random_state=0, max_iter=3).fit(X)
    classifier = SparseAutoencoderClassifier([5], max_iter=3, random_state=0).fit(X, y)
    for estimator in (search, stack, classifier):
        codes = estimator.transform(X)
        indices, activations = top_samples(estimator, X, 4, 3)
        np.testing.assert_array_equal(indices, np.argsort(-codes[:, 4], kind="stable")[:3])
        np.testing.assert_allclose(activations, codes[indices, 4])


def test_bad_input_is_named(sae, digits):
    X = digits[0]
    with pytest.raises(ValueError, match="unit must be numbers from 0 to 19"):
        top_samples(sae, X, 20)
    with pytest.raises(TypeError, match="unit must be whole numbers"):
        top_samples(sae, X, 1.5)
    with pytest.raises(ValueError, match="unit must be one number"):
        top_samples(sae, X, [1, 2])
    with pytest.raises(ValueError, match="'n' parameter of top_samples"):
        top_samples(sae, X, 1, 0)
    with pytest.raises(ValueError, match="'which' parameter of top_samples"):
        top_samples(sae, X, 1, which="bottom")
    with pytest.raises(ValueError, match="features"):
        top_samples(sae, X[:, :5], 1)
    with pytest.raises(NotFittedError):
        top_samples(SparseAutoencoderTransformer(), X, 1)


def test_tanh_units_that_rest_below_are_ordered_by_activity(digits):
    X = digits[0][:600]
    model = SparseAutoencoderTransformer(
        12, activation="tanh", rho=0.02, max_iter=15, random_state=0
    ).fit(X)
    codes = model.transform(X)
    for unit in range(12):
        # -0.9 is nearly at rest, however large it is.
        expected = np.argsort(-codes[:, unit], kind="stable")[:5]
        n_active = is_active(codes, model)[:, unit].sum()
        np.testing.assert_array_equal(top_samples(model, X, unit, 5).indices, expected[:n_active])


def test_sparse_rows_of_any_kind_are_taken(sae, digits):
    expected = top_samples(sae, digits[0], 4, 7, which="inactive")
    found = top_samples(sae, sp.coo_matrix(digits[0]), 4, 7, which="inactive")
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_no_rows_no_units_and_no_estimator_are_told_apart(sae, digits):
    with pytest.raises(ValueError, match="top_samples needs one row of X at least"):
        top_samples(sae, digits[0][:0], 1)
    with pytest.raises(ValueError, match="unit must name one of the units at least"):
        top_samples(sae, digits[0], [])
    search = GridSearchCV(sae, {"rho": [0.1]}, cv=2, refit=False).fit(digits[0][:50])
    with pytest.raises(NotFittedError, match="has kept no fitted estimator"):
        top_samples(search, digits[0], 1)
