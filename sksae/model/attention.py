"""A network of sparse attention: its sizes, its parameters by name, and what was fitted."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from sksae.model.codes import CODES, Selection

# Codes that token codes may have; of the others units have activations of their own.
TOKEN_SPARSITIES = ("kl", "l1", "l2", "topk", "batchtopk", None)
POSITIONS = ("learned", "sinusoidal")
FEWEST_OF_SHARE = 2
# Parameters that are no weights of a layer do not decay.
OF_WEIGHTS = ".weight"


@dataclass(frozen=True)
class AttentionArchitecture:
    """The sizes of a network from a row's tokens to their codes and back.

    Attributes
    ----------
    token_width, length : int
        Features of a token, and tokens of a row at most.
    n_components : int
        Units of a token's code.
    d_model, dim_feedforward : int
        Units between blocks, and inside their feed-forward layers.
    n_blocks, n_heads : int
        Blocks, and heads of the attention of each.
    density : float or int
        How many scores each query keeps (see `n_kept`).
    positions : {"learned", "sinusoidal"}
        What is added to tokens by their place in the row.
    sparsity : str or None
        The name of the code.
    """

    token_width: int
    length: int
    n_components: int
    d_model: int
    dim_feedforward: int
    n_blocks: int
    n_heads: int
    density: float | int
    positions: str
    sparsity: str | None

    @property
    def activation(self) -> str:
        """That of the code's units."""
        return CODES[self.sparsity].activation

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by its name; weights are (n_out, n_in)."""
        width, inner = self.d_model, self.dim_feedforward
        shapes = _linear("embed", width, self.token_width)
        shapes["mask_vector"] = (width,)
        if self.positions == "learned":
            shapes["positions"] = (self.length, width)
        for at in range(self.n_blocks):
            block = f"blocks.{at}"
            shapes |= _norm(f"{block}.norm_attention", width)
            shapes |= _linear(f"{block}.attention.project", 3 * width, width)
            shapes |= _linear(f"{block}.attention.out", width, width)
            shapes |= _norm(f"{block}.norm_feedforward", width)
            shapes |= _linear(f"{block}.widen", inner, width)
            shapes |= _linear(f"{block}.narrow", width, inner)
        shapes |= _norm("norm", width)
        shapes |= _linear("encode", self.n_components, width)
        return shapes | _linear("decode", self.token_width, self.n_components)

    @property
    def n_parameters(self) -> int:
        """How many numbers all parameters are."""
        return sum(prod(shape) for shape in self.shapes.values())

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return parameters by name, in memory of their own, of a vector of all."""
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return {
            name: part.reshape(shape).copy()
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def joined(self, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the vector that `split` was given."""
        return np.concatenate([parameters[name].ravel() for name in self.shapes])

    def decays(self) -> np.ndarray:
        """Return which entries of that vector decay: the weights of linear layers."""
        return np.concatenate(
            [np.full(prod(shape), is_weight(name)) for name, shape in self.shapes.items()]
        )


class AttentionNetwork(NamedTuple):
    """A network that was fitted.

    Attributes
    ----------
    architecture : AttentionArchitecture
    parameters : dict of ndarray
        By name.
    mean : ndarray of shape (token_width,), float64
        Subtracted from tokens; what is missing of a token is that.
    scale : float
        Tokens are then divided by it.
    selection : Selection or None
        What the code keeps of its units.
    """

    architecture: AttentionArchitecture
    parameters: Mapping[str, np.ndarray]
    mean: np.ndarray
    scale: float
    selection: Selection | None


def n_kept(density: float | int, n_tokens: np.ndarray) -> np.ndarray:
    """Return how many scores a query keeps in rows of so many tokens.

    Parameters
    ----------
    density : float or int
        A share of the tokens of a row in (0, 1], rounded up, and two at least: the weight of one
        alone is 1, and its score has no gradient. Or a number of tokens, where a row has so many.
    n_tokens : ndarray of int of shape (n_rows,)
        Tokens of each row.
    """
    if isinstance(density, int):
        wanted = np.full(n_tokens.shape, density)
    else:
        # 0.3 of 10 tokens are 3, though their product in floats is more.
        wanted = np.ceil(np.round(density * n_tokens, 9)).astype(int).clip(FEWEST_OF_SHARE)
    return np.clip(wanted, 1, np.maximum(n_tokens, 1))


def is_weight(name: str) -> bool:
    """Return whether a parameter is the weight of a linear layer."""
    return name.endswith(OF_WEIGHTS) and ".norm" not in f".{name}"


def _linear(name: str, n_out: int, n_in: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
