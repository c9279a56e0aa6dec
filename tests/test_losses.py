"""What the output is compared with: losses, targets, held-out scores, and which weights decay."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from oracle import Problem, forward, relative_error, small_parts
from registered import each_with_beta
from sklearn.metrics import accuracy_score, log_loss, r2_score

from sksae.engine.batches import Rows
from sksae.engine.full_batch import FullObjective
from sksae.engine.losses import CrossEntropy, SquaredError
from sksae.engine.minibatch import MinibatchObjective
from sksae.engine.parameters import Parameters
from sksae.engine.validation_scorers import AccuracyScorer, R2Scorer, make_scorer
from sksae.model import slices

CPU = torch.device("cpu")
HIDDEN = {
    "none": (),
    "one": (("sigmoid", 3),),
    "two": (("prelu", 5), ("sigmoid", 3)),
}
N_ROWS = 23
LABELS = np.random.default_rng(7).integers(0, 3, N_ROWS)
TARGETS = {"labels": LABELS, "numbers": np.random.default_rng(8).normal(size=(N_ROWS, 2))}

each_depth = pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
each_weighting = pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
each_objective = pytest.mark.parametrize("objective", ["minibatch", "full"])


# Losses by themselves.


def evaluate(loss, output, target):
    """Return l of each row, and its derivative by the output."""
    output = torch.as_tensor(output)[None]
    target = torch.as_tensor(target).reshape(1, len(target), -1)
    loss, found = loss.like(output), []
    # Outputs of a row lie side by side, or one below the other.
    for dim in (-1, -2):
        given, wanted = (each if dim == -1 else each.mT for each in (output, target))
        derivative = torch.full_like(given, torch.nan)
        values = loss.values(loss(given, wanted, derivative, dim))
        found.append((values[0].numpy(), (derivative if dim == -1 else derivative.mT)[0].numpy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    return found[0]


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_the_cross_entropy_is_scikit_learns_log_loss(n_classes):
    rng = np.random.default_rng(0)
    output, labels = rng.normal(size=(40, n_classes), scale=3.0), rng.integers(0, n_classes, 40)
    weight = rng.uniform(0.1, 2.0, 40)
    values, derivative = evaluate(CrossEntropy(), output, labels)
    shares = np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
    each = np.arange(n_classes)
    assert values.mean() == pytest.approx(log_loss(labels, shares, labels=each), rel=1e-12)
    assert np.average(values, weights=weight) == pytest.approx(
        log_loss(labels, shares, labels=each, sample_weight=weight), rel=1e-12
    )
    np.testing.assert_allclose(derivative, shares - np.eye(n_classes)[labels], atol=1e-14)


def test_the_cross_entropy_of_large_outputs_is_finite():
    output = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    values, derivative = evaluate(CrossEntropy(), output, np.array([0, 0]))
    np.testing.assert_allclose(values, [0.0, 2e4])
    np.testing.assert_allclose(derivative, [[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])


@pytest.mark.parametrize("offset", [None, np.array([0.0, 0.0]), np.array([0.5, -2.0])])
def test_the_squared_error_is_half_the_squared_distance_from_target_and_offset(offset):
    rng = np.random.default_rng(0)
    output, target = rng.normal(size=(2, 9, 2))
    values, derivative = evaluate(SquaredError(offset), output, target)
    error = output - target - (0.0 if offset is None else offset)
    np.testing.assert_allclose(values, (error**2).sum(axis=1) / 2, rtol=1e-12)
    np.testing.assert_allclose(derivative, error, rtol=1e-12)


def test_every_model_is_compared_with_the_same_labels():
    output = torch.randn(3, 8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8).remainder(4).view(1, 8, 1)
    derivative = torch.empty_like(output)
    together = CrossEntropy()(output, labels, derivative, -1)
    for model in range(3):
        values, alone = evaluate(CrossEntropy(), output[model].numpy(), labels[0, :, 0])
        np.testing.assert_allclose(together[model], values, rtol=1e-12)
        np.testing.assert_allclose(derivative[model], alone, rtol=1e-12)


# In J.


@each_objective
@each_weighting
@each_target
@each_depth
@pytest.mark.parametrize("output_layout", ["columns", "rows"])
def test_the_gradient_by_targets_is_that_of_autograd(
    hidden, target, weighted, objective, output_layout
):
    if output_layout == "rows" and not hidden:
        return  # an only layer reads rows, and works on columns
    problem = Problem.supervised(
        target, hidden=hidden, weighted=weighted, output_layout=output_layout
    )
    expected_value, expected = problem.autograd()
    assert problem.value() == pytest.approx(expected_value, rel=1e-13)
    value, gradient = getattr(problem, objective)()
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert relative_error(gradient, expected) < 1e-12


@each_objective
@each_target
@each_with_beta
def test_a_target_goes_together_with_a_sparse_code_and_scaled_inputs(sparsity, target, objective):
    problem = Problem.supervised(
        target, sparsity, HIDDEN["two"], weighted=True, input_scales=(0.7, 1.9, 0.4)
    )
    value, gradient = getattr(problem, objective)()
    assert value == pytest.approx(problem.value(), rel=1e-12)
    assert relative_error(gradient, problem.autograd()[1]) < 1e-12


@pytest.mark.parametrize("n_members", [1, 2])
@each_weighting
@each_target
def test_chunks_and_parts_add_up_with_targets(target, weighted, n_members):
    problem = Problem.supervised(target, "kl", HIDDEN["two"], weighted=weighted)
    with small_parts(9):
        value, gradient = problem.full(n_members=n_members)
    assert value == pytest.approx(problem.value(), rel=1e-12)
    assert relative_error(gradient, problem.autograd()[1]) < 1e-12


@each_objective
@each_depth
def test_the_last_layer_alone_decays_if_asked_to(hidden, objective):
    decaying = Problem.supervised(LABELS, hidden=hidden, decays="last")
    value, gradient = getattr(decaying, objective)()
    assert value == pytest.approx(decaying.value(), rel=1e-12)
    assert relative_error(gradient, decaying.autograd()[1]) < 1e-12
    free = decaying.but(terms=decaying.terms.__class__(None, 0.2, 0.7, alpha=0.0))
    by_decay = Parameters(
        decaying.architecture, torch.tensor(gradient - getattr(free, objective)()[1])
    )
    *earlier, last = by_decay.weights
    weights = Parameters(decaying.architecture, torch.tensor(decaying.flat)).weights
    np.testing.assert_allclose(last, 0.03 * weights[-1], rtol=1e-10, atol=1e-14)
    for part in (*earlier, *by_decay.biases):
        np.testing.assert_allclose(part, 0.0, atol=1e-14)


@each_objective
@pytest.mark.parametrize("hidden_layer_sizes", [(), (5,)])
@pytest.mark.parametrize("decays", ["all", "last"])
def test_of_tied_weights_each_layer_decays_that_is_to(decays, hidden_layer_sizes, objective):
    problem = Problem.draw(hidden_layer_sizes=hidden_layer_sizes, tied=True)
    problem = problem.but(terms=problem.terms.__class__("kl", 0.2, 0.7, 0.03, decays))
    value, gradient = getattr(problem, objective)()
    assert value == pytest.approx(problem.value(), rel=1e-12)
    assert relative_error(gradient, problem.autograd()[1]) < 1e-12


@pytest.mark.parametrize("alpha", [[0.03, 0.03], [0.03, 0.2]], ids=["common", "own"])
@pytest.mark.parametrize("decays", ["all", "last"])
def test_models_side_by_side_decay_each_by_its_own(decays, alpha):
    problem = Problem.supervised(LABELS, hidden=HIDDEN["two"], decays=decays)
    problems = [
        problem.but(
            flat=np.random.default_rng(seed).normal(size=len(problem.flat)),
            terms=problem.terms.__class__(None, 0.2, 0.7, each, decays),
        )
        for seed, each in enumerate(alpha)
    ]
    like = torch.empty(0, dtype=torch.float64)
    parameters = Parameters.stacked(problem.architecture, [each.flat for each in problems], like)
    penalties = type(problem.penalties).side_by_side([each.penalties for each in problems])
    assert penalties.decays == decays
    objective = MinibatchObjective(penalties, parameters, problem.loss, window=1)
    objective(problem.rows().batch(slice(0, N_ROWS)))
    values = objective.epoch_loss().total
    for model, each in enumerate(problems):
        value, gradient = each.autograd()
        assert values[model].item() == pytest.approx(value, rel=1e-12)
        assert relative_error(objective.gradient.model(model), gradient) < 1e-12


# Gains.


def test_a_gain_is_a_factor_of_the_layers_input():
    problem = Problem.supervised(
        TARGETS["numbers"], "l2", HIDDEN["two"], input_scales=(0.5, 3.0, 2.0)
    )
    network = problem.network(problem.flat.copy())
    plain = problem.but(
        architecture=replace(problem.architecture, input_scales=()),
        terms=problem.terms.__class__("l2", 0.2, 0.7, alpha=0.0),
    )
    for coef, input_scale in zip(network.coefs, problem.architecture.input_scales, strict=True):
        coef *= input_scale
    slopes = [slope for slope in network.slopes if slope is not None]
    blocks = [*(coef.T for coef in network.coefs), *network.intercepts, *slopes]
    same = plain.but(flat=np.concatenate([block.ravel() for block in blocks]))
    scaled = problem.but(terms=plain.terms)
    for objective in ("minibatch", "full"):
        value, _ = getattr(scaled, objective)()
        assert value == pytest.approx(getattr(same, objective)()[0], rel=1e-12)


# Targets of rows.


@pytest.mark.parametrize("resident", [False, True], ids=["read", "resident"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@each_target
def test_targets_go_with_their_rows(target, form, resident):
    X = np.arange(N_ROWS * 4.0).reshape(N_ROWS, 4)
    index = np.array([1, 4, 5, 9, 11, 20])
    columns = target.reshape(N_ROWS, -1)
    rows = Rows(
        form(X),
        centre=np.zeros(4),
        scale=1.0,
        dtype=torch.float32,
        device=CPU,
        index=index,
        target=columns,
    )
    if resident:
        rows.keep_resident()
    order = np.array([3, 0, 5, 1, 4, 2])
    picks = [slice(0, 4), slice(4, 6)]
    whole = [(b.rows[0].clone(), b.target[0].clone()) for b in rows.batches(picks, order)]
    which = index[order]
    np.testing.assert_array_equal(torch.cat([shown for shown, _ in whole]), X[which])
    np.testing.assert_array_equal(
        torch.cat([wanted for _, wanted in whole]),
        columns[which] if target.ndim == 1 else columns[which].astype(np.float32),
    )
    is_labels = target.ndim == 1
    assert whole[0][1].dtype == (torch.int64 if is_labels else torch.float32)
    for batch in rows.chunks(4):
        np.testing.assert_array_equal(batch.rows[0], X[index])
        np.testing.assert_allclose(batch.target[0], columns[index], rtol=1e-6)


def test_without_targets_a_row_is_its_own():
    rows = Rows(np.ones((5, 2)), centre=np.zeros(2), scale=1.0, dtype=torch.float32, device=CPU)
    batch = rows.batch(slice(1, 3))
    assert batch.target is batch.rows


# Held out.


@pytest.fixture(params=["columns", "rows"])
def output_layout(request):
    return request.param


def judged(problem, n_chunks=1):
    """Return a judge of the problem's rows, and what the network makes of them."""
    rows = problem.rows()
    widest = 1 if n_chunks > 1 else max(problem.architecture.sizes)
    network = problem.network(problem.flat)
    output = forward(np, network, problem.X - problem.centre)[1][-1]
    parameters = Parameters(problem.architecture, torch.tensor(problem.flat))
    return make_scorer(rows, problem.loss, widest), parameters, output


@pytest.fixture(params=[1, 5], ids=["one chunk", "chunks"])
def n_chunks(request, monkeypatch):
    if request.param > 1:
        monkeypatch.setattr(slices, "CHUNK_ENTRIES", 1)
        monkeypatch.setattr(slices, "MIN_CHUNK_ROWS", 5)
    return request.param


@each_weighting
def test_accuracy_is_scikit_learns(weighted, n_chunks, output_layout):
    problem = Problem.supervised(
        LABELS, hidden=HIDDEN["one"], weighted=weighted, output_layout=output_layout, seed=3
    )
    scorer, parameters, output = judged(problem, n_chunks)
    assert isinstance(scorer, AccuracyScorer)
    expected = accuracy_score(LABELS, output.argmax(axis=1), sample_weight=problem.weight)
    assert 0.0 < expected < 1.0
    assert scorer.scores(parameters) == pytest.approx([expected], rel=1e-12)


@each_weighting
def test_explained_is_r2_over_all_outputs(weighted, n_chunks, output_layout):
    target = 100.0 + TARGETS["numbers"] * [1.0, 5.0]
    problem = Problem.supervised(
        target, hidden=HIDDEN["one"], weighted=weighted, output_layout=output_layout
    )
    problem.flat[-2:] += 100.0  # the biases of the output
    scorer, parameters, output = judged(problem, n_chunks)
    assert isinstance(scorer, R2Scorer)
    weight = np.ones(N_ROWS) if problem.weight is None else problem.weight
    mean = np.average(target, axis=0, weights=weight)
    error, deviation = (
        np.average(((target - other) ** 2).sum(axis=1), weights=weight) for other in (output, mean)
    )
    (score,) = scorer.scores(parameters)
    assert score == pytest.approx(1.0 - error / deviation, rel=1e-10)
    by_output = r2_score(target, output, sample_weight=weight, multioutput="variance_weighted")
    assert score == pytest.approx(by_output, rel=1e-10)


@each_weighting
def test_explained_of_rows_is_that_of_their_reconstruction(weighted, n_chunks):
    problem = Problem.draw(weighted=weighted, n_rows=N_ROWS)
    scorer, parameters, output = judged(problem, n_chunks)
    expected = r2_score(
        problem.X - problem.centre + problem.offset,
        output,
        sample_weight=problem.weight,
        multioutput="variance_weighted",
    )
    assert scorer.scores(parameters) == pytest.approx([expected], rel=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.3, 1000.1])
@pytest.mark.parametrize("n_rows", [2, 7, 30, 301])
def test_explained_of_targets_all_alike_is_1_or_0(value, n_rows):
    rng = np.random.default_rng(0)
    target = np.full((n_rows, 2), value)
    problem = Problem.supervised(target).but(X=rng.random((n_rows, 4)))
    scorer, parameters, _ = judged(problem)
    assert scorer.scores(parameters) == [0.0]
    for weight in (*parameters.weights, *parameters.biases):
        weight.zero_()
    parameters.biases[-1].fill_(value)
    assert scorer.scores(parameters) == [1.0]


def test_models_side_by_side_are_judged_each_by_itself(n_chunks):
    for target in TARGETS.values():
        problem = Problem.supervised(target, hidden=HIDDEN["one"])
        flats = np.random.default_rng(0).normal(size=(4, len(problem.flat)), scale=4.0)
        scorer, _, _ = judged(problem, n_chunks)
        alone = [
            scorer.scores(Parameters(problem.architecture, torch.tensor(flat)))[0] for flat in flats
        ]
        like = torch.empty(0, dtype=torch.float64)
        together = scorer.scores(Parameters.stacked(problem.architecture, flats, like))
        assert together == pytest.approx(alone, rel=1e-12)
        assert len(set(together)) > 1


def test_evaluating_gives_the_loss_by_targets_and_the_mean_code():
    problem = Problem.supervised(LABELS, "kl", weighted=True)
    parameters = Parameters(problem.architecture, torch.tensor(problem.flat))
    full = FullObjective(problem.penalties, parameters, problem.rows(), problem.loss)
    (value, *_), mean_code = full.evaluate()[:2]
    assert value.item() == pytest.approx(problem.value(), rel=1e-12)
    code = forward(np, problem.network(problem.flat), problem.X - problem.centre)[1][0]
    np.testing.assert_allclose(
        mean_code.numpy().ravel(), np.average(code, axis=0, weights=problem.weight), rtol=1e-12
    )
