"""The gradient written out by hand is the gradient: of autograd, and of differences of J."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import Problem, relative_error
from registered import ACTIVATIONS, CODE_ACTIVATIONS, with_depths

from sksae.engine.full_batch import FullObjective
from sksae.engine.minibatch import MinibatchObjective
from sksae.engine.parameters import Parameters
from sksae.model.settings import Penalties

LAYERS = {
    "shallow": ((), "relu"),
    "relu": ((5,), "relu"),
    "prelu": ((5,), "prelu"),
    "relu-relu": ((6, 5), "relu"),
    "prelu-prelu": ((6, 5), "prelu"),
}

DEEP = [each.values[:2] for each in with_depths(CODE_ACTIVATIONS, {"deep": ((5,), "relu")})]


def each_code_and_depth(layers=LAYERS):
    values = with_depths(CODE_ACTIVATIONS, layers)
    return pytest.mark.parametrize(("sparsity", "activation", "layers"), values)


each_deep_code = pytest.mark.parametrize(("sparsity", "activation"), DEEP)
each_weighting = pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
each_objective = pytest.mark.parametrize("objective", ["minibatch", "full"])


def slopes_by_differences(problem, directions, step=2e-4):
    """Return J's slopes along some directions, by central differences of fourth order."""

    def value(direction, steps):
        return problem.value(problem.flat + steps * step * direction)

    return [
        (8 * (value(d, 1) - value(d, -1)) - (value(d, 2) - value(d, -2))) / (12 * step)
        for d in directions
    ]


def check_gradients(problem):
    expected_value, expected = problem.autograd()
    directions = np.random.default_rng(1).normal(size=(2, len(expected)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    slopes = slopes_by_differences(problem, directions)
    for objective in (problem.minibatch, problem.full):
        value, gradient = objective()
        assert value == pytest.approx(expected_value, rel=1e-13)
        # 1e-8 is what is promised; two right formulas agree much better in float64.
        assert relative_error(gradient, expected) < 1e-12
        assert relative_error(directions @ gradient, slopes) < 1e-8


@pytest.mark.each_once
@each_weighting
@pytest.mark.parametrize("output_activation", ACTIVATIONS)
@each_code_and_depth()
def test_gradient_is_that_of_autograd_and_of_differences(
    sparsity, activation, output_activation, layers, weighted
):
    check_gradients(
        Problem.draw(sparsity, activation, output_activation, *layers, weighted=weighted)
    )


@pytest.mark.parametrize("hidden_activation", ["sigmoid", "tanh", "identity"])
@each_deep_code
def test_gradient_passes_other_hidden_activations(sparsity, activation, hidden_activation):
    check_gradients(Problem.draw(sparsity, activation, "identity", (6, 5), hidden_activation))


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("tied", "scales"),
    [(True, False), (False, True), (True, True)],
    ids=["tied", "gains", "tied-gains"],
)
@each_code_and_depth()
def test_gradient_of_tied_weights_and_of_scaled_inputs(sparsity, activation, tied, scales, layers):
    input_scales = (0.7, 1.9, 0.4, 1.3, 2.1, 0.6)[: 2 * len(layers[0]) + 2] if scales else ()
    check_gradients(
        Problem.draw(
            sparsity,
            activation,
            "identity",
            *layers,
            weighted=True,
            tied=tied,
            input_scales=input_scales,
        )
    )


@each_deep_code
def test_float32_gradient_is_that_of_float64_to_its_own_rounding(sparsity, activation):
    problem = Problem.draw(sparsity, activation, "sigmoid", (5,), "prelu", weighted=True)
    for objective in (problem.full, problem.minibatch):
        value, gradient = objective(torch.float32)
        assert value == pytest.approx(problem.value(), rel=1e-6)
        assert relative_error(gradient, problem.autograd()[1]) < 1e-5


@each_objective
def test_weight_decay_leaves_biases_and_slopes_alone(objective):
    problem = Problem.draw("l2", "prelu", "prelu", (5,), "prelu")
    free = problem.but(terms=problem.terms.__class__("l2", 0.2, 0.7, alpha=0.0))
    difference = getattr(problem, objective)()[1] - getattr(free, objective)()[1]
    sizes = problem.architecture.sizes
    n_weights = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    np.testing.assert_allclose(
        difference[:n_weights], 0.03 * problem.flat[:n_weights], rtol=1e-10, atol=1e-14
    )
    np.testing.assert_array_equal(difference[n_weights:], 0.0)


def side_by_side(problems):
    """Return the parameters of several networks of one architecture, interleaved by layer."""
    architecture, n_models = problems[0].architecture, len(problems)
    both = Parameters.zeros(architecture, n_models, torch.float64, torch.device("cpu"))
    copy_models(problems, both, lambda one, many: many.copy_(one))
    return both


def copy_models(problems, both, move):
    for model, problem in enumerate(problems):
        one = Parameters(problem.architecture, torch.tensor(problem.flat))
        pairs = zip(
            (*one.weights, *one.biases, *(u.get("slope") for u in one.units)),
            (*both.weights, *both.biases, *(u.get("slope") for u in both.units)),
            strict=True,
        )
        for alone, many in pairs:
            if alone is not None:
                move(alone[0], many[model])


def per_model(problems):
    """Return the penalties of several problems as one list for each number."""
    terms = [problem.terms for problem in problems]
    return Penalties(
        terms[0].sparsity,
        [term.rho for term in terms],
        [term.beta for term in terms],
        [term.alpha for term in terms],
    )


@pytest.mark.each_once
@each_objective
@each_weighting
@each_code_and_depth({name: LAYERS[name] for name in ("shallow", "prelu")})
def test_two_models_side_by_side_get_the_gradients_that_each_gets_alone(
    sparsity, activation, layers, weighted, objective
):
    first, second = (
        Problem.draw(sparsity, activation, "sigmoid", *layers, weighted=weighted, seed=seed)
        for seed in (0, 1)
    )
    terms = first.terms.__class__(sparsity, rho=0.1, beta=1.9, alpha=0.2)
    # The same rows for both; everything else is different.
    second = first.but(flat=second.flat, terms=terms)
    parameters = side_by_side([first, second])
    penalties, rows = per_model([first, second]), first.rows()
    if objective == "full":
        full = FullObjective(penalties, parameters, rows, first.loss)
        (values, *_), flat = full.gradient(parameters.flat.clone())
        gradient = parameters.with_flat(flat)
    else:
        batch = MinibatchObjective(penalties, parameters, first.loss, window=1)
        batch(rows.batch(slice(0, 8)))
        values, gradient = batch.epoch_loss().total, batch.gradient

    for model, problem in enumerate((first, second)):
        value, alone = getattr(problem, objective)()
        assert values[model].item() == pytest.approx(value, rel=1e-12)
        parts = Parameters(problem.architecture, torch.tensor(alone))
        for got, expected in zip(
            (*gradient.weights, *gradient.biases, *(u.get("slope") for u in gradient.units)),
            (*parts.weights, *parts.biases, *(u.get("slope") for u in parts.units)),
            strict=True,
        ):
            if expected is not None:
                np.testing.assert_allclose(got[model], expected[0], rtol=1e-12, atol=1e-14)
