"""What a network comes to over all rows, summed up chunk by chunk."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sksae.engine.batches import Batch
from sksae.engine.device import to_float64

# Of squares summed in float32, as a share of them.
ROUNDING = 1e-5


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


@dataclass
class EvaluationSums:
    """What a lane finds in `FullObjective.evaluate`; shapes are those of `Evaluation`."""

    loss: Tensor
    mean_code: Tensor
    lowest: Tensor
    highest: Tensor
    errors: "SquaredErrors | None"

    def add(self, other: "EvaluationSums") -> None:
        """Take up what another lane found."""
        self.loss += other.loss
        self.mean_code += other.mean_code
        torch.minimum(self.lowest, other.lowest, out=self.lowest)
        torch.maximum(self.highest, other.highest, out=self.highest)
        if self.errors is not None and other.errors is not None:
            self.errors.add_sums(other.errors)


class SquaredErrors:
    """Means over rows of the squared error, and of the deviation of the targets from their mean.

    Parameters
    ----------
    zero : Tensor of shape (n_models,), float64
        Zeros.
    """

    def __init__(self, zero: Tensor) -> None:
        self._error, self._square = torch.zeros_like(zero), torch.zeros_like(zero[:1])
        self._mean: Tensor | float = 0.0

    def add(self, row_weights: Tensor, batch: Batch, row_values: Tensor) -> None:
        """Take up a chunk.

        Parameters
        ----------
        row_weights : Tensor of shape (1, n_rows, 1)
            What each of its rows counts.
        batch : Batch
            Its rows and targets.
        row_values : Tensor of shape (n_models, n_rows)
            Norms of the errors.
        """
        self._error += _sum_squares(row_values, row_weights)
        # Models have their targets in common.
        norms = torch.linalg.vector_norm(batch.target, dim=2)
        self._square += _sum_squares(norms, row_weights)
        self._mean = self._mean + to_float64(torch.mv(batch.target[0].T, row_weights[0, :, 0]))

    def add_sums(self, other: "SquaredErrors") -> None:
        """Take up what was found of other chunks."""
        self._error += other._error
        self._square += other._square
        self._mean = self._mean + other._mean

    def means(self) -> tuple[Tensor, Tensor]:
        """Return both, of shape (n_models,)."""
        assert isinstance(self._mean, Tensor)
        deviation = self._square - self._mean.square().sum()
        deviation = torch.where(deviation > ROUNDING * self._square, deviation, 0.0)
        return self._error, deviation.expand_as(self._error)


def _sum_squares(norms: Tensor, row_weights: Tensor) -> Tensor:
    """Return the weighted sum over rows of squared norms, in float64."""
    return (to_float64(norms).square() * to_float64(row_weights[..., 0])).sum(dim=1)
