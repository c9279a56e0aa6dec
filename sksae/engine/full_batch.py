"""J and its gradient over all rows, walked in chunks."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from sksae.engine.activity import (
    measured,
    row_blocks,
    row_sparsity,
    share_not_negligible,
    share_of_rows,
    where_not_zero,
)
from sksae.engine.batches import Rows
from sksae.engine.chunk_plan import MOST_CHUNK_ROWS, Lane, chunks_of, plan_lanes
from sksae.engine.codes.code import Code
from sksae.engine.device import to_float64
from sksae.engine.evaluation import EvaluationSums, WalkedEvaluation
from sksae.engine.losses import Loss, compare, weigh
from sksae.engine.network import Workspace, backward, forward
from sksae.engine.noise import Corruption
from sksae.engine.objective import TermsOfJ, row_weights_of
from sksae.engine.parameters import Parameters
from sksae.engine.products import Operand
from sksae.engine.threads import Crew
from sksae.model.codes import activity, has_zeros
from sksae.model.settings import Penalties
from sksae.model.tasks import CodeMeasured

T = TypeVar("T")

# Activations of the encoder are kept between the two halves of a pass up to this many entries.
KEPT_ENTRIES = 2**24


class FullObjective(WalkedEvaluation):
    """J over all rows, walked in chunks, and its gradient.

    Squared errors are summed in float64; what a product sums over the rows of a chunk is in the
    precision of the products, and in float64 from there on.

    A penalty on mean activations couples all rows, so a gradient needs two walks: encode every
    chunk, then, with rho_hat known, go through decoder and backward. What the encoder computed is
    kept between the two where memory allows, and computed again otherwise.

    On the CPU each member of a crew walks over rows of its own.

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
    crew : Crew, optional
        Who walks.
    read_as : str, optional
        As in `TrainingTask`.
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
        crew: Crew | None = None,
        read_as: str | None = None,
    ) -> None:
        super().__init__(penalties, parameters, loss, rows, crew)
        architecture = parameters.architecture
        self._read_as = read_as or penalties.sparsity
        self._activation = architecture.activations[architecture.code_layer]
        self._has_zeros = has_zeros(self._activation)
        self._corruption = corruption
        self._encoder = range(architecture.n_encoder_layers)
        self._decoder = range(architecture.n_encoder_layers, architecture.n_layers)
        n_encoded = rows.n_rows * sum(architecture.sizes[1 : architecture.n_encoder_layers + 1])
        self._keeps = with_gradient and n_encoded * parameters.n_models <= KEPT_ENTRIES
        self._with_gradient = with_gradient
        self._planned: list[Lane] | None = None

    @property
    def _lanes(self) -> list[Lane]:
        if self._planned is None:
            self._planned = plan_lanes(
                self.parameters,
                self._rows,
                # Noise is drawn row after row, by one member.
                self._crew.n_members if self._corruption is None else 1,
                keeps_code=self._keeps,
                total=self._weights.flat if self._with_gradient else None,
                portions=self._portions,
            )
        return self._planned

    def _longest_chunk(self) -> int:
        chunks = chunks_of(self.parameters, slice(0, self._rows.n_rows), MOST_CHUNK_ROWS)
        return max(chunk.stop - chunk.start for chunk in chunks)

    def _let_go_of_buffers(self) -> None:
        self._planned, self._keeps = None, False

    def _each(self, function: Callable[..., T], *arguments: object) -> list[T]:
        """Call a function for each lane, side by side."""

        def each() -> list[T]:
            return self._crew.run([partial(function, lane, *arguments) for lane in self._lanes])

        return self._in_portions(each)

    def _walks(self, *, is_whole: bool) -> list[tuple[EvaluationSums, Iterator[bool]]]:
        sums = [self._new_sums() for _ in self._lanes]
        return [
            (own, self._sum_up(lane, own, is_whole=is_whole))
            for lane, own in zip(self._lanes, sums, strict=True)
        ]

    def _sum_up(self, lane: Lane, sums: EvaluationSums, *, is_whole: bool) -> Iterator[bool]:
        """Add what each chunk of a lane comes to, and yield True after each.

        Parameters
        ----------
        lane : Lane
            Whose chunks.
        sums : EvaluationSums
            Written to.
        is_whole : bool
            Whether more is asked for than J.
        """
        terms, architecture = self._terms, self.parameters.architecture
        for workspace, batch in lane.walk():
            output = forward(workspace, Operand(batch.rows))
            code, row_weights = (
                workspace.out[terms.code_layer],
                row_weights_of(workspace, batch.weight),
            )
            error = workspace.gradient[-1]
            row_values = compare(architecture, terms.loss, output, batch.target, error)
            if sums.errors is not None:
                dim = -1 if architecture.output_layout == "rows" else -2
                sums.errors.add(row_weights, batch, row_values, error, dim)
            self._add_row_terms(sums.loss, sums.row_penalty, workspace, row_values, batch.weight)
            if self._encoder:
                sums.mean_code += to_float64(workspace.sum_rows(row_weights))
            if self._encoder and is_whole:
                if self._has_zeros:
                    active = where_not_zero(code)
                    sums.active_share += share_of_rows(active, batch.weight, self._rows.n_of_all)
                # Two passes, which take an eighth of the time of torch's aminmax.
                low, high = code.amin(dim=2, keepdim=True), code.amax(dim=2, keepdim=True)
                torch.minimum(sums.lowest, low, out=sums.lowest)
                torch.maximum(sums.highest, high, out=sums.highest)
                for which in row_blocks(code):
                    sparsity = row_sparsity(self._activity_of(code[..., which]))
                    sums.row_sparsity += to_float64(sparsity @ row_weights[0, which, 0])
            yield True

    @property
    def code(self) -> Code:
        """How it is sparse."""
        return self._terms.code

    @property
    def beta(self) -> Tensor:
        """Weight of S, shape (n_models,), float64; 0 where it is still to be found."""
        return self._wide.beta[:, 0, 0]

    @property
    def divergence(self) -> float | None:
        """Of the loss (see `LossOfNumbers`)."""
        return self._terms.divergence

    def set_beta(self, beta: Tensor | float) -> None:
        """Weigh S by another beta, a number or shape (n_models,)."""
        if not isinstance(beta, Tensor):
            beta = self._wide.beta.new_tensor(beta)
        for terms in (self._terms, self._wide):
            terms.beta.copy_(beta.view(-1, 1, 1).expand_as(terms.beta))

    def mean_square(self) -> Tensor:
        """Return the mean over rows of their squared norm, shape (n_models,), float64."""

        def square(lane: Lane) -> Tensor:
            total = self._zero_loss()
            for workspace, batch in lane.walk():
                squares = to_float64(batch.rows).square().sum(dim=2, keepdim=True)
                if batch.weight is not None:
                    squares *= to_float64(batch.weight)
                total += squares.sum(dim=1)[:, 0] * workspace.row_weight
            return total

        return self._total(self._each(square))

    def activity(self) -> Tensor:
        terms = self._terms
        if terms.code.penalises_means:
            return terms.code.activity(self._encode_all())

        def codes(lane: Lane) -> Iterator[tuple[Tensor, Tensor]]:
            for workspace, batch in lane.walk(self._corruption):
                code = forward(workspace, Operand(batch.rows), self._encoder)
                yield code.abs(), row_weights_of(workspace, batch.weight)

        def largest_of(lane: Lane) -> Tensor:
            found = torch.zeros_like(terms.beta)
            for size, _ in codes(lane):
                torch.maximum(found, size.amax(dim=2, keepdim=True), out=found)
            return found

        largest = torch.stack(self._each(largest_of)).amax(dim=0)
        if not self._rows.has_any:
            largest.zero_()
        self._rows.processes.largest_(largest)

        def counted(lane: Lane) -> Tensor:
            total = torch.zeros_like(self._wide.beta)
            for size, row_weights in codes(lane):
                total += to_float64(share_not_negligible(size, largest, row_weights))
            return total

        return self._total(self._each(counted)).mean(dim=(1, 2))

    def active_shares(self, above: Tensor) -> Tensor:
        def count(lane: Lane) -> Tensor:
            total = torch.zeros_like(self._wide.beta)
            for workspace, batch in lane.walk():
                code = forward(workspace, Operand(batch.rows), self._encoder)
                for which in row_blocks(code):
                    active = self._activity_of(code[..., which]).gt_(above)
                    weight = None if batch.weight is None else batch.weight[:, which]
                    total += share_of_rows(active, weight, self._rows.n_of_all)
            return total

        # Rounding may leave a little more than all rows.
        return self._total(self._each(count)).clamp(max=1.0)

    def measure(self) -> CodeMeasured | None:
        """Return what the code of the first chunk of rows is like; None where there is none."""
        if not self._encoder:
            return None

        def measure() -> CodeMeasured:
            workspace, batch = next(self._lanes[0].walk())
            code = forward(workspace, Operand(batch.rows), self._encoder)
            row_weights = row_weights_of(workspace, batch.weight)
            return measured(code, row_weights, self._read_as, self._activation)

        return self._in_portions(measure)

    def _activity_of(self, code: Tensor) -> Tensor:
        """Return the activities, at least 0, of a code, in memory of their own."""
        found: Tensor = activity(code, self._read_as, self._activation)
        return found.abs()

    def gradient(self, flat: Tensor) -> tuple[TermsOfJ, Tensor]:
        """Return J, with its terms, and its gradient at the parameters given.

        Parameters
        ----------
        flat : Tensor of shape (n_models * n_parameters,), float64
            Rounded to the precision of the matrix products for these alone.

        Returns
        -------
        terms : TermsOfJ
        gradient : Tensor like ``flat``
        """
        self.parameters.flat.copy_(flat)
        self._weights.flat.copy_(flat)
        by_unit = self._terms.code.penalises_means
        mean_code = self._encode_all() if by_unit else torch.zeros_like(self._wide.rho)
        narrow_mean = mean_code.to(self._terms.rho) if by_unit else None
        lanes = self._each(self._gradient_of_lane, narrow_mean)
        loss, row_penalty = (self._total(each) for each in zip(*lanes, strict=True))
        total = self._weights.with_flat(torch.zeros_like(flat))
        for lane in self._lanes:
            assert lane.total is not None
            total.flat.add_(lane.total.flat)
        self._rows.processes.sum_(total.flat).mul_(1.0 / self._rows.n_of_all)
        self._wide.add_weight_decay(total, self._weights)
        return self._sum_of_terms(loss, row_penalty, mean_code), total.flat

    def _gradient_of_lane(self, lane: Lane, narrow_mean: Tensor | None) -> tuple[Tensor, Tensor]:
        """Write the sum of the chunks' gradients into the lane's.

        Returns
        -------
        loss, row_penalty : Tensor of shape (n_models,), float64
            Its part of those of `EvaluationSums`.
        """
        terms, architecture = self._terms, self.parameters.architecture
        is_encoded = narrow_mean is not None and self._keeps
        loss, row_penalty = self._zero_loss(), self._zero_loss()
        gradient, total = lane.gradient, lane.total
        assert gradient is not None
        assert total is not None
        total.flat.zero_()
        for workspace, batch in lane.walk(self._corruption):
            weight, rows = batch.weight, Operand(batch.rows)
            workspace.enter(rows)
            output = forward(workspace, layers=self._decoder if is_encoded else None)
            code, error = workspace.out[terms.code_layer], workspace.gradient[-1]
            row_values = compare(architecture, terms.loss, output, batch.target, error)
            self._add_row_terms(loss, row_penalty, workspace, row_values, weight)
            if weight is not None:
                weigh(architecture, error, weight)
            backward(workspace, gradient, terms.code_gradient(code, narrow_mean, weight))
            total.flat.add_(gradient.flat)
        return loss, row_penalty

    def _encode_all(self) -> Tensor:
        def encode(lane: Lane) -> Tensor:
            mean_code = torch.zeros_like(self._wide.rho)
            for workspace, batch in lane.walk(self._corruption):
                forward(workspace, Operand(batch.rows), self._encoder)
                row_weights = row_weights_of(workspace, batch.weight)
                mean_code += to_float64(workspace.sum_rows(row_weights))
            return mean_code

        return self._total(self._each(encode))

    def _add_row_terms(
        self,
        loss: Tensor,
        row_penalty: Tensor,
        workspace: Workspace,
        row_values: Tensor,
        weight: Tensor | None,
    ) -> None:
        """Add one chunk's part of J: the loss, and the penalty on its rows' codes.

        Parameters
        ----------
        loss, row_penalty : Tensor of shape (n_models,), float64
            Those of `EvaluationSums`, to which it is added.
        workspace : Workspace
            Of the chunk, whose code it has.
        row_values : Tensor of shape (n_models, n_rows)
            What the loss gave.
        weight : Tensor of shape (1, n_rows, 1) or None
            Relative to the mean weight.
        """
        values = self._terms.loss.values(to_float64(row_values))
        by_row = self._terms.code.row_penalty(workspace.out[self._terms.code_layer])
        if by_row is not None:
            penalty = self._wide.beta[:, 0] * to_float64(by_row)
            values += penalty
            row_penalty += _sum_over_rows(penalty, weight) * workspace.row_weight
        loss += _sum_over_rows(values, weight) * workspace.row_weight


def _sum_over_rows(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the sum over rows of values (n_models, n_rows), which may be overwritten."""
    if weight is not None:
        values *= to_float64(weight[..., 0])
    return values.sum(dim=-1)
