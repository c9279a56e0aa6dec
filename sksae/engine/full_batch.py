"""J and its gradient over all rows, walked in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor

from sksae.engine.batches import Batch, Rows, part_slices
from sksae.engine.controller import share_active
from sksae.engine.device import to_wide
from sksae.engine.losses import Loss, SquaredError, compare, weigh
from sksae.engine.network import Workspace, backward, forward
from sksae.engine.noise import Corruption
from sksae.engine.objective import Penalties, Terms, share_out
from sksae.engine.parameters import Parameters
from sksae.engine.sparsity import Sparsity

# Activations of the encoder are kept between the two halves of a pass up to this many entries.
KEPT_ENTRIES = 2**24
# On the CPU chunks are split into parts of at least so many rows.
PART_ROWS = 1024
# Of squares summed in float32, as a share of them.
ROUNDING = 1e-5


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

    def split(self, batch: Batch) -> Batch:
        """Put the parts of the rows on the models axis."""
        if self.n_parts == 1:
            return batch

        def parts(tensor: Tensor) -> Tensor:
            return tensor.view(self.n_parts, -1, tensor.shape[-1])

        weight = None if batch.weight is None else parts(batch.weight)
        return Batch(parts(batch.rows), parts(batch.target), weight)

    def join(self, values: Tensor) -> Tensor:
        """Return the sum over parts, in float64."""
        wide = to_wide(values)
        return wide if self.n_parts == 1 else wide.sum(dim=0, keepdim=True)


class Evaluation(NamedTuple):
    """What a network comes to over all rows.

    Attributes
    ----------
    loss : Tensor of shape (n_models,), float64
        J.
    mean_code : Tensor of shape (n_models, n_components, 1), float64
        Mean of the code.
    lowest, highest : Tensor of shape (n_models, n_components, 1)
        Smallest and largest activation of each unit.
    error, deviation : Tensor of shape (n_models,), float64
        Mean squared error of the output, and that of the targets' mean, 0 where rounding alone
        distinguishes them; nan where the loss is another one.
    """

    loss: Tensor
    mean_code: Tensor
    lowest: Tensor
    highest: Tensor
    error: Tensor
    deviation: Tensor


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
    loss : Loss
        Of the output.
    corruption : Corruption, optional
        Noise that rows have in `gradient` and `activity`, the same in every pass. To `evaluate`
        they are shown as they are.
    with_gradient : bool, default=True
        Whether the gradient is going to be asked for: it wants memory.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        rows: Rows,
        loss: Loss,
        *,
        corruption: Corruption | None = None,
        with_gradient: bool = True,
    ) -> None:
        architecture = parameters.architecture
        self.parameters = parameters
        self._rows, self._corruption = rows, corruption
        self._terms = Terms(penalties, parameters, loss)
        # Parameters and gradient in float64, for all that is not a product over rows.
        self._weights = parameters.with_flat(torch.zeros_like(to_wide(parameters.flat)))
        self._total = parameters.with_flat(torch.zeros_like(self._weights.flat))
        self._wide = Terms(penalties, self._weights, loss)
        self._encoder = range(architecture.n_encoder_layers)
        self._decoder = range(architecture.n_encoder_layers, architecture.n_layers)
        n_encoded = rows.n_rows * sum(architecture.sizes[1 : architecture.n_encoder_layers + 1])
        self._keeps = with_gradient and n_encoded * parameters.n_models <= KEPT_ENTRIES
        self._chunks = self._make_chunks()
        # The gradient of each part, by the number of parts.
        self._gradients: dict[int, Parameters] = {}

    def _make_chunks(self) -> list[Chunk]:
        parameters, n_rows = self.parameters, self._rows.n_rows
        splits = parameters.n_models == 1 and parameters.flat.device.type == "cpu"
        cuts = part_slices(
            n_rows,
            max(parameters.architecture.sizes) * parameters.n_models,
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

    def _walk(self, *, corrupt: bool = False) -> Iterator[tuple[Chunk, Batch]]:
        """Yield each chunk and its rows, whose parts are on the models axis."""
        corruption = self._corruption if corrupt else None
        if corruption is not None:
            corruption.begin(0)
        for chunk in self._chunks:
            batch = self._rows.batch(chunk.which)
            if corruption is not None:
                batch = corruption(batch)
            yield chunk, chunk.split(batch)

    def evaluate(self) -> Evaluation:
        """Return what the network as it stands comes to."""
        terms, architecture = self._terms, self.parameters.architecture
        loss, mean_code = self._zero_loss(), torch.zeros_like(self._wide.rho)
        lowest = torch.full_like(terms.rho, inf)
        highest = torch.full_like(terms.rho, -inf)
        errors = _SquaredErrors(loss) if isinstance(terms.loss, SquaredError) else None
        for chunk, batch in self._walk():
            workspace = chunk.workspace
            output = forward(chunk.network, batch.rows.mT, workspace)
            code = workspace.out[terms.code_layer]
            error = workspace.gradient[-1]
            notes = compare(architecture, terms.loss, output, batch.target, error)
            if errors is not None:
                errors.add(chunk, batch, notes)
            loss += self._row_terms(chunk, notes, code, batch.weight)
            if self._encoder:
                mean_code += chunk.join(torch.bmm(code, share_out(workspace, batch.weight)))
                low, high = code.aminmax(dim=2, keepdim=True)
                if chunk.n_parts > 1:
                    low, high = low.amin(dim=0, keepdim=True), high.amax(dim=0, keepdim=True)
                torch.minimum(lowest, low, out=lowest)
                torch.maximum(highest, high, out=highest)
        self._weights.flat.copy_(self.parameters.flat)
        loss = loss + self._other_terms(mean_code)
        unknown = torch.full_like(loss, nan)
        error, deviation = (unknown, unknown) if errors is None else errors.means()
        return Evaluation(loss, mean_code, lowest, highest, error, deviation)

    @property
    def sparsity(self) -> Sparsity:
        """What S is."""
        return self._terms.sparsity

    @property
    def rho(self) -> Tensor:
        """Activity wanted, shape (n_models,), float64."""
        return self._wide.rho[:, 0, 0]

    @property
    def beta(self) -> Tensor:
        """Weight of S, shape (n_models,), float64; 0 where it is still to be found."""
        return self._wide.beta[:, 0, 0]

    def set_beta(self, beta: Tensor | float) -> None:
        """Weigh S by another beta, a number or shape (n_models,)."""
        if not isinstance(beta, Tensor):
            beta = self._wide.beta.new_tensor(beta)
        for terms in (self._terms, self._wide):
            terms.beta.copy_(beta.view(-1, 1, 1).expand_as(terms.beta))

    def mean_square(self) -> Tensor:
        """Return the mean over rows of their squared norm, shape (n_models,), float64."""
        total = self._zero_loss()
        for chunk, batch in self._walk():
            squares = to_wide(batch.rows).square().sum(dim=2, keepdim=True)
            if batch.weight is not None:
                squares *= to_wide(batch.weight)
            total += chunk.join(squares.sum(dim=1))[:, 0] * chunk.workspace.share
        return total

    def activity(self) -> Tensor:
        """Return what rho is compared with, of the network as it stands.

        Returns
        -------
        activity : Tensor of shape (n_models,), float64
            Mean over units of the mean activation, where S is a function of it; else of the share
            of rows in which a unit is active.
        """
        terms = self._terms
        if terms.sparsity.of_mean_activation:
            return terms.sparsity.activity(self._encode_all())
        largest = torch.zeros_like(terms.beta)
        for chunk, batch in self._walk(corrupt=True):
            code = forward(chunk.network, batch.rows.mT, chunk.workspace, self._encoder)
            highest = code.abs().amax(dim=2, keepdim=True)
            if chunk.n_parts > 1:
                highest = highest.amax(dim=0, keepdim=True)
            largest = torch.maximum(largest, highest)
        active = torch.zeros_like(self._wide.beta)
        for chunk, batch in self._walk(corrupt=True):
            code = forward(chunk.network, batch.rows.mT, chunk.workspace, self._encoder)
            active += chunk.join(
                share_active(code.abs(), largest, share_out(chunk.workspace, batch.weight))
            )
        return active.mean(dim=(1, 2))

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
        for chunk, batch in self._walk(corrupt=True):
            network, workspace, weight = chunk.network, chunk.workspace, batch.weight
            code = workspace.out[terms.code_layer]
            if by_unit and self._keeps:
                output = forward(network, code, workspace, self._decoder)
            else:
                output = forward(network, batch.rows.mT, workspace)
            error = workspace.gradient[-1]
            notes = compare(network.architecture, terms.loss, output, batch.target, error)
            loss += self._row_terms(chunk, notes, code, weight)
            if weight is not None:
                weigh(network.architecture, error, weight)
            code_gradient = terms.code_gradient(code, narrow_mean, weight)
            backward(network, batch.rows, workspace, self._gradient_of(chunk), code_gradient)
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
        for chunk, batch in self._walk(corrupt=True):
            code = forward(chunk.network, batch.rows.mT, chunk.workspace, self._encoder)
            mean_code += chunk.join(torch.bmm(code, share_out(chunk.workspace, batch.weight)))
        return mean_code

    def _row_terms(
        self, chunk: Chunk, notes: Tensor, code: Tensor, weight: Tensor | None
    ) -> Tensor:
        """Return one chunk's part of J: the loss, and the penalty on its rows' codes."""
        values = self._terms.loss.values(to_wide(notes))
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


class _SquaredErrors:
    """Means over rows of the squared error, and of the deviation of the targets from their mean.

    Parameters
    ----------
    zero : Tensor of shape (n_models,), float64
        Zeros.
    """

    def __init__(self, zero: Tensor) -> None:
        self._error, self._square = torch.zeros_like(zero), torch.zeros_like(zero[:1])
        self._mean: Tensor | float = 0.0

    def add(self, chunk: Chunk, batch: Batch, notes: Tensor) -> None:
        """Take up a chunk; ``notes`` are the norms of its rows' errors."""
        share = share_out(chunk.workspace, batch.weight)
        self._error += chunk.join(_sum_squares(notes, share))
        target = batch.target
        norms = torch.linalg.vector_norm(target, dim=2)
        # Parts are summed; models have their targets in common.
        self._square += _sum_squares(norms, share[: len(target)]).sum()
        self._mean = self._mean + to_wide(torch.bmm(target.mT, share[: len(target)])).sum(dim=0)

    def means(self) -> tuple[Tensor, Tensor]:
        """Return both, of shape (n_models,)."""
        assert isinstance(self._mean, Tensor)
        deviation = self._square - self._mean.square().sum()
        deviation = torch.where(deviation > ROUNDING * self._square, deviation, 0.0)
        return self._error, deviation.expand_as(self._error)


def _sum_squares(norms: Tensor, share: Tensor) -> Tensor:
    """Return the weighted sum over rows of squared norms, in float64."""
    return (to_wide(norms).square() * to_wide(share[..., 0])).sum(dim=1)
