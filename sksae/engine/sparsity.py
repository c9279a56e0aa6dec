"""Each way to be sparse: the penalty S on a code, and its gradient.

A penalty is a sum of two kinds of terms, and a sparsity defines one of them: a function of each
unit's mean activation over the rows (kl), or a mean over rows of a function of the row's code
(l1, l2). Formulas are those of the UFLDL notes (Ng, CS294A, 2011, section 3) for kl.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_cross_entropy_backward = torch.ops.aten.binary_cross_entropy_backward.default
_NO_REDUCTION = 0


def kl_divergence(rho: Tensor | float, mean_activation: Tensor) -> Tensor:
    """Return KL(rho || rho_hat) of two Bernoulli variables, elementwise (CS294A, section 3)."""
    off = 1.0 - mean_activation
    return rho * torch.log(rho / mean_activation) + (1.0 - rho) * torch.log((1.0 - rho) / off)


class Sparsity:
    """No penalty at all, and the interface of those that are one.

    Codes have shape (n_models, n_components, n_rows); means over rows, ``rho`` and ``beta``
    (n_models, n_components, 1).

    Attributes
    ----------
    of_mean_activation : bool
        Which pair of methods S is made of: the penalty on units or the one on rows.
    degree : int
        The power of the code that a penalty on rows grows with; 0 if there is none.
    """

    of_mean_activation = False
    degree = 0

    def activity(self, mean_code: Tensor) -> Tensor:
        """Return the mean over units of what rho is compared with, shape (n_models,)."""
        raise NotImplementedError

    def unit_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        """Return S as a function of the mean code, shape (n_models,)."""
        raise NotImplementedError

    def unit_gradient(self, mean_code: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        """Return beta times the gradient of `unit_penalty` by the mean code."""
        raise NotImplementedError

    def row_penalty(self, code: Tensor) -> Tensor | None:
        """Return the function of each row's code whose mean is S, shape (n_models, n_rows)."""
        return None

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor | None:
        """Return beta times the gradient of `row_penalty` by the code."""
        return None


@dataclass(frozen=True)
class KullbackLeibler(Sparsity):
    """Sum over units of KL(rho || rho_hat); a tanh code is read as the activity (1 + a) / 2."""

    signed: bool = False
    of_mean_activation = True

    def mean_activation(self, mean_code: Tensor) -> Tensor:
        """Return rho_hat, kept off 0 and 1 so that a saturated unit stays finite."""
        rho_hat = (1.0 + mean_code) / 2.0 if self.signed else mean_code
        # Not below 1e-12, where torch's derivative of the cross entropy stops growing.
        eps = max(torch.finfo(rho_hat.dtype).eps, 1e-12)
        return rho_hat.clamp(eps, 1.0 - eps)

    def activity(self, mean_code: Tensor) -> Tensor:
        return self.mean_activation(mean_code).mean(dim=(1, 2))

    def unit_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        return kl_divergence(rho, self.mean_activation(mean_code)).sum(dim=(1, 2))

    def unit_gradient(self, mean_code: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        # The divergence is the cross entropy but for a constant, and torch has the derivative
        # of that, (rho_hat - rho) / (rho_hat (1 - rho_hat)), in one operation.
        rho_hat = self.mean_activation(mean_code)
        gradient = _cross_entropy_backward(beta, rho_hat, rho, None, _NO_REDUCTION)
        return gradient / 2.0 if self.signed else gradient


class L1(Sparsity):
    """Mean over rows of the sum over units of abs(a)."""

    degree = 1

    def row_penalty(self, code: Tensor) -> Tensor:
        return code.abs().sum(dim=1)

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor:
        return torch.sign(code).mul_(beta)


class L2(Sparsity):
    """Mean over rows of half the sum over units of a squared."""

    degree = 2

    def row_penalty(self, code: Tensor) -> Tensor:
        return code.square().sum(dim=1) / 2.0

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor:
        return code * beta


def make_sparsity(name: str | None, code_activation: str) -> Sparsity:
    """Return the sparsity of that name for a code with that activation."""
    if name == "kl":
        return KullbackLeibler(signed=code_activation == "tanh")
    return {"l1": L1(), "l2": L2(), None: Sparsity()}[name]
