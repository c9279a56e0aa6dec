"""Layer sizes -> one flat parameter vector with a named view for each layer.

Every view has a leading models axis, so that one and the same code trains one network or many of
one architecture side by side. Why weights are stored as they are, `network` tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS, INITIAL_PRELU_SLOPE
from sksae.engine.products import Operand


@dataclass(frozen=True)
class Architecture:
    """Sizes and activations of a network's layers.

    Attributes
    ----------
    sizes : tuple of int
        Units from input to output; an autoencoder's are symmetric about its code.
    activations : tuple of str
        One name of `ACTIVATIONS` for each layer of weights; ``len(sizes) - 1`` of them.
    n_encoder_layers : int
        Layers up to and including the one whose output is the code; 0 where the input is one.
    tied : tuple of bool, optional
        For each encoder layer whether the one that mirrors it has its weights, transposed; none
        by default.
    gains : tuple of float, optional
        What each layer's input is multiplied by: the fixed scaling between networks that were
        trained one upon another. 1 by default.
    gives_rows : bool, default=True
        Whether the output layer works on rows, as an autoencoder's does, or on columns like all
        others, which suits outputs of few units.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    n_encoder_layers: int
    tied: tuple[bool, ...] = ()
    gains: tuple[float, ...] = ()
    gives_rows: bool = True

    def __post_init__(self) -> None:
        # A frozen dataclass is filled in this way; equal networks then compare equal.
        object.__setattr__(self, "tied", self.tied or (False,) * self.n_encoder_layers)
        object.__setattr__(self, "gains", self.gains or (1.0,) * self.n_layers)
        for layer, is_tied in enumerate(self.tied):
            ends = self.sizes[layer : layer + 2]
            mirrored = self.sizes[::-1][layer : layer + 2]
            if is_tied and (ends != mirrored or 2 * self.n_encoder_layers != self.n_layers):
                raise ValueError(
                    f"tied_weights=True needs a decoder that mirrors the encoder, but layer "
                    f"{layer} leads from {ends[0]} to {ends[1]} units and its mirror back from "
                    f"{mirrored[1]} to {mirrored[0]}: make the sizes symmetric, or use "
                    "tied_weights=False."
                )

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
        tied_weights: bool = False,
    ) -> "Architecture":
        """Return input -> hidden layers -> code -> hidden layers mirrored -> output."""
        encoder = (n_features, *hidden_layer_sizes)
        hidden = (hidden_activation,) * len(hidden_layer_sizes)
        return cls(
            sizes=(*encoder, n_components, *reversed(encoder)),
            activations=(*hidden, activation, *hidden, output_activation),
            n_encoder_layers=len(encoder),
            tied=(tied_weights,) * len(encoder),
        )

    @property
    def n_layers(self) -> int:
        return len(self.activations)

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """For each layer the one whose weights it has: itself, or the encoder layer it mirrors."""
        mirrored = [self.n_layers - 1 - layer for layer in range(self.n_layers)]
        return tuple(
            mirror if mirror < layer and self.tied[mirror] else layer
            for layer, mirror in enumerate(mirrored)
        )

    @property
    def own(self) -> tuple[int, ...]:
        """The layers with weights of their own."""
        return tuple(layer for layer, owner in enumerate(self.owners) if owner == layer)

    @property
    def has_slopes(self) -> tuple[bool, ...]:
        """Whether each layer learns a prelu slope for each of its units."""
        return tuple(name == "prelu" for name in self.activations)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape of each block of the parameter vector: all weights, then biases, then slopes."""
        weights = [self._stored(layer, *self.sizes[layer : layer + 2]) for layer in self.own]
        biases = [self._stored(layer, 1, n_out) for layer, n_out in enumerate(self.sizes[1:])]
        slopes = [bias for bias, has in zip(biases, self.has_slopes, strict=True) if has]
        return (*weights, *biases, *slopes)

    def _stored(self, layer: int, n_in: int, n_out: int) -> tuple[int, int]:
        return (n_in, n_out) if self.on_rows(layer) else (n_out, n_in)

    def on_rows(self, layer: int) -> bool:
        """Return whether a layer works on rows, with weights (n_in, n_out), or on columns."""
        return self.gives_rows and layer == self.n_layers - 1

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
        n_layers, blocks = architecture.n_layers, iter(views)
        self.weights: list[Tensor] = []
        for layer, owner in enumerate(architecture.owners):
            if owner == layer:
                self.weights.append(next(blocks))
            else:
                # On rows they are stored the other way round, which is transposed already.
                weight = self.weights[owner]
                self.weights.append(weight if architecture.on_rows(layer) else weight.mT)
        self.biases: list[Tensor] = list(islice(blocks, n_layers))
        self.slopes: list[Tensor | None] = [
            next(blocks) if has else None for has in architecture.has_slopes
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
            given = flat if isinstance(flat, Tensor) else torch.from_numpy(flat)
            parts = given.tensor_split(bounds)
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

    @cached_property
    def operands(self) -> list[Operand]:
        """The weights of each layer, to be multiplied."""
        return [Operand(weight) for weight in self.weights]

    @cached_property
    def bias_operands(self) -> list[Operand]:
        """The biases of each layer, to be written by a product."""
        return [Operand(bias) for bias in self.biases]

    @cached_property
    def all_weights(self) -> Tensor:
        """The part of ``flat`` that holds weights, each of them once."""
        return self.flat[: sum(self.weights[layer].numel() for layer in self.architecture.own)]

    @property
    def blocks(self) -> list[Tensor]:
        """The views in the order in which they stand in ``flat``."""
        slopes = [slope for slope in self.slopes if slope is not None]
        weights = [self.weights[layer] for layer in self.architecture.own]
        return [*weights, *self.biases, *slopes]


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
    at 0. With hidden layers that is where biases and weights together put the mean row: units
    behind a code that is never 0 would else begin on one side of their kink for all rows, those
    on the flat side dead. Slopes of prelu start at 0.25.

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
    coefs: list[np.ndarray] = []
    for layer, (n_in, n_out) in enumerate(pairwise(architecture.sizes)):
        owner, bound = architecture.owners[layer], np.sqrt(6.0 / (n_in + n_out + 1))
        is_own = owner == layer
        coefs.append(
            random_state.uniform(-bound, bound, (n_in, n_out)) if is_own else coefs[owner].T
        )
    biases = [np.zeros(n_out) for n_out in architecture.sizes[1:]]
    biases[architecture.n_encoder_layers - 1] += code_bias
    biases[-1] += ACTIVATIONS[architecture.activations[-1]].inverse(target_mean)
    slopes = [
        np.full(n_out, INITIAL_PRELU_SLOPE) if has else None
        for has, n_out in zip(architecture.has_slopes, architecture.sizes[1:], strict=True)
    ]
    if architecture.n_layers > 2:
        _let_mean_row_meet(architecture, coefs, biases, slopes)
    return to_flat(architecture, coefs, biases, slopes)


def _let_mean_row_meet(
    architecture: Architecture,
    coefs: list[np.ndarray],
    biases: list[np.ndarray],
    slopes: list[np.ndarray | None],
) -> None:
    """Move biases such that the pre-activations of the mean row, zeros, are what they were."""
    row = np.zeros(architecture.sizes[0])
    for layer, activation in enumerate(architecture.activations):
        came_with_weights = architecture.gains[layer] * (row @ coefs[layer])
        row = ACTIVATIONS[activation].of(biases[layer], slopes[layer])
        biases[layer] -= came_with_weights


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
    blocks = iter([block.copy() for block in np.split(flat, bounds)])
    n_layers = architecture.n_layers
    coefs: list[np.ndarray] = []
    for layer, owner in enumerate(architecture.owners):
        n_in, n_out = architecture.sizes[layer : layer + 2]
        if owner != layer:
            coefs.append(np.ascontiguousarray(coefs[owner].T))
        elif architecture.on_rows(layer):
            coefs.append(next(blocks).reshape(n_in, n_out))
        else:
            coefs.append(np.ascontiguousarray(next(blocks).reshape(n_out, n_in).T))
    intercepts = list(islice(blocks, n_layers))
    return coefs, intercepts, [next(blocks) if has else None for has in architecture.has_slopes]


def to_flat(
    architecture: Architecture,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    slopes: Sequence[np.ndarray | None],
) -> np.ndarray:
    """Join weights, biases and slopes by layer into one flat vector; undoes `to_layers`.

    Of tied layers the encoder's weights count.
    """
    weights = [
        coefs[layer] if architecture.on_rows(layer) else coefs[layer].T
        for layer in architecture.own
    ]
    learned = [slope for slope in slopes if slope is not None]
    return np.concatenate([block.ravel() for block in (*weights, *intercepts, *learned)])
