"""The k B largest activations of a minibatch of B rows (Bussmann, Leask and Nanda 2024).

https://arxiv.org/abs/2412.06410, "BatchTopK sparse autoencoders": k is the mean over rows, so that
a row that needs more units may have more. At inference rows must not depend on each other: units
above a threshold are kept. Theirs is a running mean of the smallest activation that batches kept;
here it is found once at the end (see `exact.threshold`), such that training rows have k on average.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes.code import Active, Code, Keeping, entries_where
from sksae.engine.largest import Counted, just_below, nth_largest
from sksae.model.codes import Selection
from sksae.process.processes import ALONE, Processes


def _above(
    parts: Callable[[], Iterator[Tensor]], weights: Sequence[Tensor | None], bound: float
) -> Iterator[Counted]:
    """Yield all activations of rows, shape (n_rows, n_components), that are above a bound.

    Parameters
    ----------
    parts : callable
        Yields pre-activations of shape (n_rows, n_components), valid until the next ones.
    weights : sequence of Tensor of shape (1, n_rows, 1) or None
        What their rows count.
    bound : float
        The bound.
    """
    for part, weight in zip(parts(), weights, strict=True):
        is_above = part > bound
        of_entries = None if weight is None else weight[0].expand(part.shape)[is_above]
        yield Counted(part[is_above], of_entries)


class BatchTopK(Code):
    """The largest positive pre-activations of all rows together; there is no penalty."""

    def select(self, code: Tensor, selection: Selection, axis: int) -> None:
        # Models side by side each keep their own.
        for model in code if code.ndim > 2 else (code,):
            bound = selection.threshold
            if bound is None:
                n_kept = selection.n_active * (model.numel() // model.shape[axis])
                value = nth_largest(partial(_above, partial(iter, [model]), [None]), n_kept, 0.0)
                bound = just_below(value, torch.finfo(code.dtype).eps)
            model.mul_(model > bound)

    def bound(
        self,
        parts: Iterable[Tensor],
        weights: Sequence[Tensor | None],
        n_rows: int,
        n_active: Sequence[int],
        guess: np.ndarray,
        processes: Processes = ALONE,
    ) -> np.ndarray | None:
        given = [weight for weight in weights if weight is not None]
        counted: float = n_rows
        if given:
            counted = processes.total(sum(float(weight.sum()) for weight in given))
        found, eps = [], 0.0

        def of_model(model: int) -> Iterator[Tensor]:
            nonlocal eps
            for part in parts:
                eps = torch.finfo(part.dtype).eps
                yield part[model]

        for model, each in enumerate(n_active):
            above = partial(_above, partial(of_model, model), weights)
            value = nth_largest(above, each * counted, float(guess[model]), processes)
            found.append(just_below(value, eps))
        return np.array(found)

    def active(self, pre: Tensor, keeping: Keeping) -> Active:
        assert keeping.bound is not None
        return entries_where(pre > keeping.bound, pre)


CODE = BatchTopK
