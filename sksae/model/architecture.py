"""Sizes and activations of a network's layers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Self

from sksae.model.codes import Selection

# What units of an activation learn, by name.
UNIT_PARAMETERS = {
    "prelu": ("slope",),
    "jumprelu": ("threshold",),
    "gated": ("log_gain", "offset"),
}


@dataclass(frozen=True)
class Architecture:
    """Sizes and activations of a network's layers.

    Attributes
    ----------
    sizes : tuple of int
        Units from input to output; an autoencoder's are symmetric about its code.
    activations : tuple of str
        One name for each layer of weights; ``len(sizes) - 1`` of them.
    n_encoder_layers : int
        Layers up to and including the one whose output is the code; 0 where the input is one.
    tied : tuple of bool, optional
        For each encoder layer whether the one that mirrors it has its weights, transposed; none
        by default.
    input_scales : tuple of float, optional
        What each layer's input is multiplied by: the fixed scaling between networks that were
        trained one upon another. 1 by default.
    selections : tuple of Selection or None, optional
        Of each layer which units are kept; all by default.
    output_layout : {"rows", "columns"}, default="rows"
        How the output layer works: on rows, as an autoencoder's does, or on columns like all
        others, which suits outputs of few units.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    n_encoder_layers: int
    tied: tuple[bool, ...] = ()
    input_scales: tuple[float, ...] = ()
    selections: tuple[Selection | None, ...] = ()
    output_layout: str = "rows"

    def __post_init__(self) -> None:
        # A frozen dataclass is filled in this way; equal networks then compare equal.
        object.__setattr__(self, "tied", self.tied or (False,) * self.n_encoder_layers)
        object.__setattr__(self, "input_scales", self.input_scales or (1.0,) * self.n_layers)
        object.__setattr__(self, "selections", self.selections or (None,) * self.n_layers)
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
        selection: Selection | None = None,
    ) -> Self:
        """Return input -> hidden layers -> code -> hidden layers mirrored -> output.

        Parameters
        ----------
        n_features, n_components : int
            Units of input and output, and of the code.
        hidden_layer_sizes : sequence of int
            Units between input and code.
        hidden_activation, activation, output_activation : str
            Of these, of the code, and of the output.
        tied_weights : bool, default=False
            Whether the decoder has the encoder's weights, transposed.
        selection : Selection, optional
            Which units of the code are kept.
        """
        encoder = (n_features, *hidden_layer_sizes)
        hidden = (hidden_activation,) * len(hidden_layer_sizes)
        no_selection = (None,) * len(hidden_layer_sizes)
        return cls(
            sizes=(*encoder, n_components, *reversed(encoder)),
            activations=(*hidden, activation, *hidden, output_activation),
            n_encoder_layers=len(encoder),
            tied=(tied_weights,) * len(encoder),
            selections=(*no_selection, selection, *no_selection, None),
        )

    @property
    def n_layers(self) -> int:
        """Layers of weights."""
        return len(self.activations)

    @property
    def code_layer(self) -> int:
        """The layer whose output is the code; -1 where the input is one."""
        return self.n_encoder_layers - 1

    @property
    def n_components(self) -> int:
        """Units of the code."""
        return self.sizes[self.n_encoder_layers]

    @property
    def selection(self) -> Selection | None:
        """Which units of the code are kept; None is all, or that there is no code."""
        return self.selections[self.code_layer] if self.n_encoder_layers else None

    @property
    def code_activation(self) -> str:
        """Of the code."""
        return self.activations[self.code_layer]

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
    def is_dictionary(self) -> bool:
        """Whether a code selects its units and each of them adds its atom to the row that is made.

        Then atoms have unit norm, and passes go by the active units alone (see `engine.exact`).
        """
        return (
            self.n_layers == 2
            and self.n_encoder_layers == 1
            and self.selection is not None
            and self.output_layout == "rows"
            and self.input_scales == (1.0, 1.0)
            and not self.unit_parameters[1]
        )

    @cached_property
    def with_linear_output(self) -> Self:
        """The same with nothing behind the last weights: a sigmoid output then gives its logits."""
        return replace(self, activations=(*self.activations[:-1], "identity"))

    @cached_property
    def without_numbers(self) -> Self:
        """The same but for how many units are kept: networks may differ in it side by side."""
        kept = [
            each and each._replace(budgets=(0,) * len(each.budgets)) for each in self.selections
        ]
        return replace(self, selections=tuple(kept))

    @property
    def unit_parameters(self) -> tuple[tuple[str, ...], ...]:
        """For each layer the names of what it learns for each unit, besides weights and biases."""
        return tuple(UNIT_PARAMETERS.get(name, ()) for name in self.activations)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape of each block of the parameter vector: all weights, then biases, then the rest."""
        weights = [self._stored(layer, *self.sizes[layer : layer + 2]) for layer in self.own]
        biases = [self._stored(layer, 1, n_out) for layer, n_out in enumerate(self.sizes[1:])]
        of_units = [
            bias for bias, names in zip(biases, self.unit_parameters, strict=True) for _ in names
        ]
        return (*weights, *biases, *of_units)

    def _stored(self, layer: int, n_in: int, n_out: int) -> tuple[int, int]:
        """Return the shape in which a matrix from some units to others is stored.

        Parameters
        ----------
        layer : int
            Which layer.
        n_in, n_out : int
            Its units.
        """
        return (n_in, n_out) if self.layout(layer) == "rows" else (n_out, n_in)

    def layout(self, layer: int) -> str:
        """Return whether a layer works on "rows", with weights (n_in, n_out), or on "columns"."""
        return self.output_layout if layer == self.n_layers - 1 else "columns"

    @property
    def n_parameters(self) -> int:
        """Numbers that are learnt."""
        return sum(map(prod, self.shapes))
