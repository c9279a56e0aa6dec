"""The objective J and its gradient, over a minibatch and over all rows.

    J = sum_i w_i / (n mean w) * 1/2 * ||x_hat_i - x_i||^2  +  beta * S  +  alpha/2 * sum ||W||^2

which is that of the UFLDL notes (Ng, CS294A, 2011, section 3, eq. 8 and the sparsity term).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows, part_slices
from sksae.engine.device import to_wide
from sksae.engine.network import Parameters, Workspace, backward, forward
from sksae.engine.sparsity import Sparsity, make_sparsity

# Over how many batches the running mean of the code reaches back.
RHO_HAT_WINDOW = 10
# Of how many batches the notes for the loss curve are kept before they are added up.
FOLDED_TOGETHER = 256
# Activations of the encoder are kept between the two halves of a pass up to this many entries.
KEPT_ENTRIES = 2**24
# A walk over all rows splits its chunks into parts of at least so many rows.
PART_ROWS = 1024

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
        # One for each unit, as torch's derivative of the cross entropy does not broadcast.
        n_components = architecture.sizes[architecture.n_encoder_layers]
        self.rho = per_model(penalties.rho).repeat(1, n_components, 1)
        self.beta = per_model(penalties.beta).repeat(1, n_components, 1)
        self.alpha = per_model(penalties.alpha)
        # A weight decay that all models share costs a minibatch nothing in `backward`; one for
        # each model is added afterwards, and that of all rows once a walk and in float64.
        self.common_alpha = penalties.alpha if isinstance(penalties.alpha, float) else None
        # The target is the centred row plus this; nothing to add where the output is centred too.
        self.offset = (
            torch.as_tensor(offset, dtype=like.dtype, device=like.device) if offset.any() else None
        )

    def error(self, output: Tensor, rows: Tensor, out: Tensor) -> Tensor:
        """Write x_hat - x into ``out``."""
        torch.sub(output, rows, out=out)
        return out if self.offset is None else out.sub_(self.offset)

    def code_gradient(
        self, code: Tensor, mean_code: Tensor | None, weight: Tensor | None
    ) -> Tensor | None:
        """Return the gradient of beta * S by the code, times 1 / share as `backward` wants it.

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
            gradient = self.sparsity.row_gradient(code, self.beta)
        else:
            gradient = self.sparsity.unit_gradient(mean_code, self.rho, self.beta)
        return gradient if gradient is None or weight is None else gradient * weight.mT

    def unit_penalty(self, mean_code: Tensor) -> Tensor:
        """Return beta * S where it is a function of the mean code, shape (n_models,)."""
        return self.beta[:, 0, 0] * self.sparsity.unit_penalty(mean_code, self.rho)

    def weight_decay(self, parameters: Parameters) -> Tensor:
        """Return alpha/2 * sum_l ||W_l||_F^2 of each model, shape (n_models,)."""
        norms = [torch.linalg.vector_norm(w, dim=(1, 2)) for w in parameters.weights]
        return self.alpha.view(-1) / 2 * torch.stack(norms).square_().sum(dim=0)

    def add_weight_decay(self, gradient: Parameters, parameters: Parameters) -> None:
        """Add the gradient of `weight_decay`."""
        for part, weight in zip(gradient.weights, parameters.weights, strict=True):
            part.add_(self.alpha * weight)


def share_out(workspace: Workspace, weight: Tensor | None) -> Tensor:
    """Return what each row counts in a mean, shape (n_models, n_rows, 1)."""
    if weight is None:
        return workspace.sharing
    return (weight * workspace.share).expand_as(workspace.sharing)


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
        self._workspaces: dict[int, Workspace] = {}
        self._window = window
        self._n_seen = 0
        # Running means of the sum over rows of weight * code, and of weight, which is 1 and not
        # kept as long as all rows are alike.
        like = parameters.flat
        self._code_sum = torch.zeros_like(self._terms.rho)
        self._weight_sum: Tensor | None = None
        if state and "code_sum" in state:
            self._n_seen = int(state["n_seen"])
            self._code_sum = torch.tensor(state["code_sum"], dtype=like.dtype, device=like.device)
            if "weight_sum" in state:
                self._weight_sum = torch.tensor(
                    state["weight_sum"], dtype=like.dtype, device=like.device
                )
        self._loss_so_far, self._n_folded = to_wide(like.new_zeros(1)), 0
        self._forget()

    def __call__(self, rows: Tensor, weight: Tensor | None) -> None:
        """Write the gradient by one minibatch into ``gradient``, and note what J was.

        Parameters
        ----------
        rows : Tensor of shape (n_models or 1, n_rows, n_features)
            Centred rows.
        weight : Tensor of shape (1, n_rows, 1), or None where all rows are alike
            Relative to the mean weight of all rows.
        """
        if len(self._shares) == FOLDED_TOGETHER:
            self._fold()
        terms, parameters = self._terms, self.parameters
        n_rows = rows.shape[1]
        if n_rows not in self._workspaces:
            self._workspaces[n_rows] = Workspace(parameters, n_rows)
        workspace = self._workspaces[n_rows]
        share = share_out(workspace, weight)

        output = forward(parameters, rows.mT, workspace)
        error = terms.error(output, rows, out=workspace.gradient[-1])
        self._shares.append(share)
        self._distances.append(torch.linalg.vector_norm(error, dim=-1))
        if weight is not None:
            error.mul_(weight)

        code = workspace.out[terms.code_layer]
        mean_code = None
        if terms.sparsity.of_mean_activation:
            mean_code = self._track(code, share, weight)
            self._mean_codes.append(mean_code)
        else:
            penalty = terms.sparsity.row_penalty(code)
            if penalty is not None:
                self._row_penalties.append(penalty)
        code_gradient = terms.code_gradient(code, mean_code, weight)
        alpha = terms.common_alpha
        backward(parameters, rows, workspace, self.gradient, code_gradient, alpha or 0.0)
        if alpha is None:
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
        terms, n_batches = self._terms, len(self._shares)
        if n_batches == 0:
            return
        share = torch.cat(self._shares, dim=1)[..., 0]
        loss = (torch.cat(self._distances, dim=1).square_() * share).sum(dim=1) / 2
        if self._mean_codes:
            loss += terms.unit_penalty(torch.cat(self._mean_codes, dim=2))
        if self._row_penalties:
            penalty = (torch.cat(self._row_penalties, dim=1) * share).sum(dim=1)
            loss += terms.beta[:, 0, 0] * penalty
        self._loss_so_far = self._loss_so_far + to_wide(loss)
        self._n_folded += n_batches
        self._forget()

    def _forget(self) -> None:
        self._shares: list[Tensor] = []
        self._distances: list[Tensor] = []
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

    def _track(self, code: Tensor, share: Tensor, weight: Tensor | None) -> Tensor:
        """Move the running mean of the code on by one batch and return it."""
        newest = max(1.0 / (self._n_seen + 1), 1.0 / self._window)
        self._n_seen += 1
        # One operation for mean and running mean, into memory of its own: the notes keep it.
        self._code_sum = torch.baddbmm(self._code_sum, code, share, beta=1.0 - newest, alpha=newest)
        if weight is None and self._weight_sum is None:
            return self._code_sum
        if self._weight_sum is None:
            self._weight_sum = share.new_ones(1, 1, 1)
        self._weight_sum = self._weight_sum.lerp(share[:1].sum(dim=1, keepdim=True), newest)
        return self._code_sum / self._weight_sum.clamp(min=torch.finfo(share.dtype).tiny)


@dataclass(frozen=True)
class Chunk:
    """Some rows of a walk over all, and what they are processed with.

    Attributes
    ----------
    which : slice
        The rows.
    n_parts : int
        Equal parts that they are split into, processed side by side on the models axis.
    network : Parameters
        As many copies of the one network.
    workspace : Workspace
        Buffers of all parts.
    """

    which: slice
    n_parts: int
    network: Parameters
    workspace: Workspace

    def split(self, rows: Tensor) -> Tensor:
        """Put the parts of rows, or of their weights, on the models axis."""
        return rows if self.n_parts == 1 else rows.view(self.n_parts, -1, rows.shape[-1])

    def join(self, values: Tensor) -> Tensor:
        """Return the sum over parts, in float64."""
        wide = to_wide(values)
        return wide if self.n_parts == 1 else wide.sum(dim=0, keepdim=True)


class FullObjective:
    """J over all rows, walked in chunks, and its gradient.

    Squared errors are summed in float64; what a product sums over the rows of a chunk (or of a
    part, see below) is in the precision of the products, and in float64 from there on.

    A penalty on mean activations couples all rows, so a gradient needs two walks: encode every
    chunk, then, with rho_hat known, go through decoder and backward. What the encoder computed is
    kept between the two where memory allows, and computed again otherwise.

    On the CPU a long chunk goes through the network in parts, as the rows of several networks
    that share their weights: each core then keeps to its own part and finds in its cache what it
    left there, where a product over the whole chunk would divide the work anew each time.

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
        self._encoder = range(architecture.n_encoder_layers)
        self._decoder = range(architecture.n_encoder_layers, architecture.n_layers)
        n_encoded = rows.n_rows * sum(architecture.sizes[1 : architecture.n_encoder_layers + 1])
        self._keeps = n_encoded * parameters.n_models <= KEPT_ENTRIES
        self._chunks = self._make_chunks()
        # The gradient of each part, by the number of parts.
        self._gradients: dict[int, Parameters] = {}

    def _make_chunks(self) -> list[Chunk]:
        parameters, n_rows = self.parameters, self._rows.n_rows
        splits = parameters.n_models == 1 and parameters.flat.device.type == "cpu"
        cuts = part_slices(
            n_rows,
            max(parameters.architecture.sizes),
            min_part=PART_ROWS if splits else n_rows,
        )
        networks: dict[int, Parameters] = {}
        scratch: dict[tuple[int, int], Workspace] = {}
        chunks = []
        for which, n_parts in cuts:
            if n_parts not in networks:
                networks[n_parts] = parameters.side_by_side(n_parts) if n_parts > 1 else parameters
            network, length = networks[n_parts], (which.stop - which.start) // n_parts
            if (n_parts, length) not in scratch:
                scratch[n_parts, length] = Workspace(network, length, 1.0 / n_rows)
            workspace = scratch[n_parts, length]
            if self._keeps:
                workspace = Workspace(network, length, 1.0 / n_rows, workspace)
            chunks.append(Chunk(which, n_parts, network, workspace))
        return chunks

    def _walk(self) -> Iterator[tuple[Chunk, Tensor, Tensor | None]]:
        """Yield (chunk, rows, weight) with the parts of each chunk on the models axis."""
        for chunk in self._chunks:
            weight = self._rows.weight(chunk.which)
            split_weight = None if weight is None else chunk.split(weight)
            yield chunk, chunk.split(self._rows.take(chunk.which)), split_weight

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Return J and the mean code of the network as it stands.

        Returns
        -------
        loss : Tensor of shape (n_models,), float64
        mean_code : Tensor of shape (n_models, n_components, 1), float64
        """
        terms = self._terms
        loss, mean_code = self._zero_loss(), torch.zeros_like(self._wide.rho)
        for chunk, rows, weight in self._walk():
            workspace = chunk.workspace
            output = forward(chunk.network, rows.mT, workspace)
            code = workspace.out[terms.code_layer]
            error = terms.error(output, rows, out=workspace.gradient[-1])
            loss += self._row_terms(chunk, error, code, weight)
            mean_code += chunk.join(torch.bmm(code, share_out(workspace, weight)))
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
        terms, total = self._terms, self._total
        self.parameters.flat.copy_(flat)
        self._weights.flat.copy_(flat)
        total.flat.zero_()
        by_unit = terms.sparsity.of_mean_activation
        mean_code = self._encode_all() if by_unit else torch.zeros_like(self._wide.rho)
        narrow_mean = mean_code.to(terms.rho) if by_unit else None
        loss = self._zero_loss()
        for chunk, rows, weight in self._walk():
            network, workspace = chunk.network, chunk.workspace
            code = workspace.out[terms.code_layer]
            if by_unit and self._keeps:
                output = forward(network, code, workspace, self._decoder)
            else:
                output = forward(network, rows.mT, workspace)
            error = terms.error(output, rows, out=workspace.gradient[-1])
            loss += self._row_terms(chunk, error, code, weight)
            if weight is not None:
                error.mul_(weight)
            code_gradient = terms.code_gradient(code, narrow_mean, weight)
            backward(network, rows, workspace, self._gradient_of(chunk), code_gradient)
            for block, part in zip(total.blocks, self._gradient_of(chunk).blocks, strict=True):
                block.add_(chunk.join(part))
        self._wide.add_weight_decay(total, self._weights)
        return loss + self._other_terms(mean_code), total.flat.clone()

    def _gradient_of(self, chunk: Chunk) -> Parameters:
        network = chunk.network
        if chunk.n_parts not in self._gradients:
            self._gradients[chunk.n_parts] = Parameters.zeros(
                network.architecture, network.n_models, network.flat.dtype, network.flat.device
            )
        return self._gradients[chunk.n_parts]

    def _encode_all(self) -> Tensor:
        mean_code = torch.zeros_like(self._wide.rho)
        for chunk, rows, weight in self._walk():
            code = forward(chunk.network, rows.mT, chunk.workspace, self._encoder)
            mean_code += chunk.join(torch.bmm(code, share_out(chunk.workspace, weight)))
        return mean_code

    def _row_terms(
        self, chunk: Chunk, error: Tensor, code: Tensor, weight: Tensor | None
    ) -> Tensor:
        """Return one chunk's part of J: squared error, and the penalty on its rows' codes."""
        values = to_wide(torch.linalg.vector_norm(error, dim=-1)).square_() / 2.0
        by_row = self._terms.sparsity.row_penalty(code)
        if by_row is not None:
            values += self._wide.beta[:, 0] * to_wide(by_row)
        if weight is not None:
            values *= to_wide(weight[..., 0])
        return chunk.join(values.sum(dim=-1)) * chunk.workspace.share

    def _zero_loss(self) -> Tensor:
        return torch.zeros_like(self._wide.alpha[:, 0, 0])

    def _other_terms(self, mean_code: Tensor) -> Tensor:
        """Return the parts of J that are not sums over rows."""
        decay = self._wide.weight_decay(self._weights)
        if not self._wide.sparsity.of_mean_activation:
            return decay
        return decay + self._wide.unit_penalty(mean_code)
