"""What a network comes to over all rows, summed up chunk by chunk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, nan
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Batch, Rows
from sksae.engine.device import to_float64
from sksae.engine.losses import Loss, LossOfNumbers, compares_numbers
from sksae.engine.objective import ObjectiveTerms, TermsOfJ
from sksae.engine.parameters import Parameters
from sksae.engine.portions import Portions
from sksae.engine.threads import Crew
from sksae.model.settings import Penalties
from sksae.process.processes import Processes

T = TypeVar("T")

# Of squares summed in float32, as a share of them.
ROUNDING = 1e-5


class Evaluation(NamedTuple):
    """What a network comes to over all rows.

    Attributes
    ----------
    terms : TermsOfJ
        J and what it is the sum of.
    mean_code : Tensor of shape (n_models, n_components, 1), float64
        Mean of the code.
    active_share : Tensor of shape (n_models, n_components, 1), float64
        Weighted share of rows in which each unit is active, of codes with exact zeros; zeros for
        others, of which `active_shares` finds it.
    lowest, highest : Tensor of shape (n_models, n_components, 1)
        Smallest and largest activation of each unit.
    row_sparsity : Tensor of shape (n_models,), float64
        Weighted mean of Hoyer's sparsity of the activities of each row.
    error, deviation : Tensor of shape (n_models,), float64
        Mean squared error of the output, and that of the targets' mean, 0 where rounding alone
        distinguishes them; nan where the loss compares no numbers.
    loss_of_mean : Tensor of shape (n_models,), float64
        The loss if the targets' mean were the output for all rows; likewise.
    thresholds : Tensor of shape (n_models,), float64, or None
        Above which pre-activation units are kept, where that was to be found.
    """

    terms: TermsOfJ
    mean_code: Tensor
    active_share: Tensor
    lowest: Tensor
    highest: Tensor
    row_sparsity: Tensor
    error: Tensor
    deviation: Tensor
    loss_of_mean: Tensor
    thresholds: Tensor | None = None

    @property
    def loss(self) -> Tensor:
        """J, shape (n_models,), float64."""
        return self.terms.total


@dataclass
class EvaluationSums:
    """What a lane finds in `WalkedEvaluation.evaluate`; shapes are those of `Evaluation`.

    ``loss`` is all of J that is a sum over rows, and ``row_penalty`` what beta * S has in that.
    """

    loss: Tensor
    row_penalty: Tensor
    mean_code: Tensor
    active_share: Tensor
    lowest: Tensor
    highest: Tensor
    row_sparsity: Tensor
    errors: "SquaredErrors | None"

    def add(self, other: "EvaluationSums") -> None:
        """Take up what another lane found."""
        self.loss += other.loss
        self.row_penalty += other.row_penalty
        self.mean_code += other.mean_code
        self.active_share += other.active_share
        torch.minimum(self.lowest, other.lowest, out=self.lowest)
        torch.maximum(self.highest, other.highest, out=self.highest)
        self.row_sparsity += other.row_sparsity
        if self.errors is not None and other.errors is not None:
            self.errors.add_sums(other.errors)

    def add_others(self, processes: Processes) -> None:
        """Take up what all other processes found."""
        for each in (
            self.loss,
            self.row_penalty,
            self.mean_code,
            self.active_share,
            self.row_sparsity,
        ):
            processes.sum_(each)
        processes.largest_(self.lowest.neg_()).neg_()
        processes.largest_(self.highest)
        if self.errors is not None:
            self.errors.add_others(processes)


class WalkedEvaluation:
    """What networks come to over all rows, on which each member of a crew walks its lane.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        The networks, in the precision of the matrix products.
    loss : Loss
        Of the output.
    rows : Rows
        All of them.
    crew : Crew, optional
        Who walks.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        loss: Loss,
        rows: Rows,
        crew: Crew | None,
    ) -> None:
        self.parameters, self._rows, self._crew = parameters, rows, crew or Crew(1)
        # Of a chunk.
        self._portions = Portions()
        self._terms = ObjectiveTerms(penalties, parameters, loss)
        # Parameters in float64, for all that is not a product over rows.
        self._weights = parameters.with_flat(torch.zeros_like(to_float64(parameters.flat)))
        self._wide = ObjectiveTerms(penalties, self._weights, loss)

    @property
    def rho(self) -> Tensor:
        """Activity wanted, shape (n_models,), float64."""
        return self._wide.rho[:, 0, 0]

    def _longest_chunk(self) -> int:
        """Return how many rows are processed at once until memory ends."""
        raise NotImplementedError

    def _let_go_of_buffers(self) -> None:
        """Give up all buffers: others are made when they are needed."""
        raise NotImplementedError

    def _in_portions(self, work: Callable[[], T]) -> T:
        """Do a walk over all rows; from the start, by smaller portions, where memory ends."""
        found = self._portions.until_done(work, self._longest_chunk, self._let_go_of_buffers)
        self._portions.tell()
        return found

    def activity(self) -> Tensor:
        """Return what rho is compared with, of the network as it stands.

        Returns
        -------
        activity : Tensor of shape (n_models,), float64
            Mean over units of the mean activation, where S is a function of it; else of the share
            of rows in which a unit is not 0, or not negligible (see `NEGLIGIBLE`).
        """
        raise NotImplementedError

    def active_shares(self, above: Tensor) -> Tensor:
        """Return in what share of rows the activity of each unit is above a threshold.

        Parameters
        ----------
        above : Tensor of shape (n_models, n_components, 1)
            Thresholds.

        Returns
        -------
        share : Tensor like ``above``, float64
            Weighted; of clean rows.
        """
        raise NotImplementedError

    def _walks(self, *, is_whole: bool) -> Sequence[tuple["EvaluationSums", Iterator[bool]]]:
        """Return for each lane sums, and what adds one chunk to them at each step.

        Parameters
        ----------
        is_whole : bool
            Whether all rows are going to be walked over.
        """
        raise NotImplementedError

    def evaluate(self) -> Evaluation:
        """Return what the networks as they stand come to."""
        total = self._sum_of_all(self._in_portions(self._sums_of_lanes))
        return self._in_portions(partial(self._evaluation_of, total))

    def _sums_of_lanes(self) -> "list[EvaluationSums]":
        """Return what each lane finds in all its rows."""
        walks = self._walks(is_whole=True)

        def walk(steps: Iterator[bool]) -> None:
            for _ in steps:
                pass

        self._crew.run([partial(walk, steps) for _, steps in walks])
        return [sums for sums, _ in walks]

    def _total(self, of_lanes: Sequence[Tensor]) -> Tensor:
        """Return the sum of what all lanes of all processes have found."""
        return self._rows.processes.sum_(torch.stack(list(of_lanes)).sum(dim=0))

    def loss_unless_above(self, limit: Tensor) -> Tensor | None:
        """Return J, shape (n_models,), or None as soon as some rows tell that it is above a limit.

        All terms of J are 0 at least, so that those of a few rows are less than J.

        Parameters
        ----------
        limit : Tensor of shape (n_models,), float64
            For each network: J is returned unless that of all is above.
        """
        walks: list[tuple[EvaluationSums, Iterator[bool]]] = []

        def go_on() -> bool:
            """Take up a chunk in each lane; where memory has ended, all lanes begin again."""
            now = walks.copy() or self._walks(is_whole=False)
            walks.clear()
            goes_on = any(self._crew.run([partial(next, steps, False) for _, steps in now]))
            walks.extend(now)
            return goes_on

        is_above = limit <= 0.0
        while not is_above.all():
            if not self._rows.processes.any(self._in_portions(go_on)):
                total = self._sum_of_all([sums for sums, _ in walks])
                return self._in_portions(partial(self._evaluation_of, total)).loss
            is_above = self._total([sums.loss for sums, _ in walks]) >= limit
        return None

    def _new_sums(self) -> "EvaluationSums":
        terms = self._terms
        return EvaluationSums(
            self._zero_loss(),
            self._zero_loss(),
            torch.zeros_like(self._wide.rho),
            torch.zeros_like(self._wide.rho),
            torch.full_like(terms.rho, inf),
            torch.full_like(terms.rho, -inf),
            self._zero_loss(),
            SquaredErrors(self._zero_loss(), terms.loss) if compares_numbers(terms.loss) else None,
        )

    def _sum_of_all(self, sums: "list[EvaluationSums]") -> "EvaluationSums":
        """Return what all lanes of all processes have found together."""
        total = sums[0]
        for other in sums[1:]:
            total.add(other)
        if self._rows.processes.are_several:
            if not self._rows.has_any:
                total = self._new_sums()
            total.add_others(self._rows.processes)
        return total

    def _evaluation_of(self, total: "EvaluationSums") -> Evaluation:
        """Return what all rows come to."""
        self._weights.flat.copy_(self.parameters.flat)
        terms = self._sum_of_terms(
            total.loss, total.row_penalty, total.mean_code, total.active_share
        )
        error = deviation = loss_of_mean = torch.full_like(terms.total, nan)
        if total.errors is not None and compares_numbers(self._wide.loss):
            error, deviation, mean = total.errors.means()
            loss_of_mean = self._wide.loss.of_mean(mean, deviation)
        return Evaluation(
            terms,
            total.mean_code,
            # Rounding may leave a little more than all rows.
            total.active_share.clamp(max=1.0),
            total.lowest,
            total.highest,
            total.row_sparsity.clamp(max=1.0),
            error,
            deviation,
            loss_of_mean,
        )

    def _zero_loss(self) -> Tensor:
        return torch.zeros_like(self._wide.alpha[:, 0, 0])

    def _sum_of_terms(
        self,
        loss: Tensor,
        row_penalty: Tensor,
        mean_code: Tensor,
        active_share: Tensor | None = None,
    ) -> TermsOfJ:
        """Return J, given the parts of it that are sums over rows.

        Parameters
        ----------
        loss, row_penalty : Tensor of shape (n_models,), float64
            As in `EvaluationSums`.
        mean_code, active_share : Tensor of shape (n_models, n_components, 1), float64
            As in `Evaluation`; the latter where S may be a function of it.
        """
        decay = self._wide.weight_decay(self._weights)
        code, error = self._wide.code, loss - row_penalty
        if code.penalises_means:
            sparsity = self._wide.mean_penalty(mean_code)
        elif code.penalises_counts and active_share is not None:
            sparsity = self._wide.mean_penalty(active_share.mean(dim=1, keepdim=True))
        else:
            return TermsOfJ(loss + decay, error, row_penalty, decay)
        return TermsOfJ(loss + (decay + sparsity), error, sparsity, decay)


class SquaredErrors:
    """Means over rows of the squared error, and of the deviation of the targets from their mean.

    Parameters
    ----------
    zero : Tensor of shape (n_models,), float64
        Zeros.
    loss : LossOfNumbers
        By which outputs are compared with targets.
    """

    def __init__(self, zero: Tensor, loss: LossOfNumbers) -> None:
        self._loss = loss
        self._error, self._square = torch.zeros_like(zero), torch.zeros_like(zero[:1])
        self._mean: Tensor | float = 0.0

    def add(
        self,
        row_weights: Tensor,
        batch: Batch,
        row_values: Tensor,
        derivative: Tensor,
        dim: int = -1,
    ) -> None:
        """Take up a chunk.

        Parameters
        ----------
        row_weights : Tensor of shape (1, n_rows, 1)
            What each of its rows counts.
        batch : Batch
            Its rows and targets.
        row_values : Tensor of shape (n_models, n_rows)
            What the loss gave for it.
        derivative : Tensor
            What the loss wrote.
        dim : {-1, -2}
            Along which the outputs of a row lie.
        """
        distances = self._loss.distances(row_values, derivative, dim)
        self._error += _sum_squares(distances, row_weights)
        # Models have their targets in common.
        norms = torch.linalg.vector_norm(batch.target, dim=2)
        self._square += _sum_squares(norms, row_weights)
        self._mean = self._mean + to_float64(torch.mv(batch.target[0].T, row_weights[0, :, 0]))

    def add_sums(self, other: "SquaredErrors") -> None:
        """Take up what was found of other chunks."""
        self._error += other._error
        self._square += other._square
        self._mean = self._mean + other._mean

    def add_others(self, processes: Processes) -> None:
        """Take up what other processes found."""
        if not isinstance(self._mean, Tensor):
            self._mean = self._square.new_zeros(())
        n_targets = int(processes.largest(np.array(self._mean.numel())))
        self._mean = self._mean.expand(n_targets).clone()
        for each in (self._error, self._square, self._mean):
            processes.sum_(each)

    def means(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return both, of shape (n_models,), and the mean of the targets, (n_targets,)."""
        assert isinstance(self._mean, Tensor)
        deviation = self._square - self._mean.square().sum()
        deviation = torch.where(deviation > ROUNDING * self._square, deviation, 0.0)
        return self._error, deviation.expand_as(self._error), self._mean


def _sum_squares(norms: Tensor, row_weights: Tensor) -> Tensor:
    """Return the weighted sum over rows of squared norms, in float64."""
    return (to_float64(norms).square() * to_float64(row_weights[..., 0])).sum(dim=1)
