"""active_share_: in what share of the training rows each unit is active."""

from unittest.mock import patch

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose
from stacking import frozen, sae
from supervising import KINDS, TARGETS
from supervising import X as SMALL
from supervising import make as make_supervised

from sksae import SparseAutoencoderTransformer
from sksae.engine.evaluation import WalkedEvaluation
from sksae.engine.full_batch import FullObjective
from sksae.metrics import feature_density, is_active, l0
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CODES = {
    "topk": {"sparsity": "topk", "rho": 3},
    "batchtopk": {"sparsity": "batchtopk", "rho": 3},
    "deep topk": {"sparsity": "topk", "rho": 3, "hidden_layer_sizes": (8,)},
    "gated": {"sparsity": "gated"},
    "l1": {"sparsity": "l1", "beta": 0.5},
    "identity": {"sparsity": "l1", "beta": 0.5, "activation": "identity"},
    "kl": {"sparsity": "kl"},
    "tanh": {"sparsity": "kl", "activation": "tanh"},
    "prelu": {"sparsity": None, "activation": "prelu"},
}
ZEROS = ["topk", "batchtopk", "deep topk", "gated", "l1"]
each_code = pytest.mark.parametrize("code", CODES)


def active_in(model, codes, counts=slice(None)):
    """Return in which rows each unit of a model is active, by definition."""
    activation = model.__sksae_network__().code_activation
    return oracle.active(codes, model.sparsity, activation, counts)


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
    expected = active_in(model, codes).mean(axis=0)
    assert_allclose(model.active_share_, expected, rtol=0, atol=rows / 1100 + 1e-12)
    assert_allclose(is_active(codes, model).mean(axis=0), model.active_share_, atol=2 / 1100)
    assert 0.0 < model.active_share_.max() <= 1.0


@each_code
def test_rows_count_by_their_weight(X, code):
    weight = np.arange(1100) % 4 / 2
    model = make(code).fit(X, sample_weight=weight)
    active = active_in(model, model.transform(X), weight > 0)
    assert_allclose(model.active_share_, np.average(active, axis=0, weights=weight), rtol=1e-9)


@pytest.mark.parametrize("code", ZEROS)
def test_of_codes_with_zeros_it_is_their_density(X, code):
    model = make(code).fit(X)
    codes = model.transform(X)
    assert_allclose(model.active_share_, feature_density(codes), rtol=0, atol=1e-12)
    assert model.active_share_.sum() == pytest.approx(l0(codes), abs=1e-9)


@pytest.mark.parametrize("code", sorted(set(CODES) - {"batchtopk"}))
def test_codes_with_zeros_are_not_walked_over_once_more(X, code):
    asked = []
    walk = WalkedEvaluation if code in ("topk", "gated") else FullObjective
    active_shares = walk.active_shares

    def noted(self, above):
        asked.append(above)
        return active_shares(self, above)

    with patch.object(walk, "active_shares", noted):
        make(code).fit(X)
    assert len(asked) == (code not in ZEROS)


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_network_for_a_task_it_is_not_asked(kind):
    members = frozen([sae(5), sae(4)], SMALL)
    with patch.object(FullObjective, "active_shares", side_effect=AssertionError):
        model = make_supervised(kind, members).fit(SMALL, TARGETS[kind])
    assert not hasattr(model, "active_share_")


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


@pytest.mark.parametrize("code", ["kl", "tanh", "identity"])
def test_how_active_a_unit_gets_all_pieces_say(X, code):
    model = make(code, learning_rate=1e-3).partial_fit(X[:500])
    before = model.largest_activation_
    model.partial_fit(0.2 * X[500:])
    codes = model.transform(0.2 * X[500:])
    assert (before == model.largest_activation_).any()
    assert_allclose(model.active_share_, is_active(codes, model).mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("code", ["topk", "l1", "kl"])
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
