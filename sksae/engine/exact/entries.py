"""The kept entries of codes, and the sums over them that take the place of matrix products.

An entry says that a unit is active in a row, and how much. In a reading of some rows by several
budgets (see `Readings`) each row has a bag of entries for each budget. All sums are torch's
embedding bags, in which an entry adds a row of a matrix, times a number, to its bag.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.codes.code import Active

_bags = torch.ops.aten._embedding_bag_forward_only.default
_products_in_bags = torch.ops.aten._embedding_bag_per_sample_weights_backward.default
_SUM = 0


def sum_in_bags(matrix: Tensor, index: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    """Return for each bag the sum of rows of a matrix, times a number each.

    Parameters
    ----------
    matrix : Tensor of shape (n, m)
        Whose rows are summed.
    index : Tensor of int32 of shape (n_entries,)
        Which row each entry adds, bag after bag.
    starts : Tensor of int32 of shape (n_bags,)
        The first entry of each bag.
    values : Tensor of shape (n_entries,)
        What rows are multiplied by.

    Returns
    -------
    sums : Tensor of shape (n_bags, m)
    """
    if len(index) == 0:
        return matrix.new_zeros(len(starts), matrix.shape[1])
    return _bags(matrix, index, starts, False, _SUM, False, values)[0]


class Bags(NamedTuple):
    """Entries in the bags of a reading.

    Attributes
    ----------
    starts : Tensor of int32 of shape (n_bags,)
        The first entry of each bag.
    of_entry : Tensor of int32 of shape (n_entries,)
        The bag of each entry.
    """

    starts: Tensor
    of_entry: Tensor

    def products(self, left: Tensor, matrix: Tensor, index: Tensor) -> Tensor:
        """Return for each entry the product of its bag's row with a row of a matrix.

        Parameters
        ----------
        left : Tensor of shape (n_bags, m)
            A row for each bag.
        matrix : Tensor of shape (n, m)
            Of which each entry has a row too.
        index : Tensor of int32 of shape (n_entries,)
            Which one.
        """
        if len(index) == 0:
            return left.new_zeros(0)
        return _products_in_bags(left, matrix, index, self.starts, self.of_entry, _SUM)


class Readings:
    """A row's entries, the largest first, read up to one number of them after another.

    Parameters
    ----------
    budgets : sequence of tuple of int
        These numbers for each model, increasing; all models have as many. More than one asks for
        entries in falling order.

    Attributes
    ----------
    n_readings : int
        How many there are, and bags of each row.
    """

    def __init__(self, budgets: Sequence[tuple[int, ...]]) -> None:
        self.n_readings = len(budgets[0])
        self._lengths = [
            [stop - start for start, stop in pairwise((0, *of_model))] for of_model in budgets
        ]
        # Where all rows have as many entries, the bags of as many rows are always the same.
        self._known: dict[int, Bags] = {}

    def bags_of(self, active: Active, n_rows: int) -> Bags:
        """Return the bags of so many rows: those of the first one's budgets, then the next one's.

        Parameters
        ----------
        active : Active
            Entries.
        n_rows : int
            Of each model.
        """
        device = active.units.device
        if not active.is_even:
            counts = torch.bincount(active.rows, minlength=n_rows * len(self._lengths))
            return Bags(_starts(counts), active.rows)
        if n_rows not in self._known:
            lengths = [torch.tensor(of_model, device=device) for of_model in self._lengths]
            counts = torch.cat([of_model.repeat(n_rows) for of_model in lengths])
            bags = torch.arange(len(counts), dtype=torch.int32, device=device)
            self._known[n_rows] = Bags(_starts(counts), bags.repeat_interleave(counts))
        return self._known[n_rows]


def _starts(counts: Tensor) -> Tensor:
    return (counts.cumsum(0) - counts).to(torch.int32)


class Entries(NamedTuple):
    """Entries on their way back: what each adds to the gradients of its unit.

    Attributes
    ----------
    units : Tensor of int32
        Unit of each entry, of all models.
    values : Tensor
        Its activation, which its row's residual is multiplied by: the gradient of its atom.
    deltas : Tensor
        dJ by its pre-activation, which its row is multiplied by: the gradient of its detector.
    residuals, rows : Tensor of int32
        Where its residual and its row stand among those of the minibatch.
    """

    units: Tensor
    values: Tensor
    deltas: Tensor
    residuals: Tensor
    rows: Tensor

    @classmethod
    def of_all(cls, parts: "list[Entries]") -> "Entries":
        """Return those of several parts of a minibatch together."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat(each) for each in zip(*parts, strict=True)))


class ByUnit:
    """Entries in the order of their units.

    Parameters
    ----------
    entries : Entries
        In any order.
    n_units : int
        Of all models.
    """

    def __init__(self, entries: Entries, n_units: int) -> None:
        order, self._starts = _order(entries.units, n_units)
        self._sorted = Entries(*(each.index_select(0, order) for each in entries))
        self._n_entries = len(order)

    @cached_property
    def _zeros(self) -> Tensor:
        return torch.zeros_like(self._sorted.units)

    def atoms(self, units: slice, residuals: Tensor) -> Tensor:
        """Return the gradients of some units' atoms, given the residuals of bags."""
        return self._sum(units, residuals, self._sorted.residuals, self._sorted.values)

    def detectors(self, units: slice, rows: Tensor) -> Tensor:
        """Return the gradients of some units' weights in the encoder, given rows."""
        return self._sum(units, rows, self._sorted.rows, self._sorted.deltas)

    def biases(self, units: slice) -> Tensor:
        """Return the gradients of some units' biases, shape (n_units,)."""
        one = self._sorted.deltas.new_ones(1, 1)
        return self._sum(units, one, self._zeros, self._sorted.deltas)[:, 0]

    def _sum(self, units: slice, matrix: Tensor, index: Tensor, values: Tensor) -> Tensor:
        """Return sums over the entries of some units.

        Parameters
        ----------
        units : slice
            Which.
        matrix, index, values
            As in `sum_in_bags`, for all entries.
        """
        starts = self._starts[units]
        last = units.stop >= len(self._starts)
        stop = self._n_entries if last else int(self._starts[units.stop])
        start = int(starts[0])
        return sum_in_bags(matrix, index[start:stop], starts - start, values[start:stop])


def _order(units: Tensor, n_units: int) -> tuple[Tensor, Tensor]:
    """Return the positions of entries by their units, and where each unit's begin.

    Parameters
    ----------
    units : Tensor of int32 of shape (n_entries,)
        Of each entry.
    n_units : int
        Of all.
    """
    if units.device.type != "cpu":
        order = units.argsort(stable=True)
        return order, _starts(torch.bincount(units, minlength=n_units))
    # To turn rows into columns is to count, which takes a tenth of the time of sorting.
    n_entries = len(units)
    positions = np.arange(n_entries + 1, dtype=np.int32)
    rows = sp.csr_array((positions[:-1], units.numpy(), positions), shape=(n_entries, n_units))
    columns = rows.tocsc()
    starts = torch.from_numpy(columns.indptr[:-1].astype(np.int32, copy=False))
    return torch.from_numpy(columns.data), starts
