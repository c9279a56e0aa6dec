"""The network: layer sizes -> one flat parameter vector with named views; forward and backward.

Every tensor has a leading models axis, so that one and the same code trains one network or many
of one architecture side by side. Shapes: activations (n_models, n_rows, n_units), weights
(n_models, n_in, n_out), biases and prelu slopes (n_models, 1, n_out).

The gradient is written out in closed form: with preallocated buffers a training step costs
little more than its matrix products, where autograd doubles them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
        weights = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        biases = [(1, n_out) for n_out in self.sizes[1:]]
        slopes = [bias for bias, has in zip(biases, self.has_slopes, strict=True) if has]
        return (*weights, *biases, *slopes)

    @property
    def n_weights(self) -> int:
        """Entries of all weight matrices, the part of the vector that decays."""
        return sum(map(prod, self.shapes[: self.n_layers]))

    @property
    def n_parameters(self) -> int:
        return sum(map(prod, self.shapes))


class Parameters:
    """A network's parameters (or their gradient) as one flat vector with a view for each layer.

    Blocks follow each other as `Architecture.shapes` lists them, each holding all models, so that
    every view is contiguous and the decayed part of the vector is its head.

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
        n_decayed = n_models * architecture.n_weights
        self.decayed = flat[:n_decayed]
        self.weights_transposed = [weight.mT for weight in self.weights]
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
    for n_in, n_out in architecture.shapes[: architecture.n_layers]:
        bound = np.sqrt(6.0 / (n_in + n_out + 1))
        blocks.append(random_state.uniform(-bound, bound, (n_in, n_out)).ravel())
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
        coefs,
        blocks[n_layers : 2 * n_layers],
        [next(slopes) if has else None for has in architecture.has_slopes],
    )


def to_flat(
    coefs: list[np.ndarray], intercepts: list[np.ndarray], slopes: list[np.ndarray | None]
) -> np.ndarray:
    """Join weights, biases and slopes by layer into one flat vector; undoes `to_layers`."""
    learned = [slope for slope in slopes if slope is not None]
    return np.concatenate([block.ravel() for block in (*coefs, *intercepts, *learned)])


class Workspace:
    """Buffers of one minibatch's forward and backward pass.

    Attributes
    ----------
    pre, out, gradient : list of Tensor of shape (n_models, n_rows, n_units)
        Of each layer: pre-activation, activation, and dJ by the one and then the other. ``pre``
        and ``out`` are one buffer unless the activation needs both.
    averaging : Tensor of shape (n_models, 1, n_rows)
        Times activations gives their mean over the rows.

    Parameters
    ----------
    parameters : Parameters
        The network that the buffers are for.
    n_rows : int
        Rows of the minibatch.
    scratch : Workspace, optional
        One of as many rows, to share all buffers with except the encoder's activations.
    """

    def __init__(
        self, parameters: Parameters, n_rows: int, scratch: "Workspace | None" = None
    ) -> None:
        architecture, like = parameters.architecture, parameters.flat
        own = architecture.n_layers if scratch is None else architecture.n_encoder_layers

        def buffers(n_layers: int) -> list[Tensor]:
            sizes = architecture.sizes[1 : n_layers + 1]
            return [like.new_empty(parameters.n_models, n_rows, n_units) for n_units in sizes]

        self.pre = buffers(own)
        self.out = [
            torch.empty_like(pre) if activation.keeps_pre else pre
            for pre, activation in zip(self.pre, parameters.activations, strict=False)
        ]
        if scratch is None:
            self.gradient = buffers(architecture.n_layers)
        else:
            self.pre += scratch.pre[own:]
            self.out += scratch.out[own:]
            self.gradient = scratch.gradient
        self.out_transposed = [out.mT for out in self.out]
        # A product with this is the mean over rows, at a fraction of the cost of torch.mean.
        self.averaging = like.new_full((parameters.n_models, 1, n_rows), 1.0 / n_rows)


def forward(
    parameters: Parameters, rows: Tensor, workspace: Workspace, layers: range | None = None
) -> Tensor:
    """Send rows through the layers named (all by default) and return the last one's activation.

    Parameters
    ----------
    parameters : Parameters
        The network.
    rows : Tensor of shape (n_models or 1, n_rows, n_in)
        What enters the first of the layers.
    workspace : Workspace
        Where pre-activations and activations are left.
    layers : range, optional
        Which layers.

    Returns
    -------
    out : Tensor of shape (n_models, n_rows, n_out)
        A buffer of the workspace.
    """
    if rows.shape[0] != parameters.n_models:
        rows = rows.expand(parameters.n_models, -1, -1)
    for layer in layers or range(parameters.architecture.n_layers):
        pre, out = workspace.pre[layer], workspace.out[layer]
        torch.baddbmm(parameters.biases[layer], rows, parameters.weights[layer], out=pre)
        parameters.activations[layer].apply(pre, out, parameters.slopes[layer])
        rows = out
    return rows


def backward(
    parameters: Parameters,
    rows: Tensor,
    workspace: Workspace,
    gradient: Parameters,
    code_gradient: Tensor | None,
) -> None:
    """Write the gradient of J (without weight decay) by every parameter into ``gradient``.

    Call after `forward` over all layers, with dJ/doutput in ``workspace.gradient[-1]``.

    Parameters
    ----------
    parameters : Parameters
        The network.
    rows : Tensor of shape (n_models or 1, n_rows, n_features)
        What entered the first layer.
    workspace : Workspace
        As `forward` left it.
    gradient : Parameters
        Where the result is written.
    code_gradient : Tensor broadcastable to the code, or None
        dJ/dcode of the terms that act on the code itself, the sparsity penalty.
    """
    code_layer = parameters.architecture.n_encoder_layers - 1
    for layer in reversed(range(parameters.architecture.n_layers)):
        delta = workspace.gradient[layer]
        parameters.activations[layer].chain(
            delta,
            workspace.out[layer],
            workspace.pre[layer],
            parameters.slopes[layer],
            gradient.slopes[layer],
        )
        torch.sum(delta, dim=1, keepdim=True, out=gradient.biases[layer])
        if layer == 0:
            entered = rows.mT
            if rows.shape[0] != parameters.n_models:
                entered = entered.expand(parameters.n_models, -1, -1)
            torch.bmm(entered, delta, out=gradient.weights[0])
            return
        torch.bmm(workspace.out_transposed[layer - 1], delta, out=gradient.weights[layer])
        out, back = workspace.gradient[layer - 1], parameters.weights_transposed[layer]
        if layer - 1 == code_layer and code_gradient is not None:
            torch.baddbmm(code_gradient, delta, back, out=out)
        else:
            torch.bmm(delta, back, out=out)
