"""A fitted network as a plain value: its layers, and the scaling of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sksae.model.codes import CODES, Selection
from sksae.model.pursuit import Pursuit
from sksae.model.scaling import Scaling, row_range


class Layer(NamedTuple):
    """One layer, f(input_scale * x @ coef + intercept).

    Attributes
    ----------
    coef : ndarray of shape (n_in, n_out)
    intercept : ndarray of shape (n_out,)
        In the precision of ``coef``, or in float64 on the way from one network to another.
    units : mapping of str to ndarray of shape (n_out,)
        What is learnt for each unit besides, by name: the "slope" of prelu.
    activation : str
        The name of f.
    input_scale : float
        What the layer's input is multiplied by: the fixed scaling between networks that were
        trained one upon another.
    is_tied : bool
        Whether the layer that mirrors it has its weights, transposed; False for layers of a
        decoder.
    selection : Selection or None
        Which of its units are kept; None is all.
    """

    coef: np.ndarray
    intercept: np.ndarray
    units: Mapping[str, np.ndarray]
    activation: str
    input_scale: float = 1.0
    is_tied: bool = False
    selection: Selection | None = None

    @property
    def kept(self) -> Selection | None:
        """Which of its units are kept, if the activation alone does not say so."""
        selection = self.selection
        return selection if selection is not None and CODES[selection.code].is_exact else None


@dataclass(frozen=True)
class FittedNetwork:
    """What an estimator has learnt: enough to encode rows, to decode codes and to train on.

    Attributes
    ----------
    layers : tuple of Layer
        From input to output.
    n_encoder_layers : int
        How many of them lead to the code; the rest is the decoder.
    scaling : Scaling
        How the network sees rows.
    sparsity : str or None
        The name of its code (see `codes`).
    loss : {"squared_error", "cross_entropy"}
        What it was trained by, which says whether its output is z or x.
    pursuit : Pursuit or None
        What takes the place of the encoder's activations; None is nothing.
    """

    layers: tuple[Layer, ...]
    n_encoder_layers: int
    scaling: Scaling
    sparsity: str | None = None
    loss: str = "squared_error"
    pursuit: Pursuit | None = None

    @property
    def encoder(self) -> tuple[Layer, ...]:
        """The layers that lead to the code."""
        return self.layers[: self.n_encoder_layers]

    @property
    def decoder(self) -> tuple[Layer, ...]:
        """The layers behind the code."""
        return self.layers[self.n_encoder_layers :]

    @property
    def activations(self) -> tuple[str, ...]:
        """Of all layers."""
        return tuple(layer.activation for layer in self.layers)

    @property
    def code_activation(self) -> str:
        """Of the layer whose output is the code."""
        return self.encoder[-1].activation

    @property
    def output_activation(self) -> str:
        """Of the last layer."""
        return self.layers[-1].activation

    @property
    def row_range(self) -> str:
        """The activation whose range scaled rows keep to."""
        return row_range(self.output_activation, self.loss)

    @property
    def output_scaling(self) -> Scaling:
        """How the output is to be read: as rows of this scaling."""
        return self.scaling.undone if self.loss == "cross_entropy" else self.scaling

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Units from input to output."""
        return sizes_of(self.layers)

    @property
    def n_features(self) -> int:
        """Features of its rows."""
        return int(self.layers[0].coef.shape[0])

    @property
    def n_components(self) -> int:
        """Units of its code."""
        return int(self.encoder[-1].coef.shape[1])

    def without_input_scales(self) -> "FittedNetwork":
        """Return the same network with input scales in the weights, where needed in float64."""
        layers = (
            layer
            if layer.input_scale == 1.0
            else layer._replace(
                coef=layer.input_scale * layer.coef.astype(np.float64), input_scale=1.0
            )
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))

    def without_decoder(self) -> "FittedNetwork":
        """Return the encoder alone, whose weights nothing else shares."""
        encoder = tuple(layer._replace(is_tied=False) for layer in self.encoder)
        return replace(self, layers=encoder)

    @property
    def is_tied(self) -> bool:
        """Whether a layer of the decoder has the weights of one of the encoder."""
        return any(layer.is_tied for layer in self.layers)


def sizes_of(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the numbers of units from the input of the first layer to the output of the last."""
    return (layers[0].coef.shape[0], *(layer.coef.shape[1] for layer in layers))
