"""Codes that say how many units are active: what a user sees of them."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from registered import EXACT
from sklearn.model_selection import GridSearchCV

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine import threads
from sksae.engine.exact import minibatch
from sksae.engine.exact.unit_norm import normalise
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_exact = pytest.mark.parametrize("sparsity", EXACT)


def make(sparsity="topk", **params):
    given = {
        "n_components": 30,
        "rho": 4,
        "max_iter": 5,
        "batch_size": 64,
        "tol": 0.0,
        "dtype": "float64",
        "random_state": 0,
    }
    return SparseAutoencoderTransformer(sparsity=sparsity, **given | params)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(400, 20)) * (rng.random((400, 20)) < 0.2)
    return codes @ rng.normal(size=(20, 12)) + 0.05 * rng.normal(size=(400, 12))


def atom_norms(model):
    return np.linalg.norm(model.coefs_[-1], axis=1)


# What a row's code is.


def test_each_row_has_k_units_or_as_many_as_are_positive(X):
    model = make(rho=25).fit(X)
    pre = (X - model.mean_) / model.scale_ @ model.coefs_[0] + model.intercepts_[0]
    n_active = (model.transform(X) > 0).sum(axis=1)
    assert_array_equal(n_active, np.minimum(25, (pre > 0).sum(axis=1)))
    assert n_active.min() < 25


def test_a_share_is_rounded_to_a_number_of_units(X):
    assert ((make(rho=0.12).fit(X).transform(X) > 0).sum(axis=1) == 4).all()


@each_exact
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_atoms_have_unit_norm(X, sparsity, dtype):
    model = make(sparsity, dtype=dtype, warm_start=True)
    for step in (model.fit, model.fit, model.partial_fit):
        assert_allclose(atom_norms(step(X)), 1.0, atol=1e-6)
    assert_allclose(np.linalg.norm(model.components_, axis=1), model.scale_, rtol=1e-6)


@each_exact
def test_training_starts_at_unit_atoms_that_the_encoder_shares(X, sparsity):
    model = make(sparsity, solver="sgd", learning_rate=1e-300, max_iter=1).fit(X)
    assert_allclose(atom_norms(model), 1.0, rtol=1e-12)
    assert_allclose(model.coefs_[0], model.coefs_[1].T, rtol=1e-12)
    assert_allclose(model.intercepts_[0], 0.0, atol=1e-200)
    # Without scale_data the output's bias is the mean row.
    unscaled = make(sparsity, scale_data=False, solver="sgd", learning_rate=1e-300, max_iter=1)
    assert_allclose(unscaled.fit(X).intercepts_[1], X.mean(axis=0), rtol=1e-9)


@each_exact
def test_a_model_of_another_code_goes_on_with_unit_atoms(X, sparsity):
    model = make("l1", rho=0.05, warm_start=True, max_iter=30).fit(X)
    assert abs(atom_norms(model) - 1.0).max() > 0.1
    score = model.score(X)
    # It makes of rows what it made before, but for the units that are no longer kept.
    model.set_params(sparsity=sparsity, rho=29, learning_rate=1e-12, max_iter=1).fit(X)
    assert_allclose(atom_norms(model), 1.0, atol=1e-12)
    assert model.score(X) == pytest.approx(score, abs=1e-3)


def test_atoms_whose_squares_overflow_keep_their_directions():
    atoms = torch.tensor([[3e30, 4e30], [0.6, -0.8]])
    normalise(atoms)
    torch.testing.assert_close(atoms, torch.tensor([[0.6, 0.8], [0.6, -0.8]]))


def test_a_row_beyond_the_range_of_floats_does_not_change_the_codes_of_others(X):
    model = make("batchtopk").fit(X)
    far = np.vstack([X[:40], [[1e200] + [1.0] * 11]])
    assert_allclose(model.transform(far)[:40], model.transform(X[:40]), rtol=1e-9, atol=1e-12)
    assert (model.transform(far)[40] > 0).any()
    assert_allclose(model.score_samples(far[:40]), model.score_samples(X[:40]), rtol=1e-9)
    narrow = (
        make("batchtopk")
        .fit(X)
        .transform(np.vstack([X[:40], [[1e30] + [1.0] * 11]]).astype(np.float32))
    )
    assert_allclose(narrow[:40], model.transform(X[:40].astype(np.float32)), rtol=1e-4, atol=1e-5)


@each_exact
def test_more_members_of_a_crew_than_units(X, sparsity, monkeypatch):
    monkeypatch.setattr(minibatch, "n_parts", lambda work, n_rows, n_members: 3)
    monkeypatch.setattr(threads, "n_cores", lambda: 3)
    model = make(sparsity, n_components=2, rho=1).fit(X)
    assert_allclose(atom_norms(model), 1.0, atol=1e-12)


def test_several_budgets_serve_fewer_units_and_cost_little(X):
    params = {"rho": 8, "max_iter": 80, "dtype": "float32"}
    several, alone = make(**params).fit(X), make(budgets=None, **params).fit(X)
    assert several.score(X) > alone.score(X) - 0.03
    with pytest.warns(UserWarning, match="trained for alone"):
        alone_by_two = alone.set_params(transform_n_active=2).score(X)
    assert several.set_params(transform_n_active=2).score(X) > alone_by_two + 0.05


@pytest.mark.parametrize(
    ("budgets", "same_as"),
    [
        ((0.25, 0.5), "auto"),
        ((0.25, 0.5, 1.0), "auto"),
        ((1, 2), "auto"),
        ([1, 2, 4], "auto"),
        (np.array([0.25, 0.5]), "auto"),
        ((4,), None),
        ((1.0,), None),
    ],
)
def test_budgets_are_shares_or_numbers_and_k_is_one(X, budgets, same_as):
    model, other = make(budgets=budgets).fit(X), make(budgets=same_as).fit(X)
    assert model.loss_ == other.loss_
    assert_array_equal(model.transform(X), other.transform(X))


def test_budgets_of_few_units_that_are_the_same_count_once(X):
    one, same = make(rho=1).fit(X), make(rho=1, budgets=None).fit(X)
    assert one.loss_ == same.loss_
    two = make(rho=2).fit(X)
    assert two.loss_ == make(rho=2, budgets=(1,)).fit(X).loss_


@each_exact
def test_alpha_acts_on_the_encoder_alone(X, sparsity):
    free, dear = make(sparsity).fit(X), make(sparsity, alpha=1.0).fit(X)
    assert free.alpha_ == 0.0
    assert np.linalg.norm(dear.coefs_[0]) < 0.9 * np.linalg.norm(free.coefs_[0])
    assert_allclose(atom_norms(dear), 1.0, atol=1e-12)


@each_exact
def test_fitted_attributes(X, sparsity):
    model = make(sparsity).fit(X)
    assert model.beta_ is None
    assert_allclose(model.mean_activation_, model.transform(X).mean(axis=0), rtol=1e-9)
    assert (model.threshold_ is None) == (sparsity == "topk")


# It is trained as any other code.


@each_exact
@pytest.mark.parametrize("tied_weights", [False, True])
def test_tied_weights_are_the_atoms(X, sparsity, tied_weights):
    model = make(sparsity, tied_weights=tied_weights, max_iter=30).fit(X)
    assert np.array_equal(model.coefs_[0], model.coefs_[1].T) == tied_weights
    assert model.score(X) > 0.7


@each_exact
@pytest.mark.parametrize("noise", ["gaussian", "masking"])
def test_noise(X, sparsity, noise):
    clean, noisy = make(sparsity).fit(X), make(sparsity, noise=noise).fit(X)
    assert not np.array_equal(clean.coefs_[0], noisy.coefs_[0])
    assert noisy.score(X) > 0.3


@each_exact
@pytest.mark.parametrize("form", [sp.csr_array, np.asfortranarray])
def test_the_form_of_rows_makes_no_difference(X, sparsity, form):
    X = X * (X > 0.5)
    model, other = make(sparsity).fit(X), make(sparsity).fit(form(X))
    assert_allclose(other.loss_, model.loss_, rtol=1e-9)
    assert_allclose(other.transform(form(X)), model.transform(X), rtol=1e-6, atol=1e-9)


@each_exact
def test_rows_held_out_choose_the_weights(X, sparsity):
    model = make(sparsity, early_stopping=True, max_iter=20).fit(X)
    assert len(model.validation_score_curve_) == model.n_iter_
    assert max(model.validation_score_curve_) > 0.5


@each_exact
def test_pickles_keep_codes_and_how_they_are_read(X, sparsity):
    model = make(sparsity).fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.transform(X), model.transform(X))
    assert again.threshold_ == model.threshold_
    if sparsity == "topk":
        # It was trained for 1, 2 and 4: nothing is to be said.
        assert ((again.set_params(transform_n_active=2).transform(X) > 0).sum(axis=1) == 2).all()


@each_exact
def test_a_grid_is_trained_side_by_side(X, sparsity):
    grid = {"rho": [2, 4, 0.3], "alpha": [0.0, 0.1], "learning_rate": [1e-2, 3e-2]}
    model = make(sparsity, max_iter=3)
    alone = GridSearchCV(model, grid, cv=2).fit(X)
    together = BatchedGridSearchCV(model, grid, cv=2).fit(X)
    assert_allclose(
        together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-9
    )
    assert_allclose(
        together.best_estimator_.transform(X), alone.best_estimator_.transform(X), rtol=1e-9
    )


@each_exact
def test_members_of_stacks_and_classifiers(X, sparsity):
    y = (X[:, 0] > 0).astype(int)
    first, second = make(sparsity), make("topk", n_components=10, rho=3)
    stack = StackedSparseAutoencoder([first, second], max_iter=2).fit(X)
    assert (stack.transform(X) > 0).sum(axis=1).max() <= 3
    model = SparseAutoencoderClassifier([first], max_iter=20, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8
    assert (model.transform(X) > 0).any(axis=1).mean() > 0.5


@each_exact
def test_fine_tuning_by_lbfgs_is_refused(X, sparsity):
    with pytest.raises(ValueError, match=f"solver='lbfgs' cannot train sparsity='{sparsity}'"):
        StackedSparseAutoencoder([make(sparsity)], solver="lbfgs").fit(X)


def test_hidden_layers(X):
    model = make(hidden_layer_sizes=(20,), alpha=1e-3).fit(X)
    assert ((model.transform(X) > 0).sum(axis=1) <= 4).all()
    assert abs(atom_norms(model) - 1.0).max() > 1e-3


# What cannot be.


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"rho": 30}, "must be less than n_components=30"),
        ({"rho": 0.01}, "rounds to no active unit"),
        ({"n_components": 5, "rho": 0.05}, "rounds to no active unit"),
        ({"beta": 1.0}, "beta=1.0 has nothing to weigh"),
        ({"beta": "auto"}, "beta='auto' has nothing to weigh"),
        ({"solver": "lbfgs"}, "solver='lbfgs' cannot train sparsity='{}'"),
        ({"output_activation": "prelu"}, "output_activation='prelu' cannot be had with"),
        ({"activation": "sigmoid"}, "activation must be 'relu' or 'auto'"),
    ],
    ids=str,
)
@each_exact
def test_what_makes_no_sense_is_an_error_that_names_it(X, sparsity, params, words):
    model = make(sparsity, **params)
    with pytest.raises(ValueError, match=words.format(sparsity)):
        model.fit(X)
    assert not hasattr(model, "coefs_")
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"budgets": (2, 1)}, r"budgets must increase, got \(2, 1\)"),
        ({"budgets": (2, 2)}, "budgets must increase"),
        ({"budgets": (5,)}, "from 1 to the 4 active units; 5 is none"),
        ({"budgets": (0, 2)}, "0 is none"),
        ({"budgets": (0.5, 1.5)}, r"shares of the active units in \(0, 1\].*1.5 is none"),
        ({"budgets": ("a",)}, "'a' is none"),
        ({"budgets": (True,)}, "True is none"),
        ({"budgets": "some"}, "budgets"),
        ({"budgets": np.array(3)}, "must be a sequence"),
        ({"budgets": (1,), "hidden_layer_sizes": (5,)}, "budgets.*with hidden_layer_sizes"),
        ({"budgets": (1,), "sparsity": "batchtopk"}, "budgets.*with sparsity='batchtopk'"),
        ({"sparsity": "batchtopk", "hidden_layer_sizes": (5,)}, "hidden_layer_sizes.*'batchtopk'"),
    ],
    ids=str,
)
def test_budgets_that_make_no_sense(X, params, words):
    with pytest.raises(ValueError, match=words):
        make(**params).fit(X)


def test_what_has_no_effect_is_said(X):
    with pytest.warns(UserWarning, match=r"budgets=\(0.5,\) has no effect with sparsity='kl'"):
        make("kl", rho=0.1, budgets=(0.5,)).fit(X)
    with pytest.warns(UserWarning, match=r"budgets=\[0.5 1. \] has no effect with sparsity='kl'"):
        make("kl", rho=0.1, budgets=np.array([0.5, 1.0])).fit(X)
    with pytest.warns(UserWarning, match="alpha=0.1 has no effect.*tied_weights=True"):
        make(alpha=0.1, tied_weights=True).fit(X)
