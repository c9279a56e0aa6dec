"""Entries of codes in bags, and the sums over bags that take the place of matrix products.

An entry says that a unit is active in a row, and how much. A row is read several times: up to one
number of its largest units after another (budgets), or by the first units of the dictionary, then
by more of them (prefixes). What a reading has more than the one before is a bag. All sums are
torch's embedding bags, in which an entry adds a row of a matrix, times a number, to its bag.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sksae.engine.codes.code import Active
from sksae.model.codes import Selection

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
    """By which of a row's entries it is read, one time after another.

    Parameters
    ----------
    selections : sequence of Selection
        Of each model; all are read as often, and by the same prefixes. Several budgets ask for
        entries in falling order.

    Attributes
    ----------
    n_readings : int
        How many there are, and bags of each row.
    """

    def __init__(self, selections: Sequence[Selection]) -> None:
        first = selections[0]
        self.n_readings, self._n_models, self._prefixes = (
            first.n_readings,
            len(selections),
            first.prefixes,
        )
        self._lengths = [
            [stop - start for start, stop in pairwise((0, *each.budgets))] for each in selections
        ]
        # Where all rows have as many entries, the bags of as many rows are always the same.
        self._known: dict[int, Bags] = {}

    def read(self, active: Active, n_rows: int, n_components: int) -> tuple[Active, Bags]:
        """Return entries in the order of their bags, and these: of the first row, then the next.

        Parameters
        ----------
        active : Active
            Entries.
        n_rows, n_components : int
            Of each model.
        """
        if self._prefixes:
            return self._by_prefix(active, n_rows, n_components)
        device = active.units.device
        if not active.has_full_rows:
            counts = torch.bincount(active.rows, minlength=n_rows * self._n_models)
            return active, Bags(starts_of(counts), active.rows)
        if n_rows not in self._known:
            lengths = [torch.tensor(of_model, device=device) for of_model in self._lengths]
            counts = torch.cat([of_model.repeat(n_rows) for of_model in lengths])
            bags = torch.arange(len(counts), dtype=torch.int32, device=device)
            self._known[n_rows] = Bags(starts_of(counts), bags.repeat_interleave(counts))
        return active, self._known[n_rows]

    def _by_prefix(self, active: Active, n_rows: int, n_components: int) -> tuple[Active, Bags]:
        """Return entries in bags by the first prefix that has their unit; see `read`."""
        inner = torch.tensor(self._prefixes[:-1], device=active.units.device, dtype=torch.int32)
        first = torch.bucketize(active.units % n_components, inner, right=True, out_int32=True)
        bag_of_entry = active.rows * self.n_readings + first
        order, starts = in_groups(bag_of_entry, self._n_models * n_rows * self.n_readings)
        return active.in_order(order), Bags(starts, bag_of_entry.index_select(0, order))


def starts_of(counts: Tensor) -> Tensor:
    """Return where each of some groups begins, given their sizes, as int32."""
    return (counts.cumsum(0) - counts).to(torch.int32)


def in_groups(groups: Tensor, n_groups: int) -> tuple[Tensor, Tensor]:
    """Return the positions of entries by their groups, and where each group's begin.

    Parameters
    ----------
    groups : Tensor of int32 of shape (n_entries,)
        Of each entry.
    n_groups : int
        Of all.
    """
    if groups.device.type != "cpu":
        order = groups.argsort(stable=True)
        return order, starts_of(torch.bincount(groups, minlength=n_groups))
    # To turn rows into columns is to count, which takes a tenth of the time of sorting.
    n_entries = len(groups)
    positions = np.arange(n_entries + 1, dtype=np.int32)
    rows = sp.csr_array((positions[:-1], groups.numpy(), positions), shape=(n_entries, n_groups))
    columns = rows.tocsc()
    starts = torch.from_numpy(columns.indptr[:-1].astype(np.int32, copy=False))
    return torch.from_numpy(columns.data), starts
