"""The k largest activations of each row (Makhzani and Frey 2014, "k-sparse autoencoders").

https://arxiv.org/abs/1312.5663, algorithm 1: the support is that of the k largest activations, all
others are 0, and the gradient passes by the support alone. Here activations are positive parts, so
that fewer than k units are active in rows that have fewer positive pre-activations.
"""

import torch
from torch import Tensor

from sksae.engine.codes.code import Active, Code, Keeping
from sksae.engine.largest import k_largest
from sksae.model.codes import Selection


class TopK(Code):
    """The k largest positive pre-activations of each row; there is no penalty."""

    def select(self, code: Tensor, selection: Selection, axis: int) -> None:
        rows = code.movedim(axis, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        kept = k_largest(flat, selection.n_active)
        code.zero_()
        shape = (*rows.shape[:-1], selection.n_active)
        rows.scatter_(-1, kept.columns.view(shape), kept.values.view(shape))

    def active(self, pre: Tensor, keeping: Keeping) -> Active:
        values, units = k_largest(pre, keeping.n_active)
        rows = torch.arange(len(pre), dtype=torch.int32, device=pre.device)
        return Active(
            units.to(torch.int32).view(-1),
            values.reshape(-1).clamp_(min=0.0),
            rows.repeat_interleave(keeping.n_active),
            has_full_rows=True,
        )


CODE = TopK
