"""Where the training of a network of sparse attention starts: scaling of tokens, and parameters."""

from math import sqrt
from typing import NamedTuple

import numpy as np

from sksae.model.attention import AttentionArchitecture, is_weight
from sksae.model.numbers import Matrix
from sksae.model.scaling import SCALED_NORM, Scaling
from sksae.training.code_start import code_start
from sksae.training.moments import find_scaling, well_scaled

# Deviation of learned positions at first: as large as tokens, whose entries have 1. Where positions
# are small, queries and keys find no places but after long, as softmax is then alike in all rows.
OF_POSITIONS, OF_MASK = 1.0, 0.1


class TokenRows(NamedTuple):
    """Rows, and the tokens that they are sequences of.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, length * token_width)
        Rows; NaN where something is missing.
    tokens : ndarray or CSR matrix of shape (n_tokens, token_width)
        Those that are not left out, of one row after the other.
    n_tokens : ndarray of int of shape (n_samples,)
        How many each row has.
    weight : ndarray of shape (n_samples,) or None
        Weights of rows; None where all are alike.
    """

    X: Matrix
    tokens: Matrix
    n_tokens: np.ndarray
    weight: np.ndarray | None

    @property
    def counted_weight(self) -> np.ndarray | None:
        """Weights, 0 of rows without tokens."""
        if self.n_tokens.all():
            return self.weight
        has_some = (self.n_tokens > 0).astype(np.float64)
        return has_some if self.weight is None else has_some * self.weight


def scaling_of_tokens(
    rows: TokenRows, index: np.ndarray | None, weight: np.ndarray | None
) -> Scaling:
    """Return the scaling of tokens: a centre, and one scalar that makes their norm what it is.

    A feature that is missing in a token has the mean of the others there.

    Parameters
    ----------
    rows : TokenRows
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    tokens, which = rows.tokens, None
    if index is not None:
        counts = np.zeros(len(rows.n_tokens), dtype=bool)
        counts[index] = True
        which = np.flatnonzero(np.repeat(counts, rows.n_tokens))
    of_tokens = None if weight is None else np.repeat(well_scaled(weight), rows.n_tokens)
    if isinstance(tokens, np.ndarray) and tokens.dtype.kind == "f":
        missing = np.isnan(tokens)
        if missing.any():
            tokens = np.where(missing, _means(tokens, missing, which, of_tokens), tokens)
    return find_scaling(tokens, which, of_tokens, scale_data=True, output_activation="identity")


def _means(
    tokens: np.ndarray, missing: np.ndarray, index: np.ndarray | None, weight: np.ndarray | None
) -> np.ndarray:
    """Return the mean of each feature over the tokens that have it, 0 where none has.

    Parameters
    ----------
    tokens : ndarray of shape (n_tokens, token_width)
        Tokens.
    missing : ndarray of bool of the same shape
        Where there is NaN.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_tokens,) or None
        Their weights; None where all are alike.
    """
    own = np.ones(len(tokens)) if weight is None else weight
    if index is not None:
        tokens, missing, own = tokens[index], missing[index], own[index]
    total = own @ ~missing
    found = own @ np.where(missing, 0.0, tokens)
    means: np.ndarray = np.divide(found, total, out=np.zeros_like(found), where=total > 0.0)
    return means.astype(tokens.dtype)


def starting_parameters(
    architecture: AttentionArchitecture, rho: float, draws: np.random.RandomState
) -> np.ndarray:
    """Return parameters to begin with, shape (n_parameters,).

    Weights are uniform in +-sqrt(6 / (n_in + n_out)) (Glorot & Bengio 2010), those of the first
    layer in such a range that entries of embedded tokens have variance 1; biases are 0 and gains of
    norms 1. The code's bias is where its activity is rho, if S aims at that.

    Parameters
    ----------
    architecture : AttentionArchitecture
        Of the network.
    rho : float
        Wanted share of active units.
    draws : RandomState
        What to draw from.
    """
    parts: dict[str, np.ndarray] = {}
    for name, shape in architecture.shapes.items():
        if name == "embed.weight":
            parts[name] = draws.uniform(-1.0, 1.0, shape) * sqrt(3.0 / SCALED_NORM)
        elif is_weight(name):
            parts[name] = draws.uniform(-1.0, 1.0, shape) * sqrt(6.0 / sum(shape))
        elif name in ("mask_vector", "positions"):
            size = OF_MASK if name == "mask_vector" else OF_POSITIONS
            parts[name] = size * draws.standard_normal(shape)
        else:
            parts[name] = np.zeros(shape) if name.endswith(".bias") else np.ones(shape)
    start = code_start(architecture.sparsity, architecture.activation, rho, 1.0)
    parts["encode.bias"][...] = start.bias
    return architecture.joined(parts)
