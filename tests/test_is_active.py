"""What "active" means, for every code, alone and in other estimators."""

import numpy as np
import pytest
import scipy.sparse as sp
from registered import CODE_ACTIVATIONS
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.metrics import feature_density, is_active, l0, sparsity_scorers
from sksae.model.codes import RECTIFIED

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(80, 6))


def fitted(X, **parameters):
    model = SparseAutoencoderTransformer(
        8, rho=0.25, beta=0.0, max_iter=5, tol=0.0, random_state=0, **parameters
    )
    return model.fit(X)


@pytest.mark.parametrize(("sparsity", "activation"), CODE_ACTIVATIONS)
def test_it_is_not_zero_or_the_half_maximum(X, sparsity, activation):
    beta = {} if sparsity in ("topk", "batchtopk", None) else {"beta": 0.0}
    model = SparseAutoencoderTransformer(
        8,
        sparsity=sparsity,
        activation=activation,
        rho=0.25,
        max_iter=5,
        tol=0.0,
        random_state=0,
        **beta,
    ).fit(X)
    codes = model.transform(X)
    active = is_active(codes, model)
    assert active.dtype == bool
    if model.__sksae_network__().code_activation in RECTIFIED:
        expected = codes != 0.0
    else:
        size = (1.0 + codes) / 2.0 if (sparsity, activation) == ("kl", "tanh") else np.abs(codes)
        expected = size > 0.5 * size.max(axis=0)
    # Of the training rows, but for rounding at the threshold.
    assert (active != expected).mean() < 1e-2
    assert 0.0 < active.mean() < 1.0


def test_a_sparse_code_gives_a_sparse_answer(X):
    model = fitted(X, sparsity="l1", sparse_output=True)
    codes = model.transform(X)
    active = is_active(codes, model)
    assert sp.issparse(active)
    assert active.dtype == bool
    np.testing.assert_array_equal(active.toarray(), is_active(codes.toarray(), model))


@pytest.mark.parametrize("algorithm", ["refit", "omp"])
def test_coefficients_are_active_where_they_are_not_zero(X, algorithm):
    model = SparseAutoencoderTransformer(
        8, sparsity="topk", rho=2, max_iter=5, random_state=0, transform_algorithm=algorithm
    ).fit(X)
    codes = model.transform(X)
    np.testing.assert_array_equal(is_active(codes, model), codes != 0.0)


def test_an_estimator_with_an_autoencoder_in_it_says_it_too(X):
    pipe = make_pipeline(StandardScaler(), SparseAutoencoderTransformer(5, max_iter=5))
    codes = pipe.fit_transform(X)
    np.testing.assert_array_equal(is_active(codes, pipe), is_active(codes, pipe[-1]))


@pytest.mark.parametrize("finetune", [True, False])
def test_a_stack_and_a_classifier_know_their_largest_activations(X, finetune):
    stack = StackedSparseAutoencoder([6, 5], finetune=finetune, max_iter=5, random_state=0).fit(X)
    classifier = SparseAutoencoderClassifier([5], max_iter=3, random_state=0)
    for estimator in (stack, classifier.fit(X, np.arange(80) % 2)):
        codes = estimator.transform(X)
        expected = codes > 0.5 * codes.max(axis=0)
        assert (is_active(codes, estimator) != expected).mean() < 1e-2
        # Of a single row too, in which each unit is as large as it gets.
        np.testing.assert_array_equal(
            is_active(codes[:1], estimator), is_active(codes, estimator)[:1]
        )


def test_densities_and_counts_of_it_are_means(X):
    model = fitted(X)
    active = is_active(model.transform(X), model)
    assert l0(active) == pytest.approx(active.sum(axis=1).mean())
    np.testing.assert_allclose(feature_density(active), active.mean(axis=0))
    assert sparsity_scorers()["neg_l0"](model, X) == pytest.approx(-l0(active))


def test_other_codes_are_refused(X):
    model = fitted(X)
    with pytest.raises(ValueError, match="must have 8 columns, one for each unit"):
        is_active(X, model)
    with pytest.raises(ValueError, match="is_active needs a SparseAutoencoderTransformer"):
        is_active(X, StandardScaler())
    with pytest.raises(NotFittedError):
        is_active(X, SparseAutoencoderTransformer())


def test_a_relative_threshold_needs_a_threshold():
    with pytest.raises(ValueError, match="relative=True needs a threshold"):
        sparsity_scorers(relative=True)


def test_sparse_codes_of_units_that_rest_below_are_read(X):
    model = SparseAutoencoderTransformer(5, activation="tanh", max_iter=5, random_state=0).fit(X)
    codes = model.transform(X)
    np.testing.assert_array_equal(is_active(sp.csr_array(codes), model), is_active(codes, model))
