"""Rows as sequences of scaled tokens: batches of them, and which tokens are padding."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Rows, Which
from sksae.engine.device import to_float64
from sksae.model.attention import AttentionArchitecture, n_kept
from sksae.model.slices import chunk_slices


class Sequences(NamedTuple):
    """Some rows as sequences of tokens.

    Attributes
    ----------
    tokens : Tensor of shape (n_rows, length, token_width)
        Centred and scaled; 0 where something is missing.
    is_there : Tensor of bool of shape (n_rows, length) or None
        Which tokens are no padding; None where all are.
    n_tokens, n_kept : Tensor of int of shape (n_rows,)
        Tokens of each row that are no padding, and scores that a query keeps there.
    weight : Tensor of shape (n_rows,) or None
        What each row counts, relative to the mean over all; None where all are alike.
    """

    tokens: Tensor
    is_there: Tensor | None
    n_tokens: Tensor
    n_kept: Tensor
    weight: Tensor | None

    def those_there(self, values: Tensor) -> Tensor:
        """Return values of tokens, (n_rows, length, ...), of those that are no padding alone."""
        return values.flatten(0, 1) if self.is_there is None else values[self.is_there]

    @property
    def token_weight(self) -> Tensor | None:
        """What each token that is no padding counts, (n_tokens,); None where all are alike."""
        if self.weight is None:
            return None
        return self.weight.repeat_interleave(self.n_tokens)


class SequenceRows:
    """Rows that are read as sequences.

    Parameters
    ----------
    rows : Rows
        Centred and scaled, NaN where something is missing.
    architecture : AttentionArchitecture
        Of the tokens, and how many scores are kept.
    has_missing : bool
        Whether anything may be NaN.

    Attributes
    ----------
    rows, architecture
        The same.
    """

    def __init__(
        self, rows: Rows, architecture: AttentionArchitecture, *, has_missing: bool
    ) -> None:
        self.rows, self.architecture, self._has_missing = rows, architecture, has_missing
        self._shape = architecture.length, architecture.token_width
        kept = n_kept(architecture.density, np.arange(architecture.length + 1))
        self._n_kept = torch.from_numpy(kept).to(rows.device)
        self._widest = architecture.length * max(
            3 * architecture.d_model,
            architecture.dim_feedforward,
            architecture.n_components,
            architecture.n_heads * architecture.length,
        )

    @property
    def n_rows(self) -> int:
        """How many rows count."""
        return self.rows.n_rows

    def tokens_per_row(self, mask_fraction: float = 0.0, visible_weight: float = 1.0) -> float:
        """Return what the tokens of a row count together, on average over rows and masks.

        Parameters
        ----------
        mask_fraction : float, default=0.0
            Share of a row's tokens that are masked; one at least is not.
        visible_weight : float, default=1.0
            What a visible token counts, where a masked one counts 1.
        """
        total = 0.0
        for _, batch in self.chunks():
            n_tokens = to_float64(batch.n_tokens)
            n_masked = torch.minimum(mask_fraction * n_tokens, n_tokens - 1.0)
            counts = n_masked + visible_weight * (n_tokens - n_masked)
            if batch.weight is not None:
                counts = counts * to_float64(batch.weight)
            total += float(counts.sum())
        return total / self.n_rows

    def batches(self, slices: list[slice], order: np.ndarray | None) -> Iterator[Sequences]:
        """Yield one minibatch after another; see `Rows.batches`."""
        for batch in self.rows.batches(slices, order):
            yield self._sequences(batch.rows[0], batch.weight)

    def chunks(self) -> Iterator[tuple[slice, Sequences]]:
        """Walk over all rows in order; yield which they are, and the rows."""
        for which in chunk_slices(self.n_rows, self._widest):
            yield which, self.take(which)

    def take(self, which: Which) -> Sequences:
        """Return some rows, valid until the next call."""
        return self._sequences(self.rows.take(which)[0], self.rows.weight(which))

    def _sequences(self, rows: Tensor, weight: Tensor | None) -> Sequences:
        length, width = self._shape
        tokens, is_there = rows.view(len(rows), length, width), None
        n_tokens = torch.full((len(rows),), length, device=rows.device)
        if self._has_missing:
            missing = tokens.isnan()
            tokens = tokens.masked_fill(missing, 0.0)
            is_there = ~missing.all(dim=-1)
            n_tokens = is_there.sum(dim=-1)
            if bool(is_there.all()):
                is_there = None
        return Sequences(
            tokens,
            is_there,
            n_tokens,
            self._n_kept[n_tokens],
            None if weight is None else weight.view(-1),
        )
