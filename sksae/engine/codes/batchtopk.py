"""The k B largest activations of a minibatch of B rows (Bussmann, Leask and Nanda 2024).

https://arxiv.org/abs/2412.06410, "BatchTopK sparse autoencoders": k is the mean over rows, so that
a row that needs more units may have more. At inference rows must not depend on each other: units
above a threshold are kept. Theirs is a running mean of the smallest activation that batches kept;
here it is found once at the end (see `exact.threshold`), such that training rows have k on average.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes.code import Active, Code
from sksae.engine.largest import just_below, nth_largest
from sksae.model.codes import Selection


def _above(parts: Sequence[Tensor], bound: float) -> list[Tensor]:
    return [part[part > bound] for part in parts]


class BatchTopK(Code):
    """The largest positive pre-activations of all rows together; there is no penalty."""

    def select(self, code: Tensor, selection: Selection, axis: int) -> None:
        # Models side by side each keep their own.
        for model in code if code.ndim > 2 else (code,):
            bound = selection.threshold
            if bound is None:
                n_kept = selection.n_active * (model.numel() // model.shape[axis])
                bound = just_below(nth_largest(partial(_above, [model]), n_kept, 0.0), code.dtype)
            model.mul_(model > bound)

    def bound(
        self, parts: Sequence[Tensor], selection: Selection, guess: np.ndarray
    ) -> np.ndarray | None:
        n_rows = sum(part.shape[1] for part in parts)
        found = [
            nth_largest(
                partial(_above, [part[model] for part in parts]),
                selection.n_active * n_rows,
                float(guess[model]),
            )
            for model in range(len(guess))
        ]
        return np.array([just_below(value, parts[0].dtype) for value in found])

    def active(self, pre: Tensor, selection: Selection, bound: np.ndarray | None) -> Active:
        assert bound is not None
        n_models, n_rows, n_components = pre.shape
        kept = (pre > pre.new_tensor(bound).view(-1, 1, 1)).view(-1).nonzero()[:, 0]
        rows = torch.div(kept, n_components, rounding_mode="floor")
        units = kept - n_components * rows
        if n_models > 1:
            units += n_components * torch.div(rows, n_rows, rounding_mode="floor")
        return Active(units.to(torch.int32), pre.view(-1)[kept], rows.to(torch.int32))


CODE = BatchTopK
