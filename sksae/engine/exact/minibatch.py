"""J of dictionaries and its gradient over one minibatch after another, by the active entries.

In falling order of p the loss reads a row's units up to each of the budgets Q,

    l = mean over q in Q of 1/2 ||z_hat_q - z||^2, or of another loss

(Balagansky et al. 2025, https://arxiv.org/abs/2505.24473; "Multi-TopK" of Gao et al. 2024,
https://arxiv.org/abs/2406.04093), or those among the first m of all units, for each of the
prefixes (Bussmann et al. 2025, https://arxiv.org/abs/2503.17547). With the residual
r_q = z_hat_q - z and R_i the sum of r_q over the readings that have unit i, divided by the number
of readings, the gradient by its atom is a_i R_i, by its activation D_i . R_i, and by b R_1.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import sparsity_of_norms, to_numpy
from sksae.engine.batch_objective import BatchObjective
from sksae.engine.batches import Batch
from sksae.engine.codes.code import Piece
from sksae.engine.exact.bags import Readings
from sksae.engine.exact.dead_units import DeadUnits
from sksae.engine.exact.entries import ByUnit, Entries
from sksae.engine.exact.parts import ExactPart, Room
from sksae.engine.exact.passes import Encoding, Passage, atoms_of, fixed_bounds, selections_of
from sksae.engine.exact.unit_norm import (
    give_unit_norm,
    have_unit_norm,
    normalise,
    remove_growth,
)
from sksae.engine.losses import Loss
from sksae.engine.parameters import Parameters
from sksae.engine.threads import n_parts
from sksae.model.codes import CODES
from sksae.model.settings import Penalties
from sksae.model.slices import equal_slices
from sksae.model.tasks import CodeMeasured, State

T = TypeVar("T")


class ExactObjective(BatchObjective[ExactPart]):
    """J of dictionaries and its gradient, over one minibatch after another.

    Parameters
    ----------
    penalties, loss
        As in `BatchObjective`.
    parameters : Parameters
        Of dictionaries side by side (see `Architecture.is_dictionary`); moved by a solver between
        calls.
    batches_per_epoch : int
        Minibatches of an epoch.
    state : dict of ndarray, optional
        What `state` gave, when a training goes on.
    **settings
        As in `BatchObjective`.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        loss: Loss,
        *,
        batches_per_epoch: int,
        state: dict[str, np.ndarray] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            penalties,
            parameters,
            loss,
            state=state,
            batches_per_epoch=batches_per_epoch,
            **settings,
        )
        selections = selections_of(parameters)
        self._n_active = [selection.n_active for selection in selections]
        self._fixed_bounds = fixed_bounds(selections)
        self._selects_by_batch = CODES[selections[0].code].selects_by_batch
        self._readings = Readings(selections)
        self._dead_units = DeadUnits(parameters, batches_per_epoch, state or {})
        # By the number of rows.
        self._residuals: dict[int, Tensor] = {}
        self._guess = np.zeros(parameters.n_models)
        # Pre-activations of a minibatch whose bound is looked for.
        self._encoded: list[Tensor] | None = None
        # Those of a network that was trained with another code have other norms.
        if not have_unit_norm(atoms_of(parameters)):
            give_unit_norm(parameters)

    def __call__(self, batch: Batch) -> None:
        terms, controller, dead = self._terms, self._controller, self._dead_units.find()
        self._start_control(batch)
        self._last = []
        bound = self._bound(batch)
        n_active = self._on_parts(batch, partial(self._decode, bound))
        if n_active is not None:
            n_active = self._mean_active(n_active, batch)
        price = share = None
        if n_active is not None:
            price = terms.code.price(n_active, terms.rho, terms.beta)
            if terms.code.penalises_counts:
                share = n_active / terms.rho.shape[1]
        self._on_parts(batch, partial(self._go_back, batch.rows[0], bound, price, dead))
        is_active = self._gradient_of_all.sum_up_with(self._find_active(batch))
        self._dead_units.watch(is_active, self._pace)
        # The decay of atoms has no part but that along them.
        parameters, alpha = self.parameters, terms.alpha
        if terms.decayed[0] and not parameters.architecture.tied[0] and alpha.any():
            self.gradient.weights[0].add_(alpha * parameters.weights[0])
        for part in self._last:
            self._epoch_loss.add_rows(part.row_weights, part.losses, part.row_penalty)
        self._epoch_loss.end_batch(share)
        if controller is not None and n_active is not None:
            controller.after_share(lambda: to_numpy(n_active[:, 0, 0]) / terms.rho.shape[1])
        self._portions.tell()

    def measure(self, model: int, sparsity: str | None) -> CodeMeasured:
        n_components = self.parameters.architecture.n_components
        l1, square = (
            torch.cat([part.sum_entries(power)[model] for part in self._last]) for power in (1, 2)
        )
        row_weights = torch.cat([part.row_weights[0, :, 0] for part in self._last])
        counted = row_weights / row_weights.sum()
        of_rows = sparsity_of_norms(l1, square, n_components)
        return CodeMeasured(float(l1 @ counted) / n_components, float(of_rows @ counted))

    def _find_active(self, batch: Batch) -> Tensor:
        """Return which units are active in some row, shape (n_models, n_components, 1)."""
        found = torch.zeros_like(self._terms.rho, dtype=torch.bool)
        if batch.has_any:
            for part in self._last:
                found.view(-1)[part.active_units()] = True
        return found

    def _make_parts(self, n_rows: int, n_together: int) -> list[ExactPart]:
        parameters, takes_turns = self.parameters, self._portions.most is not None
        if takes_turns:
            cuts = self._portions.cut(slice(0, n_rows))
            rooms = self._rooms_for_turns(cuts)
        else:
            work = 1.0 * n_rows * len(parameters.flat)
            cuts = equal_slices(n_rows, n_parts(work, n_rows, self._crew.n_members))
            rooms = self._rooms_for_all(cuts)
        return [
            ExactPart(which, n_together, room, parameters, self._terms, takes_turns=takes_turns)
            for which, room in zip(cuts, rooms, strict=True)
        ]

    def _residuals_for(self, n_rows: int) -> Tensor:
        parameters = self.parameters
        n_bags = n_rows * parameters.n_models * self._readings.n_readings
        return parameters.flat.new_empty(n_bags, parameters.architecture.sizes[-1])

    def _passage_for(self, n_rows: int) -> Passage:
        return Passage(self.parameters, n_rows, self._readings, half=self._half)

    def _rooms_for_all(self, cuts: list[slice]) -> list[Room]:
        """Return buffers for parts that are there side by side."""
        n_rows = cuts[-1].stop
        if n_rows not in self._residuals:
            self._residuals[n_rows] = self._residuals_for(n_rows)
        residuals = self._residuals[n_rows]
        n_bags = self.parameters.n_models * self._readings.n_readings
        return [
            Room(
                self._passage_for(which.stop - which.start),
                n_bags * which.start,
                residuals[n_bags * which.start : n_bags * which.stop],
            )
            for which in cuts
        ]

    def _rooms_for_turns(self, cuts: list[slice]) -> list[Room]:
        """Return buffers for parts that take turns: the same for all parts of one length."""
        lengths = [which.stop - which.start for which in cuts]
        rooms = {
            length: Room(self._passage_for(length), 0, self._residuals_for(length))
            for length in set(lengths)
        }
        return [rooms[length] for length in lengths]

    def _let_go_of_parts(self) -> None:
        super()._let_go_of_parts()
        self._residuals.clear()
        self._encoded = None

    def _bound(self, batch: Batch) -> np.ndarray | None:
        """Encode the rows of a minibatch, and return what the code keeps of them."""
        code, processes, self._encoded = self._terms.code, self._processes, None
        if self._fixed_bounds is not None or not self._selects_by_batch:
            self._on_parts(batch, self._pieces)
            return self._fixed_bounds
        n_counted: float = batch.n_together
        if batch.weight is not None:
            n_counted = processes.total(float(batch.weight.sum()))

        def on_pieces(work: Callable[[Iterable[Piece]], T]) -> T:
            return self._on_parts(batch, lambda parts: work(self._pieces(parts)))

        bound = code.bound(on_pieces, n_counted, self._n_active, self._guess, processes)
        assert bound is not None
        self._guess, self._encoded = bound, None
        return bound

    def _pieces(self, parts: list[ExactPart]) -> Iterable[Piece]:
        """Return the pre-activations of all parts, computed now unless they take turns."""
        encoders, weights = [part.encode for part in parts], [part.weight for part in parts]
        if parts[0].takes_turns:
            return zip(Encoding(encoders), weights, strict=True)
        if self._encoded is None:
            self._encoded = self._crew.run(encoders)
        return zip(self._encoded, weights, strict=True)

    def _decode(self, bound: np.ndarray | None, parts: list[ExactPart]) -> Tensor | None:
        """Go on to the output; return what own rows add to `_mean_active` if it has a price."""
        if not parts[0].takes_turns:
            self._crew.run([partial(part.decode, bound) for part in parts])
        if self._terms.code.law is None:
            return None
        counts = []
        for part in parts:
            if part.takes_turns:
                part.decode(bound)
            counts.append(part.count_active())
        return torch.stack(counts).sum(dim=0).view(-1, 1, 1)

    def _go_back(
        self,
        rows: Tensor,
        bound: np.ndarray | None,
        price: Tensor | None,
        dead: list[Tensor],
        parts: list[ExactPart],
    ) -> None:
        """Leave the gradient of all rows in ``gradient``, but for that of the weight decay.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            Of the minibatch.
        bound, price, dead
            As in `ExactPart`.
        parts : list of ExactPart
            All of them.
        """
        if not parts[0].takes_turns:
            self._crew.run([partial(part.go_back, price, dead) for part in parts])
            self._sum_by_units(self.gradient, rows, parts, self._residuals[len(rows)], dead)
            return
        own = self.parameters.with_flat(torch.zeros_like(self.parameters.flat))
        self.gradient.flat.zero_()
        for part in parts:
            part.decode(bound)
            part.go_back(price, dead)
            self._sum_by_units(own, rows, [part], part.residuals, dead)
            self.gradient.flat.add_(own.flat)
            part.end_turn()

    def _mean_active(self, n_active: Tensor, batch: Batch) -> Tensor:
        """Return the weighted mean over the rows of all of their active units, (n_models, 1, 1)."""
        self._processes.sum_(n_active)
        if batch.weight is None:
            return n_active
        row_weights = torch.cat([part.row_weights for part in self._last], dim=1)
        total = self._processes.sum_(row_weights.sum())
        # Weights may be too small for the precision of training.
        return n_active / total.clamp(min=torch.finfo(total.dtype).tiny)

    def _sum_by_units(
        self,
        gradient: Parameters,
        rows: Tensor,
        parts: list[ExactPart],
        residuals: Tensor,
        dead: list[Tensor],
    ) -> None:
        """Add up the gradients by parameters, each member of the crew those of some units.

        Parameters
        ----------
        gradient : Parameters
            Where they are written.
        rows : Tensor of shape (n_rows, n_features)
            Of the minibatch.
        parts : list of ExactPart
            Those that its members have worked on.
        residuals : Tensor of shape (n_bags, n_features)
            Theirs.
        dead : list of Tensor of int
            Of each model the units that are dead.
        """
        parameters = self.parameters
        entries, own = [part.entries for part in parts], [residuals]
        for part in parts:
            for of_dead, lacking in part.teach(dead, sum(map(len, own))):
                entries.append(of_dead)
                own.append(lacking)
        if len(own) > 1:
            residuals = torch.cat(own)
        atoms, of_atoms = atoms_of(parameters), atoms_of(gradient)
        n_units = len(atoms)
        by_unit = ByUnit(Entries.of_all(entries), n_units)
        of_detectors = gradient.weights[0].view(n_units, -1)
        of_biases = gradient.biases[0].view(-1)
        is_tied = parameters.architecture.tied[0]

        def sum_up(units: slice) -> None:
            detectors = by_unit.detectors(units, rows)
            of_atoms[units] = by_unit.atoms(units, residuals)
            of_biases[units] = by_unit.biases(units)
            for name, own in by_unit.of_units(units).items():
                gradient.units[0][name].view(-1)[units] = own
            if is_tied:
                of_atoms[units] += detectors
            else:
                of_detectors[units] = detectors
            remove_growth(of_atoms[units], atoms[units])

        self._crew.run(
            [partial(sum_up, each) for each in equal_slices(n_units, min(n_units, len(parts)))]
        )
        gradient.biases[1].copy_(torch.stack([part.bias_gradient for part in parts]).sum(dim=0))

    def after_step(self) -> None:
        """Give the atoms unit norm again, after the solver has moved them."""
        atoms = atoms_of(self.parameters)
        slices = equal_slices(len(atoms), min(len(atoms), self._n_busy))
        self._crew.run([partial(normalise, atoms[units]) for units in slices])
        self._terms.code.settle(self.parameters.units[0])

    @property
    def _n_busy(self) -> int:
        """Members of the crew that have had something to do: for others it is too little here."""
        if self._portions.most is not None:
            return 1
        return max((len(parts) for parts in self._parts.values()), default=1)

    def _own_state(self) -> dict[str, np.ndarray]:
        return self._dead_units.state()

    def epoch_state(self) -> State:
        return super().epoch_state() | {"guess": self._guess}

    def restore(self, epoch_state: State) -> None:
        super().restore(epoch_state)
        self._guess = epoch_state["guess"].copy()

    def part(
        self, penalties: Penalties, parameters: Parameters, models: list[int]
    ) -> "ExactObjective":
        rest = super().part(penalties, parameters, models)
        rest._guess = self._guess[models]
        return rest
