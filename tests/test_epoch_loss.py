"""The loss of an epoch is the mean over its batches of J, however they are added up."""

import numpy as np
import pytest
import torch

from sksae.engine import epoch_loss
from sksae.engine.epoch_loss import EpochLoss
from sksae.engine.losses import SquaredError
from sksae.engine.objective import ObjectiveTerms
from sksae.engine.parameters import Parameters
from sksae.engine.running_code import RunningCode
from sksae.model.architecture import Architecture
from sksae.model.settings import Penalties

ARCHITECTURE = Architecture((4, 3, 4), ("sigmoid", "identity"), 1)
N_BATCHES, N_ROWS, N_MODELS = 7, 5, 2


@pytest.fixture
def parameters():
    rng = np.random.default_rng(0)
    like = torch.empty(0, dtype=torch.float64)
    starts = [rng.normal(size=ARCHITECTURE.n_parameters) for _ in range(N_MODELS)]
    return Parameters.stacked(ARCHITECTURE, starts, like)


def terms_of(sparsity, parameters):
    penalties = Penalties(sparsity, [0.1, 0.2], [0.5, 2.0], [0.01, 0.02])
    return ObjectiveTerms(penalties, parameters, SquaredError())


def batches(sparsity):
    rng = np.random.default_rng(1)
    for _ in range(N_BATCHES):
        weights = torch.tensor(rng.uniform(0.1, 0.3, (1, N_ROWS, 1)))
        norms = torch.tensor(rng.uniform(1.0, 2.0, (N_MODELS, N_ROWS)))
        penalty = torch.tensor(rng.uniform(1.0, 2.0, (N_MODELS, N_ROWS)))
        code = torch.tensor(rng.uniform(0.1, 0.9, (N_MODELS, 3, 1)))
        yield weights, norms, *((None, code) if sparsity == "kl" else (penalty, None))


@pytest.mark.parametrize("together", [1, 3, 100])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_it_is_the_mean_over_batches(parameters, monkeypatch, sparsity, parts, together):
    monkeypatch.setattr(epoch_loss, "ADDED_TOGETHER", together)
    terms = terms_of(sparsity, parameters)
    loss, expected = EpochLoss(terms), np.zeros(N_MODELS)
    for weights, norms, penalty, code in batches(sparsity):
        for rows in np.array_split(np.arange(N_ROWS), parts):
            own = None if penalty is None else penalty[:, rows]
            loss.add_rows(weights[:, rows], norms[:, rows], own)
        loss.end_batch(code)
        share = weights[0, :, 0].numpy()
        expected += (norms.numpy() ** 2 / 2) @ share / N_BATCHES
        if code is None:
            s = penalty.numpy() @ share
        else:
            s = terms.code.mean_penalty(code, terms.rho).numpy()
        expected += np.array([0.5, 2.0]) * s / N_BATCHES
    expected += terms.weight_decay(parameters).numpy()
    np.testing.assert_allclose(loss.take(parameters).total.numpy(), expected, rtol=1e-12)


def test_epochs_are_apart_and_moves_of_beta_are_told(parameters):
    terms = terms_of("l1", parameters)
    loss = EpochLoss(terms)

    def epoch():
        for weights, norms, penalty, _ in batches("l1"):
            loss.add_rows(weights, norms, penalty)
            loss.end_batch(None)
        return loss.take(parameters).total

    first = epoch()
    torch.testing.assert_close(epoch(), first)
    assert not loss.beta_drift.any()
    terms.beta += 0.25
    moved = epoch()
    torch.testing.assert_close(moved - loss.beta_drift, first)
    rest = loss.of_models(terms, [1])
    torch.testing.assert_close(rest.beta_drift, loss.beta_drift[[1]])


@pytest.mark.parametrize("window", [1, 4])
def test_the_mean_of_the_code_follows_the_last_batches(window):
    rng = np.random.default_rng(2)
    like = torch.zeros(1, 3, 1, dtype=torch.float64)
    running = RunningCode(like, window=window, pace=1.0, state={})
    mean, total = 0.0, 0.0
    for step in range(1, 11):
        code, weight = rng.random(3), rng.uniform(0.5, 2.0)
        newest = max(1 / step, 1 / window)
        mean, total = mean + newest * (code - mean), total + newest * (weight - total)
        given = torch.tensor(code).view(1, 3, 1), torch.full((1, 1, 1), weight, dtype=torch.float64)
        found = running.follow(*given)
    again = RunningCode(like, window=window, pace=1.0, state=running.state())
    assert torch.equal(again.follow(*given), running.follow(*given))
    np.testing.assert_allclose(found.numpy().ravel(), mean / total, rtol=1e-12)
