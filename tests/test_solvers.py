"""Solvers are the algorithms that their names promise, to rounding."""

import json
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import rosen, rosen_der

from sksae import SparseAutoencoderTransformer
from sksae.engine import lbfgs
from sksae.engine.lbfgs import LBFGS, InverseHessian, Point, line_search
from sksae.engine.run_state import LearningRate, Patience, Phase, RunState
from sksae.engine.solvers import SGD, Adam
from sksae.model.loss_parts import LossParts
from sksae.model.settings import TrainingConfig

EPS = np.finfo(np.float64).eps
RATES = [0.1, 0.05, 0.2, 0.01, 0.1, 0.03]
N = 40  # parameters where nothing depends on how many


@pytest.fixture
def descent():
    """Return a starting point and as many gradients as there are rates, small and large."""
    rng = np.random.default_rng(1)
    scales = 10.0 ** np.arange(len(RATES)) / 1e3
    return rng.normal(size=N), rng.normal(size=(len(RATES), N)) * scales[:, None]


def descend(solver, flat, gradients, rates):
    """Take a step for each gradient and return where each ends."""
    path = []
    for gradient, rate in zip(gradients, rates, strict=True):
        solver.step(torch.tensor(gradient), rate)
        path.append(flat.numpy().copy())
    return np.array(path)


# Minibatch solvers


def adam_by_formula(flat, gradients, rates):
    """Kingma & Ba (2015), algorithm 1."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    path, m, v = [], np.zeros_like(flat), np.zeros_like(flat)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        flat = flat - rate * m_hat / (np.sqrt(v_hat) + eps)
        path.append(flat)
    return np.array(path)


def test_adam_is_the_algorithm_of_kingma_and_ba(descent):
    start, gradients = descent
    flat = torch.tensor(start)
    path = descend(Adam(flat), flat, gradients, RATES)
    np.testing.assert_allclose(
        path, adam_by_formula(start, gradients, RATES), rtol=1e-10, atol=1e-12
    )


def sgd_by_formula(flat, gradients, rates, momentum):
    path, velocity = [], np.zeros_like(flat)
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = momentum * velocity - rate * gradient
        flat = flat + velocity
        path.append(flat)
    return np.array(path)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_gradient_descent_with_momentum(descent, momentum):
    start, gradients = descent
    flat = torch.tensor(start)
    path = descend(SGD(flat, momentum), flat, gradients, RATES)
    expected = sgd_by_formula(start, gradients, RATES, momentum)
    np.testing.assert_allclose(path, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", [Adam, partial(SGD, momentum=0.9)], ids=["adam", "sgd"])
def test_a_solver_resumes_from_its_state_as_if_never_interrupted(descent, make):
    start, gradients = descent
    flat, other = torch.tensor(start), torch.tensor(start)
    whole = descend(make(flat), flat, gradients, RATES)[-1]

    first = make(other)
    descend(first, other, gradients[:3], RATES[:3])
    state = first.state()
    assert all(type(value) is np.ndarray for value in state.values())
    before = {name: value.copy() for name, value in state.items()}
    resumed = descend(make(other, state=state), other, gradients[3:], RATES[3:])[-1]
    np.testing.assert_array_equal(resumed, whole)
    for name, value in before.items():
        np.testing.assert_array_equal(state[name], value)


def rates(learning_rate):
    """Return the rates of all steps that are left."""
    values = []
    while not learning_rate.is_over:
        values.append(learning_rate.value)
        learning_rate.advance()
    return values


def test_a_constant_learning_rate_is_constant():
    assert rates(LearningRate(0.01, False, 4)) == [0.01] * 4


def test_a_linear_learning_rate_falls_to_zero_at_the_end():
    assert rates(LearningRate(0.01, True, 4)) == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


@pytest.mark.parametrize(
    ("n_steps", "left"),
    [
        (2, [0.08, 0.04]),
        (4, [0.08, 0.06, 0.04, 0.02]),
        (100, [0.08 * k / 8 for k in range(8, 0, -1)]),
    ],
    ids=["short", "longer", "longer than what is left"],
)
def test_a_linear_learning_rate_can_be_made_to_fall_sooner(n_steps, left):
    learning_rate = LearningRate(0.1, True, 10)
    for _ in range(2):
        learning_rate.advance()
    assert learning_rate.cool_down(n_steps)
    assert rates(learning_rate) == pytest.approx(left)


def test_a_constant_learning_rate_cannot_be_made_to_fall():
    learning_rate = LearningRate(0.1, False, 3)
    assert not learning_rate.cool_down(1)
    assert rates(learning_rate) == [0.1] * 3


@pytest.mark.parametrize(
    ("curve", "stops_at"),
    [
        ([4.0, 3.0, 2.0, 1.0, 0.5, 0.2], None),
        ([4.0, 4.0, 4.0, 4.0, 4.0], 3),
        # A fall of 10 % does not count, one of more than that does.
        ([4.0, 3.6, 3.2, 2.0, 1.9, 1.85, 1.81, 1.0], 6),
        # What counts is the best so far, not the last.
        ([4.0, 2.0, 9.0, 3.0, 2.5], 4),
        ([4.0, 2.0, 9.0, 3.0, 1.0, 1.0, 1.0], None),
        # A relative fall has a sign of its own below zero.
        ([-1.0, -1.05, -1.3, -1.35, -1.35, -1.35], 5),
    ],
)
def test_patience_ends_when_the_curve_has_not_fallen_for_three_entries(curve, stops_at):
    patience = Patience(tol=0.1, n_iter_no_change=3)
    stopped = [patience.exhausted(value) for value in curve]
    assert (stopped.index(True) if any(stopped) else None) == stops_at


def test_patience_takes_an_absolute_tolerance_too():
    patience = Patience(tol=0.1, n_iter_no_change=2, relative=False)
    curve = [-0.05, -0.2, -0.25, -0.29]
    assert [patience.exhausted(value) for value in curve] == [False, False, False, True]


def test_patience_without_tolerance_counts_every_fall():
    patience = Patience(tol=0.0, n_iter_no_change=2)
    assert not any(patience.exhausted(value) for value in np.geomspace(1.0, 0.999999, 50))
    assert [patience.exhausted(1.0) for _ in range(2)] == [False, True]


# L-BFGS


def minimise(function, gradient, start, n_steps, noise=EPS):
    """Take steps until none lowers the function, and return the solver and its values."""

    def evaluate(flat):
        x = flat.numpy().copy()
        return float(function(x)), torch.tensor(gradient(x))

    solver = LBFGS.begin(evaluate, torch.tensor(np.asarray(start, np.float64)), noise)
    values = [solver.value]
    for _ in range(n_steps):
        if not solver.step():
            break
        values.append(solver.value)
    return solver, values


@pytest.mark.parametrize("n_features", [2, 10, 100])
def test_lbfgs_minimises_rosenbrocks_function(n_features):
    start = np.tile([-1.2, 1.0], n_features // 2)
    solver, values = minimise(rosen, rosen_der, start, 40 + 5 * n_features)
    assert solver.value < 1e-20
    np.testing.assert_allclose(solver.flat, 1.0, atol=1e-9)
    assert all(later <= earlier for earlier, later in pairwise(values))


def quadratic(condition):
    """Return a quadratic function of 30 variables, its gradient and its minimiser.

    Its axes are those of space, which L-BFGS does not know, so that rounding stays small.
    """
    scales = np.geomspace(1.0, condition, 30)
    lowest = np.random.default_rng(0).normal(size=30)
    return (
        lambda x: scales @ (x - lowest) ** 2 / 2,
        lambda x: scales * (x - lowest),
        lowest,
    )


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
def test_lbfgs_minimises_an_ill_conditioned_quadratic(condition):
    function, gradient, lowest = quadratic(condition)
    # scipy's L-BFGS-B with as many pairs needs 64, 230 and 470 steps.
    solver, values = minimise(function, gradient, np.zeros(30), 500)
    assert solver.value < 1e-20 * values[0]
    np.testing.assert_allclose(solver.flat, lowest, atol=1e-8)


def test_lbfgs_ends_where_rounding_leaves_nothing_to_gain():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    A = Q @ np.diag(np.geomspace(1.0, 1e4, 30)) @ Q.T
    lowest = rng.normal(size=30)

    def function(x):
        return (x - lowest) @ A @ (x - lowest) / 2

    solver, values = minimise(function, lambda x: A @ (x - lowest), np.zeros(30), 1000)
    assert solver.value < 1e-25
    assert len(values) < 300


def test_lbfgs_does_not_count_a_step_that_gains_nothing():
    """A search that runs out of evaluations has failed, however short the step it is left with."""

    def evaluate(flat):
        return 1.0, -torch.ones_like(flat)  # which no function has

    solver = LBFGS.begin(evaluate, torch.zeros(3, dtype=torch.float64), EPS)
    assert not solver.step()


def test_lbfgs_stops_at_once_where_the_gradient_is_zero():
    solver, values = minimise(rosen, rosen_der, np.ones(4), 10)
    assert len(values) == 1
    assert solver.n_evaluations == 1


def test_lbfgs_goes_on_where_values_drown_in_noise():
    """As in float32: values are rough, slopes are sharp."""
    rng = np.random.default_rng(0)
    scales = np.geomspace(1.0, 1e3, 20)
    noise = 1e-6

    def function(x):
        return (1.0 + x @ (scales * x) / 2) * (1.0 + noise * rng.uniform(-1, 1))

    solver, _ = minimise(function, lambda x: scales * x, np.ones(20), 200, noise=noise)
    # The smooth part is resolved far below the noise of the values.
    x = solver.flat.numpy()
    assert x @ (scales * x) / 2 < 1e-3 * noise


def two_loop(pairs, gradient):
    """Nocedal & Wright (2006), algorithm 7.4, with the scaling of their eq. 7.20."""
    q, a = gradient.copy(), []
    for s, y in reversed(pairs):
        a.append(s @ q / (y @ s))
        q = q - a[-1] * y
    s, y = pairs[-1]
    r = s @ y / (y @ y) * q
    for (s, y), a_i in zip(pairs, reversed(a), strict=True):
        r = r + s * (a_i - y @ r / (y @ s))
    return -r


def curvature_pairs(n_pairs, seed=0):
    """Return pairs (s, y) such as steps on a quadratic give them."""
    scales = np.geomspace(1.0, 50.0, N)
    return [(s, scales * s) for s in np.random.default_rng(seed).normal(size=(n_pairs, N))]


class Walk:
    """A history that is asked for a direction at every gradient on its way, as L-BFGS does."""

    def __init__(self):
        self.hessian = InverseHessian(torch.zeros(N, dtype=torch.float64))
        self.gradient = np.random.default_rng(9).normal(size=N)

    def take(self, pairs):
        for s, y in pairs:
            self.direction()
            self.hessian.update(torch.tensor(s), torch.tensor(y))
            self.gradient = self.gradient + y
        return self

    def direction(self):
        return self.hessian.direction(torch.tensor(self.gradient)).numpy()

    def check(self, pairs):
        expected = two_loop(pairs, self.gradient)
        assert np.linalg.norm(self.direction() - expected) < 1e-10 * np.linalg.norm(expected)


@pytest.mark.parametrize("n_pairs", [1, 2, 7, 30])
def test_direction_is_that_of_the_two_loop_recursion(n_pairs):
    pairs = curvature_pairs(n_pairs)
    walk = Walk().take(pairs)
    assert len(walk.hessian) == n_pairs
    walk.check(pairs)


@pytest.mark.parametrize("n_pairs", [5, 6, 8, 10, 23])
def test_the_oldest_pairs_are_dropped_when_the_history_is_full(n_pairs, monkeypatch):
    monkeypatch.setattr(lbfgs, "MAX_PAIRS", 5)
    monkeypatch.setattr(lbfgs, "MIN_PAIRS", 1)
    pairs = curvature_pairs(n_pairs)
    walk = Walk().take(pairs)
    assert len(walk.hessian) == 5
    walk.check(pairs[-5:])


def test_a_cleared_history_starts_over():
    pairs = curvature_pairs(12)
    walk = Walk().take(pairs[:8])
    walk.hessian.clear()
    np.testing.assert_array_equal(walk.direction(), -walk.gradient)
    walk.take(pairs[8:]).check(pairs[8:])


@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_a_pair_without_upward_curvature_is_ignored(factor):
    pairs = curvature_pairs(6)
    s, y = curvature_pairs(1, seed=5)[0]
    walk = Walk().take([*pairs[:3], (s, factor * y)])
    assert len(walk.hessian) == 3
    walk.check(pairs[:3])
    walk.take(pairs[3:]).check(pairs)


def test_a_long_vector_keeps_fewer_pairs_but_never_too_few(monkeypatch):
    monkeypatch.setattr(lbfgs, "HISTORY_BYTES", 20 * 2 * 8 * N)
    assert len(Walk().take(curvature_pairs(30)).hessian) == 20
    monkeypatch.setattr(lbfgs, "HISTORY_BYTES", 1)
    assert len(Walk().take(curvature_pairs(30)).hessian) == lbfgs.MIN_PAIRS


# The functions on which More & Thuente (1994, section 5) try line searches, and their slopes.
def yanai(t, beta1, beta2):
    def gamma(beta):
        return np.sqrt(1 + beta**2) - beta

    a, b = np.sqrt((1 - t) ** 2 + beta2**2), np.sqrt(t**2 + beta1**2)
    value = gamma(beta1) * a + gamma(beta2) * b
    return value, gamma(beta1) * (t - 1) / a + gamma(beta2) * t / b


def wavy(t, beta=0.01, waves=39):
    """More & Thuente's third function: a kink smoothed over beta, with waves upon it."""
    if t <= 1 - beta:
        value, slope = 1 - t, -1.0
    elif t >= 1 + beta:
        value, slope = t - 1, 1.0
    else:
        value, slope = (t - 1) ** 2 / (2 * beta) + beta / 2, (t - 1) / beta
    angle = waves * np.pi / 2 * t
    value += 2 * (1 - beta) / (waves * np.pi) * np.sin(angle)
    return value, slope + (1 - beta) * np.cos(angle)


CURVES = {
    "valley": lambda t: (-t / (t**2 + 2), (t**2 - 2) / (t**2 + 2) ** 2),
    "steep": lambda t: (
        (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4,
        5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3,
    ),
    "wavy": wavy,
    "yanai-even": partial(yanai, beta1=0.001, beta2=0.001),
    "yanai-left": partial(yanai, beta1=0.01, beta2=0.001),
    "yanai-right": partial(yanai, beta1=0.001, beta2=0.01),
    "quadratic": lambda t: ((t - 3) ** 2, 2 * (t - 3)),
    "quartic": lambda t: ((t - 3) ** 4, 4 * (t - 3) ** 3),
    "cliff": lambda t: (-t, -1.0) if t < 2 else (np.inf, np.nan),
}


def search(curve, first_step, noise=0.0):
    """Return the point found, the start and the steps tried."""
    tried = []

    def point(step):
        tried.append(step)
        with np.errstate(over="ignore", invalid="ignore"):
            value, slope = curve(step)
        return Point(step, float(value), float(slope), torch.zeros(0))

    start = point(0.0)
    return line_search(point, start, first_step, noise), start, tried[1:]


@pytest.mark.parametrize("first_step", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("name", [name for name in CURVES if name != "cliff"])
def test_line_search_satisfies_the_wolfe_conditions(name, first_step):
    found, start, tried = search(CURVES[name], first_step)
    assert found.value <= start.value + lbfgs.SUFFICIENT_DECREASE * found.step * start.slope
    assert abs(found.slope) <= lbfgs.CURVATURE * abs(start.slope)
    assert found.step == tried[-1]
    assert len(tried) <= 20


def test_line_search_comes_back_from_where_the_function_is_not_finite():
    found, start, _ = search(CURVES["cliff"], 1e3)
    # There is no point of small slope; one that lowers the function will do.
    assert 0 < found.step < 2
    assert found.value < start.value


@pytest.mark.parametrize("beyond", [np.inf, np.nan, -np.inf])
def test_line_search_survives_values_that_are_not_finite(beyond):
    def curve(t):
        return ((t - 1) ** 2, 2 * (t - 1)) if t < 1.5 else (beyond, np.nan)

    found, start, tried = search(curve, 100.0)
    assert found.value <= start.value + lbfgs.SUFFICIENT_DECREASE * found.step * start.slope
    assert abs(found.slope) <= lbfgs.CURVATURE * abs(start.slope)
    assert len(tried) <= 20


def test_line_search_finds_nothing_uphill_everywhere():
    found, _, tried = search(lambda t: (0.0, -1.0) if t == 0 else (1.0, 1.0), 1.0)
    assert found is None
    assert len(tried) == lbfgs.MAX_EVALUATIONS


def test_line_search_accepts_a_flat_value_in_the_noise_if_the_slope_has_fallen():
    rough = 1e-7

    def curve(t):
        value = 1.0 + 1e-9 * (t - 1) ** 2
        return (value if t == 0 else value + rough / 2), 2e-9 * (t - 1)

    found, start, tried = search(curve, 0.9, noise=rough)
    assert found.step == 0.9
    assert len(tried) == 1
    assert found.value > start.value


@pytest.mark.parametrize("beyond", [np.inf, np.nan])
def test_lbfgs_minimises_a_function_that_is_not_finite_beyond_a_point(beyond):
    """-log(x) + x**2 / 2 with its minimum at 1, a hair from where it ends."""

    def function(x):
        return np.sum(x**2 / 2 - np.log(x)) if x.min() > 0 and x.max() < 1.01 else beyond

    def gradient(x):
        return x - 1 / x if x.min() > 0 and x.max() < 1.01 else np.full_like(x, np.nan)

    solver, values = minimise(function, gradient, np.array([0.01, 0.5, 0.9]), 100)
    np.testing.assert_allclose(solver.flat, 1.0, atol=1e-6)
    assert np.isfinite(values).all()


def test_adam_sets_weights_that_fade_away_to_zero():
    """Weights of constant columns decay for ever, and denormal numbers are slow."""
    X = np.random.default_rng(0).normal(size=(64, 6))
    X[:, 3] = 2.0
    sae = SparseAutoencoderTransformer(
        3, alpha=1e-2, learning_rate=1e-2, batch_size=8, max_iter=300, tol=0, random_state=0
    ).fit(X)
    np.testing.assert_array_equal(sae.coefs_[0][3], 0.0)
    np.testing.assert_array_equal(sae.coefs_[1][:, 3], 0.0)
    for coef in sae.coefs_:
        assert (abs(coef[coef != 0]) >= np.finfo(np.float32).tiny).all()


# The life of a training.


def run_of(**params):
    given = {"solver": "adam", "max_iter": 20, "n_iter_no_change": 3}
    config = TrainingConfig(**given | params)
    return RunState.begin(config, steps_per_epoch=5, finds_beta=True)


def advance(run, n_steps):
    for _ in range(n_steps):
        run.advance()


def test_a_training_goes_through_its_phases():
    run = run_of(warm_up=10)
    assert (run.n_planned, run.n_overtime) == (85, 15)
    assert run.phase is Phase.WARM_UP
    advance(run, 10)
    assert run.phase is Phase.MAIN
    assert run.take("tol") == 15
    assert run.phase is Phase.COOL_DOWN
    advance(run, 15)
    assert run.is_over
    assert run.may_go_on(has_best=False)
    assert not run.may_go_on(has_best=True)
    run.go_into_overtime(0.5)
    assert run.phase is Phase.OVERTIME
    assert run.rate.value == pytest.approx(0.05)
    advance(run, 15)
    assert not run.may_go_on(has_best=False)
    run.end()
    assert run.phase is Phase.DONE
    assert (run.stopped_by, run.n_steps) == ("tol", 40)


def test_at_a_constant_rate_a_training_that_has_settled_is_over():
    run = run_of(learning_rate_schedule="constant")
    advance(run, 10)
    assert run.take("tol") is None
    assert run.is_over
    assert run.phase is Phase.MAIN


def test_what_was_done_is_not_begun_again():
    run = run_of()
    run.end()
    with pytest.raises(KeyError):
        run.end()


@pytest.mark.parametrize("n_steps", [0, 7, 30])
def test_a_run_goes_on_from_a_file(n_steps):
    run = run_of(warm_up=10)
    advance(run, n_steps)
    run.has_settled(3.0, None)
    run.losses.append(LossParts(3.0, 2.0, 0.75, 0.25))
    again = RunState.of(json.loads(json.dumps(run.as_dict())))
    assert again == run
    for each in (run, again):
        each.take("tol")
        advance(each, 3)
    assert again == run
    assert again.rate.value == run.rate.value
