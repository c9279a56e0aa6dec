"""Scores of networks on the rows held out: R^2, or the accuracy."""

from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Batch, Rows
from sksae.engine.device import to_float64
from sksae.engine.losses import Loss, LossOfNumbers, compare, compares_numbers
from sksae.engine.network import Workspace, forward
from sksae.engine.parameters import Parameters
from sksae.engine.portions import Portions
from sksae.engine.products import Operand
from sksae.model.architecture import Architecture
from sksae.model.numbers import r_squared

# Of a sum of squares in float64, however many.
ROUNDING = 1e-13


class ValidationScorer(Protocol):
    """What tells how well networks do on rows held out."""

    def scores(self, parameters: Parameters) -> list[float]:
        """Return a score for each network, the higher the better."""


def make_scorer(rows: Rows, loss: Loss, widest: int) -> ValidationScorer:
    """Return the scorer that suits a loss.

    Parameters
    ----------
    rows : Rows
        Rows held out.
    loss : Loss
        What is trained for.
    widest : int
        Size of the widest layer.
    """
    if compares_numbers(loss):
        return R2Scorer(
            rows, loss.like(torch.empty(0, dtype=rows.dtype, device=rows.device)), widest
        )
    return AccuracyScorer(rows, widest)


class _HeldOut:
    """Rows held out, walked in chunks."""

    def __init__(self, rows: Rows, widest: int) -> None:
        self._rows, self._widest, self._portions = rows, widest, Portions()

    @np.errstate(all="ignore")
    def means(self, parameters: Parameters) -> list[float]:
        """Return the weighted mean over rows of what `by_row` measures, of each model."""
        n_models = parameters.n_models
        total = torch.zeros(n_models, dtype=torch.float64, device="cpu")

        def add(chunk: Batch, which: slice) -> None:
            batch = chunk.some(which)
            workspace = Workspace(parameters, batch.rows.shape[1])
            output = forward(workspace, Operand(batch.rows))
            values = self.by_row(parameters.architecture, output, batch.target)
            if batch.weight is not None:
                values *= to_float64(batch.weight)[..., 0]
            total.add_(values.sum(dim=-1).cpu() / self._rows.n_of_all)

        for batch in self._rows.chunks(self._widest * n_models):
            all_rows = slice(0, batch.rows.shape[1])
            self._portions.each(all_rows, partial(add, batch))
        return self._rows.processes.sum_(total).tolist()

    def by_row(self, architecture: Architecture, output: Tensor, target: Tensor) -> Tensor:
        """Return a value for each row, (n_models, n_rows), float64.

        Parameters
        ----------
        architecture : Architecture
            Layers of the network.
        output : Tensor
            Activation of the last layer.
        target : Tensor of shape (1, n_rows, n_targets)
            What is wanted.
        """
        raise NotImplementedError


class R2Scorer(_HeldOut):
    """R^2: 1 - squared error / squared deviation from the targets' own mean."""

    def __init__(self, rows: Rows, loss: LossOfNumbers, widest: int) -> None:
        super().__init__(rows, widest)
        self._loss = loss
        mean, square = torch.zeros(1, dtype=torch.float64, device="cpu"), 0.0
        for batch in rows.chunks(widest):
            wide = to_float64(batch.target)
            weighted = wide if batch.weight is None else wide * to_float64(batch.weight)
            mean = mean.to(wide.device) + weighted.sum(dim=(0, 1)) / rows.n_of_all
            square += float((wide * weighted).sum()) / rows.n_of_all
        rows.processes.sum_(mean)
        square = rows.processes.total(square)
        deviation = square - float(mean.square().sum())
        # Less is what rounding leaves of targets that are all alike.
        self._deviation = deviation if deviation > ROUNDING * square else 0.0

    def scores(self, parameters: Parameters) -> list[float]:
        return [r_squared(error, self._deviation) for error in self.means(parameters)]

    def by_row(self, architecture: Architecture, output: Tensor, target: Tensor) -> Tensor:
        derivative = torch.empty_like(output)
        row_values = compare(architecture, self._loss, output, target, derivative)
        dim = -1 if architecture.output_layout == "rows" else -2
        return to_float64(self._loss.distances(row_values, derivative, dim)).square()


class AccuracyScorer(_HeldOut):
    """Share of rows whose largest output is that of their label."""

    def scores(self, parameters: Parameters) -> list[float]:
        return self.means(parameters)

    def by_row(self, architecture: Architecture, output: Tensor, target: Tensor) -> Tensor:
        likeliest = output.argmax(dim=-1 if architecture.output_layout == "rows" else -2)
        return to_float64(likeliest == target[..., 0])
