"""What the docs say of losses of PyTorch and of MATLAB: each is J, times a factor."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sksae import SparseAutoencoderTransformer

N, D, H, C, RHO, W = 30, 7, 5, 0.3, 0.2, 0.01
RECONSTRUCTIONS = {
    "mean squares": (lambda x_hat, x: F.mse_loss(x_hat, x), D / 2),
    "squares of rows": (lambda x_hat, x: ((x_hat - x) ** 2).sum(1).mean(), 1 / 2),
    "halves": (lambda x_hat, x: 0.5 * ((x_hat - x) ** 2).sum(1).mean(), 1),
    "sums": (lambda x_hat, x: F.mse_loss(x_hat, x, reduction="sum"), 1 / (2 * N)),
    "cross entropy": (F.binary_cross_entropy, D),
    "its sums": (lambda x_hat, x: F.binary_cross_entropy(x_hat, x, reduction="sum"), 1 / N),
}


def kl(rho, r):
    return rho * torch.log(rho / r) + (1 - rho) * torch.log((1 - rho) / (1 - r))


PENALTIES = {
    "l1 of rows": (lambda a: C * a.abs().sum(1).mean(), "l1", C),
    "mean l1": (lambda a: C * a.abs().mean(), "l1", C / H),
    "bare l1": (lambda a: C * a.abs().sum(), "l1", C * N),
    "l2 of rows": (lambda a: C * (a**2).sum(1).mean(), "l2", 2 * C),
    "mean l2": (lambda a: C * (a**2).mean(), "l2", 2 * C / H),
    "kl": (lambda a: C * kl(RHO, a.mean(0)).sum(), "kl", C),
    "mean kl": (lambda a: C * kl(RHO, a.mean(0)).mean(), "kl", C / H),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
def test_a_loss_times_its_factor_is_j(reconstruction, penalty):
    error, factor = RECONSTRUCTIONS[reconstruction]
    of_code, sparsity, weight = PENALTIES[penalty]
    is_cross_entropy = error is F.binary_cross_entropy or reconstruction == "its sums"
    X = np.random.default_rng(0).random((N, D))
    model = SparseAutoencoderTransformer(
        H,
        loss="cross_entropy" if is_cross_entropy else "squared_error",
        sparsity=sparsity,
        rho=RHO,
        beta=weight * factor,
        alpha=2 * W * factor,
        scale_data=False,
        dtype="float64",
        max_iter=3,
        random_state=0,
    ).fit(X)
    x, (encoder, decoder) = torch.from_numpy(X), map(torch.from_numpy, model.coefs_)
    act = torch.sigmoid if sparsity == "kl" else torch.relu
    a = act(x @ encoder + torch.from_numpy(model.intercepts_[0]))
    x_hat = a @ decoder + torch.from_numpy(model.intercepts_[1])
    if is_cross_entropy:
        x_hat = torch.sigmoid(x_hat)
    loss = error(x_hat, x) + of_code(a) + W * ((encoder**2).sum() + (decoder**2).sum())
    assert float(factor * loss) == pytest.approx(model.loss_, rel=1e-9)


def test_what_an_optimizer_adds_to_a_gradient_is_half_of_that():
    # alpha / 2 ||W||^2 has the gradient alpha W, as weight_decay=w adds w W.
    weights = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    (0.5 * W * (weights**2).sum()).backward()
    torch.testing.assert_close(weights.grad, W * weights.detach())


@pytest.mark.filterwarnings("ignore")
def test_what_train_autoencoder_minimises_is_twice_j():
    X = np.random.default_rng(0).random((N, D))
    decay, proportion, sparsity = 0.004, 0.15, 4.0  # of MATLAB's digits example
    model = SparseAutoencoderTransformer(
        H,
        rho=proportion,
        beta=sparsity / 2,
        alpha=decay / 2,
        output_activation="sigmoid",
        scale_data=False,
        solver="lbfgs",
        dtype="float64",
        max_iter=3,
        random_state=0,
    ).fit(X)
    a, x_hat = model.transform(X), model.inverse_transform(model.transform(X))
    r = a.mean(axis=0)
    E = (
        np.square(x_hat - X).sum() / N
        + decay / 2 * sum(np.square(W).sum() for W in model.coefs_)
        + sparsity
        * np.sum(
            proportion * np.log(proportion / r)
            + (1 - proportion) * np.log((1 - proportion) / (1 - r))
        )
    )
    assert pytest.approx(2.0 * model.loss_, rel=1e-9) == E
    assert -model.score_samples(X).mean() / D == pytest.approx(np.square(x_hat - X).mean())
