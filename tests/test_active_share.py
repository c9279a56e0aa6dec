"""active_share_: in what share of the training rows each unit is active."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sksae import SparseAutoencoderTransformer
from sksae.metrics import feature_density, l0
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CODES = {
    "topk": {"sparsity": "topk", "rho": 3},
    "batchtopk": {"sparsity": "batchtopk", "rho": 3},
    "deep topk": {"sparsity": "topk", "rho": 3, "hidden_layer_sizes": (8,)},
    "l1": {"sparsity": "l1", "beta": 0.5},
    "kl": {"sparsity": "kl"},
    "tanh": {"sparsity": "kl", "activation": "tanh"},
    "prelu": {"sparsity": None, "activation": "prelu"},
}
each_code = pytest.mark.parametrize("code", CODES)


def make(code, **params):
    few = {"max_iter": 5, "tol": 0.1, "dtype": "float64", "random_state": 0}
    return SparseAutoencoderTransformer(20, **(few | CODES[code] | params))


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((1100, 4)) ** 2 @ rng.normal(size=(4, 9)) + 0.1 * rng.random((1100, 9))


@each_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_the_density_of_units_in_training_rows(X, code, dtype):
    model = make(code, dtype=dtype).fit(X)
    codes = model.transform(X.astype(dtype))
    assert model.active_share_.shape == (20,)
    assert model.active_share_.dtype == np.float64
    # Rows are centred in another way in training: one may be on the other side of a unit's edge.
    rows = 0 if dtype == "float64" else 2
    assert_allclose(model.active_share_, feature_density(codes), rtol=0, atol=rows / 1100 + 1e-12)
    assert model.active_share_.sum() == pytest.approx(l0(codes), abs=0.02)
    assert model.active_share_.max() <= 1.0


@each_code
def test_rows_count_by_their_weight(X, code):
    weight = np.arange(1100) % 4 / 2
    model = make(code).fit(X, sample_weight=weight)
    active = model.transform(X) != 0.0
    assert_allclose(model.active_share_, np.average(active, axis=0, weights=weight), rtol=1e-9)


@pytest.mark.parametrize("code", ["kl", "tanh"])
def test_units_that_are_never_0_are_active_in_all_rows(X, code):
    assert_array_equal(make(code, dtype="float32").fit(X).active_share_, 1.0)


def test_rows_held_out_do_not_count(X):
    model = make("topk", early_stopping=True, validation_fraction=0.5).fit(X)
    n_rows = model.active_share_ * 550
    assert_allclose(n_rows, n_rows.round(), atol=1e-9)


def test_a_unit_that_is_kept_but_0_is_not_active(X):
    # With more units kept than rows have positive ones.
    model = make("topk", rho=18, max_iter=1).fit(X)
    codes = model.transform(X)
    assert (codes > 0).sum(axis=1).min() < 18
    assert_allclose(model.active_share_, feature_density(codes), atol=1e-12)


def test_a_piece_has_that_of_its_rows(X):
    model = make("topk").partial_fit(X[:500]).partial_fit(X[500:])
    assert_allclose(model.active_share_, feature_density(model.transform(X[500:])), atol=1e-12)


@pytest.mark.parametrize("code", ["topk", "l1"])
def test_side_by_side_each_network_has_its_own(X, code):
    found = []

    def note(model, X):
        found.append(model)
        return 0.0

    rates, cv = [0.01, 0.03], [(np.arange(600), np.arange(600, 1100))]
    search = BatchedGridSearchCV(make(code), {"learning_rate": rates}, cv=cv, refit=False)
    search.set_params(scoring=note).fit(X)
    for model, rate in zip(found, rates, strict=True):
        alone = make(code, learning_rate=rate).fit(X[:600])
        assert_allclose(model.active_share_, alone.active_share_, atol=1e-9)
