"""Some rows of a minibatch, which one member of a crew takes through dictionaries and back.

Where memory has ended, parts take their turns with the same buffers, as in `engine.parts`.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.batches import Batch
from sksae.engine.codes.code import WayBack
from sksae.engine.exact.bags import Bags
from sksae.engine.exact.dead_units import n_taught
from sksae.engine.exact.entries import Entries
from sksae.engine.exact.passes import (
    Passage,
    atoms_of,
    selections_of,
)
from sksae.engine.largest import k_largest
from sksae.engine.losses import compares_numbers
from sksae.engine.objective import ObjectiveTerms
from sksae.engine.parameters import Parameters


class Room(NamedTuple):
    """Buffers of a part.

    Attributes
    ----------
    passage : Passage
        For as many rows.
    first : int
        How many residuals stand before its own among those that gradients are summed from.
    residuals : Tensor of shape (n_models * n_rows * n_readings, n_features)
        Its own.
    """

    passage: Passage
    first: int
    residuals: Tensor


class ExactPart:
    """Some rows of a minibatch, on their way through dictionaries and back.

    Attributes
    ----------
    weight : Tensor of shape (1, n_rows, 1) or None
        What each row counts, relative to the mean over all; None where all are alike.
    row_weights : Tensor of shape (1, n_rows, 1)
        What each row counts in a mean.
    losses : Tensor of shape (n_models, n_rows)
        From which `Loss.values` makes the loss of each row.
    row_penalty : Tensor of shape (n_models, n_rows) or None
        Where S is a mean over rows.
    active : Active
        Entries of the codes.
    entries : Entries
        The same, with their gradients.
    bias_gradient : Tensor of shape (n_models, 1, n_features)
        By b.

    Parameters
    ----------
    which : slice
        Rows of the minibatch.
    n_together : int
        Rows of all of it, those of other processes included.
    room : Room
        Buffers.
    parameters : Parameters
        The networks.
    terms : ObjectiveTerms
        Of J.
    takes_turns : bool
        Whether other parts have the same buffers.
    """

    def __init__(
        self,
        which: slice,
        n_together: int,
        room: Room,
        parameters: Parameters,
        terms: ObjectiveTerms,
        *,
        takes_turns: bool,
    ) -> None:
        self._which, self._parameters, self._terms = which, parameters, terms
        self.takes_turns, self.n_together = takes_turns, n_together
        self._passage, self._first, self.residuals = room
        self._n_active = [each.n_active for each in selections_of(parameters)]
        n_own, n_features = which.stop - which.start, parameters.architecture.sizes[-1]
        self._residuals = self.residuals.view(parameters.n_models, n_own, -1, n_features)
        self._share = 1.0 / n_together
        self._even = parameters.flat.new_full((1, n_own, 1), self._share)

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return self._which.stop - self._which.start

    def take(self, batch: Batch) -> None:
        """Begin with a minibatch."""
        self._rows, self._target = batch.rows[:, self._which], batch.target[:, self._which]
        self.weight = None if batch.weight is None else batch.weight[:, self._which]
        self.row_weights = self._even if self.weight is None else self.weight * self._share
        self._sums: dict[int, Tensor] = {}
        self._units: Tensor | None = None

    def encode(self) -> Tensor:
        """Return pre-activations, of shape (n_models, n_rows, n_components)."""
        return self._passage.encode(self._rows)

    def decode(self, bound: np.ndarray | None) -> None:
        """Go on to the output.

        Parameters
        ----------
        bound : ndarray of shape (n_models,) or None
            What the code keeps.
        """
        if self.takes_turns:
            self.encode()
        terms = self._terms
        chosen = self._passage.choose(terms.code, bound, terms.bandwidth)
        self.active, self._bags, output = self._passage.decode(chosen)
        loss = terms.loss
        assert compares_numbers(loss)
        self._error, row_values = self._compare(output)
        self.losses = loss.mean_over_readings(row_values)
        penalties = terms.code.entry_penalty(self.active)
        self.row_penalty = (
            None if penalties is None else self._passage.by_row(self.active, penalties)
        )
        self._gate_error: Tensor | None = None
        if self.active.gates is not None:
            made = self._passage.rebuild_from_gates(self.active, self._bags)
            self._gate_error, of_gates = self._compare(made)
            self.losses = loss.sum_of(self.losses, of_gates[..., 0])

    def _compare(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return dl by what enters the output's activation, of all readings, and what l is of."""
        activation = ACTIVATIONS[self._parameters.architecture.activations[-1]]
        is_linear = activation is ACTIVATIONS["identity"]
        activation.forward(output, output, {})
        error = output if is_linear else torch.empty_like(output)
        row_values = self._terms.loss(output, self._target.unsqueeze(2), error, -1)
        activation.backward(error, output, output, {}, {})
        return error, row_values

    def sum_entries(self, power: int) -> Tensor:
        """Return the sum of each row's activations to a power, (n_models, n_rows)."""
        if power in self._sums:
            return self._sums[power]
        return self._passage.by_row(self.active, self.active.values**power)

    def active_units(self) -> Tensor:
        """Return the units that are active in some row, some of them more than once."""
        if self._units is not None:
            return self._units
        return self.active.units[self.active.values > 0].long()

    def end_turn(self) -> None:
        """Let go of all but what is asked for after others have had their turns."""
        self._sums = {power: self.sum_entries(power) for power in (1, 2)}
        self._units = self.active_units().unique()
        del self.active, self.entries, self._bags, self._error, self._gate_error, self._lacking

    def count_active(self) -> Tensor:
        """Return the sum over rows of what each counts times its active units, (n_models,)."""
        n_models = self._parameters.n_models
        counted = self._weight_of(self.active.rows) * (self.active.values > 0.0)
        if n_models == 1:
            return counted.sum(dim=0, keepdim=True)
        models = self.active.units // self._passage.pre.shape[2]
        return counted.new_zeros(n_models).index_add_(0, models, counted)

    def _weight_of(self, rows: Tensor) -> Tensor:
        """Return what rows of this part count; those of further models follow the first one's."""
        return self.row_weights.view(-1)[self._in_own(rows).long()]

    def _in_own(self, rows: Tensor) -> Tensor:
        """Return where rows of all models stand in this part, which they share."""
        return rows % self._passage.pre.shape[1] if self._parameters.n_models > 1 else rows

    def _in_batch(self, rows: Tensor) -> Tensor:
        """Return where rows of all models stand in the minibatch, which they share."""
        own = self._in_own(rows)
        return own + self._which.start if self._which.start else own

    def go_back(self, price: Tensor | None, dead: list[Tensor]) -> None:
        """Go back to the pre-activations.

        Parameters
        ----------
        price : Tensor of shape (n_models, n_components, 1) or None
            What `Code.price` says.
        dead : list of Tensor of int
            Of each model the units that are dead.
        """
        active, residuals, error = self.active, self._residuals, self._error
        self._lacking = error[:, :, -1].clone() if any(map(len, dead)) else None
        n_readings = residuals.shape[2]
        torch.mul(self._weighed(error), self._share / n_readings, out=residuals)
        for reading in range(n_readings - 2, -1, -1):
            residuals[:, :, reading].add_(residuals[:, :, reading + 1])
        self.bias_gradient = residuals[:, :, 0].sum(dim=1, keepdim=True)
        atoms, bags = atoms_of(self._parameters), self._bags
        deltas = bags.products(residuals.view(-1, atoms.shape[1]), atoms, active.units)
        gate_deltas = None
        if self._gate_error is not None:
            wanting = self._weighed(self._gate_error).mul_(self._share)
            gate_deltas = bags.products(wanting.view(-1, atoms.shape[1]), atoms, active.units)
        code, of_units, units = self._terms.code, self._parameters.units[0], active.units.long()
        back = WayBack(
            deltas,
            gate_deltas,
            None if price is None else price.view(-1)[units] * self._weight_of(active.rows),
            {name: each.view(-1)[units] for name, each in of_units.items()},
            self._terms.bandwidth,
        )
        found = code.backward(active, back)
        self.entries = Entries(
            active.units,
            active.values,
            found.deltas,
            bags.of_entry + self._first,
            self._in_batch(active.rows),
            found.of_units,
        )

    def _weighed(self, error: Tensor) -> Tensor:
        return error if self.weight is None else error.mul_(self.weight.unsqueeze(-1))

    def teach(self, dead: list[Tensor], n_before: int) -> list[tuple[Entries, Tensor]]:
        """Let dead units rebuild what rows lack (see `dead_units`).

        Parameters
        ----------
        dead : list of Tensor of int
            Of each model the units that are dead.
        n_before : int
            Residuals before those that are returned.

        Returns
        -------
        taught : list of tuple of Entries and Tensor of shape (n_rows, n_features)
            For each model that has such units, entries and the residuals that they count.
        """
        taught: list[tuple[Entries, Tensor]] = []
        if self._lacking is not None:
            for model, units in enumerate(dead):
                if len(units):
                    taught.append(self._teach(model, units, self._lacking[model], n_before))
                    n_before += len(taught[-1][1])
        return taught

    def _teach(
        self, model: int, units: Tensor, lacking: Tensor, n_before: int
    ) -> tuple[Entries, Tensor]:
        """Let dead units of a model rebuild what its rows lack.

        Parameters
        ----------
        model : int
            Which.
        units : Tensor of int of shape (n_dead,)
            Its dead units.
        lacking : Tensor of shape (n_rows, n_features)
            Minus what the rows lack.
        n_before : int
            As in `teach`.
        """
        n_rows, n_components = self._passage.pre.shape[1:]
        atoms, k = atoms_of(self._parameters), n_taught(self._n_active[model], len(units))
        kept = k_largest(self._passage.pre[model].index_select(1, units), k)
        index = units[kept.columns].add_(model * n_components).to(torch.int32).view(-1)
        values = kept.values.reshape(-1)
        rows = torch.arange(n_rows, dtype=torch.int32, device=index.device)
        bags = Bags(rows * k, rows.repeat_interleave(k))
        residuals = self._passage.sum_up(index, bags, values).add_(lacking)
        residuals.mul_(self.row_weights[0])
        deltas = bags.products(residuals, atoms, index)
        nothing = {name: torch.zeros_like(deltas) for name in self._parameters.units[0]}
        entries = Entries(
            index,
            values,
            deltas,
            bags.of_entry + n_before,
            self._in_batch(bags.of_entry),
            nothing,
        )
        return entries, residuals
