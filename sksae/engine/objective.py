"""The terms of the objective J, which `minibatch` and `full_batch` put together.

    J = sum_i w_i / (n mean w) * l_i  +  beta * S  +  alpha/2 * sum ||W||^2

where l is a loss of `losses`. With 1/2 ||x_hat - x||^2 it is that of the UFLDL notes (Ng, CS294A,
2011, section 3, eq. 8 and the sparsity term); with the cross entropy of labels that of their
"Softmax regression", and of rows in [0, 1] that of Bernoulli units. The sum goes over all layers,
of tied weights over both; or is that of some layers.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes import make_code
from sksae.engine.codes.code import Code
from sksae.engine.losses import Loss, compares_numbers
from sksae.engine.network import Workspace
from sksae.engine.parameters import Parameters
from sksae.model.loss_parts import LossParts
from sksae.model.settings import Beta, Penalties, PerModel


def which_auto(beta: Beta, n_models: int) -> np.ndarray:
    """Return whether each model's beta is "auto", shape (n_models,)."""
    values = [beta] * n_models if isinstance(beta, str | float) else beta
    return np.array([value == "auto" for value in values])


def known(beta: Beta) -> PerModel:
    """Return beta with 0 in the place of "auto"."""
    if isinstance(beta, str):
        return 0.0
    if isinstance(beta, float):
        return beta
    return [0.0 if isinstance(value, str) else value for value in beta]


class TermsOfJ(NamedTuple):
    """J and the terms that it is the sum of (see `LossParts`), each (n_models,) and float64."""

    total: Tensor
    error: Tensor
    sparsity: Tensor
    decay: Tensor

    def of_models(self) -> list[LossParts]:
        """Return the numbers of each model."""
        return [LossParts(*each) for each in torch.stack(self, dim=1).tolist()]


class ObjectiveTerms:
    """J bound to an architecture, a precision and a device."""

    def __init__(self, penalties: Penalties, parameters: Parameters, loss: Loss) -> None:
        like, architecture = parameters.flat, parameters.architecture

        def per_model(value: PerModel) -> Tensor:
            values = torch.as_tensor(value, dtype=like.dtype, device=like.device)
            return values.reshape(-1, 1, 1).expand(parameters.n_models, 1, 1).contiguous()

        self.code_layer = architecture.code_layer
        self.code: Code = make_code(penalties.sparsity, architecture.activations[self.code_layer])
        # One for each unit, as torch's derivative of the cross entropy does not broadcast.
        n_components = architecture.n_components
        self.rho = per_model(penalties.rho).repeat(1, n_components, 1)
        # What is to be found is 0 until a controller writes here.
        self.is_auto = which_auto(penalties.beta, parameters.n_models)
        self.beta = per_model(known(penalties.beta)).repeat(1, n_components, 1)
        self.alpha = per_model(penalties.alpha)
        # A weight decay that all models share costs a minibatch nothing in `backward`; one for
        # each model is added afterwards, and that of all rows once a walk and in float64.
        self.common_alpha = penalties.alpha if isinstance(penalties.alpha, float) else None
        decaying = {
            "all": range(architecture.n_layers),
            "last": (architecture.n_layers - 1,),
            "encoder": range(architecture.n_encoder_layers),
        }[penalties.decays]
        self.decayed = [layer in decaying for layer in range(architecture.n_layers)]
        self.loss = loss.like(like)
        self.bandwidth = penalties.bandwidth
        self.divergence = loss.divergence if compares_numbers(loss) else None

    def code_gradient(
        self, code: Tensor, mean_code: Tensor | None, weight: Tensor | None
    ) -> Tensor | None:
        """Return the gradient of beta * S by the code, times 1 / row_weight as `backward` wants it.

        Parameters
        ----------
        code : Tensor of shape (n_models, n_components, n_rows)
            Of some rows.
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            Of all of them, where S is a function of it.
        weight : Tensor of shape (1, n_rows, 1), or None where all rows are alike
            Relative to the mean weight.
        """
        if mean_code is None:
            gradient = self.code.row_gradient(code, self.beta)
        else:
            gradient = self.code.mean_gradient(mean_code, self.rho, self.beta)
        return gradient if gradient is None or weight is None else gradient * weight.mT

    def mean_penalty(self, mean_code: Tensor) -> Tensor:
        """Return beta * S where it is a function of the mean code, shape (n_models,)."""
        return self.beta[:, 0, 0] * self.code.mean_penalty(mean_code, self.rho)

    def weight_decay(self, parameters: Parameters) -> Tensor:
        """Return alpha/2 * sum_l ||W_l||_F^2 of each model, shape (n_models,)."""
        weights = [w for w, decays in zip(parameters.weights, self.decayed, strict=True) if decays]
        norms = [torch.linalg.vector_norm(weight, dim=(1, 2)) for weight in weights]
        return self.alpha.view(-1) / 2 * torch.stack(norms).square_().sum(dim=0)

    def add_weight_decay(self, gradient: Parameters, parameters: Parameters) -> None:
        """Add the gradient of `weight_decay`."""
        for part, weight, decays in zip(
            gradient.weights, parameters.weights, self.decayed, strict=True
        ):
            if decays:
                part.add_(self.alpha * weight)


def row_weights_of(workspace: Workspace, weight: Tensor | None) -> Tensor:
    """Return what each row counts in a mean, shape (1, n_rows, 1)."""
    return workspace.row_weights if weight is None else weight * workspace.row_weight
