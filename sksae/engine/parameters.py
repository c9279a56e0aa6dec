"""Layer sizes -> one flat parameter vector with a named view for each layer.

Every view has a leading models axis, so that one and the same code trains one network or many of
one architecture side by side. Why weights are stored as they are, `network` tells.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from math import prod

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codes import selector, selector_of_models
from sksae.engine.products import Operand
from sksae.model.architecture import Architecture
from sksae.model.codes import Selection


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
    selections : sequence of Selection, optional
        What each one's code keeps, where they differ; by default what the architecture says.

    Attributes
    ----------
    selections : tuple of Selection or None
        What each network's code keeps; of None all.
    """

    def __init__(
        self,
        architecture: Architecture,
        flat: Tensor,
        n_models: int = 1,
        selections: Sequence[Selection | None] | None = None,
    ) -> None:
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
                self.weights.append(weight if architecture.layout(layer) == "rows" else weight.mT)
        self.biases: list[Tensor] = list(islice(blocks, n_layers))
        self.units: list[dict[str, Tensor]] = [
            {name: next(blocks) for name in names} for names in architecture.unit_parameters
        ]
        self.activations = [ACTIVATIONS[name] for name in architecture.activations]
        self.selectors = [selector(selection) for selection in architecture.selections]
        common = architecture.selection
        self.selections = (common,) * n_models if selections is None else tuple(selections)
        if any(each != common for each in self.selections):
            self.selectors[architecture.code_layer] = selector_of_models(self.selections)

    @classmethod
    def zeros(
        cls, architecture: Architecture, n_models: int, dtype: torch.dtype, device: torch.device
    ) -> "Parameters":
        size = n_models * architecture.n_parameters
        return cls(architecture, torch.zeros(size, dtype=dtype, device=device), n_models)

    def with_flat(self, flat: Tensor) -> "Parameters":
        """Return the same views of another vector of the same size."""
        return Parameters(self.architecture, flat, self.n_models, self.selections)

    @classmethod
    def stacked(
        cls,
        architecture: Architecture,
        flats: Sequence[np.ndarray | Tensor],
        like: Tensor,
        selections: Sequence[Selection | None] | None = None,
    ) -> "Parameters":
        """Return networks side by side.

        Parameters
        ----------
        architecture : Architecture
            Layers of each.
        flats : sequence of ndarray or Tensor of shape (n_parameters,)
            Each one's own flat vector.
        like : Tensor
            Gives precision and device.
        selections : sequence of Selection, optional
            What each one's code keeps, where they differ.
        """
        n_models = len(flats)
        memory = like.new_empty(n_models * architecture.n_parameters)
        stacked = cls(architecture, memory, n_models, selections)
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
        selections = [self.selections[index] for index in indices]
        return Parameters(self.architecture, flat, len(indices), selections)

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
        units = [block for own in self.units for block in own.values()]
        weights = [self.weights[layer] for layer in self.architecture.own]
        return [*weights, *self.biases, *units]
