"""The network: layer sizes -> one flat parameter vector with named views; forward and backward.

Every tensor has a leading models axis, so that one and the same code trains one network or many
of one architecture side by side.

Hidden layers, the code among them, work on columns as the UFLDL notes write them, a = f(W x + b):
activations have shape (n_models, n_units, n_rows), weights (n_models, n_out, n_in), biases and
prelu slopes (n_models, n_out, 1). The output layer works on rows as the data come, x_hat =
f(a^T W + b): (n_models, n_rows, n_features), (n_models, n_in, n_out) and (n_models, 1, n_out). So
no product of the encoder has a result of few columns, which libraries of matrix products are
slowest at: with rows throughout, the five products of a step take 5 to 25 % longer.

The gradient is written out in closed form: with preallocated buffers a training step costs
little more than its matrix products, where autograd doubles them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS, INITIAL_PRELU_SLOPE


@dataclass(frozen=True)
class Architecture:
    """Sizes and activations of a network's layers.

    Attributes
    ----------
    sizes : tuple of int
        Units from input to output; an autoencoder's are symmetric about its code.
    activations : tuple of str
        One name of `ACTIVATIONS` for each layer of weights; ``len(sizes) - 1`` of them.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]

    @classmethod
    def autoencoder(
        cls,
        n_features: int,
        n_components: int,
        *,
        hidden_layer_sizes: Sequence[int] = (),
        hidden_activation: str,
        activation: str,
        output_activation: str,
    ) -> "Architecture":
        """Return input -> hidden layers -> code -> hidden layers mirrored -> output."""
        encoder = (n_features, *hidden_layer_sizes)
        hidden = (hidden_activation,) * len(hidden_layer_sizes)
        return cls(
            sizes=(*encoder, n_components, *reversed(encoder)),
            activations=(*hidden, activation, *hidden, output_activation),
        )

    @property
    def n_layers(self) -> int:
        return len(self.activations)

    @property
    def n_encoder_layers(self) -> int:
        """Layers up to and including the one whose output is the code."""
        return self.n_layers // 2

    @property
    def has_slopes(self) -> tuple[bool, ...]:
        """Whether each layer learns a prelu slope for each of its units."""
        return tuple(name == "prelu" for name in self.activations)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape of each block of the parameter vector: all weights, then biases, then slopes."""
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        weights = [*((n_out, n_in) for n_in, n_out in pairs[:-1]), pairs[-1]]
        biases = [*((n_out, 1) for n_out in self.sizes[1:-1]), (1, self.sizes[-1])]
        slopes = [bias for bias, has in zip(biases, self.has_slopes, strict=True) if has]
        return (*weights, *biases, *slopes)

    @property
    def n_parameters(self) -> int:
        return sum(map(prod, self.shapes))


class Parameters:
    """A network's parameters (or their gradient) as one flat vector with a view for each layer.

    Blocks follow each other as `Architecture.shapes` lists them, each holding all models, so that
    every view is contiguous.

    Parameters
    ----------
    architecture : Architecture
        Layers.
    flat : Tensor of shape (n_models * n_parameters,)
        The memory to view.
    n_models : int
        Networks side by side.
    """

    def __init__(self, architecture: Architecture, flat: Tensor, n_models: int = 1) -> None:
        self.architecture = architecture
        self.flat = flat
        self.n_models = n_models
        views, start = [], 0
        for shape in architecture.shapes:
            stop = start + n_models * prod(shape)
            views.append(flat[start:stop].view(n_models, *shape))
            start = stop
        n_layers = architecture.n_layers
        self.weights: list[Tensor] = views[:n_layers]
        self.biases: list[Tensor] = views[n_layers : 2 * n_layers]
        slopes = iter(views[2 * n_layers :])
        self.slopes: list[Tensor | None] = [
            next(slopes) if has else None for has in architecture.has_slopes
        ]
        self.activations = [ACTIVATIONS[name] for name in architecture.activations]

    @classmethod
    def zeros(
        cls, architecture: Architecture, n_models: int, dtype: torch.dtype, device: torch.device
    ) -> "Parameters":
        size = n_models * architecture.n_parameters
        return cls(architecture, torch.zeros(size, dtype=dtype, device=device), n_models)

    def with_flat(self, flat: Tensor) -> "Parameters":
        """Return the same views of another vector of the same size."""
        return Parameters(self.architecture, flat, self.n_models)

    def side_by_side(self, n_copies: int) -> "Parameters":
        """Return a single network as so many equal ones, all in the same memory.

        To go forward and backward with: ``flat`` stays that of the one network.
        """
        assert self.n_models == 1
        copies = Parameters(self.architecture, self.flat)
        copies.n_models = n_copies

        def repeat(blocks: list) -> list:
            return [None if block is None else block.expand(n_copies, -1, -1) for block in blocks]

        copies.weights, copies.biases = repeat(self.weights), repeat(self.biases)
        copies.slopes = repeat(self.slopes)
        return copies

    @classmethod
    def stacked(
        cls, architecture: Architecture, flats: Sequence[np.ndarray | Tensor], like: Tensor
    ) -> "Parameters":
        """Return networks side by side, given each one's own flat vector of shape (n_parameters,).

        ``like`` gives precision and device.
        """
        n_models = len(flats)
        stacked = cls(architecture, like.new_empty(n_models * architecture.n_parameters), n_models)
        bounds = np.cumsum([prod(shape) for shape in architecture.shapes])[:-1].tolist()
        for model, flat in enumerate(flats):
            parts = torch.as_tensor(flat).tensor_split(bounds)
            for block, part in zip(stacked.blocks, parts, strict=True):
                block[model].view(-1).copy_(part)
        return stacked

    def model(self, index: int) -> Tensor:
        """Return one network's own flat vector: the memory itself where it is the only one."""
        if self.n_models == 1:
            return self.flat
        return torch.cat([block[index].view(-1) for block in self.blocks])

    def models(self, indices: list[int]) -> "Parameters":
        """Return some of the networks, in memory of their own."""
        flat = torch.cat([block[indices].view(-1) for block in self.blocks])
        return Parameters(self.architecture, flat, len(indices))

    def spread(self, values: list[float]) -> Tensor:
        """Return a vector like ``flat`` that holds each network's value for all its parameters."""
        spread = self.with_flat(torch.empty_like(self.flat))
        per_model = self.flat.new_tensor(values).view(-1, 1, 1)
        for block in spread.blocks:
            block.copy_(per_model.expand_as(block))
        return spread.flat

    @property
    def blocks(self) -> list[Tensor]:
        """The views in the order in which they stand in ``flat``."""
        slopes = [slope for slope in self.slopes if slope is not None]
        return [*self.weights, *self.biases, *slopes]


def starting_parameters(
    architecture: Architecture,
    random_state: np.random.RandomState,
    *,
    code_bias: float,
    target_mean: np.ndarray,
) -> np.ndarray:
    """Draw the weights a training starts from, as one flat float64 vector.

    Weights are uniform in +-sqrt(6 / (fan_in + fan_out + 1)) (UFLDL notes, "Backpropagation";
    Glorot & Bengio 2010). Biases stand where the trivial solution already is: the code's at
    ``code_bias``, the output's at the inverse output activation of the target's mean; others
    at 0. Slopes of prelu start at 0.25.

    Parameters
    ----------
    architecture : Architecture
        Layers.
    random_state : RandomState
        Source of the weights.
    code_bias : float
        Pre-activation of every code unit at the mean input.
    target_mean : ndarray of shape (n_features,)
        Mean of the rows to be reconstructed.

    Returns
    -------
    flat : ndarray of shape (n_parameters,)
    """
    blocks: list[np.ndarray] = []
    for n_in, n_out in pairwise(architecture.sizes):
        bound = np.sqrt(6.0 / (n_in + n_out + 1))
        blocks.append(random_state.uniform(-bound, bound, (n_in, n_out)))
    blocks = [*(block.T.ravel() for block in blocks[:-1]), blocks[-1].ravel()]
    biases = [np.zeros(n_out) for n_out in architecture.sizes[1:]]
    biases[architecture.n_encoder_layers - 1] += code_bias
    biases[-1] += ACTIVATIONS[architecture.activations[-1]].inverse(target_mean)
    blocks += biases
    for has, n_out in zip(architecture.has_slopes, architecture.sizes[1:], strict=True):
        if has:
            blocks.append(np.full(n_out, INITIAL_PRELU_SLOPE))
    return np.concatenate(blocks)


def to_layers(
    architecture: Architecture, flat: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray | None]]:
    """Split one network's flat vector into weights, biases and slopes (None where none) by layer.

    Returns
    -------
    coefs : list of ndarray of shape (n_in, n_out)
    intercepts : list of ndarray of shape (n_out,)
    slopes : list of ndarray of shape (n_out,) or None
        Arrays of their own, not views.
    """
    bounds = np.cumsum([prod(shape) for shape in architecture.shapes])[:-1]
    blocks = [block.copy() for block in np.split(flat, bounds)]
    n_layers = architecture.n_layers
    coefs = [
        block.reshape(shape)
        for block, shape in zip(blocks[:n_layers], architecture.shapes, strict=False)
    ]
    slopes = iter(blocks[2 * n_layers :])
    return (
        [*(np.ascontiguousarray(coef.T) for coef in coefs[:-1]), coefs[-1]],
        blocks[n_layers : 2 * n_layers],
        [next(slopes) if has else None for has in architecture.has_slopes],
    )


def to_flat(
    coefs: list[np.ndarray], intercepts: list[np.ndarray], slopes: list[np.ndarray | None]
) -> np.ndarray:
    """Join weights, biases and slopes by layer into one flat vector; undoes `to_layers`."""
    weights = [*(coef.T for coef in coefs[:-1]), coefs[-1]]
    learned = [slope for slope in slopes if slope is not None]
    return np.concatenate([block.ravel() for block in (*weights, *intercepts, *learned)])


class Workspace:
    """Buffers of a batch's forward and backward pass.

    Attributes
    ----------
    pre, out, gradient : list of Tensor, in the shapes of the layers' activations
        Of each layer: pre-activation, activation, and dJ by the latter and then the former, times
        1 / share. ``pre`` and ``out`` are one buffer unless the activation needs both.
    share : float
        What a row counts in J.
    sharing : Tensor of shape (n_models, n_rows, 1)
        Full of it, so that a product with it is these rows' part of a mean: cheaper than a sum.

    Parameters
    ----------
    parameters : Parameters
        The network that the buffers are for.
    n_rows : int
        Rows of the batch.
    share : float, optional
        By default the batch is all there is, and its rows count 1 / n_rows.
    scratch : Workspace, optional
        One of as many rows, to share all buffers with except the encoder's activations.
    """

    def __init__(
        self,
        parameters: Parameters,
        n_rows: int,
        share: float | None = None,
        scratch: "Workspace | None" = None,
    ) -> None:
        architecture, like, n_models = parameters.architecture, parameters.flat, parameters.n_models
        n_hidden = architecture.n_layers - 1
        shapes = [(n_units, n_rows) for n_units in architecture.sizes[1:-1]]
        shapes.append((n_rows, architecture.sizes[-1]))
        own = n_hidden + 1 if scratch is None else architecture.n_encoder_layers

        def buffers(n_layers: int) -> list[Tensor]:
            return [like.new_empty(n_models, *shape) for shape in shapes[:n_layers]]

        self.pre = buffers(own)
        self.out = [
            torch.empty_like(pre) if activation.keeps_pre else pre
            for pre, activation in zip(self.pre, parameters.activations, strict=False)
        ]
        if scratch is None:
            self.gradient = buffers(n_hidden + 1)
        else:
            self.pre += scratch.pre[own:]
            self.out += scratch.out[own:]
            self.gradient = scratch.gradient
        self.share = 1.0 / n_rows if share is None else share
        self.sharing = like.new_full((n_models, n_rows, 1), self.share)


def forward(
    parameters: Parameters, columns: Tensor, workspace: Workspace, layers: range | None = None
) -> Tensor:
    """Send columns through the layers named (all by default) and return the last one's activation.

    Parameters
    ----------
    parameters : Parameters
        The network.
    columns : Tensor of shape (n_models or 1, n_in, n_rows)
        What enters the first of the layers: the rows transposed, or a hidden activation.
    workspace : Workspace
        Where pre-activations and activations are left.
    layers : range, optional
        Which layers.

    Returns
    -------
    out : Tensor
        A buffer of the workspace.
    """
    last = parameters.architecture.n_layers - 1
    for layer in layers or range(last + 1):
        weight, bias = parameters.weights[layer], parameters.biases[layer]
        pre, out = workspace.pre[layer], workspace.out[layer]
        if columns.shape[0] < parameters.n_models:
            # What all models share goes through their weights in a single product.
            torch.addmm(_stack(bias), _stack(weight), columns[0], out=_stack(pre))
        elif layer < last:
            torch.baddbmm(bias, weight, columns, out=pre)
        else:
            torch.baddbmm(bias, columns.mT, weight, out=pre)
        parameters.activations[layer].apply(pre, out, parameters.slopes[layer])
        columns = out
    return columns


def _stack(models: Tensor) -> Tensor:
    """View the matrices of all models as one, each below the one before."""
    return models.view(-1, models.shape[-1])


def sum_rows(columns: Tensor, sharing: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the sum over rows of columns times what a row counts.

    Parameters
    ----------
    columns : Tensor of shape (n_models, n_units, n_rows)
        Of one model, or contiguous.
    sharing : Tensor of shape (n_models, n_rows, 1)
        The same for all models.
    out : Tensor of shape (n_models, n_units, 1), optional
        Where to write.
    """
    if len(columns) == 1:
        return torch.bmm(columns, sharing, out=out)
    # A batch of products with a vector each is ten times slower than one such product.
    total = torch.mv(_stack(columns), sharing[0, :, 0], out=None if out is None else out.view(-1))
    return total.view(*columns.shape[:2], 1)


def backward(
    parameters: Parameters,
    rows: Tensor,
    workspace: Workspace,
    gradient: Parameters,
    code_gradient: Tensor | None,
    alpha: float = 0.0,
) -> None:
    """Write the gradient of J by every parameter into ``gradient``.

    Call after `forward` over all layers, with dJ/doutput in ``workspace.gradient[-1]``. That and
    all gradients by activations are J's times 1 / share: the share comes in with the products
    that sum over rows, where a factor costs nothing, and so does the weight decay.

    Parameters
    ----------
    parameters : Parameters
        The network.
    rows : Tensor of shape (n_models or 1, n_rows, n_features)
        What entered the first layer, transposed.
    workspace : Workspace
        As `forward` left it.
    gradient : Parameters
        Where the result is written.
    code_gradient : Tensor broadcastable to the code, or None
        dJ/dcode, times 1 / share, of the terms that act on the code itself: the sparsity penalty.
    alpha : float, default=0.0
        Weight decay whose gradient is added.
    """
    last = parameters.architecture.n_layers - 1
    code_layer = parameters.architecture.n_encoder_layers - 1
    for layer in range(last, -1, -1):
        delta, weight = workspace.gradient[layer], parameters.weights[layer]
        by_weight, by_bias = gradient.weights[layer], gradient.biases[layer]
        parameters.activations[layer].chain(
            delta,
            workspace.out[layer],
            workspace.pre[layer],
            parameters.slopes[layer],
            gradient.slopes[layer],
        )
        if layer < last:
            columns = delta
            left, right = delta, workspace.out[layer - 1].mT if layer else rows
            sum_rows(delta, workspace.sharing, out=by_bias)
        else:
            columns = delta.mT
            left, right = workspace.out[layer - 1], delta
            torch.sum(delta, dim=1, keepdim=True, out=by_bias).mul_(workspace.share)
        # At beta=0 the product takes nothing from its first argument.
        decayed = weight if alpha else by_weight
        factors = {"beta": alpha, "alpha": workspace.share}
        if right.shape[0] < parameters.n_models:
            out = _stack(by_weight)
            torch.addmm(_stack(decayed), _stack(left), right[0], **factors, out=out)
        else:
            torch.baddbmm(decayed, left, right, **factors, out=by_weight)
        if layer == 0:
            break
        back, out = weight if layer == last else weight.mT, workspace.gradient[layer - 1]
        if layer - 1 == code_layer and code_gradient is not None:
            torch.baddbmm(code_gradient, back, columns, out=out)
        else:
            torch.bmm(back, columns, out=out)
    for slope in gradient.slopes:
        if slope is not None:
            slope.mul_(workspace.share)
