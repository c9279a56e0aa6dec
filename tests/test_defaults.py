"""What None and "auto" stand for, and that codes and atoms are by default what they should be."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import minmax_scale

from sksae import SparseAutoencoderTransformer, StackedSparseAutoencoder
from sksae.metrics import dead_units, dictionary_coherence, hoyer_sparsity
from sksae.training import defaults


@pytest.fixture(scope="module")
def digits():
    X = load_digits().data
    return X, SparseAutoencoderTransformer(64, random_state=0).fit(X)


def test_every_row_is_sparse(digits):
    X, model = digits
    codes = model.transform(X)
    assert np.median(hoyer_sparsity(codes)) > 0.62
    assert codes.max() > 0.9
    assert not dead_units(codes).any()


def test_units_are_as_active_as_rho_says(digits):
    X, model = digits
    activation = model.transform(X).mean(axis=0)
    near = (activation > model.rho / 2) & (activation < 2 * model.rho)
    assert near.mean() >= 0.9
    assert activation.mean() == pytest.approx(model.rho, rel=0.2)


def test_atoms_of_rare_units_are_no_rougher_than_the_pictures_and_not_alike():
    X = minmax_scale(load_digits().data)
    atoms = SparseAutoencoderTransformer(64, rho=0.02, random_state=0).fit(X).components_

    def roughness(rows):
        pictures = rows.reshape(-1, 8, 8)
        squares = sum((np.diff(pictures, axis=axis) ** 2).sum(axis=(1, 2)) for axis in (1, 2))
        return np.median(squares / (pictures**2).sum(axis=(1, 2)))

    assert roughness(atoms) <= roughness(X - X.mean(axis=0))
    assert dictionary_coherence(atoms) < 0.9


def test_a_small_table_of_measurements_has_sparse_rows_too():
    X = minmax_scale(load_breast_cancer().data)
    codes = SparseAutoencoderTransformer(64, random_state=0).fit_transform(X)
    assert np.median(hoyer_sparsity(codes)) > 0.4
    assert codes.max() > 0.9
    assert not dead_units(codes).any()


def test_fewer_active_units_are_sparser_rows():
    X = load_digits().data
    medians = [
        np.median(
            hoyer_sparsity(
                SparseAutoencoderTransformer(64, rho=rho, random_state=0).fit_transform(X)
            )
        )
        for rho in (0.2, 0.05, 0.02)
    ]
    assert medians == sorted(medians)
    assert medians[0] < medians[-1] - 0.2


@pytest.mark.parametrize(
    ("parameters", "alpha", "beta"),
    [
        ({}, 0.012, 6.0),
        ({"hidden_layer_sizes": (8,)}, 1e-3, 6.0),
        ({"hidden_layer_sizes": (8,), "sparsity": "l2"}, 1e-4, 0.3),
        ({"sparsity": "l1"}, 1e-3, 0.12),
        ({"sparsity": "l2"}, 1e-3, 0.3),
        ({"sparsity": None}, 1e-3, None),
        ({"scale_data": False}, 1e-4, 1.0),
        ({"output_activation": "sigmoid"}, 1e-4, 1.0),
        ({"scale_data": False, "sparsity": "l1"}, 1e-4, 0.02),
        ({"alpha": 0.5, "beta": 2.0}, 0.5, 2.0),
    ],
)
def test_none_stands_for_what_suits_the_code_and_the_rows(parameters, alpha, beta):
    X = np.random.default_rng(0).uniform(size=(40, 10))
    model = SparseAutoencoderTransformer(4, max_iter=1, tol=0.5, random_state=0, **parameters)
    model.fit(X)
    assert model.alpha_ == pytest.approx(alpha, rel=1e-12)
    assert model.beta_ == beta


def test_decay_and_rate_fall_as_the_root_of_the_width_beyond_64():
    for n_features, share in ((1, 1.0), (64, 1.0), (256, 0.5), (6400, 0.1)):
        alpha = defaults.resolve_alpha(None, "kl", 0, n_features, is_scaled=True)
        rate = defaults.resolve_learning_rate("auto", "adam", "kl", n_features, is_scaled=True)
        assert alpha == pytest.approx(0.012 * share)
        assert rate == pytest.approx(0.02 * share)


def test_a_stack_of_one_has_the_decay_of_its_member():
    X = np.random.default_rng(0).uniform(size=(40, 256))
    member = SparseAutoencoderTransformer(4, max_iter=1, tol=0.5)
    stack = StackedSparseAutoencoder([member], max_iter=1, random_state=0).fit(X)
    assert stack.alpha_ == stack.autoencoders_[0].alpha_ == pytest.approx(0.006)
    assert stack.set_params(alpha=0.5).fit(X).alpha_ == 0.5


def test_a_stack_of_two_has_the_decay_of_a_deep_network():
    X = np.random.default_rng(0).uniform(size=(40, 6))
    members = [SparseAutoencoderTransformer(4, max_iter=1, tol=0.5) for _ in range(2)]
    assert StackedSparseAutoencoder(members, max_iter=1, random_state=0).fit(X).alpha_ == 1e-3


@pytest.mark.parametrize(("n_rows", "size"), [(5, 16), (200, 25), (1797, 224), (60000, 256)])
def test_a_batch_is_an_eighth_of_the_rows_of_bounded_size(n_rows, size):
    assert defaults.resolve_batch_size("auto", n_rows) == size
    assert defaults.resolve_batch_size(7, n_rows) == 7


def test_patience_is_at_least_some_hundred_steps():
    assert defaults.resolve_patience("auto", "adam", 200, 200) == 300
    assert defaults.resolve_patience("auto", "adam", 60000, 256) == 10
    assert defaults.resolve_patience("auto", "lbfgs", 200, 200) == 30
    assert defaults.resolve_patience(3, "adam", 200, 200) == 3
