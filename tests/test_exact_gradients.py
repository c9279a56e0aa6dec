"""The gradient that goes by the active entries is that of autograd through all units."""

import numpy as np
import pytest
import torch

from sksae.engine.batches import Batch
from sksae.engine.codes import make_code
from sksae.engine.exact import minibatch
from sksae.engine.exact.minibatch import ExactObjective
from sksae.engine.losses import SquaredError
from sksae.engine.parameters import Parameters
from sksae.engine.threads import Crew
from sksae.model.architecture import Architecture
from sksae.model.codes import CODES, Selection
from sksae.model.settings import Penalties

N_ROWS, N_FEATURES, N_COMPONENTS, ALPHA = 90, 6, 20, 0.01
RHO, BETA, BANDWIDTH = 0.2, 0.7, 0.4
OUTPUTS = {
    "identity": lambda pre: pre,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
each_weighting = pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
each_crew = pytest.mark.parametrize("n_members", [1, 2, 3])


class Problem:
    """Dictionaries side by side, of unit atoms, and a minibatch."""

    def __init__(
        self, selections, *, tied=False, output="identity", weighted=False, idle=None, seed=0
    ):
        rng = np.random.default_rng(seed)
        self.selections, self.output, self.tied = selections, output, tied
        architecture = Architecture.autoencoder(
            N_FEATURES,
            N_COMPONENTS,
            hidden_activation="relu",
            activation=CODES[selections[0].code].activation,
            output_activation=output,
            tied_weights=tied,
            selection=selections[0],
        )
        n_models = len(selections)
        flat = torch.from_numpy(rng.normal(size=n_models * architecture.n_parameters))
        self.parameters = Parameters(architecture, flat, n_models, selections)
        if "threshold" in self.parameters.units[0]:
            self.parameters.units[0]["threshold"].abs_()
        self.rows = torch.from_numpy(rng.normal(size=(1, N_ROWS, N_FEATURES)))
        self.weight = torch.from_numpy(rng.random((1, N_ROWS, 1)) * 2) if weighted else None
        self.state = {} if idle is None else {"idle_steps": idle}

    def ours(self, n_members=1):
        """Return J and its gradient, by the engine."""
        code = self.selections[0].code
        beta = BETA if CODES[code].has_penalty else 0.0
        penalties = Penalties(code, RHO, beta, ALPHA, decays="encoder", bandwidth=BANDWIDTH)
        with Crew(n_members) as crew:
            objective = ExactObjective(
                penalties,
                self.parameters,
                SquaredError(),
                batches_per_epoch=1,
                crew=crew,
                state=self.state,
            )
            objective(Batch(self.rows, self.rows, self.weight))
        return objective.epoch_loss().total, objective.gradient

    def autograd(self, dead=None):
        """Return J without what dead units are taught, and the gradient with it."""
        flat = self.parameters.flat.clone().requires_grad_(True)
        network = self.parameters.with_flat(flat)
        losses, taught = [], 0.0
        weight = (
            torch.ones(N_ROWS, dtype=torch.float64) if self.weight is None else self.weight[0, :, 0]
        )
        for model, selection in enumerate(self.selections):
            encoder, atoms = network.weights[0][model], network.weights[1][model]
            bias, rest = network.biases[0][model, :, 0], network.biases[1][model]
            z = self.rows[0]
            pre = z @ encoder.T + bias
            losses.append(0.0)

            def error_of(code, atoms=atoms, rest=rest, z=z):
                return OUTPUTS[self.output](rest + code @ atoms) - z

            def mean_square(error, weight=weight):
                return (weight * error.square().sum(dim=1)).mean() / 2

            units = {name: each[model, :, 0] for name, each in network.units[0].items()}
            codes = codes_of(pre, selection, weight, units)
            errors = [error_of(code) for code in codes]
            losses[-1] += sum(map(mean_square, errors)) / len(errors)
            if selection.code == "gated":
                gates = torch.relu(pre)
                of_gates = OUTPUTS[self.output](rest.detach() + gates @ atoms.detach()) - z
                losses[-1] += mean_square(of_gates) + BETA * (weight @ gates.sum(dim=1)) / N_ROWS
            if selection.code == "jumprelu":
                is_active = Step.apply(pre, units["threshold"]).sum(dim=1)
                share = (weight @ is_active) / weight.sum() / (RHO * N_COMPONENTS)
                losses[-1] += BETA * (share - 1.0) ** 2
                # The minibatch counts as its rows weigh.
                taught += (weight.mean() - 1.0) * BETA * (share - 1.0) ** 2
            if dead is not None:
                of_dead = dead[model].nonzero()[:, 0]
                k = min(selection.n_active, max(1, len(of_dead) // 2))
                kept = pre[:, of_dead].topk(k)
                made = (kept.values.unsqueeze(2) * atoms[of_dead][kept.indices]).sum(dim=1)
                taught += mean_square(errors[-1].detach() + made)
            if not self.tied:
                losses[-1] += ALPHA / 2 * encoder.square().sum()
        (sum(losses) + taught).backward()
        gradient = self.parameters.with_flat(flat.grad)
        along = (gradient.weights[1] * self.parameters.weights[1]).sum(dim=2, keepdim=True)
        gradient.weights[1].sub_(along * self.parameters.weights[1])
        return torch.stack(losses).detach(), gradient


class Jump(torch.autograd.Function):
    """p [p > theta], with the pseudo-gradient by theta (arXiv 2407.14435, equation 11)."""

    @staticmethod
    def forward(ctx, pre, threshold):
        ctx.save_for_backward(pre, threshold)
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx, gradient):
        pre, threshold = ctx.saved_tensors
        is_near = (pre - threshold).abs() < BANDWIDTH / 2
        slope = -threshold / BANDWIDTH * is_near
        return gradient * (pre > threshold), (gradient * slope).sum(dim=0)


class Step(torch.autograd.Function):
    """[p > theta], with the pseudo-gradient by theta (equation 12)."""

    @staticmethod
    def forward(ctx, pre, threshold):
        ctx.save_for_backward(pre, threshold)
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx, gradient):
        pre, threshold = ctx.saved_tensors
        is_near = (pre - threshold).abs() < BANDWIDTH / 2
        return None, (-gradient / BANDWIDTH * is_near).sum(dim=0)


def codes_of(pre, selection, weight, units):
    """Return the codes of each reading, by dense masks."""
    if selection.code == "jumprelu":
        return [Jump.apply(pre, units["threshold"])]
    if selection.code == "gated":
        magnitudes = torch.relu(units["log_gain"].exp() * pre + units["offset"])
        return [(pre > 0) * magnitudes]
    if selection.code == "topk":
        order = (-pre.detach()).argsort(dim=1).argsort(dim=1)
        codes = [torch.relu(pre) * (order < budget) for budget in selection.budgets]
    else:
        flat, order = pre.detach().flatten().sort(descending=True)
        counted = weight.repeat_interleave(pre.shape[1])[order].cumsum(0)
        least = flat[(counted < selection.n_active * weight.sum() * (1 - 1e-9)).sum()]
        codes = [torch.relu(pre) * (pre >= least)]
    if selection.prefixes:
        units = torch.arange(N_COMPONENTS)
        return [codes[-1] * (units < prefix) for prefix in selection.prefixes]
    return codes


def check(problem, n_members=1, dead=None):
    # Atoms get unit norm when the objective is made.
    loss, gradient = problem.ours(n_members)
    expected_loss, expected = problem.autograd(dead)
    if problem.tied:
        # The encoder's weights are the atoms, whose decay is a constant.
        loss = loss - ALPHA / 2 * N_COMPONENTS
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=1e-12)
    scale = expected.flat.abs().max()
    torch.testing.assert_close(gradient.flat, expected.flat, rtol=0.0, atol=1e-12 * scale)


SELECTIONS = {
    "one budget": [Selection("topk", (4,))],
    "three": [Selection("topk", (1, 2, 4))],
    "batch": [Selection("batchtopk", (4,))],
    "side by side": [Selection("topk", (1, k)) for k in (4, 2, 7)],
    "batches side by side": [Selection("batchtopk", (k,)) for k in (4, 2)],
    "prefixes": [Selection("topk", (4,), prefixes=(3, 9, 20))],
    "prefixes of batches": [Selection("batchtopk", (4,), prefixes=(1, 2, 20))],
    "prefixes side by side": [Selection("topk", (k,), prefixes=(7, 20)) for k in (4, 2)],
    "jumprelu": [Selection("jumprelu", (4,))],
    "jumprelu side by side": [Selection("jumprelu", (k,)) for k in (4, 2)],
    "gated": [Selection("gated", (4,))],
    "gated side by side": [Selection("gated", (k,)) for k in (4, 2)],
}
each_code = pytest.mark.parametrize("selections", SELECTIONS.values(), ids=SELECTIONS)


@pytest.fixture(autouse=True)
def _as_many_parts_as_members(monkeypatch):
    monkeypatch.setattr(minibatch, "n_parts", lambda work, n_rows, n_members: n_members)


@each_crew
@each_weighting
@each_code
def test_gradient_is_that_of_autograd(selections, weighted, n_members):
    check(Problem(selections, weighted=weighted), n_members)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("output", OUTPUTS)
@each_code
def test_gradient_passes_every_output(selections, output, tied):
    check(Problem(selections, output=output, tied=tied, weighted=True), 2)


@pytest.mark.each_once
@each_crew
@each_weighting
@pytest.mark.parametrize("n_dead", [1, 2, 9])
@each_code
def test_dead_units_learn_what_is_lacking(selections, n_dead, weighted, n_members):
    rng = np.random.default_rng(n_dead)
    idle = np.zeros((len(selections), N_COMPONENTS, 1))
    for of_model in idle:
        of_model[rng.choice(N_COMPONENTS, n_dead, replace=False)] = 1e6
    problem = Problem(selections, weighted=weighted, idle=idle)
    check(problem, n_members, torch.from_numpy(idle[..., 0] > 0))


def test_float32_gradient_is_that_of_float64_to_its_own_rounding():
    problem = Problem(SELECTIONS["three"], weighted=True)
    _, wide = problem.ours()
    problem.parameters = problem.parameters.with_flat(problem.parameters.flat.float())
    problem.rows, problem.weight = problem.rows.float(), problem.weight.float()
    _, narrow = problem.ours()
    scale = float(wide.flat.abs().max())
    torch.testing.assert_close(narrow.flat.double(), wide.flat, rtol=0.0, atol=1e-5 * scale)


def test_a_row_with_nothing_to_keep_has_an_output_and_a_gradient():
    problem = Problem([Selection("batchtopk", (1,))])
    problem.parameters.biases[0].fill_(-1e3)
    loss, gradient = problem.ours()
    assert loss.isfinite().all()
    assert gradient.biases[1].abs().max() > 0
    assert not gradient.weights[1].any()


@pytest.mark.parametrize("code", ["jumprelu", "gated"])
def test_rows_without_an_active_unit_have_a_gradient(code):
    problem = Problem([Selection(code, (1,))])
    problem.parameters.biases[0].fill_(-1e3)
    loss, gradient = problem.ours()
    assert loss.isfinite().all()
    assert gradient.flat.isfinite().all()


def test_thresholds_are_brought_back_to_0():
    problem = Problem([Selection("jumprelu", (4,))])
    problem.parameters.units[0]["threshold"][0, :5] = -0.1
    make_code("jumprelu", "jumprelu").settle(problem.parameters.units[0])
    assert (problem.parameters.units[0]["threshold"][0, :5] == 0).all()
    assert (problem.parameters.units[0]["threshold"] >= 0).all()
