"""J is the formula of the docstring, however its rows are weighted, ordered, cut and stored."""

import numpy as np
import oracle
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Problem, Terms, relative_error, small_parts
from registered import (
    ACTIVATIONS,
    AUTO,
    CODE_ACTIVATIONS,
    COUNTED,
    SPARSITIES,
    WITH_BETA,
    each_layered_sparsity,
    each_smooth,
    each_sparsity,
    each_training,
    rho_of,
    with_depths,
)

from sksae import SparseAutoencoderTransformer
from sksae.engine import epoch_loss, full_batch, threads
from sksae.engine.full_batch import FullObjective
from sksae.engine.minibatch import MinibatchObjective
from sksae.engine.noise import Drops
from sksae.engine.parameters import Parameters
from sksae.engine.threads import Crew
from sksae.model import slices as row_slices
from sksae.model.flat import to_flat
from sksae.model.settings import Dropout
from sksae.model.slices import batch_slices, chunk_slices, equal_slices

OUTPUTS = [
    *((name, False) for name in ACTIVATIONS),
    *((name, True) for name in ACTIVATIONS if name != "relu"),  # which cannot give scaled data
]
LAYERS = {"shallow": ((), "relu"), "prelu": ((5,), "prelu"), "relu-relu": ((6, 5), "relu")}
# Relative agreement of J and gradients that differ by the order of their sums alone.
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}

DEEP = with_depths(CODE_ACTIVATIONS, {"deep": ((5,), "relu")})
# Codes that count units have passes of their own (tests/test_exact_gradients.py).
each_dense_sparsity = pytest.mark.parametrize(
    "sparsity", [name for name in SPARSITIES if name not in COUNTED]
)
each_deep_code = pytest.mark.parametrize(
    ("sparsity", "activation"), [each.values[:2] for each in DEEP]
)
each_code_and_depth = pytest.mark.parametrize(
    ("sparsity", "activation", "layers"), with_depths(CODE_ACTIVATIONS, LAYERS)
)
each_dtype = pytest.mark.parametrize("dtype", ROUNDING, ids=["float64", "float32"])
each_objective = pytest.mark.parametrize("objective", ["minibatch", "full"])
# The default code of each sparsity.

never_converges = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
out_of_range = pytest.mark.filterwarnings("ignore:X holds values from")


def make_rows(n_rows=20, n_features=6, seed=0):
    """Return rows in (0.1, 0.9), which every output activation can give, of low rank and noisy."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_features))
    X += 0.3 * rng.normal(size=X.shape)
    return 0.1 + 0.8 * (X - X.min()) / np.ptp(X)


def make_model(**params):
    given = {
        "n_components": 3,
        "rho": 0.05,
        "beta": 0.5,
        "alpha": 1e-3,
        "max_iter": 2,
        "tol": 0.0,
        "dtype": "float64",
        "random_state": 0,
    }
    given |= params
    if given.get("sparsity", "kl") not in WITH_BETA:
        given["beta"] = SparseAutoencoderTransformer().beta  # anything else draws a warning
    given["rho"] = rho_of(given.get("sparsity", "kl"), given["rho"])
    return SparseAutoencoderTransformer(**given)


# loss_ and mean_activation_ of fitted estimators


def check_loss(weighted, **params):
    X = make_rows()
    # Every fourth row has weight 0.
    weight = np.tile([0.0, 0.5, 1.0, 2.5], 5) if weighted else None
    model = make_model(batch_size=7, **params).fit(X, sample_weight=weight)
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X, weight), rel=1e-10)
    np.testing.assert_allclose(
        model.mean_activation_, oracle.mean_activation_of(model, X, weight), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(model.active_share_, oracle.active_share_of(model, X, weight))


@pytest.mark.each_once
@never_converges
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("scale_data", [False, True])
@pytest.mark.parametrize(
    ("sparsity", "activation", "layers"),
    with_depths(CODE_ACTIVATIONS, LAYERS, dictionaries=True),
)
def test_loss_and_mean_activation_are_the_formula_of_coefs_and_intercepts(
    sparsity, activation, layers, scale_data, weighted
):
    check_loss(
        weighted,
        sparsity=sparsity,
        activation=activation,
        output_activation="sigmoid",
        hidden_layer_sizes=layers[0],
        hidden_activation=layers[1],
        scale_data=scale_data,
    )


@pytest.mark.each_once
@never_converges
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize(("output_activation", "scale_data"), OUTPUTS)
@each_layered_sparsity
def test_loss_and_mean_activation_are_the_formula_for_every_output(
    sparsity, output_activation, scale_data, weighted
):
    check_loss(
        weighted,
        sparsity=sparsity,
        output_activation=output_activation,
        hidden_layer_sizes=(5,),
        hidden_activation="tanh",
        scale_data=scale_data,
    )


@pytest.mark.each_once
@never_converges
@pytest.mark.parametrize("scale_data", [False, True])
@each_training
def test_loss_is_the_formula_after_every_solver(sparsity, scale_data, solver):
    X = make_rows()
    model = make_model(
        sparsity=sparsity, scale_data=scale_data, solver=solver, max_iter=10, learning_rate=1e-3
    ).fit(X)
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X), rel=1e-10)
    if solver == "lbfgs":
        assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-12)


@never_converges
@each_sparsity
def test_float32_loss_is_the_formula_to_its_own_rounding(sparsity):
    X = make_rows(200)
    model = make_model(sparsity=sparsity, dtype="float32", max_iter=20).fit(X)
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X), rel=1e-5)


@never_converges
@each_sparsity
def test_loss_of_partial_fit_is_the_formula_over_the_rows_of_the_last_call(sparsity):
    model = make_model(sparsity=sparsity)
    for seed in range(3):
        X = make_rows(seed=seed)
        weight = np.linspace(0.5, 1.5, len(X))
        model.partial_fit(X, sample_weight=weight)
    assert model.loss_ == pytest.approx(oracle.loss_of(model, X, weight), rel=1e-10)
    np.testing.assert_allclose(
        model.mean_activation_, oracle.mean_activation_of(model, X, weight), rtol=1e-10
    )


@never_converges
def test_scaled_data_have_one_norm_and_bounded_outputs_the_range_of_uflds_patches():
    X = make_rows()
    for output_activation, mean, deviation in (
        ("identity", 0.0, 6 / np.sqrt(X.shape[1])),
        ("sigmoid", 0.5, 0.4 / 3),
    ):
        model = make_model(output_activation=output_activation).fit(X)
        z = oracle.scaled(model, X)
        np.testing.assert_allclose(z.mean(axis=0), mean, atol=1e-12)
        assert (z - z.mean(axis=0)).std() == pytest.approx(deviation, rel=1e-12)


@never_converges
def test_an_int_rho_counts_units():
    X = make_rows()
    counted = make_model(n_components=5, rho=1).fit(X)
    shared = make_model(n_components=5, rho=0.2).fit(X)
    assert counted.loss_ == shared.loss_ == pytest.approx(oracle.loss_of(shared, X), rel=1e-10)


@never_converges
@each_dense_sparsity
def test_training_starts_from_small_weights_at_the_trivial_solution(sparsity):
    X = make_rows(200)
    # A step this short changes nothing, so what is returned is the start.
    start = make_model(
        n_components=30,
        sparsity=sparsity,
        scale_data=False,
        output_activation="sigmoid",
        solver="sgd",
        learning_rate=1e-300,
        max_iter=1,
    ).fit(X)
    network = oracle.network_of(start)
    assert all(0.9 < abs(coef).max() / np.sqrt(6 / (6 + 30 + 1)) <= 1 for coef in network.coefs)
    # At the mean row the code is at rest, and without the code the output is the mean row.
    code = oracle.forward(np, network, X.mean(axis=0)[None])[0][0]
    np.testing.assert_allclose(code, np.log(0.05 / 0.95) if sparsity == "kl" else 0.0, atol=1e-12)
    output = oracle.activate(np, "sigmoid", network.intercepts[-1], None)
    np.testing.assert_allclose(output, X.mean(axis=0), rtol=1e-12)


# J and its gradient at fixed parameters


def assert_same(problem, other, objective, dtype):
    value, gradient = getattr(problem, objective)(dtype)
    other_value, other_gradient = getattr(other, objective)(dtype)
    assert value == pytest.approx(other_value, rel=ROUNDING[dtype])
    assert relative_error(gradient, other_gradient) < ROUNDING[dtype]


@st.composite
def problems(draw):
    """Draw a problem of some sparsity, code and depth."""
    codes = [each.values for each in with_depths(CODE_ACTIVATIONS, LAYERS)]
    sparsity, activation, layers = draw(st.sampled_from(codes))
    seed = draw(st.integers(0, 99))
    return Problem.draw(sparsity, activation, "sigmoid", *layers, seed=seed)


counts = st.lists(st.integers(0, 4), min_size=8, max_size=8).filter(any).map(np.array)


@each_dtype
@each_objective
@settings(max_examples=40)
@given(problem=problems(), count=counts)
def test_an_integer_weight_is_as_many_equal_rows(objective, dtype, problem, count):
    weighted = problem.but(weight=count.astype(float), chosen=np.flatnonzero(count))
    repeated = problem.but(X=np.repeat(problem.X, count, axis=0))
    assert_same(weighted, repeated, objective, dtype)


@each_dtype
@each_objective
@settings(max_examples=40)
@given(problem=problems(), count=counts, junk=st.floats(-1e6, 1e6))
def test_rows_of_weight_zero_have_no_influence(objective, dtype, problem, count, junk):
    some = np.flatnonzero(count)
    without = problem.but(X=problem.X[some], weight=count[some].astype(float))
    X = np.where(count[:, None] > 0, problem.X, junk)
    assert_same(
        problem.but(X=X, weight=count.astype(float), chosen=some), without, objective, dtype
    )


@each_dtype
@each_objective
@settings(max_examples=40)
@given(problem=problems(), order=st.permutations(range(8)))
def test_the_order_of_rows_is_nothing_to_the_objective(objective, dtype, problem, order):
    order = np.array(order)
    weight = np.linspace(0.5, 2.0, 8)
    ordered = problem.but(weight=weight)
    permuted = problem.but(X=problem.X[order], weight=weight[order])
    assert_same(ordered, permuted, objective, dtype)


@each_objective
@settings(max_examples=40)
@given(problem=problems(), factor=st.floats(1e-6, 1e6))
def test_only_ratios_of_weights_matter(objective, problem, factor):
    weight = np.linspace(0.5, 2.0, 8)
    one, other = problem.but(weight=weight), problem.but(weight=weight * factor)
    assert_same(one, other, objective, torch.float64)


@settings(max_examples=40)
@given(problem=problems(), count=counts)
def test_the_objective_of_weighted_rows_is_the_formula(problem, count):
    weighted = problem.but(weight=count.astype(float))
    expected = weighted.value()
    for objective in (weighted.full, weighted.minibatch):
        assert objective()[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.each_once
@pytest.mark.parametrize("kept_entries", [0, 2**24], ids=["encoded-again", "kept"])
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@each_code_and_depth
def test_chunks_add_up_to_one_walk_over_all_rows(
    sparsity, activation, layers, weighted, kept_entries, monkeypatch
):
    problem = Problem.draw(sparsity, activation, "sigmoid", *layers, weighted=weighted, n_rows=23)
    value, gradient = problem.full()
    monkeypatch.setattr(row_slices, "CHUNK_ENTRIES", 1)
    monkeypatch.setattr(row_slices, "MIN_CHUNK_ROWS", 5)
    monkeypatch.setattr(full_batch, "KEPT_ENTRIES", kept_entries)
    assert len(chunk_slices(23, 6)) == 5
    chunked_value, chunked_gradient = problem.full()
    assert chunked_value == pytest.approx(value, rel=1e-12)
    assert relative_error(chunked_gradient, gradient) < 1e-12


@pytest.mark.each_once
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("n_members", [2, 3])
@pytest.mark.parametrize("chunk_rows", [1, 5, 23])
@each_deep_code
def test_walks_side_by_side_add_up_to_one_over_all_rows(
    sparsity, activation, chunk_rows, n_members, weighted
):
    problem = Problem.draw(sparsity, activation, "prelu", (5,), weighted=weighted, n_rows=23)
    value, gradient = problem.full()
    with small_parts(chunk_rows):
        divided_value, divided_gradient = problem.full(n_members=n_members)
    assert divided_value == pytest.approx(value, rel=1e-12)
    assert relative_error(divided_gradient, gradient) < 1e-12


@pytest.mark.each_once
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("n_members", [2, 3])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@each_deep_code
def test_parts_of_a_minibatch_add_up_to_the_whole(sparsity, activation, tied, n_members, weighted):
    problem = Problem.draw(
        sparsity, activation, "prelu", (5,), weighted=weighted, tied=tied, n_rows=23
    )
    value, gradient = problem.minibatch()
    with small_parts():
        divided_value, divided_gradient = problem.minibatch(n_members=n_members)
    assert divided_value == pytest.approx(value, rel=1e-12)
    assert relative_error(divided_gradient, gradient) < 1e-12


@given(n_rows=st.integers(1, 3000), batch_size=st.integers(1, 300) | st.sampled_from([16, 32, 256]))
def test_minibatches_cover_all_rows_and_are_nearly_equal(n_rows, batch_size):
    slices = batch_slices(n_rows, batch_size)
    assert len(slices) == -(-n_rows // batch_size)
    bounds = [0, *(which.stop for which in slices)]
    assert [which.start for which in slices] == bounds[:-1]
    assert bounds[-1] == n_rows
    lengths = np.diff(bounds)
    shortest, longest = min(lengths), max(lengths)
    assert 1 <= shortest <= longest <= batch_size
    assert longest <= max(shortest + 1, 1.15 * shortest)
    # All but the first are the multiples that the products like, where there is room for them.
    if batch_size % 16 == 0 and shortest >= 128:
        assert not (lengths[1:] % 16).any()


@pytest.mark.parametrize("n_chunks", [1, 4])
@each_deep_code
def test_evaluating_gives_the_value_and_mean_code_without_a_gradient(
    sparsity, activation, n_chunks, monkeypatch
):
    problem = Problem.draw(sparsity, activation, "tanh", (5,), weighted=True, n_rows=20)
    monkeypatch.setattr(row_slices, "CHUNK_ENTRIES", 1)
    monkeypatch.setattr(row_slices, "MIN_CHUNK_ROWS", 20 // n_chunks)
    parameters = Parameters(problem.architecture, torch.tensor(problem.flat))
    full = FullObjective(problem.penalties, parameters, problem.rows(), problem.loss)
    (value, *_), mean_code = full.evaluate()[:2]
    assert value.item() == pytest.approx(problem.value(), rel=1e-12)
    network = problem.network(problem.flat)
    code = oracle.forward(np, network, problem.X - problem.centre)[1][network.code_layer]
    np.testing.assert_allclose(
        mean_code.numpy().ravel(), oracle.shares(20, problem.weight) @ code, rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("n_members", [1, 2])
@each_deep_code
def test_some_rows_tell_that_the_objective_is_above_a_limit(
    sparsity, activation, n_members, monkeypatch
):
    problem = Problem.draw(sparsity, activation, "tanh", (5,), weighted=True, n_rows=40)
    monkeypatch.setattr(row_slices, "CHUNK_ENTRIES", 1)
    monkeypatch.setattr(row_slices, "MIN_CHUNK_ROWS", 5)
    monkeypatch.setattr(threads, "LEAST_WORK", 1)
    monkeypatch.setattr(threads, "LEAST_ROWS", 1)
    parameters = Parameters(problem.architecture, torch.tensor(problem.flat))
    with Crew(n_members) as crew:
        full = FullObjective(problem.penalties, parameters, problem.rows(), problem.loss, crew=crew)
        value = full.evaluate().loss
        assert full.loss_unless_above(0.0 * value) is None
        assert full.loss_unless_above(0.1 * value) is None
        assert torch.equal(full.loss_unless_above(1.01 * value), value)
        assert torch.equal(full.loss_unless_above(torch.full_like(value, np.nan)), value)


@pytest.mark.parametrize("resident", [False, True], ids=["read", "resident"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csr_matrix])
@each_dense_sparsity
def test_the_form_of_rows_is_nothing_to_the_objective(sparsity, form, resident):
    problem = Problem.draw(sparsity, AUTO[sparsity], weighted=True, n_rows=12)
    problem = problem.but(X=problem.X * (problem.X > 0.5))
    rows = problem.but(X=form(problem.X)).rows()
    if resident:
        rows.keep_resident()
    flat = torch.tensor(problem.flat)
    full = FullObjective(
        problem.penalties, Parameters(problem.architecture, flat.clone()), rows, problem.loss
    )
    (value, *_), gradient = full.gradient(flat)
    expected_value, expected = problem.autograd()
    assert value.item() == pytest.approx(expected_value, rel=1e-12)
    assert relative_error(gradient, expected) < 1e-12


# Minibatches


def minibatches(problem, n_batches, **options):
    """Return a minibatch objective, and the slices into which it is given the rows."""
    parameters = Parameters(problem.architecture, torch.tensor(problem.flat))
    objective = MinibatchObjective(problem.penalties, parameters, problem.loss, **options)
    return objective, equal_slices(len(problem.X), n_batches)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("sparsity", ["l1", "l2", None])
def test_batches_add_up_to_the_objective(sparsity, weighted):
    problem = Problem.draw(sparsity, "relu", weighted=weighted, n_rows=12)
    objective, slices = minibatches(problem, 4)
    total = 0.0
    for batch in problem.rows().batches(slices, np.random.default_rng(0).permutation(12)):
        objective(batch)
        total = total + objective.gradient.flat.numpy() / 4
    value, gradient = problem.autograd()
    assert objective.epoch_loss().total.item() == pytest.approx(value, rel=1e-12)
    assert relative_error(total, gradient) < 1e-12


def divergence_of(problem, batches_given, window):
    """Return the mean divergence that a minibatch objective saw: what J has that beta brings."""
    losses = []
    for beta in (1.0, 0.0):
        terms = Terms("kl", problem.terms.rho, beta, 0.0)
        objective, _ = minibatches(problem.but(terms=terms), 1, window=window)
        for batch in batches_given():
            objective(batch)
        losses.append(objective.epoch_loss().total.item())
    return losses[0] - losses[1]


def divergence_by_formula(problem, rho_hat):
    rho = problem.terms.rho
    return np.sum(rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat)))


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_kl_compares_rho_with_a_running_mean_over_the_last_batches(activation, weighted):
    problem = Problem.draw("kl", activation, weighted=weighted, n_rows=24)
    network, slices = problem.network(problem.flat), equal_slices(24, 6)
    code = oracle.forward(np, network, problem.X - problem.centre)[1][network.code_layer]
    weight = problem.weight if weighted else np.ones(24)
    running, divergence = 0.0, 0.0
    for n_seen, which in enumerate(slices):
        # The mean of all batches until there are three, then exponentially forgetting.
        share = max(1 / (n_seen + 1), 1 / 3)
        sums = np.append(weight[which] @ code[which], weight[which].sum())
        running = (1 - share) * running + share * sums
        mean = running[:-1] / running[-1]
        rho_hat = (1 + mean) / 2 if activation == "tanh" else mean
        divergence += divergence_by_formula(problem, rho_hat) / 6
    got = divergence_of(problem, lambda: problem.rows().batches(slices, None), window=3)
    assert got == pytest.approx(divergence, rel=1e-11)


@given(weight=st.lists(st.none() | st.floats(0.1, 10.0), min_size=2, max_size=6))
def test_the_running_mean_of_a_constant_code_is_that_code_whatever_the_weights(weight):
    problem = Problem.draw("kl", "sigmoid", n_rows=8)
    network = problem.network(problem.flat.copy())
    network.coefs[0][:] = 0.0
    problem = problem.but(
        flat=to_flat(problem.architecture, network.coefs, network.intercepts, [{}, {}])
    )

    def given():
        for w in weight:
            # Weights of some mean; none where rows count alike, as in a call without weights.
            rows = problem.but(weight=None if w is None else np.append(np.ones(7), w)).rows()
            yield from rows.batches([slice(0, 4), slice(4, 8)], None)

    expected = divergence_by_formula(problem, 1 / (1 + np.exp(-network.intercepts[0])))
    assert divergence_of(problem, given, window=3) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_a_minibatch_objective_resumes_from_its_state(weighted):
    problem = Problem.draw("kl", "sigmoid", weighted=weighted, n_rows=24)
    objective, slices = minibatches(problem, 6, window=3)
    resumed = None
    for n_seen, batch in enumerate(problem.rows().batches(slices, None)):
        if n_seen == 4:
            resumed, _ = minibatches(problem, 6, window=3, state=objective.state())
            objective.epoch_loss()
        objective(batch)
        if resumed is not None:
            resumed(batch)
    np.testing.assert_array_equal(resumed.gradient.flat, objective.gradient.flat)
    assert resumed.epoch_loss().total == objective.epoch_loss().total


@each_dense_sparsity
def test_an_epoch_of_many_batches_has_the_mean_of_their_losses(sparsity, monkeypatch):
    problem = Problem.draw(sparsity, AUTO[sparsity], weighted=True, n_rows=24)
    losses = []
    for folded in (1, 3, 256):
        monkeypatch.setattr(epoch_loss, "ADDED_TOGETHER", folded)
        objective, slices = minibatches(problem, 8, window=3)
        for batch in problem.rows().batches(slices, None):
            objective(batch)
        losses.append(objective.epoch_loss().total.item())
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


def test_a_saturated_unit_keeps_the_objective_finite():
    problem = Problem.draw("kl", "sigmoid")
    network = problem.network(problem.flat.copy())
    network.intercepts[0][:] = [-1e4, 1e4, 0.0]
    flat = to_flat(problem.architecture, network.coefs, network.intercepts, [{}, {}])
    for dtype in ROUNDING:
        for objective in (problem.but(flat=flat).full, problem.but(flat=flat).minibatch):
            value, gradient = objective(dtype)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


# Trainings


def weights_and_repeats():
    """Return rows, integer weights with zeros among them, and the rows so often."""
    X = make_rows(150, 8)
    count = np.random.default_rng(1).integers(0, 4, len(X))
    return X, count, np.repeat(X, count, axis=0)


@pytest.mark.each_once
@never_converges
@pytest.mark.parametrize(
    ("solver", "dtype"), [("lbfgs", "float64"), ("lbfgs", "float32"), ("adam", "float32")]
)
@each_smooth
def test_training_on_weights_ends_as_on_repeated_rows(sparsity, solver, dtype):
    X, count, repeated = weights_and_repeats()
    # A minimum that is well-defined and reached: with the kinks of relu, with little weight decay
    # or underway, L-BFGS makes much of every rounding.
    model = make_model(
        n_components=6,
        sparsity=sparsity,
        beta=0.05 if sparsity in ("l1", "l2") else 0.5,
        alpha=3e-3,
        activation="sigmoid",
        solver=solver,
        dtype=dtype,
        max_iter=500 if solver == "lbfgs" else 1000,
        n_iter_no_change=1000,
        batch_size=1000,
    )
    weighted = model.fit(X, sample_weight=count).loss_
    assert weighted == pytest.approx(model.fit(repeated).loss_, rel=1e-4)


@never_converges
@each_training
def test_rows_of_weight_zero_leave_no_trace_in_training(sparsity, solver):
    X, count, _ = weights_and_repeats()
    some = count > 0
    X[~some] = 1e3
    model = make_model(sparsity=sparsity, solver=solver, batch_size=32, max_iter=5)
    without = model.fit(X[some], sample_weight=count[some]).coefs_
    for coef, expected in zip(model.fit(X, sample_weight=count).coefs_, without, strict=True):
        np.testing.assert_allclose(coef, expected, rtol=1e-10, atol=1e-12)


@never_converges
@out_of_range
@pytest.mark.parametrize("form", [sp.csr_array, np.asfortranarray])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_training_does_not_depend_on_the_form_of_rows(solver, form):
    X = make_rows(100) * (make_rows(100) > 0.4)
    model = make_model(solver=solver, batch_size=32, max_iter=5)
    coefs = model.fit(X).coefs_
    for coef, expected in zip(model.fit(form(X)).coefs_, coefs, strict=True):
        np.testing.assert_allclose(coef, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_members", [2, 3])
def test_parts_of_a_minibatch_are_dropped_as_the_whole(n_members):
    problem = Problem.draw("kl", "sigmoid", "tanh", (5,), n_rows=23)

    def shown(n):
        drops = Drops(Dropout(0.4, (0, 1)), 0, torch.device("cpu"))
        drops.begin(0)
        return problem.minibatch(drops=drops, n_members=n)

    value, gradient = shown(1)
    with small_parts():
        divided_value, divided_gradient = shown(n_members)
    assert divided_value == pytest.approx(value, rel=1e-12)
    assert relative_error(divided_gradient, gradient) < 1e-12
