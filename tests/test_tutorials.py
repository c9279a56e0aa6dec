"""Settings that docs/coming_from/torch.md gives for two tutorials do what the loop in torch does.

The loop starts from the weights that the estimator starts from and sees the same minibatches. It
has what the page says that a loop must have to agree in every digit: rows less their mean on the
way in, and Adam's eps divided by the factor between its loss and J.
"""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from sksae import SparseAutoencoderTransformer
from sksae.engine.minibatch import MinibatchObjective

pytestmark = pytest.mark.filterwarnings("ignore")

PENALTY = 1e-4  # on mean absolute codes of a row, in the loss of the first tutorial


def pictures():
    """Digits of 28x28 pixels from 0 to 1, a frame of zeros around 24x24."""
    small = load_digits().images[:256] / 16
    large = small.repeat(3, axis=1).repeat(3, axis=2)
    return np.pad(large, ((0, 0), (2, 2), (2, 2))).reshape(-1, 784)


def numbers():
    return np.random.default_rng(0).normal(size=(200, 100)) + 0.5


# What all such loops have, and defaults here do not.
AS_A_LOOP = {
    "scale_data": False,
    "alpha": 0.0,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "tol": 0.0,
}


def sparse_tutorial(**params):
    """784-400, a tanh code with an L1 penalty, a sigmoid output, minibatches."""
    return SparseAutoencoderTransformer(
        400,
        sparsity="l1",
        beta=PENALTY * 784 / 2,
        activation="tanh",
        output_activation="sigmoid",
        batch_size=64,
        max_iter=6,
        n_iter_no_change=6,
        **AS_A_LOOP,
    ).set_params(**params)


def plain_tutorial(**params):
    """100-50-100, relu, all rows at each of 1000 steps."""
    return SparseAutoencoderTransformer(
        50,
        sparsity=None,
        activation="relu",
        batch_size=200,
        max_iter=1000,
        n_iter_no_change=1000,
        **AS_A_LOOP,
    ).set_params(**params)


TUTORIALS = {
    "sparse": (sparse_tutorial, pictures, torch.tanh, torch.sigmoid, PENALTY),
    "plain": (plain_tutorial, numbers, torch.relu, nn.Identity(), 0.0),
}
each_tutorial = pytest.mark.parametrize("name", TUTORIALS)


@pytest.fixture
def shown(monkeypatch):
    """Minibatches that networks are shown, copied, in order."""
    batches, evaluate = [], MinibatchObjective.__call__

    def spy(self, batch):
        batches.append(batch.rows[0].clone())
        evaluate(self, batch)

    monkeypatch.setattr(MinibatchObjective, "__call__", spy)
    return batches


def start_of(model, X):
    """Return weights and biases from which a training starts, by one step that moves nothing."""
    still = clone(model).set_params(solver="sgd", learning_rate=1e-300, momentum=0.0, max_iter=1)
    still.fit(X)
    return still.coefs_, still.intercepts_


def run_loop(start, batches, centre, *, act, out, penalty, n_epochs, eps):
    """Return the mean loss of each epoch, and weights and biases at the end, as a tutorial has it.

    ``batches`` are rows less ``centre``, of all epochs.
    """
    (n_in, n_code), _ = (coef.shape for coef in start[0])
    encoder, decoder = nn.Linear(n_in, n_code), nn.Linear(n_code, n_in)
    with torch.no_grad():
        for layer, coef, bias in zip((encoder, decoder), *start, strict=True):
            layer.double().weight.copy_(torch.from_numpy(coef.T))
            layer.bias.copy_(torch.from_numpy(bias))
        encoder.bias += encoder.weight @ centre
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, eps=eps)
    losses = []
    for x in batches:
        code = act(encoder(x))
        x_hat = out(decoder(code))
        loss = F.mse_loss(x_hat, x + centre) + penalty * code.abs().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        encoder.bias -= encoder.weight @ centre
    weights = [each.detach().numpy() for each in parameters]
    return np.reshape(losses, (n_epochs, -1)).mean(axis=1), weights


def compare(name, shown, eps, **params):
    """Return losses by epoch and weights, of the estimator and of the loop, in the loop's unit."""
    make, rows, act, out, penalty = TUTORIALS[name]
    X, model = rows(), make(dtype="float64", random_state=0, **params)
    start = start_of(model, X)
    shown.clear()
    model.fit(X)
    factor = X.shape[1] / 2
    found = run_loop(
        start,
        shown,
        torch.from_numpy(X.mean(axis=0)),
        act=act,
        out=out,
        penalty=penalty,
        n_epochs=model.n_iter_,
        eps=eps(factor),
    )
    weights = [
        each.T for layer in zip(model.coefs_, model.intercepts_, strict=True) for each in layer
    ]
    return np.array(model.loss_curve_) / factor, weights, *found


@each_tutorial
def test_settings_of_the_page_give_the_loss_of_the_loop_in_every_epoch(name, shown):
    model = TUTORIALS[name][0]()
    losses, weights, of_loop, weights_of_loop = compare(name, shown, lambda factor: 1e-8 / factor)
    assert len(losses) == model.max_iter
    assert losses[-1] < 0.8 * losses[0]
    np.testing.assert_allclose(losses, of_loop, rtol=1e-6)
    for got, expected in zip(weights, weights_of_loop, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@each_tutorial
def test_what_keeps_a_loop_from_the_same_digits_is_eps(name, shown):
    # torch's 1e-8 counts for d / 2 times as much beside the gradient of a mean over features.
    losses, _, of_loop, _ = compare(name, shown, lambda factor: 1e-8)
    off = np.abs(losses / of_loop - 1).max()
    assert 1e-6 < off < 1e-3
