"""Codes by pursuit: coefficients of atoms in the place of the encoder's activations."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from batched import assert_same_results
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, OrthogonalMatchingPursuit, orthogonal_mp_gram
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
    metrics,
)
from sksae.engine.inference import pursued, walk
from sksae.engine.inference.pursuit import Support, choose_atoms, fit_coefficients
from sksae.model_selection import BatchedGridSearchCV

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Orthogonal matching pursuit ended prematurely"),
]
K = 5
CODES = {
    "topk": {"sparsity": "topk", "rho": K},
    "batchtopk": {"sparsity": "batchtopk", "rho": K},
    "tied": {"sparsity": "topk", "rho": K, "tied_weights": True},
    "unscaled": {"sparsity": "topk", "rho": K, "scale_data": False, "alpha": 1e-4},
    "l1": {"sparsity": "l1", "beta": 0.3},
    "l2": {"sparsity": "l2"},
    "none": {"sparsity": None},
    "kl": {"sparsity": "kl"},
}
OF_RELU = [code for code in CODES if code != "kl"]
PURSUITS = ("refit", "omp")
each_pursuit = pytest.mark.parametrize("algorithm", PURSUITS)


def make(code="topk", n_components=40, **params):
    few = {"max_iter": 4, "tol": 0.1, "random_state": 0}
    return SparseAutoencoderTransformer(n_components, **(few | CODES[code] | params))


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((700, 5)) ** 2 @ rng.normal(size=(5, 12)) + 0.1 * rng.random((700, 12))


@pytest.fixture(scope="module")
def y(X):
    return (X[:, 0] > np.median(X[:, 0])).astype(int)


@pytest.fixture(scope="module")
def fitted(X):
    """One model of each code, to be copied where parameters are set."""
    return {code: make(code).fit(X) for code in CODES}


def read_by(model, algorithm, **params):
    copy = pickle.loads(pickle.dumps(model))
    return copy.set_params(transform_algorithm=algorithm, **params)


def omp_of(model, n_active=K):
    return read_by(model, "omp", transform_n_active=n_active)


def problem(model, X):
    """Return what is to be rebuilt, and the atoms, both in the space of z."""
    targets = (X - model.mean_) / model.scale_ + model._shift - model.intercepts_[-1]
    return targets, model.coefs_[-1].astype(np.float64)


def refitted(targets, atoms, codes):
    expected = np.zeros_like(codes)
    for row, target in enumerate(targets):
        support = np.flatnonzero(codes[row])
        expected[row, support] = np.linalg.lstsq(atoms[support].T, target, rcond=None)[0]
    return expected


def by_scikit_learn(targets, atoms, n_active):
    norms = np.linalg.norm(atoms, axis=1)
    unit = atoms / np.where(norms > 0, norms, 1.0)[:, None]
    found = orthogonal_mp_gram(unit @ unit.T, unit @ targets.T, n_nonzero_coefs=n_active)
    return found.T / np.where(norms > 0, norms, 1.0)


# Coefficients.


@pytest.mark.parametrize("code", OF_RELU)
def test_refit_is_least_squares_on_the_support(fitted, X, code):
    # With "l2" and none more atoms are active than there are features.
    model = fitted[code]
    codes, found = model.transform(X), read_by(model, "refit").transform(X)
    assert_allclose(found, refitted(*problem(model, X), codes), atol=1e-10)
    assert_array_equal(found != 0, codes != 0)


@pytest.mark.parametrize("code", CODES)
def test_omp_is_that_of_scikit_learn(fitted, X, code):
    model = fitted[code]
    found = omp_of(model).transform(X)
    assert_allclose(found, by_scikit_learn(*problem(model, X), K), atol=1e-8)
    assert ((found != 0).sum(axis=1) <= K).all()
    if model.sparsity in ("topk", "batchtopk"):
        # As many as rho says.
        assert_array_equal(read_by(model, "omp").transform(X), found)


def test_omp_is_that_of_the_estimator_of_scikit_learn_at_other_numbers(fitted, X):
    model = fitted["topk"]
    targets, atoms = problem(model, X[:50])
    for n_active in (1, 3, 8):
        theirs = OrthogonalMatchingPursuit(n_nonzero_coefs=n_active, fit_intercept=False)
        expected = theirs.fit(atoms.T, targets.T).coef_
        assert_allclose(omp_of(model, n_active).transform(X[:50]), expected, atol=1e-8)


def test_wide_dictionaries_of_more_atoms_than_a_block_has_room_for():
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(600, 60))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    targets = rng.normal(size=(40, 60))
    support = choose_atoms(torch.from_numpy(atoms), torch.from_numpy(targets), 20)
    found = fit_coefficients(torch.from_numpy(atoms), torch.from_numpy(targets), support)
    codes = torch.zeros(40, 600, dtype=torch.float64).scatter_add_(1, found.units, found.values)
    assert_allclose(codes, by_scikit_learn(targets, atoms, 20), atol=1e-8)


@pytest.mark.parametrize("code", OF_RELU)
def test_pursuits_rebuild_at_least_as_much_of_every_row(fitted, X, code):
    encoded, refit = (read_by(fitted[code], each) for each in ("encode", "refit"))
    assert (refit.score_samples(X) >= encoded.score_samples(X) - 1e-12).all()
    assert refit.score(X) > encoded.score(X)
    if code == "topk":
        assert omp_of(fitted[code]).score(X) > refit.score(X)


def test_coefficients_may_be_negative(fitted, X):
    for algorithm in PURSUITS:
        assert read_by(fitted["topk"], algorithm).transform(X).min() < 0


# What follows.


@pytest.mark.each_once
@each_pursuit
@pytest.mark.parametrize("code", ["topk", "batchtopk", "unscaled", "l1"])
def test_scores_are_those_of_what_is_rebuilt(fitted, X, code, algorithm):
    model = read_by(fitted[code], algorithm, transform_n_active=K if code == "l1" else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = model.transform(X)
    X_hat = model.inverse_transform(codes)
    by_hand = (codes @ model.coefs_[-1] + model.intercepts_[-1] - model._shift) * model.scale_
    assert_allclose(X_hat, by_hand + model.mean_, atol=1e-10)
    assert model.score(X) == pytest.approx(metrics.explained_variance(X, X_hat), abs=1e-9)
    assert_allclose(model.score_samples(X), -((X_hat - X) ** 2).sum(axis=1), atol=1e-9)
    scorers = metrics.sparsity_scorers()
    assert scorers["explained_variance"](model, X) == model.score(X)
    assert scorers["neg_l0"](model, X) == -metrics.l0(codes)


def test_scorers_read_coefficients_of_tanh_units_as_they_are(X):
    model = make("kl", activation="tanh", transform_algorithm="omp", transform_n_active=3).fit(X)
    codes = model.transform(X)
    scorers = metrics.sparsity_scorers()
    assert scorers["neg_l0"](model, X) == -metrics.l0(codes) >= -3
    assert scorers["neg_mean_activation"](model, X) == -np.abs(codes).mean()


@each_pursuit
@pytest.mark.parametrize("code", ["topk", "batchtopk", "l1"])
@pytest.mark.parametrize("n_rows", [1, 7, 700], ids=["one row", "few rows", "chunks"])
def test_sparse_codes_are_the_entries_of_dense_ones(fitted, X, code, algorithm, n_rows):
    model = read_by(fitted[code], algorithm)
    if code == "l1" and algorithm == "omp":
        model.set_params(transform_n_active=K)
    dense = model.transform(X[:n_rows])
    codes = model.set_params(sparse_output=True).transform(X[:n_rows])
    assert isinstance(codes, sp.csr_matrix)
    assert codes.data.all()
    assert_array_equal(codes.toarray(), dense)
    assert_allclose(model.inverse_transform(codes), model.inverse_transform(dense), atol=1e-12)


def test_atoms_that_are_chosen_make_any_code_sparse(fitted, X):
    model = omp_of(fitted["kl"], 2).set_params(sparse_output=True)
    assert model.transform(X).nnz <= 2 * len(X)
    clone(model).fit(X)
    with pytest.raises(ValueError, match="sparse_output=True"):
        model.set_params(transform_algorithm="encode").transform(X)


@each_pursuit
def test_neither_chunks_nor_blocks_nor_threads_matter(fitted, X, algorithm, monkeypatch):
    for code in ("topk", "batchtopk"):
        model = read_by(fitted[code], algorithm)
        expected, score = model.transform(X), model.score(X)
        alone = np.vstack([model.transform(X[at : at + 1]) for at in range(20)])
        assert_allclose(alone, expected[:20], atol=1e-10)
        with monkeypatch.context() as patch:
            patch.setattr(walk, "MOST_CHUNK_ROWS", 50)
            patch.setattr(walk, "n_parts", lambda *_: 3)
            patch.setattr(pursued, "BLOCK_ENTRIES", 700)
            assert_allclose(model.transform(X), expected, atol=1e-10)
            assert model.score(X) == pytest.approx(score, abs=1e-12)


@each_pursuit
def test_precision_and_containers_of_rows(fitted, X, algorithm, tmp_path):
    model = read_by(fitted["topk"], algorithm)
    expected = model.transform(X)
    single = model.transform(X.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, expected, atol=1e-3)
    assert_allclose(model.transform(sp.csr_array(X)), expected, atol=1e-10)
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(model.transform(on_disk), expected)
    assert model.score(on_disk) == model.score(X)


@each_pursuit
def test_tables_have_names_of_units(X, algorithm):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    model = make(transform_algorithm=algorithm).set_output(transform="pandas")
    codes = model.fit_transform(table)
    assert list(codes.columns) == list(model.get_feature_names_out())
    assert_array_equal(codes.to_numpy(), model.set_output(transform="default").transform(table))


@each_pursuit
def test_a_pipeline_takes_coefficients_for_features(X, y, algorithm):
    for sparse_output in (False, True):
        sae = make(transform_algorithm=algorithm, sparse_output=sparse_output)
        assert make_pipeline(sae, LogisticRegression()).fit(X, y).score(X, y) > 0.8


@each_pursuit
def test_training_does_not_go_by_it(fitted, X, algorithm):
    model = make(transform_algorithm=algorithm).fit(X)
    encoded = fitted["topk"]
    for ours, theirs in zip(model.coefs_, encoded.coefs_, strict=True):
        assert_array_equal(ours, theirs)
    assert model.loss_ == encoded.loss_
    assert_array_equal(model.mean_activation_, encoded.mean_activation_)
    assert_array_equal(model.active_share_, encoded.active_share_)
    assert_array_equal(model.transform(X), read_by(encoded, algorithm).transform(X))
    assert_array_equal(
        model.set_params(transform_algorithm="encode").transform(X), encoded.transform(X)
    )


def test_clones_and_copies_are_read_alike(fitted, X):
    model = read_by(fitted["topk"], "omp")
    assert clone(model).transform_algorithm == "omp"
    assert_array_equal(clone(model).fit(X).transform(X), model.transform(X))
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.transform(X), model.transform(X))
    with pytest.raises(NotFittedError):
        clone(model).transform(X)


def test_refit_reads_fewer_units_too(fitted, X):
    model = read_by(fitted["topk"], "refit", transform_n_active=2)
    codes, support = model.transform(X), read_by(model, "encode").transform(X)
    assert_array_equal(codes != 0, support != 0)
    assert_allclose(codes, refitted(*problem(model, X), support), atol=1e-10)


def test_searches_choose_it_and_batched_ones_train_once(X, y, trainings):
    pipe = make_pipeline(make(dtype="float64"), LogisticRegression())
    grid = {"sparseautoencodertransformer__transform_algorithm": ["encode", *PURSUITS]}
    ours = BatchedGridSearchCV(pipe, grid, cv=2, refit=False).fit(X, y)
    assert sum(trainings["ahead"]) == 2  # of two folds
    assert trainings["alone"] == []
    theirs = GridSearchCV(pipe, grid, cv=2, refit=False).fit(X, y)
    assert_same_results(ours, theirs)
    alone = {"transform_algorithm": ["encode", *PURSUITS]}
    scores = [
        search(make(dtype="float64"), alone, cv=2).fit(X).cv_results_["mean_test_score"]
        for search in (GridSearchCV, BatchedGridSearchCV)
    ]
    assert_allclose(scores[1], scores[0], rtol=1e-6)
    assert (np.diff(scores[0]) > 0).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_candidates_that_cannot_be_read_leave_others_to_be_trained_together(X, trainings):
    grid = {"sparsity": ["kl", "topk"], "transform_algorithm": ["encode", "omp"]}
    search = BatchedGridSearchCV(make(rho=0.1), grid, cv=2, refit=False).fit(X)
    assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [0, 1, 0, 0])
    assert sum(trainings["ahead"]) == 4  # of two folds
    assert trainings["alone"] == []


# Rows and atoms out of the ordinary.


def with_atoms(model, atoms):
    copy = pickle.loads(pickle.dumps(model))
    copy.coefs_[-1] = atoms
    return copy


def test_refit_on_equal_atoms_is_of_the_smallest_norm(fitted, X):
    codes = fitted["topk"].transform(X)
    first, second = np.argsort(-fitted["topk"].active_share_)[:2]
    atoms = fitted["topk"].coefs_[-1].copy()
    atoms[second] = 2.0 * atoms[first]
    atoms[np.argsort(-fitted["topk"].active_share_)[2]] = 0.0
    model = with_atoms(fitted["topk"], atoms)
    assert ((codes[:, first] > 0) & (codes[:, second] > 0)).any()
    found = read_by(model, "refit").transform(X)
    assert_allclose(found, refitted(*problem(model, X), codes), atol=1e-10)


def test_omp_ends_where_atoms_depend_on_each_other(fitted, X):
    rng = np.random.default_rng(1)
    # All atoms lie in a plane, and each is there twice.
    atoms = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 12))
    model = with_atoms(fitted["topk"], np.vstack([atoms, atoms]))
    targets, atoms = problem(model, X)
    codes = omp_of(model).transform(X)
    assert ((codes != 0).sum(axis=1) == 2).all()
    plane = np.linalg.lstsq(atoms.T, targets.T, rcond=None)[0].T @ atoms
    assert_allclose(codes @ atoms, plane, atol=1e-6)


@each_pursuit
def test_atoms_of_any_size_serve(fitted, X, algorithm):
    rows = X[:50].astype(np.float32)
    expected = read_by(fitted["topk"], algorithm).transform(rows)
    model = with_atoms(fitted["topk"], np.float32(1e-30) * fitted["topk"].coefs_[-1])
    model = read_by(model, algorithm)
    codes = model.transform(rows)
    assert codes.dtype == np.float32
    assert_allclose(codes, 1e30 * expected, rtol=1e-4, atol=1e26)
    assert_allclose(model.score(rows), read_by(fitted["topk"], algorithm).score(rows), rtol=1e-6)
    model = with_atoms(model, np.float64(1e-60) * fitted["topk"].coefs_[-1])
    assert_allclose(model.transform(X[:50]), 1e60 * expected.astype(float), rtol=1e-3, atol=1e57)


def test_omp_of_more_atoms_than_there_are_features(fitted, X):
    found = [omp_of(fitted["topk"], n_active).transform(X) for n_active in (12, 40)]
    assert_array_equal(*found)


def test_omp_ends_where_a_row_is_rebuilt(fitted, X):
    model = omp_of(fitted["topk"], 30)
    targets, atoms = problem(model, X)
    codes = model.transform(X)
    # More atoms are asked for than there are features.
    assert (codes != 0).sum(axis=1).max() <= 12
    assert_allclose(codes @ atoms, targets, atol=1e-6)
    assert_allclose(model.score(X), 1.0)
    exact = np.zeros((1, 40))
    exact[0, [3, 8]] = 2.0, -1.0
    row = model.inverse_transform(exact)
    assert (model.set_params(transform_n_active=2).transform(row) != 0).sum() <= 2


@each_pursuit
def test_rows_that_are_the_bias_and_rows_without_a_support(fitted, X, algorithm):
    model = read_by(fitted["topk"], algorithm, sparse_output=True)
    if algorithm == "omp":
        # In float64, where nothing of the row is left.
        model.intercepts_[-1] = np.zeros_like(model.intercepts_[-1])
        rows = np.vstack([X[:3], model.mean_])
        assert model.transform(rows)[[3]].nnz == 0
        assert model.score_samples(rows)[3] == 0.0
    else:
        model.intercepts_[0] = np.full_like(model.intercepts_[0], -1e3)
        codes = model.transform(X)
        assert codes.shape == (700, 40)
        assert codes.nnz == 0
        model.set_params(transform_algorithm="encode")
        assert_allclose(read_by(model, "refit").score_samples(X), model.score_samples(X))


def test_atoms_of_norm_zero_are_not_chosen(fitted, X):
    atoms = fitted["topk"].coefs_[-1].copy()
    atoms[::2] = 0.0
    codes = omp_of(with_atoms(fitted["topk"], atoms)).transform(X)
    assert (codes[:, ::2] == 0).all()
    assert ((codes[:, 1::2] != 0).sum(axis=1) == K).all()


@each_pursuit
def test_rows_beyond_the_ordinary_range(fitted, X, algorithm):
    model = read_by(fitted["topk"], algorithm)
    rows = X.copy()
    rows[5] *= 1e180
    codes, ordinary = model.transform(rows), model.transform(X)
    assert_allclose(np.delete(codes, 5, axis=0), np.delete(ordinary, 5, axis=0), atol=1e-9)
    assert_allclose(model.inverse_transform(codes)[5], rows[5], atol=1e180)
    targets, atoms = problem(model, rows[5:6] / 1e90)
    support = codes[5:6] / 1e90
    assert_allclose(support, refitted(targets, atoms, support), rtol=1e-6, atol=1e80)
    assert np.isfinite(model.score(rows))
    sparse = read_by(model, algorithm, sparse_output=True).transform(rows)
    assert_array_equal(sparse.toarray(), codes)


@each_pursuit
def test_rows_with_nan_are_refused(fitted, X, algorithm):
    rows = X.copy()
    rows[600, 3] = np.nan
    model = read_by(fitted["topk"], algorithm)
    for method in (model.transform, model.score, model.score_samples):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            method(rows)


def test_singular_values_serve_where_normal_equations_do_not():
    atoms = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1e-7, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    atoms, targets = atoms.double(), torch.tensor([[1.0, 1.0, 4.0]] * 2).double()
    support = Support(torch.tensor([[0, 1, 3], [2, 3, 0]]), torch.tensor([3, 2]))
    found = fit_coefficients(atoms, targets, support).values
    assert_allclose(found[0], [1.0 - 1e7, 1e7, 2.0], rtol=1e-6)
    assert_allclose(found[1], [0.0, 2.0, 0.0])


# Errors and warnings.


@each_pursuit
@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"hidden_layer_sizes": (8,)}, "hidden_layer_sizes"),
        ({"output_activation": "tanh"}, "output_activation='tanh'"),
    ],
)
def test_a_decoder_that_is_not_linear_is_refused(X, algorithm, params, named):
    message = f"transform_algorithm='{algorithm}' needs a linear decoder.*{named}"
    with pytest.raises(ValueError, match=message):
        make(transform_algorithm=algorithm, **params).fit(X)
    model = make(**params).fit(X).set_params(transform_algorithm=algorithm)
    for method in (model.transform, model.score, model.score_samples):
        with pytest.raises(ValueError, match=message):
            method(X)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_refit_needs_units_that_are_silent(X, activation):
    message = f"'refit' takes the atoms.*activation='{activation}'"
    with pytest.raises(ValueError, match=message):
        make("kl", activation=activation, transform_algorithm="refit").fit(X)
    model = make("kl", activation=activation).fit(X).set_params(transform_algorithm="refit")
    with pytest.raises(ValueError, match=message):
        model.transform(X)


@pytest.mark.parametrize("code", ["kl", "l1", "l2", "none"])
def test_omp_needs_a_number_of_atoms(fitted, X, code):
    message = "'omp' needs a number of atoms.*transform_n_active"
    with pytest.raises(ValueError, match=message):
        make(code, transform_algorithm="omp").fit(X)
    with pytest.raises(ValueError, match=message):
        read_by(fitted[code], "omp").transform(X)
    with pytest.raises(ValueError, match=r"transform_n_active=41 .* n_components=40"):
        omp_of(fitted[code], 41).transform(X)


def test_unknown_algorithms_are_refused(fitted, X):
    for model in (make(transform_algorithm="lasso"), read_by(fitted["topk"], "lasso")):
        with pytest.raises(ValueError, match=r"transform_algorithm.*lasso"):
            model.fit(X)
    with pytest.raises(ValueError, match="'encode', 'refit' or 'omp', got 'lasso'"):
        read_by(fitted["topk"], "lasso").transform(X)


def test_what_has_an_effect_does_not_warn(X):
    models = [
        make("l1", transform_algorithm="omp", transform_n_active=3),
        make("batchtopk", transform_algorithm="omp", transform_n_active=3),
        make("topk", transform_algorithm="omp", transform_n_active=9),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        warnings.filterwarnings("ignore", message=".*max_iter|.*dead|.*units")
        for model in models:
            codes = model.fit(X).transform(X)
            assert (codes != 0).sum(axis=1).max() == model.transform_n_active


def test_what_has_no_effect_warns(X):
    with pytest.warns(UserWarning, match="transform_n_active=3 has no effect"):
        make("batchtopk", transform_algorithm="refit", transform_n_active=3).fit(X)
    with pytest.warns(UserWarning, match="transform_n_active=2 is another number"):
        make(budgets=None, transform_algorithm="refit", transform_n_active=2).fit(X).transform(X)


# Stacks.


@pytest.mark.each_once
@each_pursuit
@pytest.mark.parametrize(
    "kind",
    [StackedSparseAutoencoder, SparseAutoencoderClassifier, SparseAutoencoderRegressor],
)
def test_members_of_stacks_are_read_layer_by_layer(fitted, X, y, kind, algorithm):
    message = f"'sae0' of autoencoders: transform_algorithm='{algorithm}' cannot be had in a stack"
    member = read_by(fitted["topk"], algorithm)
    for entry in (member, FrozenEstimator(member)):
        with pytest.raises(ValueError, match=message):
            kind([entry, make(n_components=8, rho=2)], max_iter=2, random_state=0).fit(X, y)
    stack = kind([make(), make(n_components=8, rho=2)], max_iter=2, random_state=0).fit(X, y)
    stack.autoencoders_[1].set_params(transform_algorithm=algorithm)
    for method in (stack.transform, getattr(stack, "predict", stack.transform)):
        with pytest.raises(ValueError, match="cannot be had in a stack"):
            method(X)


def test_a_pipeline_of_pursuits_is_no_stack(X):
    pipe = make_pipeline(make(transform_algorithm="omp"), make(n_components=8, rho=2)).fit(X)
    assert pipe.transform(X).shape == (700, 8)
    with pytest.raises(ValueError, match="Pipeline"):
        StackedSparseAutoencoder.from_pipeline(pipe)
