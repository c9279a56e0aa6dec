"""What each unit has to do with the error of a row."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.inspection import error_contributions

pytestmark = pytest.mark.filterwarnings("ignore")


def by_decoding(model, X, rest=0.0):
    """Return what each unit adds to the errors, by the definition."""
    codes = model.transform(X).astype(np.float64)

    def errors(codes):
        return np.square(model.inverse_transform(codes) - X).sum(axis=1)

    found = np.empty(codes.shape)
    for unit in range(codes.shape[1]):
        without = codes.copy()
        without[:, unit] = rest
        found[:, unit] = errors(codes) - errors(without)
    return found


MODELS = {
    "kl": {},
    "tanh": {"activation": "tanh"},
    "topk": {"sparsity": "topk", "rho": 3},
    "omp": {"sparsity": "topk", "rho": 3, "transform_algorithm": "omp"},
    "gated": {"sparsity": "gated"},
    "deep": {"hidden_layer_sizes": (12,)},
    "sigmoid output": {"output_activation": "sigmoid"},
    "cross entropy": {"loss": "cross_entropy"},
    "unscaled": {"scale_data": False},
}


@pytest.fixture(scope="module")
def X():
    return load_digits().data[:60] / 16.0


@pytest.mark.parametrize("name", MODELS)
def test_they_are_what_errors_lose_without_a_unit(X, name):
    model = SparseAutoencoderTransformer(8, max_iter=10, random_state=0, **MODELS[name]).fit(X)
    expected = by_decoding(model, X, rest=-1.0 if name == "tanh" else 0.0)
    np.testing.assert_allclose(error_contributions(model, X), expected, rtol=1e-6, atol=1e-9)


def test_units_that_serve_a_row_are_below_zero(X):
    model = SparseAutoencoderTransformer(30, sparsity="topk", rho=3, random_state=0).fit(X)
    # The strongest unit of a row is there to rebuild it.
    strongest = model.transform(X).argmax(axis=1)
    assert (error_contributions(model, X)[np.arange(len(X)), strongest] < 0.0).mean() > 0.9


def test_stacks_pipelines_and_sparse_rows(X):
    stack = StackedSparseAutoencoder([10, 6], max_iter=5, random_state=0).fit(X)
    np.testing.assert_allclose(error_contributions(stack, X), by_decoding(stack, X), atol=1e-9)
    pipe = make_pipeline(StandardScaler(), SparseAutoencoderTransformer(6, max_iter=5)).fit(X)
    scaled = pipe[0].transform(X)
    np.testing.assert_array_equal(
        error_contributions(pipe, X), error_contributions(pipe[1], scaled)
    )
    np.testing.assert_allclose(
        error_contributions(pipe[1], sp.csr_array(X)), error_contributions(pipe[1], X), atol=1e-6
    )


def test_what_rebuilds_nothing_is_refused(X):
    classifier = SparseAutoencoderClassifier([5], max_iter=2, random_state=0)
    classifier.fit(X, np.arange(60) % 2)
    with pytest.raises(ValueError, match="rebuilds rows, and a SparseAutoencoderClassifier"):
        error_contributions(classifier, X)
    with pytest.raises(NotFittedError):
        error_contributions(SparseAutoencoderTransformer(), X)
