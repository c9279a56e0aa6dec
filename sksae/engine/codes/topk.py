"""The k largest activations of each row (Makhzani and Frey 2014, "k-sparse autoencoders").

https://arxiv.org/abs/1312.5663, algorithm 1: the support is that of the k largest activations, all
others are 0, and the gradient passes by the support alone. Here activations are positive parts, so
that fewer than k units are active in rows that have fewer positive pre-activations.
"""

from torch import Tensor

from sksae.engine.codes.code import Code


class TopK(Code):
    """The k largest positive pre-activations of each row; there is no penalty."""

    def select(self, code: Tensor, n_active: int, axis: int) -> None:
        kept = code.topk(n_active, dim=axis)
        code.zero_().scatter_(axis, kept.indices, kept.values)


CODE = TopK
