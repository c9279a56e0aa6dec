"""The losses: how far a row's output is from its target, and the derivative."""

from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from sksae.model.architecture import Architecture


class Loss(Protocol):
    """A function l of a row's output and target; J has its weighted mean over rows."""

    def like(self, tensor: Tensor) -> Self:
        """Return it in the precision and on the device of a tensor."""

    def __call__(self, output: Tensor, target: Tensor, out: Tensor, dim: int) -> Tensor:
        """Write dl/doutput into ``out``, and return what l is made of.

        Parameters
        ----------
        output : Tensor of shape (n_models, n_rows, n_out) or (n_models, n_out, n_rows)
            Activation of the last layer.
        target : Tensor of shape (n_models or 1, n_rows, n_targets) or transposed likewise
            What is wanted.
        dim : {-1, -2}
            Along which the outputs of a row lie.
        out : Tensor like ``output``
            Result.

        Returns
        -------
        row_values : Tensor of shape (n_models, n_rows)
            From which `values` makes l. Minibatches leave that for later: many at once take less.
        """

    def values(self, row_values: Tensor) -> Tensor:
        """Return l of each row; ``row_values`` may be overwritten."""


class SquaredError:
    """l = 1/2 ||output - target - offset||^2.

    Parameters
    ----------
    offset : ndarray or Tensor of shape (n_out,), optional
        Added to every target; nothing by default.
    """

    def __init__(self, offset: np.ndarray | Tensor | None = None) -> None:
        # Nothing to add where the output is centred too.
        is_needed = offset is not None and bool(offset.any())
        if isinstance(offset, np.ndarray):
            offset = torch.from_numpy(offset)
        self.offset = offset if is_needed else None

    def like(self, tensor: Tensor) -> "SquaredError":
        if self.offset is None:
            return self
        return SquaredError(self.offset.to(tensor))

    def __call__(self, output: Tensor, target: Tensor, out: Tensor, dim: int) -> Tensor:
        torch.sub(output, target, out=out)
        if self.offset is not None:
            out.sub_(self.offset if dim == -1 else self.offset.unsqueeze(-1))
        return torch.linalg.vector_norm(out, dim=dim)

    def values(self, row_values: Tensor) -> Tensor:
        return row_values.square_().div_(2.0)


class CrossEntropy:
    """l = -ln softmax(output)[target], of labels 0, 1, ... (UFLDL, "Softmax regression")."""

    def like(self, tensor: Tensor) -> "CrossEntropy":
        return self

    def __call__(self, output: Tensor, target: Tensor, out: Tensor, dim: int) -> Tensor:
        labels = target.expand(len(output), -1, -1)
        torch.log_softmax(output, dim=dim, out=out)
        row_values = -out.gather(dim, labels).squeeze(dim)
        # The derivative is softmax(output) less 1 at the label.
        out.exp_().scatter_add_(dim, labels, out.new_full((1, 1, 1), -1.0).expand_as(labels))
        return row_values

    def values(self, row_values: Tensor) -> Tensor:
        return row_values


def make_loss(name: str, offset: np.ndarray | None = None) -> Loss:
    """Return the loss of that name.

    Parameters
    ----------
    name : {"squared_error", "cross_entropy"}
        Which.
    offset : ndarray of shape (n_out,), optional
        Added to every target of a squared error.
    """
    losses: dict[str, Loss] = {
        "squared_error": SquaredError(offset),
        "cross_entropy": CrossEntropy(),
    }
    return losses[name]


def compare(
    architecture: Architecture, loss: Loss, output: Tensor, target: Tensor, out: Tensor
) -> Tensor:
    """Apply a loss to a network's output and targets (n_models or 1, n_rows, n_targets).

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    loss : Loss
        The loss.
    output : Tensor
        Activation of the last layer.
    target : Tensor of shape (n_models or 1, n_rows, n_targets)
        What is wanted.
    out : Tensor like ``output``
        Where the derivative is written.
    """
    if architecture.output_layout == "rows":
        return loss(output, target, out, -1)
    return loss(output, target.mT, out, -2)


def weigh(architecture: Architecture, error: Tensor, weight: Tensor) -> None:
    """Multiply derivatives by the output with rows' weights of shape (1, n_rows, 1).

    Parameters
    ----------
    architecture : Architecture
        Layers of the network.
    error : Tensor
        dl/doutput; multiplied in place.
    weight : Tensor of shape (1, n_rows, 1)
        Of the rows.
    """
    error.mul_(weight if architecture.output_layout == "rows" else weight.mT)
