"""The k largest numbers of each row, and the n-th largest of many.

On the CPU torch's topk sorts every row, which takes as long as the product that made it. But the
k-th largest of the maxima of some blocks is at most the k-th largest number: the few that reach it
are found in one pass, and only these are sorted.
"""

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksae.engine.device import to_float64
from sksae.process.processes import ALONE, Processes

# Rows are cut into blocks so long, if that gives so many blocks for each number that is wanted.
BLOCK, BLOCKS_PER_WANTED = 16, 2
# The next bound is looked for above this share of the last one.
LIKELY = 0.8
# Of sums of weights.
ROUNDING = 1e-6
# So many pieces of a stream are kept before they are reduced to what counts.
MOST_PIECES = 2
# Two numbers are the same that differ by so many units in the last place.
SAME = 64.0


class Largest(NamedTuple):
    """The k largest numbers of each row, in falling order.

    Which of equal ones, and in what order, depends on nothing but the row.

    Attributes
    ----------
    values : Tensor of shape (n_rows, k)
        nan in rows that have some.
    columns : Tensor of int of shape (n_rows, k)
        Where they stand.
    """

    values: Tensor
    columns: Tensor


def k_largest(rows: Tensor, k: int) -> Largest:
    """Return the k largest numbers of each row.

    Parameters
    ----------
    rows : Tensor of shape (n_rows, n_columns)
        Numbers.
    k : int
        From 1 to n_columns.
    """
    n_rows, n_columns = rows.shape
    if rows.device.type != "cpu" or n_columns // BLOCK < BLOCKS_PER_WANTED * k:
        return Largest(*rows.topk(k))
    candidates, columns = _candidates(rows.numpy(), k)
    # Equal ones stay in the order of columns, so that a row's choice is the same in any company.
    order = np.argsort(-candidates, axis=1, kind="stable")[:, :k]
    order += np.arange(n_rows)[:, None] * candidates.shape[1]
    values, found = candidates.reshape(-1)[order], columns.reshape(-1)[order]
    return Largest(torch.from_numpy(values), torch.from_numpy(found))


def _candidates(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers among which are the k largest, and their columns, in order.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_columns)
        Numbers.
    k : int
        How many of each row are wanted.
    """
    n_rows, n_columns = rows.shape
    n_blocks = n_columns // BLOCK
    # A block is every n_blocks-th column: maxima are taken along the memory.
    maxima = rows[:, : BLOCK * n_blocks].reshape(n_rows, BLOCK, n_blocks).max(axis=1)
    maxima.partition(n_blocks - k, axis=1)
    least = maxima[:, n_blocks - k, None]
    found = np.flatnonzero(rows >= least)
    row, column = np.divmod(found, n_columns)
    counts = np.bincount(row, minlength=n_rows)
    place = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = max(int(counts.max(initial=0)), k)
    # Nothing reaches nan: such a row shall say so, whatever becomes of its code.
    candidates = np.where(np.isnan(least), least, -np.inf).repeat(width, axis=1)
    columns = np.zeros((n_rows, width), np.int64)
    candidates[row, place], columns[row, place] = rows.reshape(-1)[found], column
    return candidates, columns


class Counted(NamedTuple):
    """Some numbers, and what each counts: weights of shape (n,), or None for 1."""

    values: Tensor
    weights: Tensor | None = None


def nth_largest(
    largest_above: Callable[[float], tuple[Counted, bool]],
    n: float,
    guess: float,
    processes: Processes = ALONE,
) -> float:
    """Return the n-th largest of some positive numbers; 0 if there are fewer.

    Of weighted ones it is the last of the largest that together count n.

    Parameters
    ----------
    largest_above : callable
        ``largest_above(bound)`` gives `largest_of` the numbers above a bound.
    n : float
        More than 0; at least 1, and whole, where there are no weights.
    guess : float
        What it may be: the nearer, the fewer numbers are looked at.
    processes : Processes
        Each has some of the numbers; the largest of each are then those of all that matter.
    """
    bound = LIKELY * guess
    # Below the normal numbers a product may round to the number itself.
    least = max(LIKELY**8 * guess, sys.float_info.min)
    while True:
        found, is_enough = largest_above(bound)
        if processes.are_several:
            found, is_enough = _that_count([_joined(found, processes)], n)
        if is_enough:
            return float(found.values.min())
        if bound == 0.0:
            return 0.0
        bound = LIKELY * bound if bound > least else 0.0


def _joined(own: Counted, processes: Processes) -> Counted:
    """Return the numbers of all processes."""
    weights = None if own.weights is None else processes.joined(own.weights)
    return Counted(processes.joined(own.values), weights)


def largest_of(pieces: Iterable[Counted], n: float) -> tuple[Counted, bool]:
    """Return the largest of some numbers, which together count n, and whether all count so much.

    Parameters
    ----------
    pieces : iterable of Counted
        The numbers, of which no more pieces are kept than a few.
    n : float
        As in `nth_largest`.
    """
    kept: list[Counted] = []
    for piece in pieces:
        kept.append(piece)
        if len(kept) > MOST_PIECES:
            kept = [_that_count(kept, n)[0]]
    return _that_count(kept, n)


def _that_count(pieces: list[Counted], n: float) -> tuple[Counted, bool]:
    """Return the same of pieces that are there."""
    values = torch.cat([piece.values for piece in pieces])
    if pieces[0].weights is None:
        if len(values) < n:
            return Counted(values), False
        return Counted(values.topk(int(n), sorted=False).values), True
    values, order = values.sort(descending=True, stable=True)
    weights = torch.cat([piece.weights for piece in pieces if piece.weights is not None])[order]
    # A sum of so many is rounded.
    reached = to_float64(weights).cumsum(0) >= n * (1.0 - ROUNDING)
    if not reached.any():
        return Counted(values, weights), False
    last = int(reached.int().argmax()) + 1
    return Counted(values[:last], weights[:last]), True


def just_below(value: float, eps: float) -> float:
    """Return a number, at least 0, above which are those that are a positive one but for rounding.

    Equal rows have pre-activations that differ in the last digits, by where they stand in a
    product: they are kept together.

    Parameters
    ----------
    value : float
        The number.
    eps : float
        Of the precision.
    """
    return value * (1.0 - SAME * eps)
