"""Each way to be sparse: the penalty S on a code, and its gradient.

A penalty is a sum of two kinds of terms, and a sparsity defines one of them: a function of each
unit's mean activation over the rows (kl), or a mean over rows of a function of the row's code
(l1, l2). Formulas are those of the UFLDL notes (Ng, CS294A, 2011, section 3) for kl.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def kl_divergence(rho: Tensor | float, mean_activation: Tensor) -> Tensor:
    """Return KL(rho || rho_hat) of two Bernoulli variables, elementwise (CS294A, section 3)."""
    off = 1.0 - mean_activation
    return rho * torch.log(rho / mean_activation) + (1.0 - rho) * torch.log((1.0 - rho) / off)


class Sparsity:
    """No penalty at all, and the interface of those that are one.

    Codes have shape (n_models, n_rows, n_components), means over rows (n_models, 1,
    n_components), row weights (n_models or 1, n_rows or 1, 1) and ``rho`` (n_models, 1, 1). A
    gradient is dS/dcode, broadcastable to the code, with each row's part times its weight.

    Attributes
    ----------
    of_mean_activation : bool
        Which pair of methods S is made of: the penalty on units or the one on rows.
    """

    of_mean_activation = False

    def unit_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        """Return S as a function of the mean code, shape (n_models,)."""
        raise NotImplementedError

    def unit_gradient(self, mean_code: Tensor, rho: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of `unit_penalty`."""
        raise NotImplementedError

    def row_penalty(self, code: Tensor) -> Tensor | None:
        """Return the function of each row's code whose mean is S, shape (n_models, n_rows)."""
        return None

    def row_gradient(self, code: Tensor, weight: Tensor) -> Tensor | None:
        """Return the gradient of `row_penalty`."""
        return None


@dataclass(frozen=True)
class KullbackLeibler(Sparsity):
    """Sum over units of KL(rho || rho_hat); a tanh code is read as the activity (1 + a) / 2."""

    signed: bool = False
    of_mean_activation = True

    def mean_activation(self, mean_code: Tensor) -> Tensor:
        """Return rho_hat, kept off 0 and 1 so that a saturated unit stays finite."""
        rho_hat = (1.0 + mean_code) / 2.0 if self.signed else mean_code
        eps = torch.finfo(rho_hat.dtype).eps
        return rho_hat.clamp(eps, 1.0 - eps)

    def unit_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        return kl_divergence(rho, self.mean_activation(mean_code)).sum(dim=(1, 2))

    def unit_gradient(self, mean_code: Tensor, rho: Tensor, weight: Tensor) -> Tensor:
        rho_hat = self.mean_activation(mean_code)
        # (1 - rho) / (1 - rho_hat) - rho / rho_hat, in as few operations as it takes.
        variance = torch.addcmul(rho_hat, rho_hat, rho_hat, value=-1)
        per_unit = torch.sub(rho_hat, rho).div_(variance)
        return per_unit * (weight / 2.0 if self.signed else weight)


class L1(Sparsity):
    """Mean over rows of the sum over units of abs(a)."""

    def row_penalty(self, code: Tensor) -> Tensor:
        return code.abs().sum(dim=-1)

    def row_gradient(self, code: Tensor, weight: Tensor) -> Tensor:
        return torch.sign(code).mul_(weight)


class L2(Sparsity):
    """Mean over rows of half the sum over units of a squared."""

    def row_penalty(self, code: Tensor) -> Tensor:
        return code.square().sum(dim=-1) / 2.0

    def row_gradient(self, code: Tensor, weight: Tensor) -> Tensor:
        return code * weight


def make_sparsity(name: str | None, code_activation: str) -> Sparsity:
    """Return the sparsity of that name for a code with that activation."""
    if name == "kl":
        return KullbackLeibler(signed=code_activation == "tanh")
    return {"l1": L1(), "l2": L2(), None: Sparsity()}[name]
