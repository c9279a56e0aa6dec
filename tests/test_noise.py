"""Denoising: what is shown is corrupted, what is wanted and what is told is not."""

import numpy as np
import oracle
import pytest
import torch
from batched import assert_same_results, make, search_both
from oracle import Problem, relative_error, small_parts
from plans import plan_of
from registered import each_sparsity
from scipy.sparse import csr_array
from sklearn.datasets import load_digits

from sksae import SparseAutoencoderTransformer
from sksae.engine import batches, full_batch
from sksae.engine.batches import Batch, Rows
from sksae.engine.noise import Corruption
from sksae.engine.threads import Crew
from sksae.model.settings import Noise
from sksae.training.fit import train_plans

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]

CODES = [("kl", "sigmoid"), ("kl", "tanh"), ("l1", "relu"), ("l2", "prelu"), (None, "relu")]
NOISES = {"gaussian": Noise("gaussian", 0.7), "masking": Noise("masking", 0.4)}
STEADY = {"learning_rate_schedule": "constant", "tol": 0.0, "n_iter_no_change": 1000}

each_code = pytest.mark.parametrize(("sparsity", "activation"), CODES)
each_kind = pytest.mark.parametrize("kind", NOISES)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
each_descent = pytest.mark.parametrize("solver", ["adam", "sgd"])
each_scaling = pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
each_weighting = pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.random((3, 8)) / 3 + 0.1 * rng.random((60, 8))


@pytest.fixture(scope="module")
def digits():
    return load_digits().data / 16


@pytest.fixture
def shown(monkeypatch):
    """All batches that a training corrupts, before and after, in order."""
    seen = []
    corrupt = Corruption.__call__

    def spy(self, batch):
        clean = batch.rows.clone()
        corrupted = corrupt(self, batch)
        # What is wanted is what it was, in its own place.
        assert corrupted.target is batch.target
        assert corrupted.weight is batch.weight
        assert torch.equal(batch.rows, clean)
        seen.append((clean[0].numpy(), corrupted.rows[0].clone().numpy()))
        return corrupted

    monkeypatch.setattr(Corruption, "__call__", spy)
    return seen


def noisy(kind="gaussian", level=0.4, **params):
    return make(noise=kind, noise_level=level, **params)


def bits(model):
    """Return everything that training has computed, as bytes."""
    arrays = [*model.coefs_, *model.intercepts_, model.mean_activation_, model.loss_]
    arrays += [np.array(model.loss_curve_)]
    return b"".join(np.asarray(array).tobytes() for array in arrays)


def corruption_of(kind, n_features=4, seed=5, dtype=torch.float64, blank=None):
    blank = np.zeros(n_features) if blank is None else blank
    corruption = Corruption(NOISES[kind], seed, torch.as_tensor(blank, dtype=dtype))
    corruption.begin(0)
    return corruption


def corrupted(corruption, rows):
    tensor = torch.as_tensor(rows)[None]
    return corruption(Batch(tensor, tensor, None)).rows[0].numpy()


# What is drawn.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gaussian_noise_is_normal_of_the_level(dtype):
    rows = torch.full((500, 80), 3.0, dtype=dtype)
    noise = corrupted(corruption_of("gaussian", 80, dtype=dtype), rows) - 3.0
    assert noise.dtype == rows.numpy().dtype
    assert noise.std() == pytest.approx(0.7, rel=0.02)
    assert abs(noise.mean()) < 4 * 0.7 / np.sqrt(noise.size)
    # As a normal variable has it: 68.3 % within one deviation, 95.4 % within two.
    for width, share in ((1, 0.6827), (2, 0.9545)):
        assert (abs(noise) < width * 0.7).mean() == pytest.approx(share, abs=0.01)
    # Neither rows nor columns go together.
    for table in (noise, noise.T):
        by_chance = 5 / np.sqrt(table.shape[1])
        assert abs(np.corrcoef(table) - np.eye(len(table))).max() < by_chance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_masking_blanks_a_share_of_entries_independently(dtype):
    blank = np.arange(80.0)
    rows = torch.full((500, 80), -3.0, dtype=dtype)
    shown = corrupted(corruption_of("masking", 80, dtype=dtype, blank=blank), rows)
    is_blank = shown != -3.0
    np.testing.assert_array_equal(shown, np.where(is_blank, blank, -3.0))
    assert is_blank.mean() == pytest.approx(0.4, abs=0.01)
    # Neither whole rows nor whole columns: counts vary as those of independent draws.
    assert is_blank.sum(axis=1).std() == pytest.approx(np.sqrt(80 * 0.4 * 0.6), rel=0.15)
    assert is_blank.sum(axis=0).std() == pytest.approx(np.sqrt(500 * 0.4 * 0.6), rel=0.4)


@each_kind
def test_draws_are_a_function_of_seed_and_epoch(kind):
    rows = np.random.default_rng(0).random((30, 4))

    def draw(seed, epoch, n_earlier=0):
        corruption = corruption_of(kind, seed=seed)
        for _ in range(n_earlier):
            corrupted(corruption, rows)
        corruption.begin(epoch)
        return np.concatenate([corrupted(corruption, rows) for _ in range(2)])

    first = draw(5, 3)
    np.testing.assert_array_equal(draw(5, 3, n_earlier=2), first)
    for other in (draw(5, 4), draw(6, 3), draw(3, 5)):
        assert (other != first).any()
    # The second batch of an epoch has draws of its own.
    assert (first[:30] != first[30:]).any()


@each_kind
def test_nothing_is_written_to_the_rows(kind):
    rows = torch.rand(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = rows.clone()
    batch = Batch(rows[None], rows[None], None)
    shown = corruption_of(kind)(batch)
    assert torch.equal(rows, before)
    assert shown.target is batch.target
    assert not torch.equal(shown.rows, shown.target)


# In units of X.


@each_solver
@each_scaling
@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
def test_the_deviation_of_gaussian_noise_is_in_units_of_x(
    digits, shown, output_activation, scale_data, solver
):
    # Fewer features than UFLDL's patches: outputs differ in how they are scaled.
    rows = 0.05 + 0.9 * digits[:800, 16:40]
    level, overall = 0.5, np.sqrt(((rows - rows.mean(axis=0)) ** 2).mean())
    model = noisy(
        level=level,
        scale_data=scale_data,
        solver=solver,
        output_activation=output_activation,
        max_iter=1,
    ).fit(rows)
    noise = np.concatenate([after - before for before, after in shown]) * model.scale_
    expected = level * overall if scale_data else level
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 0.02 * expected


@each_solver
@each_scaling
@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
@pytest.mark.parametrize("container", [np.asarray, csr_array], ids=["dense", "csr"])
def test_masked_entries_are_the_mean_or_0(
    X, shown, output_activation, container, scale_data, solver
):
    weight = np.tile([0.0, 1.0, 2.0], 20)
    model = noisy(
        "masking",
        0.3,
        scale_data=scale_data,
        solver=solver,
        output_activation=output_activation,
        max_iter=3,
    ).fit(container(X), sample_weight=weight)
    mean = np.average(X, axis=0, weights=weight)
    before, after = (
        np.concatenate(parts) * model.scale_ + mean for parts in zip(*shown, strict=True)
    )
    is_blank = after != before
    assert is_blank.mean() == pytest.approx(0.3, abs=0.06)
    blank = mean if scale_data else np.zeros(8)
    np.testing.assert_allclose(after, np.where(is_blank, blank, before), atol=1e-12)


def test_what_blanks_a_row_is_in_the_units_of_the_network():
    centre = np.array([1.0, 0.0, -3.0])
    rows = Rows(
        np.ones((4, 3)),
        centre=centre,
        scale=4.0,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    np.testing.assert_array_equal(rows.blank(at_zero=True), -centre / 4.0)
    np.testing.assert_array_equal(rows.blank(at_zero=False), np.zeros(3))


@pytest.mark.parametrize("factor", [1e-3, 1e4])
@each_kind
def test_codes_do_not_depend_on_the_units_of_x(X, kind, factor):
    one, other = noisy(kind).fit(X), noisy(kind).fit(factor * X)
    np.testing.assert_allclose(other.transform(factor * X), one.transform(X), rtol=1e-8)


@each_solver
@each_scaling
@each_kind
def test_a_level_of_0_is_no_noise(X, kind, scale_data, solver):
    for dtype in ("float32", "float64"):
        params = {"scale_data": scale_data, "solver": solver, "dtype": dtype}
        assert bits(noisy(kind, 0.0, **params).fit(X)) == bits(make(**params).fit(X))


@each_solver
@each_kind
def test_noise_and_its_level_make_a_difference(X, kind, solver):
    models = [make(solver=solver), *(noisy(kind, level, solver=solver) for level in (0.2, 0.5))]
    assert len({bits(model.fit(X)) for model in models}) == 3


# The gradient.


@each_weighting
@pytest.mark.parametrize("hidden", [(), (5,)], ids=["shallow", "deep"])
@pytest.mark.parametrize("tied", [False, True], ids=["free", "tied"])
@each_kind
@each_code
def test_the_gradient_is_that_of_autograd_shown_corrupted_rows(
    sparsity, activation, kind, tied, hidden, weighted
):
    problem = Problem.draw(
        sparsity, activation, "sigmoid", hidden, "tanh", weighted=weighted, tied=tied, n_rows=11
    )
    blank = np.linspace(-1.0, 1.0, 4)
    given = corrupted(corruption_of(kind, blank=blank), problem.X - problem.centre)
    problem = problem.but(shown=given + problem.centre)
    assert relative_error(problem.shown, problem.X) > 0.1
    expected_value, expected = problem.autograd()
    for objective in (problem.minibatch, problem.full):
        value, gradient = objective(corruption=corruption_of(kind, blank=blank))
        assert value == pytest.approx(expected_value, rel=1e-12)
        assert relative_error(gradient, expected) < 1e-11


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("kept_entries", [0, 2**24], ids=["encoded-again", "kept"])
@each_kind
@each_code
def test_both_walks_over_all_rows_are_shown_the_same(
    sparsity, activation, kind, kept_entries, n_members, monkeypatch
):
    monkeypatch.setattr(full_batch, "KEPT_ENTRIES", kept_entries)
    problem = Problem.draw(sparsity, activation, "tanh", weighted=True, n_rows=23)
    corruption = corruption_of(kind)
    with small_parts(9), Crew(n_members) as crew:
        full = problem.full_objective(corruption=corruption, crew=crew)
        # As it walks, so the draws are cut.
        given = [
            corrupted(corruption, (problem.X - problem.centre)[chunk.which])
            for lane in full._lanes
            for chunk in lane.chunks
        ]
        assert len(given) > 1
        expected_value, expected = problem.but(
            shown=np.concatenate(given) + problem.centre
        ).autograd()
        flat = torch.tensor(problem.flat)
        for _ in range(2):
            value, gradient = full.gradient(flat)
            assert value.item() == pytest.approx(expected_value, rel=1e-12)
            assert relative_error(gradient, expected) < 1e-11
        # Corrupted rows are let go of, chunk by chunk.
        kept = [chunk.workspace._rows for lane in full._lanes for chunk in lane.chunks]
        assert kept == [None] * len(given)
        # But it is judged on rows as they are.
        assert full.evaluate()[0].item() == pytest.approx(problem.value(), rel=1e-12)


# Trainings.


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


@each_descent
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


@each_sparsity
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


@each_descent
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


# Side by side.


@each_kind
@each_descent
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_networks_side_by_side_are_shown_what_each_is_alone(X, sparsity, solver, kind):
    settings = [{"beta": 0.5}, {"beta": 0.1, "max_iter": 3}, {"beta": 0.2, "learning_rate": 0.02}]
    estimators = [noisy(kind, sparsity=sparsity, solver=solver, **own) for own in settings]
    plans = [plan_of(estimator, X, None) for estimator in estimators]
    for plan, trained in zip(plans, train_plans(plans, X, None), strict=True):
        (alone,) = train_plans([plan], X, None)
        np.testing.assert_allclose(trained.flat, alone.flat, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trained.loss_curve, alone.loss_curve, rtol=1e-9)


def test_a_search_over_noise_gives_scikit_learns_results(X, trainings):
    grid = [
        {"noise": ["gaussian", "masking"], "noise_level": [0.1, 0.5], "rho": [0.1, 0.2]},
        {"noise": [None], "rho": [0.1, 0.2]},
    ]
    ours, theirs = search_both(make(), grid, X)
    assert_same_results(ours, theirs)
    assert len(set(ours.cv_results_["mean_test_score"])) == 10
    # In each of three folds those of one noise and level go together, and are the whole group.
    assert trainings["ahead"] == [2] * 15


def test_masks_of_zeros_and_of_means_are_not_mixed(X, trainings):
    one, other = (plan_of(noisy("masking", scale_data=way), X, None) for way in (True, False))
    assert one.config.common != other.config.common
    grid = {"scale_data": [True, False], "noise": ["masking"], "alpha": [1e-4, 1e-2]}
    ours, theirs = search_both(make(), grid, X + 1.0)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 6


# What it is for.


@pytest.mark.parametrize(
    ("params", "kind", "level"),
    [
        # A strong weight decay, the default's, already keeps codes from following noise.
        ({"alpha": 1e-3}, "gaussian", 1.0),
        ({}, "masking", 0.3),
        ({"sparsity": "l1"}, "masking", 0.3),
        ({"sparsity": None}, "gaussian", 0.5),
        ({"sparsity": None, "tied_weights": True}, "gaussian", 0.5),
        ({"sparsity": None, "tied_weights": True}, "masking", 0.3),
        ({"solver": "lbfgs", "max_iter": 100}, "masking", 0.3),
        ({"scale_data": False}, "masking", 0.3),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_denoising_autoencoder_repairs_rows_better_than_a_plain_one(digits, params, kind, level):
    train, test = digits[:1000], digits[1000:]
    rng, mean = np.random.default_rng(0), train.mean(axis=0)
    if kind == "gaussian":
        deviation = np.sqrt(((train - mean) ** 2).mean())
        corrupted = test + level * deviation * rng.normal(size=test.shape)
    else:
        blank = mean if params.get("scale_data", True) else 0.0
        corrupted = np.where(rng.random(test.shape) < level, blank, test)

    def error(**noise):
        given = {"max_iter": 30, "batch_size": 100, "random_state": 0} | params | noise
        model = SparseAutoencoderTransformer(64, **given).fit(train)
        repaired = model.inverse_transform(model.transform(corrupted))
        return ((repaired - test) ** 2).mean()

    denoising = error(noise=kind, noise_level=level)
    assert denoising < 0.95 * error()
    if params.get("sparsity", "kl") is None:
        assert denoising < 0.8 * ((corrupted - test) ** 2).mean()
