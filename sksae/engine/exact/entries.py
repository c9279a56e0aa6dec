"""Entries of codes on their way back, and their sums by units."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from sksae.engine.exact.bags import in_groups, sum_in_bags


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
    of_units : mapping of str to Tensor
        dJ by what is learnt for its unit besides, by name.
    """

    units: Tensor
    values: Tensor
    deltas: Tensor
    residuals: Tensor
    rows: Tensor
    of_units: Mapping[str, Tensor] = MappingProxyType({})

    @classmethod
    def of_all(cls, parts: "Sequence[Entries]") -> "Entries":
        """Return those of several parts of a minibatch together."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.units for part in parts]),
            torch.cat([part.values for part in parts]),
            torch.cat([part.deltas for part in parts]),
            torch.cat([part.residuals for part in parts]),
            torch.cat([part.rows for part in parts]),
            {
                name: torch.cat([part.of_units[name] for part in parts])
                for name in parts[0].of_units
            },
        )

    def in_order(self, order: Tensor) -> "Entries":
        """Return them in another order, that of some positions."""
        return Entries(
            self.units.index_select(0, order),
            self.values.index_select(0, order),
            self.deltas.index_select(0, order),
            self.residuals.index_select(0, order),
            self.rows.index_select(0, order),
            {name: each.index_select(0, order) for name, each in self.of_units.items()},
        )


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
        order, starts = in_groups(entries.units, n_units)
        self._sorted = entries.in_order(order)
        # Where the entries of each unit begin, and where those of the last one end.
        self._bounds = torch.cat([starts, starts.new_tensor([len(order)])])

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
        return self._total(units, self._sorted.deltas)

    def of_units(self, units: slice) -> dict[str, Tensor]:
        """Return the gradients of what is learnt for each of some units besides, (n_units,)."""
        return {name: self._total(units, each) for name, each in self._sorted.of_units.items()}

    def _total(self, units: slice, values: Tensor) -> Tensor:
        """Return the sum over each unit's entries of a number that these have."""
        return self._sum(units, values.new_ones(1, 1), self._zeros, values)[:, 0]

    def _sum(self, units: slice, matrix: Tensor, index: Tensor, values: Tensor) -> Tensor:
        """Return sums over the entries of some units.

        Parameters
        ----------
        units : slice
            Which.
        matrix, index, values
            As in `sum_in_bags`, for all entries.
        """
        start, stop = (int(self._bounds[at]) for at in (units.start, units.stop))
        starts = self._bounds[units] - start
        return sum_in_bags(matrix, index[start:stop], starts, values[start:stop])
