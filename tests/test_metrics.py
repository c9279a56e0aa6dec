"""Metrics against plain numpy, published values and their own laws."""

import ast
import inspect
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import r2_score

from sksae import SparseAutoencoderTransformer, metrics
from sksae.metrics import (
    dead_fraction,
    dead_units,
    dictionaries,
    dictionary_coherence,
    explained_variance,
    feature_density,
    hoyer_sparsity,
    kl_sparsity,
    l0,
    matched_correlation,
    mean_activation,
    mean_max_cosine_similarity,
    reductions,
    treves_rolls_sparseness,
)

FORMS = {"dense": np.asarray, "csr": sp.csr_array}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
# Every case is small and there are many tests: a few examples of each find what is to be found.
few = settings(max_examples=25)
each_axis = pytest.mark.parametrize("axis", [0, 1])

# Zeros often, and magnitudes whose squares are no trouble in plain numpy.
entry = st.just(0.0) | st.floats(-1e3, 1e3, width=32).filter(lambda a: abs(a) > 1e-3)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
signed_codes = hnp.arrays(np.float64, shapes, elements=entry)
codes_of_relu = signed_codes.map(np.abs)
codes_of_sigmoid = hnp.arrays(np.float64, shapes, elements=st.floats(0.0, 1.0))
scales = st.sampled_from([1e-160, 1e-3, 7.0, 1e160])

# What any metric of codes is, as one number or array of a matrix.
OF_CODES = {
    "mean_activation": mean_activation,
    "kl_sparsity": lambda codes: kl_sparsity(codes, 0.1),
    "l0": lambda codes: l0(codes, threshold=0.3),
    "relative l0": lambda codes: l0(codes, threshold=0.3, relative=True),
    "feature_density": feature_density,
    "dead_fraction": lambda codes: dead_fraction(codes, threshold=0.1, tol=0.2),
    "hoyer": hoyer_sparsity,
    "hoyer of units": lambda codes: hoyer_sparsity(codes, axis=0),
    "treves_rolls": treves_rolls_sparseness,
    "treves_rolls of units": lambda codes: treves_rolls_sparseness(codes, axis=0),
    "vinje_gallant": lambda codes: treves_rolls_sparseness(codes, variant="vinje_gallant"),
}
each_of_codes = pytest.mark.parametrize("metric", OF_CODES.values(), ids=OF_CODES)
OF_ROWS = {"hoyer", "treves_rolls", "vinje_gallant"}
OF_UNITS = {"mean_activation", "feature_density", "hoyer of units", "treves_rolls of units"}


# Laws that all metrics of codes obey.


@each_of_codes
@pytest.mark.parametrize("chunk_entries", [1, 2**18])
@few
@given(codes=codes_of_sigmoid, kept=st.floats(0, 1))
def test_csr_equals_dense_however_it_is_read(metric, chunk_entries, codes, kept):
    codes = np.where(codes < kept, codes, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reductions, "CHUNK_ENTRIES", chunk_entries)
        for form in (np.asarray, np.asfortranarray, sp.csr_array, sp.csr_matrix, sp.csc_array):
            np.testing.assert_allclose(metric(form(codes)), metric(codes), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OF_CODES)
@few
@given(codes=codes_of_sigmoid, seed=st.integers(0, 99))
def test_the_order_of_rows_and_units_does_not_matter(name, codes, seed):
    rng = np.random.default_rng(seed)
    rows, units = rng.permutation(codes.shape[0]), rng.permutation(codes.shape[1])
    expected = OF_CODES[name](codes)
    if name in OF_ROWS | OF_UNITS:
        expected = expected[rows if name in OF_ROWS else units]
    got = OF_CODES[name](codes[rows][:, units])
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@each_of_codes
def test_codes_in_single_precision_are_summed_in_double(metric):
    codes = np.random.default_rng(0).random((20_000, 3)).astype(np.float32)
    expected = metric(codes.astype(np.float64))
    for form in FORMS.values():
        got = np.asarray(metric(form(codes)))
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-13)


@each_of_codes
def test_entries_stored_twice_or_as_zero_are_what_they_sum_to(metric):
    rows, columns = [0, 0, 0, 1, 2], [1, 1, 0, 2, 2]
    coo = sp.coo_array(([0.25, 0.5, 0.0, 0.0, 0.5], (rows, columns)), shape=(3, 3))
    dense = coo.toarray()
    stored = sp.csr_array((coo.data, np.array(columns), np.array([0, 3, 4, 5])), shape=(3, 3))
    before = stored.copy()
    np.testing.assert_allclose(metric(stored), metric(dense), rtol=1e-14)
    np.testing.assert_array_equal(stored.data, before.data)
    np.testing.assert_array_equal(stored.indices, before.indices)


@each_of_codes
def test_csr_codes_are_never_made_dense(metric):
    # 80 GB if they were.
    rng = np.random.default_rng(0)
    codes = sp.random_array((100_000, 100_000), density=1e-7, random_state=rng, format="csr")
    assert np.all(np.isfinite(metric(codes)))


@each_of_codes
def test_codes_are_not_changed(metric):
    codes = np.random.default_rng(0).random((5, 4))
    codes.flags.writeable = False
    metric(codes)


# Explained variance.


@each_form
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_explained_variance_is_that_of_r2_score(form, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4)) * [1, 10, 100, 0.1] * (rng.random((50, 4)) < 0.5)
    X_hat = X + rng.normal(size=X.shape)
    weight = rng.integers(0, 4, 50) if weighted else None
    expected = r2_score(X, X_hat, sample_weight=weight, multioutput="variance_weighted")
    got = explained_variance(form(X), X_hat, sample_weight=weight)
    assert type(got) is float
    assert got == pytest.approx(expected, rel=1e-12)
    assert explained_variance(X, form(X_hat), sample_weight=weight) == pytest.approx(expected)


def test_explained_variance_is_no_mean_over_batches(monkeypatch):
    X = np.concatenate([np.random.default_rng(0).normal(size=(20, 3)) + shift for shift in (0, 9)])
    X_hat = 0.9 * X
    expected = r2_score(X, X_hat, multioutput="variance_weighted")
    monkeypatch.setattr(reductions, "CHUNK_ENTRIES", 7)
    assert explained_variance(X, X_hat) == pytest.approx(expected, rel=1e-12)


@few
@given(X=signed_codes, shift=st.sampled_from([0.0, 100.0]), scale=st.sampled_from([0.01, 1e5]))
def test_explained_variance_does_not_depend_on_units(X, shift, scale):
    assume(len(X) > 1 and X.std(axis=0).max() > 1e-2)
    X_hat = np.tanh(X)
    expected = explained_variance(X, X_hat)
    assert expected <= 1.0
    got = explained_variance(scale * (X + shift), scale * (X_hat + shift))
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


@few
@given(X=signed_codes)
def test_reconstruction_by_the_mean_explains_nothing_and_a_perfect_one_all(X):
    assume(len(X) > 1 and X.std(axis=0).max() > 1e-2)
    assert explained_variance(X, X) == 1.0
    assert explained_variance(X, np.tile(X.mean(axis=0), (len(X), 1))) == pytest.approx(0, abs=1e-9)


def test_explained_variance_keeps_the_conventions_of_the_score():
    X = np.full((5, 3), 7.0)
    assert explained_variance(X, X) == 1.0
    assert explained_variance(X, X + 1.0) == 0.0
    with pytest.warns(UndefinedMetricWarning, match="two") as caught:
        assert np.isnan(explained_variance(X[:1], X[:1]))
    assert caught[0].filename == __file__


def test_differences_of_single_precision_rows_are_taken_in_double():
    rng = np.random.default_rng(0)
    X, X_hat = rng.normal(size=(2, 30, 4)).astype(np.float32)
    expected = explained_variance(X.astype(np.float64), X_hat.astype(np.float64))
    assert explained_variance(X, X_hat) == pytest.approx(expected, rel=1e-14)


# Mean activation and the divergence from rho.


@each_form
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@few
@given(codes=signed_codes)
def test_mean_activation_is_the_weighted_mean(form, weighted, codes):
    weight = np.arange(len(codes)) + 1.0 if weighted else None
    expected = np.average(codes, axis=0, weights=weight)
    got = mean_activation(form(codes), sample_weight=weight)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-11)
    got = mean_activation(form(codes), sample_weight=weight, signed=True)
    np.testing.assert_allclose(got, (1 + expected) / 2, rtol=1e-12, atol=1e-11)


@few
@given(
    codes=codes_of_sigmoid.map(lambda codes: codes.clip(1e-6, 1 - 1e-6)), rho=st.floats(0.01, 0.99)
)
def test_kl_is_the_formula_and_not_negative(codes, rho):
    hat = codes.mean(axis=0)
    expected = np.sum(rho * np.log(rho / hat) + (1 - rho) * np.log((1 - rho) / (1 - hat)))
    got = kl_sparsity(codes, rho)
    assert type(got) is float
    assert got >= 0
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert kl_sparsity(2 * codes - 1, rho, signed=True) == pytest.approx(got, rel=1e-9, abs=1e-9)


def test_kl_is_zero_at_rho_and_finite_for_dead_units():
    assert kl_sparsity(np.full((3, 7), 0.2), 0.2) == pytest.approx(0, abs=1e-15)
    eps = 1e-12  # how near to 0 the mean activation may come
    expected = 0.2 * np.log(0.2 / eps) + 0.8 * np.log(0.8 / (1 - eps))
    assert kl_sparsity(np.zeros((3, 2)), 0.2) == pytest.approx(2 * expected)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_loss_of_a_fitted_model_is_made_of_the_metrics(activation):
    rng = np.random.default_rng(0)
    X, weight = rng.random((60, 5)), rng.integers(0, 3, 60)
    model = SparseAutoencoderTransformer(
        4,
        activation=activation,
        rho=0.2,
        beta=0.7,
        alpha=0.01,
        scale_data=False,
        solver="lbfgs",
        max_iter=5,
        dtype="float64",
        random_state=0,
    ).fit(X, sample_weight=weight)
    codes, signed = model.transform(X), activation == "tanh"
    rho_hat = mean_activation(codes, sample_weight=weight, signed=signed)
    np.testing.assert_allclose(rho_hat, model.mean_activation_, rtol=1e-10)
    S = kl_sparsity(codes, 0.2, sample_weight=weight, signed=signed)
    data = -np.average(model.score_samples(X), weights=weight) / 2
    decay = 0.005 * sum(np.sum(coef**2) for coef in model.coefs_)
    assert data + 0.7 * S + decay == pytest.approx(model.loss_, rel=1e-8)
    X_hat = model.inverse_transform(codes)
    expected = model.score(X, sample_weight=weight)
    assert explained_variance(X, X_hat, sample_weight=weight) == pytest.approx(expected, rel=1e-10)


# Active and dead units.


@each_form
@few
@given(codes=signed_codes, threshold=st.sampled_from([0.0, 0.01, 1.0, 50.0]))
def test_active_units_exceed_the_threshold(form, codes, threshold):
    active = np.abs(codes) > threshold
    assert l0(form(codes), threshold=threshold) == pytest.approx(active.sum(axis=1).mean())
    density = feature_density(form(codes), threshold=threshold)
    np.testing.assert_allclose(density, active.mean(axis=0))


@each_form
@few
@given(codes=signed_codes, threshold=st.sampled_from([0.0, 1e-3, 0.4]))
def test_relative_activity_is_a_share_of_the_units_largest(form, codes, threshold):
    active = np.abs(codes) > threshold * np.abs(codes).max(axis=0)
    density = feature_density(form(codes), threshold=threshold, relative=True)
    np.testing.assert_allclose(density, active.mean(axis=0))
    assert l0(form(codes), threshold=threshold, relative=True) == pytest.approx(density.sum())


@few
@given(codes=signed_codes, scale=scales)
def test_relative_activity_and_dead_units_do_not_depend_on_scale(codes, scale):
    by_unit = scale * np.logspace(0, -3, codes.shape[1])
    for metric in (
        lambda codes: l0(codes, threshold=0.37, relative=True),
        lambda codes: dead_fraction(codes, tol=0.0123),
    ):
        assert metric(codes * by_unit) == metric(codes)


def test_activity_at_the_threshold_itself_is_none():
    codes = np.array([[0.5, 1.0], [1.0, 2.0]])
    assert l0(codes, threshold=0.5) == 1.5
    assert l0(codes, threshold=0.5, relative=True) == 1.0


@each_form
@pytest.mark.parametrize(
    ("unit", "dead"),
    [
        ([0.0, 0.0, 0.0], True),
        ([0.0, 1e-300, 0.0], False),
        ([-0.1, 0.0, 0.0], False),
        ([0.05, 0.05, 0.05], True),
        ([-1.0, -1.0, -1.0], True),
        ([0.0099, 0.0101, 0.01], True),  # whose weights have decayed
        ([0.05, 0.053, 0.05], False),
        ([-0.5, 0.5, 0.5], False),
    ],
)
def test_dead_units_are_those_that_never_change(form, unit, dead):
    other = [0.0, 900.0, 0.0]
    codes = form(np.column_stack([unit, other]))
    assert dead_units(codes).tolist() == [dead, False]
    assert dead_fraction(codes) == dead / 2


@few
@given(codes=codes_of_relu, scale=scales)
def test_the_scale_of_units_does_not_make_them_dead(codes, scale):
    each = scale ** (np.arange(codes.shape[1]) % 2)
    np.testing.assert_array_equal(dead_units(codes * each), dead_units(codes))


@each_form
def test_dead_units_are_those_that_never_pass_the_threshold(form):
    codes = np.array([[0.1, 0.3, 0.0], [0.2, 0.1, 0.9]])
    assert dead_fraction(form(codes)) == 0.0
    assert dead_fraction(form(codes), threshold=0.2) == pytest.approx(1 / 3)
    assert dead_fraction(form(codes), tol=0.6) == pytest.approx(1 / 3)


@each_form
def test_a_single_row_is_judged_by_the_threshold_alone(form):
    assert dead_fraction(form(np.array([[0.0, 0.5, 0.0, -1.0]]))) == 0.5


# Hoyer and Treves-Rolls.


@each_axis
@each_form
@few
@given(codes=codes_of_relu)
def test_hoyer_and_treves_rolls_are_their_formulas(axis, form, codes):
    n = codes.shape[axis]
    # Of vectors of zeros, or of one number, there is no formula.
    codes = np.compress(codes.any(axis=axis), codes, axis=1 - axis)
    if n == 1 or not codes.size:
        return
    l1, l2 = codes.sum(axis=axis), np.linalg.norm(codes, axis=axis)
    hoyer = (np.sqrt(n) - l1 / l2) / (np.sqrt(n) - 1)
    np.testing.assert_allclose(hoyer_sparsity(form(codes), axis=axis), hoyer, atol=1e-12)
    np.testing.assert_allclose(hoyer_sparsity(form(-codes), axis=axis), hoyer, atol=1e-12)
    rate = codes.mean(axis=axis) ** 2 / (codes**2).mean(axis=axis)
    got = treves_rolls_sparseness(form(codes), axis=axis)
    np.testing.assert_allclose(got, rate, rtol=1e-10)
    got = treves_rolls_sparseness(form(codes), axis=axis, variant="vinje_gallant")
    np.testing.assert_allclose(got, (1 - rate) / (1 - 1 / n), rtol=1e-8, atol=1e-12)


@each_axis
@few
@given(codes=codes_of_relu, scale=scales)
def test_sparsity_of_vectors_has_its_range_and_no_scale(axis, codes, scale):
    n = codes.shape[axis]
    for metric, low in (
        (lambda codes: hoyer_sparsity(codes, axis=axis), 0.0),
        (lambda codes: treves_rolls_sparseness(codes, axis=axis), 1 / n),
        (lambda codes: treves_rolls_sparseness(codes, axis=axis, variant="vinje_gallant"), 0.0),
    ):
        got = metric(codes)
        assert got.shape == (codes.shape[1 - axis],)
        assert np.all((low - 1e-15 <= got) & (got <= 1.0))
        np.testing.assert_allclose(metric(codes * scale), got, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [2, 5, 100])
@pytest.mark.parametrize("active", [1, 2])
def test_k_equal_units_out_of_n(n, active):
    codes = np.zeros((1, n))
    codes[0, :active] = 3.0
    root = np.sqrt(n)
    hoyer = (root - np.sqrt(active)) / (root - 1)
    assert hoyer_sparsity(codes) == pytest.approx([hoyer], abs=1e-14)
    assert treves_rolls_sparseness(codes) == pytest.approx([active / n])


def test_treves_rolls_of_exponential_rates_is_a_half():
    # Treves and Rolls (1991): E[r]^2 / E[r^2] is 1/2 for an exponential distribution.
    rates = np.random.default_rng(0).exponential(size=(1, 400_000))
    assert treves_rolls_sparseness(rates)[0] == pytest.approx(0.5, abs=0.005)


@each_form
def test_zeros_and_single_entries_are_the_sparsest(form):
    zeros, single = form(np.zeros((2, 4))), form(np.array([[0.0], [2.0]]))
    np.testing.assert_array_equal(hoyer_sparsity(zeros), 1.0)
    np.testing.assert_array_equal(treves_rolls_sparseness(zeros), 0.25)
    np.testing.assert_array_equal(treves_rolls_sparseness(zeros, variant="vinje_gallant"), 1.0)
    np.testing.assert_array_equal(hoyer_sparsity(single), 1.0)
    np.testing.assert_array_equal(treves_rolls_sparseness(single), 1.0)
    np.testing.assert_array_equal(treves_rolls_sparseness(single, variant="vinje_gallant"), 1.0)


# Dictionaries.


def random_atoms(seed, n_atoms=7, n_features=6):
    return np.random.default_rng(seed).normal(size=(n_atoms, n_features))


def plain_cosines(A, B):
    return np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in B] for a in A])


each_block = pytest.mark.parametrize("block_entries", [1, 20, 2**22])


@each_block
@few
@given(seed=st.integers(0, 99))
def test_coherence_is_the_largest_absolute_cosine_of_two_atoms(block_entries, seed):
    atoms = random_atoms(seed)
    cosines = np.abs(plain_cosines(atoms, atoms))
    expected = cosines[np.triu_indices(7, 1)].max()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionaries, "BLOCK_ENTRIES", block_entries)
        assert dictionary_coherence(atoms) == pytest.approx(expected, rel=1e-12)
        with_zeros = np.insert(atoms, [0, 3, 7], 0.0, axis=0)
        assert dictionary_coherence(with_zeros) == pytest.approx(expected, rel=1e-12)


def test_coherence_of_known_dictionaries():
    assert dictionary_coherence(np.eye(5)) == 0.0
    assert dictionary_coherence([[1.0, 2.0], [0.0, 1.0], [-3.0, -6.0]]) == pytest.approx(1.0)
    # Spikes and a Hadamard basis of 16: 1/sqrt(16), the least of two bases (Donoho and Elad).
    two = np.array([[1.0, 1.0], [1.0, -1.0]])
    hadamard = np.kron(np.kron(two, two), np.kron(two, two))
    assert dictionary_coherence(np.vstack([np.eye(16), hadamard])) == pytest.approx(0.25)
    # Mercedes-Benz frame: three atoms 120 degrees apart, at the Welch bound of 1/2.
    angles = 2 * np.pi * np.arange(3) / 3
    frame = np.column_stack([np.cos(angles), np.sin(angles)])
    assert dictionary_coherence(frame) == pytest.approx(0.5)


@few
@given(seed=st.integers(0, 99), n_atoms=st.integers(7, 20))
def test_coherence_is_never_below_the_welch_bound(seed, n_atoms):
    bound = np.sqrt((n_atoms - 6) / (6 * (n_atoms - 1)))
    assert bound <= dictionary_coherence(random_atoms(seed, n_atoms)) <= 1.0


@pytest.mark.parametrize("atoms", [np.zeros((3, 2)), np.array([[0.0, 0.0], [1.0, 2.0]])])
def test_coherence_of_fewer_than_two_atoms_is_undefined(atoms):
    with pytest.warns(UndefinedMetricWarning, match="two atoms"):
        assert np.isnan(dictionary_coherence(atoms))


@each_block
@few
@given(seed=st.integers(0, 99))
def test_mmcs_is_the_mean_of_the_largest_cosines(block_entries, seed):
    atoms, others = random_atoms(seed), random_atoms(seed + 100, 4)
    cosines = plain_cosines(atoms, others)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionaries, "BLOCK_ENTRIES", block_entries)
        got = mean_max_cosine_similarity(atoms, others)
        assert got == pytest.approx(cosines.max(axis=1).mean(), rel=1e-12)
        got = mean_max_cosine_similarity(others, atoms)
        assert got == pytest.approx(cosines.max(axis=0).mean(), rel=1e-12)


def test_mmcs_heeds_signs_and_lets_an_atom_be_found_twice():
    assert mean_max_cosine_similarity([[1.0, 0.0]], [[-2.0, 0.0]]) == -1.0
    assert mean_max_cosine_similarity([[1.0, 0.0], [3.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]) == 1.0
    assert mean_max_cosine_similarity([[1.0, 0.0], [0.0, 0.0]], [[2.0, 0.0]]) == 0.5


@few
@given(seed=st.integers(0, 99), shape=st.sampled_from([(3, 3), (2, 4), (4, 2)]))
def test_matched_correlation_is_the_best_of_all_pairings(seed, shape):
    found, true = random_atoms(seed, shape[0]), random_atoms(seed + 100, shape[1])
    cosines = np.abs(plain_cosines(found, true))
    few = cosines if shape[0] <= shape[1] else cosines.T
    every = permutations(range(few.shape[1]), few.shape[0])
    expected = max(few[np.arange(len(few)), list(chosen)].mean() for chosen in every)
    assert matched_correlation(found, true) == pytest.approx(expected, rel=1e-12)


@few
@given(seed=st.integers(0, 99), scale=scales)
def test_dictionaries_have_no_order_sign_or_length(seed, scale):
    rng = np.random.default_rng(seed)
    true, order = random_atoms(seed), rng.permutation(7)
    lengths = scale * rng.uniform(0.1, 10.0, (7, 1))
    found = true[order] * lengths * rng.choice([-1.0, 1.0], (7, 1))
    assert matched_correlation(found, true) == pytest.approx(1.0, abs=1e-12)
    assert dictionary_coherence(found) == pytest.approx(dictionary_coherence(true), abs=1e-12)
    got = mean_max_cosine_similarity(true[order] * lengths, true)
    assert got == pytest.approx(1.0, abs=1e-12)


def test_atoms_left_over_count_for_nothing_and_dead_ones_for_zero():
    true = np.eye(4)
    assert matched_correlation(true[:2], true) == 1.0
    assert matched_correlation(np.vstack([true, np.ones((3, 4))]), true) == 1.0
    assert matched_correlation(np.vstack([true[:3], np.zeros((1, 4))]), true) == 0.75


def test_matching_is_one_to_one():
    assert matched_correlation([[1.0, 0.0], [2.0, 0.0]], np.eye(2)) == 0.5


# What is refused.

MATRIX_ARGUMENTS = {
    "explained_variance X": ("X", lambda A: explained_variance(A, np.ones((3, 2)))),
    "explained_variance X_hat": ("X_hat", lambda A: explained_variance(np.ones((3, 2)), A)),
    "mmcs components": ("components", lambda A: mean_max_cosine_similarity(A, np.ones((3, 2)))),
    "mmcs other": ("other", lambda A: mean_max_cosine_similarity(np.ones((3, 2)), A)),
    "mcc components": ("components", lambda A: matched_correlation(A, np.ones((3, 2)))),
    "mcc true": ("true_components", lambda A: matched_correlation(np.ones((3, 2)), A)),
    "coherence": ("components", dictionary_coherence),
    **{name: ("codes", metric) for name, metric in OF_CODES.items()},
}


@pytest.mark.parametrize(("argument", "call"), MATRIX_ARGUMENTS.values(), ids=MATRIX_ARGUMENTS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.array([[1.0, np.inf]]), "infinity"),
        (np.ones(3), "2 dimensions"),
        (np.ones((2, 2, 2)), "2 dimensions"),
        (np.empty((0, 2)), "empty"),
        (np.empty((2, 0)), "empty"),
    ],
    ids=["nan", "inf", "1-D", "3-D", "no rows", "no columns"],
)
def test_bad_matrices_are_refused_by_name(argument, call, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(given)
    assert re.search(rf"\b{argument}\b", str(caught.value))


@each_of_codes
def test_bad_values_in_csr_codes_are_refused(metric):
    with pytest.raises(ValueError, match="codes contains NaN"):
        metric(sp.csr_array(np.array([[0.0, np.nan]])))


OTHER_MISTAKES = {
    "shapes": (lambda: explained_variance(np.ones((3, 2)), np.ones((3, 1))), "X_hat .*shape of X"),
    "one row": (lambda: explained_variance(np.ones((3, 2)), np.ones((1, 2))), "X_hat .*shape of X"),
    "features": (lambda: mean_max_cosine_similarity(np.eye(3), np.eye(2)), "3 and 2"),
    "true features": (lambda: matched_correlation(np.eye(3), np.eye(2)), "true_components .*3 and"),
    "rho 0": (lambda: kl_sparsity([[0.5]], 0.0), "'rho'"),
    "rho 1": (lambda: kl_sparsity([[0.5]], 1.0), "'rho'"),
    "rho nan": (lambda: kl_sparsity([[0.5]], np.nan), "'rho'"),
    "rho int": (lambda: kl_sparsity([[0.5]], 3), "'rho'"),
    "codes > 1": (lambda: kl_sparsity([[0.5, 1.5]], 0.1), "codes must be between 0 and 1"),
    "codes < 0": (lambda: kl_sparsity([[0.5, -0.5]], 0.1), "signed=True"),
    "codes < -1": (lambda: kl_sparsity([[0, -1.5]], 0.1, signed=True), "between -1 and 1"),
    "rates < 0": (lambda: treves_rolls_sparseness([[0.5, -0.5]]), "codes must not be negative"),
    "axis": (lambda: hoyer_sparsity([[0.5]], axis=2), "axis must be"),
    "other axis": (lambda: treves_rolls_sparseness([[0.5]], axis=-1), "axis must be"),
    "variant": (lambda: treves_rolls_sparseness([[0.5]], variant="x"), "'variant'"),
    "threshold": (lambda: l0([[0.5]], threshold=-0.1), "'threshold'"),
    "threshold nan": (lambda: feature_density([[0.5]], threshold=np.nan), "'threshold'"),
    "whole": (lambda: l0([[0.5]], threshold=1.0, relative=True), "threshold must be less than 1"),
    "relative": (lambda: l0([[0.5]], relative="yes"), "'relative'"),
    "tol": (lambda: dead_fraction([[0.5]], tol=1.0), "'tol'"),
    "signed": (lambda: mean_activation([[0.5]], signed="tanh"), "'signed'"),
    "weights": (lambda: mean_activation([[0.5]], sample_weight=[1, 2]), "sample_weight"),
    "weight": (lambda: mean_activation([[0.5]], sample_weight=[-1]), "sample_weight"),
}


@pytest.mark.parametrize(("call", "message"), OTHER_MISTAKES.values(), ids=OTHER_MISTAKES)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sparse_dictionaries_are_refused():
    with pytest.raises(TypeError, match="components"):
        dictionary_coherence(sp.csr_array(np.eye(3)))


# The house.


def test_metrics_cost_no_torch():
    code = (
        "import sys, sksae.metrics as m; m.l0([[1.0]]); m.matched_correlation([[1.0]], [[1.0]]);"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(metrics.__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_argument_is_documented_with_an_example(name):
    function = getattr(metrics, name)
    text = inspect.getdoc(function)
    for argument, parameter in inspect.signature(function).parameters.items():
        line = re.search(rf"^{argument} : (.*)$", text, re.M)
        assert line, argument
        if parameter.default is not inspect.Parameter.empty:
            assert ast.literal_eval(line[1].partition("default=")[2]) == parameter.default
    for title in ("Returns", "Raises", "Examples"):
        assert re.search(rf"^{title}\n-+$", text, re.M), title
