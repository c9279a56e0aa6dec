"""Denoising: what is shown is corrupted, what is wanted and what is told is not."""

import numpy as np
import oracle
import pytest
from batched import make
from denoising import (
    STEADY,
    bits,
    each_code,
    each_kind,
    each_minibatch_solver,
    each_scaling,
    each_solver,
    each_weighting,
    make_rows,
    noisy,
)
from scipy.sparse import csr_array

from sksae import SparseAutoencoderTransformer
from sksae.engine import batches

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]


@pytest.fixture(scope="module")
def X():
    return make_rows()


# Trainings.
@pytest.mark.each_once
@each_weighting
@each_solver
@each_kind
@each_scaling
@each_code
def test_loss_and_mean_activation_are_those_of_clean_rows(
    X, sparsity, activation, scale_data, kind, solver, weighted
):
    weight = np.tile([0.0, 0.5, 1.0, 2.5], 15) if weighted else None
    model = noisy(
        kind, sparsity=sparsity, activation=activation, scale_data=scale_data, solver=solver
    ).fit(X, sample_weight=weight)
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X, weight), rel=1e-10)
    np.testing.assert_allclose(
        model.mean_activation_, oracle.mean_activation_of(model, X, weight), rtol=1e-10, atol=1e-10
    )


@each_kind
def test_held_out_rows_are_judged_clean(X, kind, shown):
    model = noisy(kind, early_stopping=True, validation_fraction=0.25, max_iter=8).fit(X)
    held_out = np.sort(np.random.default_rng(model._seed).permutation(60)[:15])
    assert model.score(X[held_out]) == pytest.approx(max(model.validation_score_curve_), abs=1e-9)
    # And they are not trained on.
    per_epoch = sum(len(before) for before, _ in shown) / model.n_iter_
    assert per_epoch == 45


@each_minibatch_solver
@each_kind
def test_each_epoch_has_noise_of_its_own(X, shown, kind, solver):
    model = noisy(kind, solver=solver, shuffle=False, max_iter=3).fit(X)
    assert len(shown) == model.n_steps_ == 12
    epochs = [np.concatenate([after for _, after in shown[k : k + 4]]) for k in (0, 4, 8)]
    for k, epoch in enumerate(epochs):
        for other in epochs[:k]:
            assert (epoch != other).any(axis=1).mean() > 0.9


@each_kind
def test_lbfgs_corrupts_once_for_all_iterations(X, shown, kind):
    model = noisy(kind, solver="lbfgs", max_iter=20, tol=0.0).fit(X)
    assert len(shown) >= 20
    for _, after in shown[1:]:
        np.testing.assert_array_equal(after, shown[0][1])
    # So that J is a function, which its steps lower and which is the same in every run.
    assert (np.diff(model.loss_curve_) <= 0.0).all()
    problem = oracle.network_of(model), oracle.terms_of(model)
    z = oracle.scaled(model, X)
    centred = z - z.mean(axis=0)
    np.testing.assert_allclose(shown[0][0], centred, atol=1e-12)
    seen = shown[0][1] + z.mean(axis=0)
    expected = oracle.objective(np, *problem, seen, z, oracle.shares(60))
    assert model.loss_curve_[-1] == pytest.approx(expected, rel=1e-10)
    assert model.loss_ != pytest.approx(expected, rel=1e-3)


@pytest.mark.each_once
@pytest.mark.parametrize("sparsity", ["kl", "l1", "l2", None])
@each_kind
def test_the_line_search_of_lbfgs_goes_on_to_a_minimum(X, kind, sparsity):
    model = noisy(
        kind, sparsity=sparsity, activation="sigmoid", solver="lbfgs", max_iter=400, alpha=1e-2
    ).fit(X)
    assert (np.diff(model.loss_curve_) <= 0.0).all()
    assert 10 < model.n_iter_ < 400


def test_lbfgs_goes_on_with_the_same_corruption(X, shown):
    model = noisy(solver="lbfgs", warm_start=True, max_iter=6, tol=0.0).fit(X)
    last = model.loss_curve_[-1]
    model.fit(X)
    assert model.loss_curve_[6] <= last
    for _, after in shown[1:]:
        np.testing.assert_array_equal(after, shown[0][1])


@pytest.mark.each_once
@each_minibatch_solver
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
@each_kind
def test_a_training_in_parts_has_the_noise_of_the_whole(X, kind, sparsity, solver):
    params = {"solver": solver, "sparsity": sparsity, "batch_size": 5}
    whole = noisy(kind, **params, **STEADY).set_params(max_iter=6).fit(X)
    halves = noisy(kind, **params, **STEADY).set_params(max_iter=3, warm_start=True).fit(X).fit(X)
    passes = noisy(kind, **params)
    for _ in range(6):
        passes.partial_fit(X)
    for model in (halves, passes):
        for coef, expected in zip(model.coefs_, whole.coefs_, strict=True):
            np.testing.assert_allclose(coef, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-9)


def test_noise_can_be_changed_when_training_goes_on(X, shown):
    model = make(warm_start=True).fit(X)
    assert not shown
    model.set_params(noise="masking", noise_level=0.2).fit(X)
    assert len(shown) == 16
    model.set_params(noise=None, noise_level=0.3).fit(X)
    assert len(shown) == 16


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_scaling
@each_kind
def test_rows_of_any_form_are_corrupted_alike(
    X, kind, scale_data, dtype, solver, tmp_path, monkeypatch
):
    rows = np.where(X > 0.3, X, 0.0)
    params = {"scale_data": scale_data, "dtype": dtype, "solver": solver}
    expected = noisy(kind, **params).fit(rows)
    np.save(tmp_path / "X.npy", rows)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    sparse = noisy(kind, **params).fit(csr_array(rows))
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 0)
    assert bits(noisy(kind, **params).fit(mapped)) == bits(expected)
    rtol = 1e-8 if dtype == "float64" else 1e-3
    for coef, same in zip(sparse.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(coef, same, rtol=rtol, atol=rtol)
    assert sparse.loss_ == pytest.approx(expected.loss_, rel=rtol)


@each_kind
def test_rows_given_are_left_as_they_are(X, kind):
    rows = X.astype(np.float32)
    before = rows.copy()
    rows.flags.writeable = False
    noisy(kind, dtype="float32", scale_data=False).fit(rows)
    np.testing.assert_array_equal(rows, before)


# beta="auto".
@pytest.mark.each_once
@pytest.mark.parametrize(
    ("sparsity", "solver"), [("kl", "adam"), ("kl", "lbfgs"), ("l1", "adam"), ("l1", "lbfgs")]
)
@pytest.mark.parametrize(("kind", "level"), [("gaussian", 1.0), ("masking", 0.4)])
@pytest.mark.filterwarnings("error:.*beta=:sklearn.exceptions.ConvergenceWarning")
def test_beta_auto_meets_rho_on_corrupted_rows(digits, shown, kind, level, sparsity, solver):
    X = digits[:600]
    model = SparseAutoencoderTransformer(
        32,
        sparsity=sparsity,
        rho=0.1,
        beta="auto",
        noise=kind,
        noise_level=level,
        solver=solver,
        max_iter=60 if solver == "adam" else 150,
        batch_size=60,
        random_state=0,
    ).fit(X)

    def activity(rows):
        code = model.transform(rows)
        return (code if sparsity == "kl" else code > 1e-3 * code.max(axis=0)).mean()

    # The last that is done is to look whether it is met, on all rows.
    before, after = (rows.astype(np.float64) * model.scale_ + model.mean_ for rows in shown[-1])
    np.testing.assert_allclose(before, X, atol=1e-6)
    assert activity(after) == pytest.approx(0.1, rel=0.1)
    if (kind, sparsity, solver) == ("masking", "l1", "adam"):
        assert activity(X) > 0.12  # which clean rows do not meet
