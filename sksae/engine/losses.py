"""The losses: how far a row's output is from its target, and the derivative."""

from typing import Protocol, Self, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from sksae.model.architecture import Architecture
from sksae.model.scaling import Scaling


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


class LossOfNumbers(Loss, Protocol):
    """A loss that compares numbers: an output may come near its target, and a mean is one too.

    Attributes
    ----------
    divergence : float or None
        By how much l falls from the mean target to the targets themselves, where that is known;
        None where it is half the squared deviation of the rows from their mean.
    """

    divergence: float | None

    def mean_over_readings(self, row_values: Tensor) -> Tensor:
        """Return what stands for the mean of l over the last axis of what stands for l."""

    def sum_of(self, first: Tensor, second: Tensor) -> Tensor:
        """Return what stands for the sum of two l, given what stands for each."""

    def distances(self, row_values: Tensor, derivative: Tensor, dim: int) -> Tensor:
        """Return how far the outputs of rows are from their targets, in the units of these.

        Parameters
        ----------
        row_values : Tensor of shape (n_models, n_rows)
            What calling the loss gave.
        derivative : Tensor
            What it wrote.
        dim : {-1, -2}
            Along which the outputs of a row lie.
        """

    def of_mean(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return the mean of l over rows if every output is the mean target.

        Parameters
        ----------
        mean : Tensor of shape (n_targets,), float64
            Mean target.
        deviation : Tensor of shape (n_models,), float64
            Mean over rows of the squared distance of targets from it.
        """


class SquaredError:
    """l = 1/2 ||output - target - offset||^2.

    Parameters
    ----------
    offset : ndarray or Tensor of shape (n_out,), optional
        Added to every target; nothing by default.
    """

    divergence: float | None = None

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

    def mean_over_readings(self, row_values: Tensor) -> Tensor:
        # They are distances: squares have a mean.
        if row_values.shape[-1] == 1:
            return row_values[..., 0]
        return torch.linalg.vector_norm(row_values, dim=-1).div_(row_values.shape[-1] ** 0.5)

    def sum_of(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.hypot(first, second)

    def distances(self, row_values: Tensor, derivative: Tensor, dim: int) -> Tensor:
        return row_values

    def of_mean(self, mean: Tensor, deviation: Tensor) -> Tensor:
        return deviation / 2.0


class BinaryCrossEntropy:
    r"""l = -sum_j x_j ln s(o_j) + (1 - x_j) ln(1 - s(o_j)), of outputs o that are logits.

    s is the sigmoid; of targets in [0, 1] which are scale * target + centre: x itself, where
    targets are the rows that a network is shown. With p = s(o) the derivative is p - x, and

    .. math::

        l = \sum_j o_j (1[o_j > 0] - x_j) + \ln(1 + e^{-|o_j|}) ,

    a sum of terms none of which is negative: nothing cancels, and no logit is too large.

    Parameters
    ----------
    centre : ndarray or Tensor of shape (n_out,)
        Added to targets times scale.
    scale : float
        Multiplies targets.
    divergence : float, optional
        By how much l falls from the mean target to targets themselves.
    """

    def __init__(
        self, centre: np.ndarray | Tensor, scale: float, divergence: float | None = None
    ) -> None:
        self.centre = torch.from_numpy(centre) if isinstance(centre, np.ndarray) else centre
        self.scale, self.divergence = scale, divergence

    def like(self, tensor: Tensor) -> "BinaryCrossEntropy":
        return BinaryCrossEntropy(self.centre.to(tensor), self.scale, self.divergence)

    def __call__(self, output: Tensor, target: Tensor, out: Tensor, dim: int) -> Tensor:
        centre = self.centre if dim == -1 else self.centre.unsqueeze(-1)
        wanted = torch.add(centre, target, alpha=self.scale)
        # On the side of 0 where a logit is, the row wants it less far out, or not there at all.
        wrong = (output > 0).to(output.dtype).sub_(wanted).mul_(output)
        row_values = wrong.add_(softplus(-output.abs())).sum(dim=dim)
        torch.sigmoid(output, out=out).sub_(wanted)
        return row_values

    def values(self, row_values: Tensor) -> Tensor:
        return row_values

    def mean_over_readings(self, row_values: Tensor) -> Tensor:
        return row_values.mean(dim=-1)

    def sum_of(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second

    def distances(self, row_values: Tensor, derivative: Tensor, dim: int) -> Tensor:
        return torch.linalg.vector_norm(derivative, dim=dim).div_(self.scale)

    def of_mean(self, mean: Tensor, deviation: Tensor) -> Tensor:
        wanted = (self.centre + self.scale * mean).clamp_(0.0, 1.0)
        entropy = -(torch.xlogy(wanted, wanted) + torch.xlogy(1.0 - wanted, 1.0 - wanted))
        return entropy.sum().expand_as(deviation)


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


def compares_numbers(loss: Loss) -> TypeGuard[LossOfNumbers]:
    """Return whether a loss compares numbers, not labels."""
    return isinstance(loss, SquaredError | BinaryCrossEntropy)


def takes_logits(loss: Loss) -> bool:
    """Return whether a loss has the output's activation in it."""
    return isinstance(loss, BinaryCrossEntropy)


def make_loss(name: str, scaling: Scaling | None = None) -> Loss:
    """Return the loss of that name.

    Parameters
    ----------
    name : {"squared_error", "cross_entropy"}
        Which.
    scaling : Scaling, optional
        Of the rows, where targets are the rows themselves: with the cross entropy those of X, as
        probabilities. Without it targets are numbers, or labels.
    """
    if name == "squared_error":
        return SquaredError(None if scaling is None else scaling.offset)
    if scaling is None:
        return CrossEntropy()
    return BinaryCrossEntropy(scaling.centre, scaling.scale, scaling.divergence)


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
