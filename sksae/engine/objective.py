"""The objective J and its gradient, over a minibatch and over all rows.

    J = sum_i w_i / (n mean w) * 1/2 * ||x_hat_i - x_i||^2  +  beta * S  +  alpha/2 * sum ||W||^2

which is that of the UFLDL notes (Ng, CS294A, 2011, section 3, eq. 8 and the sparsity term).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows, chunk_slices
from sksae.engine.device import to_wide
from sksae.engine.network import Parameters, Workspace, backward, forward
from sksae.engine.sparsity import Sparsity, make_sparsity

# Over how many batches the running mean of the code reaches back.
RHO_HAT_WINDOW = 10
# Of how many batches the notes for the loss curve are kept before they are added up.
FOLDED_TOGETHER = 256
# Activations of the encoder are kept between the two halves of a pass up to this many entries.
KEPT_ENTRIES = 2**24

PerModel = float | Sequence[float]


@dataclass(frozen=True)
class Penalties:
    """The terms of J besides the squared error; a number for all models or one for each.

    Attributes
    ----------
    sparsity : {"kl", "l1", "l2", None}
        What S is.
    rho, beta, alpha : float or sequence of float
        Wanted mean activation, weight of S, weight decay.
    """

    sparsity: str | None
    rho: PerModel
    beta: PerModel
    alpha: PerModel


class Terms:
    """J bound to an architecture, a precision and a device."""

    def __init__(self, penalties: Penalties, parameters: Parameters, offset: np.ndarray) -> None:
        like, architecture = parameters.flat, parameters.architecture

        def per_model(value: PerModel) -> Tensor:
            values = torch.as_tensor(value, dtype=like.dtype, device=like.device)
            return values.reshape(-1, 1, 1).expand(parameters.n_models, 1, 1).contiguous()

        self.code_layer = architecture.n_encoder_layers - 1
        self.sparsity: Sparsity = make_sparsity(
            penalties.sparsity, architecture.activations[self.code_layer]
        )
        self.rho = per_model(penalties.rho)
        self.beta = per_model(penalties.beta)
        self.alpha = per_model(penalties.alpha)
        # The target is the centred row plus this; nothing to add where the output is centred too.
        self.offset = (
            torch.as_tensor(offset, dtype=like.dtype, device=like.device) if offset.any() else None
        )

    def error(self, output: Tensor, rows: Tensor, out: Tensor) -> Tensor:
        """Write x_hat - x into ``out``."""
        torch.sub(output, rows, out=out)
        return out if self.offset is None else out.sub_(self.offset)

    def weight_decay(self, parameters: Parameters) -> Tensor:
        """Return alpha/2 * sum_l ||W_l||_F^2 of each model, shape (n_models,)."""
        norms = [torch.linalg.vector_norm(w, dim=(1, 2)) for w in parameters.weights]
        return self.alpha.view(-1) / 2 * torch.stack(norms).square_().sum(dim=0)

    def add_weight_decay(self, gradient: Parameters, parameters: Parameters) -> None:
        """Add the gradient of `weight_decay`."""
        for part, weight in zip(gradient.weights, parameters.weights, strict=True):
            part.add_(self.alpha * weight)


def weighted_sum(code: Tensor, weight: Tensor) -> Tensor:
    """Return sum_i weight_i * code_i, shape (n_models, 1, n_components)."""
    if weight.shape[1] == 1:
        return code.sum(dim=1, keepdim=True) * weight
    return torch.bmm(weight.mT.expand(code.shape[0], -1, -1), code)


class MinibatchObjective:
    """J and its gradient over one minibatch after another.

    The mean activation that kl compares with rho is a running mean over the last batches. A
    single batch estimates a small rho badly, and as 1/rho_hat is convex the errors do not cancel:
    they keep the units from becoming selective. A window of 1 gives J of each batch itself.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        The network; moved by a solver between calls.
    offset : ndarray of shape (n_features,)
        What is added to the centred rows to make the target.
    window : int
        Batches over which the mean activation is taken.
    state : dict of ndarray, optional
        What `state` gave, when a training goes on.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        offset: np.ndarray,
        *,
        window: int = RHO_HAT_WINDOW,
        state: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.parameters = parameters
        self.gradient = parameters.with_flat(torch.zeros_like(parameters.flat))
        self._terms = Terms(penalties, parameters, offset)
        # A weight decay that all models share is left to the solver, which adds it in passing.
        self.alpha_left = penalties.alpha if isinstance(penalties.alpha, float) else 0.0
        self._decays = not isinstance(penalties.alpha, float)
        self._workspaces: dict[int, Workspace] = {}
        self._window = window
        self._n_seen = 0
        # Running means of the sum over rows of weight * code, and of weight, which is 1 and not
        # kept as long as all rows are alike.
        self._code_sum = parameters.flat.new_zeros(1)
        self._weight_sum: Tensor | None = None
        if state and "code_sum" in state:
            # Copies, as all that a training resumes from: running means move in place.
            like = parameters.flat
            self._n_seen = int(state["n_seen"])
            self._code_sum = torch.tensor(state["code_sum"], dtype=like.dtype, device=like.device)
            if "weight_sum" in state:
                self._weight_sum = torch.tensor(
                    state["weight_sum"], dtype=like.dtype, device=like.device
                )
        self._loss_so_far, self._n_folded = to_wide(parameters.flat.new_zeros(1)), 0
        self._forget()

    def __call__(self, rows: Tensor, weight: Tensor) -> None:
        """Write the gradient by one minibatch into ``gradient``, and note what J was."""
        if len(self._weights) == FOLDED_TOGETHER:
            self._fold()
        terms, parameters = self._terms, self.parameters
        n_rows = rows.shape[1]
        if n_rows not in self._workspaces:
            self._workspaces[n_rows] = Workspace(parameters, n_rows)
        workspace = self._workspaces[n_rows]

        output = forward(parameters, rows, workspace)
        error = terms.error(output, rows, out=workspace.gradient[-1])
        self._distances.append(torch.linalg.vector_norm(error, dim=-1))
        self._weights.append(weight)
        error.mul_(weight)

        code = workspace.out[terms.code_layer]
        scaled = weight * terms.beta
        code_gradient: Tensor | None
        if terms.sparsity.of_mean_activation:
            mean_code = self._track(workspace, weight)
            code_gradient = terms.sparsity.unit_gradient(mean_code, terms.rho, scaled)
        else:
            penalty = terms.sparsity.row_penalty(code)
            if penalty is not None:
                self._row_penalties.append(penalty)
            code_gradient = terms.sparsity.row_gradient(code, scaled)
        backward(parameters, rows, workspace, self.gradient, code_gradient)
        if self._decays:
            terms.add_weight_decay(self.gradient, parameters)

    def epoch_loss(self) -> Tensor:
        """Return J averaged over the batches since the last call, shape (n_models,).

        What the batches noted is put together later, many at once: at every step it would cost
        more than the products of a small network. The weight decay is that of the weights now.
        """
        self._fold()
        loss = self._loss_so_far / self._n_folded
        self._loss_so_far, self._n_folded = torch.zeros_like(loss), 0
        return loss + to_wide(self._terms.weight_decay(self.parameters))

    def _fold(self) -> None:
        """Add up what the batches noted, so that the notes do not grow with the epoch."""
        terms, n_batches = self._terms, len(self._weights)
        if n_batches == 0:
            return
        pairs = zip(self._weights, self._distances, strict=True)
        weight = torch.cat([w[..., 0].expand(1, d.shape[1]) for w, d in pairs], dim=1)
        loss = (torch.cat(self._distances, dim=1).square_() * weight).sum(dim=1) / 2
        if self._mean_codes:
            divergence = terms.sparsity.unit_penalty(torch.cat(self._mean_codes, dim=1), terms.rho)
            loss += terms.beta.view(-1) * divergence
        if self._row_penalties:
            penalty = (torch.cat(self._row_penalties, dim=1) * weight).sum(dim=1)
            loss += terms.beta.view(-1) * penalty
        self._loss_so_far = self._loss_so_far + to_wide(loss)
        self._n_folded += n_batches
        self._forget()

    def _forget(self) -> None:
        self._distances: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._row_penalties: list[Tensor] = []
        self._mean_codes: list[Tensor] = []

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next minibatch's gradient depends on besides the parameters."""
        if self._n_seen == 0:
            return {}
        state = {
            "code_sum": self._code_sum.cpu().numpy().copy(),
            "n_seen": np.asarray(self._n_seen),
        }
        if self._weight_sum is not None:
            state["weight_sum"] = self._weight_sum.cpu().numpy().copy()
        return state

    def _track(self, workspace: Workspace, weight: Tensor) -> Tensor:
        """Move the running mean of the code on by one batch and return it."""
        code = workspace.out[self._terms.code_layer]
        newest = max(1.0 / (self._n_seen + 1), 1.0 / self._window)
        alike = weight.shape[1] == 1
        code_sum = torch.bmm(workspace.averaging, code) if alike else weighted_sum(code, weight)
        if self._n_seen == 0:
            self._code_sum = code_sum
        else:
            self._code_sum.lerp_(code_sum, newest)
        self._n_seen += 1
        if alike and self._weight_sum is None:
            mean_code = self._code_sum.clone()
        else:
            if self._weight_sum is None:
                self._weight_sum = weight.new_ones(1, 1, 1)
            total = torch.ones_like(weight) if alike else weight.sum(dim=1, keepdim=True)
            self._weight_sum.lerp_(total, newest)
            tiny = torch.finfo(weight.dtype).tiny
            mean_code = self._code_sum / self._weight_sum.clamp(min=tiny)
        self._mean_codes.append(mean_code)
        return mean_code


class FullObjective:
    """J over all rows, walked in chunks, with sums in float64; and its gradient.

    A penalty on mean activations couples all rows, so a gradient needs two walks: encode every
    chunk, then, with rho_hat known, go through decoder and backward. What the encoder computed is
    kept between the two where memory allows, and computed again otherwise.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        The network, in the precision of the matrix products.
    rows : Rows
        All of them.
    offset : ndarray of shape (n_features,)
        What is added to the centred rows to make the target.
    """

    def __init__(
        self, penalties: Penalties, parameters: Parameters, rows: Rows, offset: np.ndarray
    ) -> None:
        architecture = parameters.architecture
        self.parameters = parameters
        self._rows = rows
        self._terms = Terms(penalties, parameters, offset)
        # Parameters and gradient in float64, for all that is not a product over rows.
        self._weights = parameters.with_flat(torch.zeros_like(to_wide(parameters.flat)))
        self._total = parameters.with_flat(torch.zeros_like(self._weights.flat))
        self._wide = Terms(penalties, self._weights, offset)
        self._widest = max(architecture.sizes)
        self._encoder = range(architecture.n_encoder_layers)
        self._decoder = range(architecture.n_encoder_layers, architecture.n_layers)
        lengths = [s.stop - s.start for s in chunk_slices(rows.n_rows, self._widest)]
        n_encoded = rows.n_rows * sum(architecture.sizes[1 : architecture.n_encoder_layers + 1])
        self._keeps = n_encoded * parameters.n_models <= KEPT_ENTRIES
        scratch = {length: Workspace(parameters, length) for length in set(lengths)}
        self._workspaces = [
            Workspace(parameters, length, scratch[length]) if self._keeps else scratch[length]
            for length in lengths
        ]
        self._chunk_gradient = parameters.with_flat(torch.zeros_like(parameters.flat))

    def _chunks(self) -> Iterator[tuple[Workspace, Tensor, Tensor]]:
        for workspace, (rows, weight) in zip(
            self._workspaces, self._rows.chunks(self._widest), strict=True
        ):
            yield workspace, rows, weight

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Return J and the mean code of the network as it stands.

        Returns
        -------
        loss : Tensor of shape (n_models,), float64
        mean_code : Tensor of shape (n_models, 1, n_components), float64
        """
        terms = self._terms
        loss, mean_code = self._zero_loss(), self._zero_mean_code()
        for workspace, rows, weight in self._chunks():
            output = forward(self.parameters, rows, workspace)
            code = workspace.out[terms.code_layer]
            error = terms.error(output, rows, out=workspace.gradient[-1])
            loss += self._row_terms(error, code, weight)
            mean_code += weighted_sum(to_wide(code), to_wide(weight))
        self._weights.flat.copy_(self.parameters.flat)
        return loss + self._other_terms(mean_code), mean_code

    def gradient(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return J and its gradient at the parameters given.

        Parameters
        ----------
        flat : Tensor of shape (n_models * n_parameters,), float64
            Rounded to the precision of the matrix products for these alone.

        Returns
        -------
        loss : Tensor of shape (n_models,), float64
        gradient : Tensor like ``flat``
        """
        terms, parameters, total = self._terms, self.parameters, self._total
        parameters.flat.copy_(flat)
        self._weights.flat.copy_(flat)
        total.flat.zero_()
        by_unit = terms.sparsity.of_mean_activation
        mean_code = self._encode_all() if by_unit else self._zero_mean_code()
        narrow_mean = mean_code.to(parameters.flat)
        encoded = by_unit and self._keeps
        loss = self._zero_loss()
        for workspace, rows, weight in self._chunks():
            if encoded:
                code = workspace.out[terms.code_layer]
                output = forward(parameters, code, workspace, self._decoder)
            else:
                output = forward(parameters, rows, workspace)
                code = workspace.out[terms.code_layer]
            error = terms.error(output, rows, out=workspace.gradient[-1])
            loss += self._row_terms(error, code, weight)
            error.mul_(weight)
            scaled = weight * terms.beta
            code_gradient = (
                terms.sparsity.unit_gradient(narrow_mean, terms.rho, scaled)
                if by_unit
                else terms.sparsity.row_gradient(code, scaled)
            )
            backward(parameters, rows, workspace, self._chunk_gradient, code_gradient)
            total.flat.add_(to_wide(self._chunk_gradient.flat))
        self._wide.add_weight_decay(total, self._weights)
        return loss + self._other_terms(mean_code), total.flat.clone()

    def _encode_all(self) -> Tensor:
        mean_code = self._zero_mean_code()
        for workspace, rows, weight in self._chunks():
            code = forward(self.parameters, rows, workspace, self._encoder)
            mean_code += weighted_sum(to_wide(code), to_wide(weight))
        return mean_code

    def _row_terms(self, error: Tensor, code: Tensor, weight: Tensor) -> Tensor:
        """Return one chunk's part of J: squared error, and the penalty on its rows' codes."""
        squares = to_wide(torch.linalg.vector_norm(error, dim=-1)).square_() / 2.0
        by_row = self._terms.sparsity.row_penalty(code)
        if by_row is not None:
            squares += self._wide.beta.view(-1, 1) * to_wide(by_row)
        return (squares * to_wide(weight[..., 0])).sum(dim=-1)

    def _zero_loss(self) -> Tensor:
        return torch.zeros_like(self._wide.alpha[:, 0, 0])

    def _zero_mean_code(self) -> Tensor:
        n_components = self.parameters.architecture.sizes[self._encoder.stop]
        return self._wide.alpha.new_zeros(self.parameters.n_models, 1, n_components)

    def _other_terms(self, mean_code: Tensor) -> Tensor:
        """Return the parts of J that are not sums over rows."""
        wide = self._wide
        decay = wide.weight_decay(self._weights)
        if not wide.sparsity.of_mean_activation:
            return decay
        return decay + wide.beta.view(-1) * wide.sparsity.unit_penalty(mean_code, wide.rho)
