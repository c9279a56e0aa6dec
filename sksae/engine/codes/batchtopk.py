"""The k B largest activations of a minibatch of B rows (Bussmann, Leask and Nanda 2024).

https://arxiv.org/abs/2412.06410, "BatchTopK sparse autoencoders": k is the mean over rows, so that
a row that needs more units may have more. At inference rows must not depend on each other: units
above a threshold are kept. Theirs is a running mean of the smallest activation that batches kept;
here it is found once at the end (see `exact.threshold`), such that training rows have k on average.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes.code import (
    Active,
    Code,
    Keeping,
    OnPieces,
    Piece,
    entries_where,
    on_all,
)
from sksae.engine.largest import Counted, just_below, largest_of, nth_largest
from sksae.model.codes import Selection
from sksae.process.processes import ALONE, Processes

T = TypeVar("T")


def _above(pieces: Iterable[Piece], bound: float) -> Iterator[Counted]:
    """Yield all activations of rows that are above a bound.

    Parameters
    ----------
    pieces : iterable of Piece
        Of one model: pre-activations of shape (n_rows, n_components), valid until the next ones,
        and what their rows count.
    bound : float
        The bound.
    """
    for part, weight in pieces:
        is_above = part > bound
        of_entries = None if weight is None else weight[0].expand(part.shape)[is_above]
        yield Counted(part[is_above], of_entries)


def _bound_of(on_pieces: OnPieces, n: float, guess: float, processes: Processes) -> float:
    """Return above which pre-activation the n largest lie.

    Parameters
    ----------
    on_pieces : OnPieces
        As in `_above`.
    n, guess, processes
        As in `nth_largest`.
    """
    eps = 0.0

    def largest_above(bound: float) -> tuple[Counted, bool]:
        nonlocal eps
        found: tuple[Counted, bool]
        found = on_pieces(lambda pieces: largest_of(_above(pieces, bound), n))
        eps = torch.finfo(found[0].values.dtype).eps
        return found

    return just_below(nth_largest(largest_above, n, guess, processes), eps)


def _of_model(on_pieces: OnPieces, model: int, work: Callable[[Iterable[Piece]], T]) -> T:
    """Do some work on the pieces of one of the models side by side."""
    found: T = on_pieces(lambda pieces: work((pre[model], weight) for pre, weight in pieces))
    return found


class BatchTopK(Code):
    """The largest positive pre-activations of all rows together; there is no penalty."""

    def select(self, code: Tensor, selection: Selection, axis: int) -> None:
        # Models side by side each keep their own.
        for model in code if code.ndim > 2 else (code,):
            bound = selection.threshold
            if bound is None:
                n_kept = selection.n_active * (model.numel() // model.shape[axis])
                bound = _bound_of(on_all([(model, None)]), n_kept, 0.0, ALONE)
            model.mul_(model > bound)

    def bound(
        self,
        on_pieces: OnPieces,
        n_counted: float,
        n_active: Sequence[int],
        guess: np.ndarray,
        processes: Processes = ALONE,
    ) -> np.ndarray | None:
        return np.array(
            [
                _bound_of(partial(_of_model, on_pieces, model), each * n_counted, start, processes)
                for model, (each, start) in enumerate(zip(n_active, guess.tolist(), strict=True))
            ]
        )

    def active(self, pre: Tensor, keeping: Keeping) -> Active:
        assert keeping.bound is not None
        return entries_where(pre > keeping.bound, pre)


CODE = BatchTopK
