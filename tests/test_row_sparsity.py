"""largest_activation_ and row_sparsity_: how active units get, and how sparse rows are."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from oracle import sizes
from registered import CODE_ACTIVATIONS
from stacking import frozen, sae
from supervising import TARGETS, X, each_kind, each_kind_and_stack, make

from sksae import SparseAutoencoderTransformer
from sksae.engine import threads
from sksae.engine.activity import row_sparsity
from sksae.metrics import hoyer_sparsity
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore")

WEIGHT = np.arange(60) % 4 / 2
each_code = pytest.mark.parametrize(("sparsity", "activation"), CODE_ACTIVATIONS)


def coded(sparsity, activation, **params):
    """Return an autoencoder with one of the codes that there are."""
    few = {"max_iter": 4, "tol": 0.0, "rho": 0.3, "random_state": 0, "dtype": "float64"}
    return SparseAutoencoderTransformer(
        7, sparsity=sparsity, activation=activation, **(few | params)
    )


# largest_activation_.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_code
def test_it_is_the_largest_activity_of_training_rows(sparsity, activation, dtype):
    model = coded(sparsity, activation, dtype=dtype).fit(X)
    largest = model.largest_activation_
    assert largest.shape == (7,)
    assert largest.dtype == np.float64
    rtol = 1e-9 if dtype == "float64" else 1e-4
    expected = sizes(model.transform(X), sparsity, activation).max(axis=0)
    assert_allclose(largest, expected, rtol=rtol, atol=rtol)


def test_rows_that_do_not_count_have_no_say():
    rows = np.where(WEIGHT[:, None] > 0, X, 9.0 * X)
    model = coded("l1", "relu").fit(rows, sample_weight=WEIGHT)
    expected = model.transform(X[WEIGHT > 0]).max(axis=0)
    assert_allclose(model.largest_activation_, expected, rtol=1e-9)
    assert not np.allclose(model.transform(rows).max(axis=0), expected)


def test_of_deep_codes_it_is_that_of_the_code():
    model = coded("kl", "sigmoid", hidden_layer_sizes=(8,)).fit(X)
    assert_allclose(model.largest_activation_, model.transform(X).max(axis=0), rtol=1e-9)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@each_kind_and_stack
def test_fine_tuned_codes_have_their_own(kind, activation):
    members = [sae(5), sae(4, activation=activation)]
    model = make(kind, members, dtype="float64").fit(X, TARGETS[kind])
    expected = sizes(model.transform(X), "kl", activation).max(axis=0)
    assert_allclose(model.largest_activation_, expected, rtol=1e-6)


@pytest.mark.parametrize("freeze", [1, 2])
@each_kind
def test_so_have_codes_that_stay_as_they_are(kind, freeze):
    members = frozen([sae(5), sae(4, activation="tanh")], X)
    model = make(kind, members, freeze=freeze, dtype="float64")
    model.fit(X, TARGETS[kind], sample_weight=WEIGHT)
    expected = sizes(model.transform(X[WEIGHT > 0]), "kl", "tanh").max(axis=0)
    assert_allclose(model.largest_activation_, expected, rtol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_pieces_add_up_to_the_largest_of_all(activation):
    model = coded("l1", activation, learning_rate=1e-12).partial_fit(X[:30])
    first = model.largest_activation_
    model.partial_fit(X[30:])
    now = np.abs(model.transform(X[30:])).max(axis=0)
    assert_allclose(model.largest_activation_, np.maximum(first, now), rtol=1e-6)
    assert (first > now).any()
    assert (first < now).any()


@pytest.mark.parametrize("freeze", [None, 2])
@each_kind
def test_so_do_those_for_a_task(kind, freeze):
    model = make(kind, frozen([sae(5), sae(4)], X), freeze=freeze, learning_rate=1e-12)
    y = TARGETS[kind]
    classes = {"classes": np.unique(y)} if kind == "labels" else {}
    model.partial_fit(X[:30], y[:30], **classes)
    first = model.largest_activation_
    model.partial_fit(X[30:], y[30:])
    now = model.transform(X[30:]).max(axis=0)
    assert_allclose(model.largest_activation_, np.maximum(first, now), rtol=1e-5)
    assert (first > now).any()


def test_another_fit_forgets_the_rows_before():
    model = coded("l1", "relu", warm_start=True, learning_rate=1e-12).fit(10.0 * X).fit(X)
    assert_allclose(model.largest_activation_, model.transform(X).max(axis=0), rtol=1e-6)


def test_what_was_not_known_is_found_later():
    model = coded("l1", "relu").partial_fit(X)
    model.largest_activation_ = np.full(7, np.nan)
    model.partial_fit(X)
    assert_allclose(model.largest_activation_, model.transform(X).max(axis=0), rtol=1e-9)


@pytest.mark.parametrize("sparsity", ["kl", "topk"])
def test_side_by_side_each_network_has_its_own(sparsity):
    found, rates = [], [0.01, 0.03]
    model = coded(sparsity, "auto")

    def note(model, X):
        found.append(model)
        return 0.0

    cv = [(np.arange(40), np.arange(40, 60))]
    search = BatchedGridSearchCV(model, {"learning_rate": rates}, cv=cv, refit=False)
    search.set_params(scoring=note).fit(X)
    for each, rate in zip(found, rates, strict=True):
        alone = coded(sparsity, "auto", learning_rate=rate).fit(X[:40])
        assert_allclose(each.largest_activation_, alone.largest_activation_, atol=1e-9)


# row_sparsity_.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@each_code
def test_it_is_the_mean_of_hoyers_sparsity(sparsity, activation, weight, dtype):
    model = coded(sparsity, activation, dtype=dtype).fit(X, sample_weight=weight)
    assert type(model.row_sparsity_) is float
    activities = sizes(model.transform(X), sparsity, activation)
    expected = np.average(hoyer_sparsity(activities), weights=weight)
    assert model.row_sparsity_ == pytest.approx(expected, abs=1e-5)


def test_rows_of_zeros_and_single_units_are_sparsest():
    silent = coded("topk", "auto", rho=1, max_iter=1)
    assert silent.fit(X).row_sparsity_ == pytest.approx(1.0, abs=1e-12)
    single = SparseAutoencoderTransformer(1, max_iter=1, random_state=0).fit(X)
    assert single.row_sparsity_ == pytest.approx(1.0, abs=1e-6)
    none_active = coded("l1", "relu", beta=1e4, max_iter=50).fit(X)
    assert not none_active.transform(X).any()
    assert none_active.row_sparsity_ == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_codes_makes_no_difference(scale):
    codes = torch.rand(2, 5, 9).double()
    codes[0, :, 3] = 0.0
    expected = hoyer_sparsity(codes[1].T.numpy())
    found = row_sparsity((scale * codes).float())
    assert_allclose(found[1].numpy(), expected, atol=1e-6)
    assert found[0, 3] == 1.0


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_kind_and_stack
def test_fine_tuned_codes_have_theirs(kind, activation, freeze):
    params = {} if kind == "stack" else {"freeze": freeze}
    members = [sae(5), sae(4, activation=activation)]
    model = make(kind, members, **params).fit(X, TARGETS[kind], sample_weight=WEIGHT)
    activities = sizes(model.transform(X), "kl", activation)
    expected = np.average(hoyer_sparsity(activities), weights=WEIGHT)
    assert model.row_sparsity_ == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("n_members", [1, 2, 3])
@pytest.mark.parametrize("sparsity", ["kl", "topk"])
def test_threads_that_share_the_rows_find_the_same(sparsity, n_members, monkeypatch):
    monkeypatch.setattr(threads, "LEAST_WORK", 1.0)
    model = coded(sparsity, "auto").fit(X)
    torch_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(n_members)
        other = coded(sparsity, "auto").fit(X)
    finally:
        torch.set_num_threads(torch_threads)
    assert other.row_sparsity_ == pytest.approx(model.row_sparsity_, abs=1e-6)


def test_the_html_of_a_fitted_estimator_shows_it():
    model = coded("l1", "relu").fit(X)
    html = model._repr_html_()
    assert "row_sparsity_" in html
    shown = html[html.rindex("row_sparsity_") :][:1500]
    assert f"{model.row_sparsity_:.2f}"[:4] in shown
