"""Sum over units of KL(rho || rho_hat), of the UFLDL notes (Ng, CS294A, 2011, section 3)."""

import torch
from torch import Tensor

from sksae.engine.codes.code import Code
from sksae.engine.control_law import ControlLaw

_cross_entropy_backward = torch.ops.aten.binary_cross_entropy_backward.default
_NO_REDUCTION = 0

START = 0.6


def kl_divergence(rho: Tensor | float, mean_activation: Tensor) -> Tensor:
    """Return KL(rho || rho_hat) of two Bernoulli variables, elementwise (CS294A, section 3)."""
    off = 1.0 - mean_activation
    return rho * torch.log(rho / mean_activation) + (1.0 - rho) * torch.log((1.0 - rho) / off)


class KullbackLeibler(Code):
    """Sum over units of KL(rho || rho_hat); a tanh code is read as the activity (1 + a) / 2."""

    penalises_means = True
    law = ControlLaw(
        start={"adam": START, "sgd": START, "lbfgs": START},
        start_power=1.0,
        # It needs little, and more drives beta up while the units are still on their way.
        integral=50.0,
        max_rate=0.1,
        proportional=1.5,
        largest_boost=4.0,
        # Beyond, the minibatches' noise in the gradient of the penalty keeps the units off rho.
        ceiling=5.0,
        band=0.05,
    )

    def __init__(self, activation: str) -> None:
        super().__init__(activation)
        self.signed = activation == "tanh"

    def mean_activation(self, mean_code: Tensor) -> Tensor:
        """Return rho_hat, kept off 0 and 1 so that a saturated unit stays finite."""
        rho_hat = (1.0 + mean_code) / 2.0 if self.signed else mean_code
        # Not below 1e-12, where torch's derivative of the cross entropy stops growing.
        eps = max(torch.finfo(rho_hat.dtype).eps, 1e-12)
        return rho_hat.clamp(eps, 1.0 - eps)

    def activity(self, mean_code: Tensor) -> Tensor:
        return self.mean_activation(mean_code).mean(dim=(1, 2))

    def mean_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        return kl_divergence(rho, self.mean_activation(mean_code)).sum(dim=(1, 2))

    def mean_gradient(self, mean_code: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        # The divergence is the cross entropy but for a constant, and torch has the derivative
        # of that, (rho_hat - rho) / (rho_hat (1 - rho_hat)), in one operation.
        rho_hat = self.mean_activation(mean_code)
        gradient = _cross_entropy_backward(beta, rho_hat, rho, None, _NO_REDUCTION)
        return gradient / 2.0 if self.signed else gradient


CODE = KullbackLeibler
