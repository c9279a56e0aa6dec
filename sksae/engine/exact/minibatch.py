"""J of exact codes and its gradient over one minibatch after another, by the active entries.

In falling order of p the loss reads a row's units up to each of the budgets Q,

    l = mean over q in Q of 1/2 ||z_hat_q - z||^2, or of another loss

(Balagansky et al. 2025, https://arxiv.org/abs/2505.24473; "Multi-TopK" of Gao et al. 2024,
https://arxiv.org/abs/2406.04093). With the residual r_q = z_hat_q - z and R_i the sum of r_q over
q >= i, divided by the number of budgets, the gradient by the atom of the unit at rank i is a_i R_i,
by its activation D_i . R_i, and by b R_1.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.batches import Batch
from sksae.engine.epoch_loss import EpochLoss
from sksae.engine.exact.dead_units import DeadUnits, n_taught
from sksae.engine.exact.entries import Bags, ByUnit, Entries, Readings, sum_in_bags
from sksae.engine.exact.passes import (
    Passage,
    atoms_of,
    fixed_bounds,
    selections_of,
)
from sksae.engine.exact.unit_norm import (
    give_unit_norm,
    have_unit_norm,
    normalise,
    remove_growth,
)
from sksae.engine.largest import k_largest
from sksae.engine.losses import Loss, compares_numbers
from sksae.engine.objective import ObjectiveTerms
from sksae.engine.parameters import Parameters
from sksae.engine.threads import Crew, n_parts
from sksae.model.settings import TOLERANCE, Penalties
from sksae.model.slices import equal_slices


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
    active : Active
        Entries of the codes.
    entries : list of Entries
        Those that have a gradient.
    taught : list of Tensor of shape (n_rows, n_features)
        Residuals of dead units; entries count them from where those of the minibatch end.
    bias_gradient : Tensor of shape (n_models, 1, n_features)
        By b.

    Parameters
    ----------
    which : slice
        Rows of the minibatch.
    n_rows : int
        Rows of all of it.
    residuals : Tensor of shape (n_models * n_rows * n_readings, n_features)
        Of the minibatch, those of a part side by side: to be written.
    parameters : Parameters
        The networks.
    terms : ObjectiveTerms
        Of J.
    readings : Readings
        By which budgets codes are read.
    half : bool
        Whether the encoder's product is in bfloat16.
    """

    def __init__(
        self,
        which: slice,
        n_rows: int,
        residuals: Tensor,
        parameters: Parameters,
        terms: ObjectiveTerms,
        readings: Readings,
        *,
        half: bool,
    ) -> None:
        self._which, self._parameters, self._terms = which, parameters, terms
        n_own, n_bags = which.stop - which.start, parameters.n_models * readings.n_readings
        self._passage = Passage(parameters, n_own, readings, half=half)
        self._selections = selections_of(parameters)
        self._first, self._end = n_bags * which.start, len(residuals)
        own = residuals[self._first : n_bags * which.stop]
        self._residuals = own.view(parameters.n_models, n_own, readings.n_readings, -1)
        self._share = 1.0 / n_rows
        self._even = residuals.new_full((1, n_own, 1), self._share)

    def take(self, batch: Batch) -> None:
        """Begin with a minibatch."""
        self._rows, self._target = batch.rows[:, self._which], batch.target[:, self._which]
        self.weight = None if batch.weight is None else batch.weight[:, self._which]
        self.row_weights = self._even if self.weight is None else self.weight * self._share

    def encode(self) -> Tensor:
        """Return pre-activations, of shape (n_models, n_rows, n_components)."""
        return self._passage.encode(self._rows)

    def go_back(self, bound: np.ndarray | None, dead: list[Tensor]) -> None:
        """Go on to the output and back to the pre-activations.

        Parameters
        ----------
        bound : ndarray of shape (n_models,) or None
            What the code keeps.
        dead : list of Tensor of int
            Of each model the units that are dead.
        """
        terms, residuals = self._terms, self._residuals
        self.active = active = self._passage.choose(terms.code, bound)
        output, bags = self._passage.decode(active)
        error = self._loss(output)
        lacking = error[:, :, -1].clone() if any(map(len, dead)) else None
        if self.weight is not None:
            error.mul_(self.weight.unsqueeze(-1))
        n_readings = residuals.shape[2]
        torch.mul(error, self._share / n_readings, out=residuals)
        for reading in range(n_readings - 2, -1, -1):
            residuals[:, :, reading].add_(residuals[:, :, reading + 1])
        self.bias_gradient = residuals[:, :, 0].sum(dim=1, keepdim=True)
        atoms = atoms_of(self._parameters)
        deltas = bags.products(residuals.view(-1, atoms.shape[1]), atoms, active.units)
        deltas.mul_(active.values > 0)
        self.entries = [
            Entries(
                active.units,
                active.values,
                deltas,
                bags.of_entry + self._first,
                self._of_batch(active.rows),
            )
        ]
        self.taught: list[Tensor] = []
        if lacking is not None:
            for model, units in enumerate(dead):
                if len(units):
                    self._teach(model, units, lacking[model])

    def _loss(self, output: Tensor) -> Tensor:
        """Return dl by what enters the output's activation, of all readings; keep what l is."""
        activation = ACTIVATIONS[self._parameters.architecture.activations[-1]]
        is_linear = activation is ACTIVATIONS["identity"]
        activation.forward(output, output, {})
        error = output if is_linear else torch.empty_like(output)
        loss = self._terms.loss
        assert compares_numbers(loss)
        row_values = loss(output, self._target.unsqueeze(2), error, -1)
        self.losses = loss.mean_over_readings(row_values)
        activation.backward(error, output, output, {}, {})
        return error

    def _of_batch(self, rows: Tensor) -> Tensor:
        """Return where rows of this part stand in the minibatch, which all models share."""
        if self._parameters.n_models > 1:
            rows = rows % self._passage.pre.shape[1]
        return rows + self._which.start if self._which.start else rows

    def _teach(self, model: int, units: Tensor, lacking: Tensor) -> None:
        """Let dead units of a model rebuild what its rows lack.

        Parameters
        ----------
        model : int
            Which.
        units : Tensor of int of shape (n_dead,)
            Its dead units.
        lacking : Tensor of shape (n_rows, n_features)
            Minus what the rows lack.
        """
        n_rows, n_components = self._passage.pre.shape[1:]
        atoms, k = (
            atoms_of(self._parameters),
            n_taught(self._selections[model].n_active, len(units)),
        )
        kept = k_largest(self._passage.pre[model].index_select(1, units), k)
        index = units[kept.columns].add_(model * n_components).to(torch.int32).view(-1)
        values = kept.values.reshape(-1)
        rows = torch.arange(n_rows, dtype=torch.int32, device=index.device)
        bags = Bags(rows * k, rows.repeat_interleave(k))
        residuals = sum_in_bags(atoms, index, bags.starts, values).add_(lacking)
        residuals.mul_(self.row_weights[0])
        deltas = bags.products(residuals, atoms, index)
        first = self._end + sum(map(len, self.taught))
        self.taught.append(residuals)
        of_entry = self._of_batch(bags.of_entry)
        self.entries.append(Entries(index, values, deltas, bags.of_entry + first, of_entry))


class ExactObjective:
    """J of dictionaries and its gradient, over one minibatch after another.

    It stands in for `MinibatchObjective`, whose methods it has.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        Of dictionaries side by side (see `Architecture.is_dictionary`); moved by a solver between
        calls.
    loss : Loss
        Of the output.
    n_steps : int
        Steps of an epoch.
    pace : float, default=1.0
        For how many steps each step counts (see `TrainingConfig`).
    crew : Crew, optional
        Who shares the rows of large minibatches.
    half : bool, default=False
        Whether the encoder's product is in bfloat16.
    state : dict of ndarray, optional
        What `state` gave, when a training goes on.

    Attributes
    ----------
    gradient : Parameters
        That of J by the last minibatch.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        loss: Loss,
        *,
        n_steps: int,
        pace: float = 1.0,
        crew: Crew | None = None,
        half: bool = False,
        state: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.parameters = parameters
        self.gradient = parameters.with_flat(torch.zeros_like(parameters.flat))
        self._terms = ObjectiveTerms(penalties, parameters, loss)
        self._n_steps, self._pace, self._crew, self._half = n_steps, pace, crew or Crew(1), half
        selections = selections_of(parameters)
        self._n_active = [selection.n_active for selection in selections]
        self._fixed_bounds = fixed_bounds(selections)
        self._readings = Readings([selection.budgets for selection in selections])
        self._dead_units = DeadUnits(parameters, n_steps, state or {})
        self._epoch_loss = EpochLoss(self._terms)
        # By the number of rows.
        self._parts: dict[int, list[ExactPart]] = {}
        self._residuals: dict[int, Tensor] = {}
        self._guess = np.zeros(parameters.n_models)
        # Those of a network that was trained with another code have other norms.
        if not have_unit_norm(atoms_of(parameters)):
            give_unit_norm(parameters)

    def __call__(self, batch: Batch) -> None:
        """Write the gradient by one minibatch into ``gradient``, and keep what J was."""
        n_rows, dead = batch.rows.shape[1], self._dead_units.find()
        if n_rows not in self._parts:
            self._parts[n_rows] = self._make_parts(n_rows)
        parts = self._parts[n_rows]
        for part in parts:
            part.take(batch)
        pre = self._crew.run([part.encode for part in parts])
        bound = self._fixed_bounds
        if bound is None:
            weights = [part.weight for part in parts]
            bound = self._terms.code.bound(pre, weights, self._n_active, self._guess)
            self._guess = self._guess if bound is None else bound
        self._crew.run([partial(part.go_back, bound, dead) for part in parts])
        self._sum_by_units(batch.rows[0], parts)
        for part in parts:
            self._epoch_loss.add_rows(part.row_weights, part.losses, None)
        self._epoch_loss.end_batch(None)
        self._dead_units.watch([part.active for part in parts], self._pace)

    def _make_parts(self, n_rows: int) -> list[ExactPart]:
        parameters, readings = self.parameters, self._readings
        n_members = n_parts(1.0 * n_rows * len(parameters.flat), n_rows, self._crew.n_members)
        n_features = parameters.architecture.sizes[-1]
        residuals = parameters.flat.new_empty(
            n_rows * parameters.n_models * readings.n_readings, n_features
        )
        self._residuals[n_rows] = residuals
        return [
            ExactPart(which, n_rows, residuals, parameters, self._terms, readings, half=self._half)
            for which in equal_slices(n_rows, n_members)
        ]

    def _sum_by_units(self, rows: Tensor, parts: list[ExactPart]) -> None:
        """Add up the gradients by parameters, each member of the crew those of some units.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            Of the minibatch.
        parts : list of ExactPart
            Those that its members have worked on.
        """
        parameters, gradient, residuals = self.parameters, self.gradient, self._residuals[len(rows)]
        taught = [each for part in parts for each in part.taught]
        entries = [each for part in parts for each in part.entries]
        if taught:
            entries = _counted_on(parts)
            residuals = torch.cat([residuals, *taught])
        atoms, of_atoms = atoms_of(parameters), atoms_of(gradient)
        n_units = len(atoms)
        by_unit = ByUnit(Entries.of_all(entries), n_units)
        of_detectors = gradient.weights[0].view(n_units, -1)
        of_biases = gradient.biases[0].view(-1)
        is_tied, alpha = parameters.architecture.tied[0], self._terms.alpha

        def sum_up(units: slice) -> None:
            detectors = by_unit.detectors(units, rows)
            of_atoms[units] = by_unit.atoms(units, residuals)
            of_biases[units] = by_unit.biases(units)
            if is_tied:
                of_atoms[units] += detectors
            else:
                of_detectors[units] = detectors
            remove_growth(of_atoms[units], atoms[units])

        self._crew.run(
            [partial(sum_up, each) for each in equal_slices(n_units, min(n_units, len(parts)))]
        )
        gradient.biases[1].copy_(torch.stack([part.bias_gradient for part in parts]).sum(dim=0))
        # The decay of atoms has no part but that along them.
        if self._terms.decayed[0] and not is_tied and alpha.any():
            gradient.weights[0].add_(alpha * parameters.weights[0])

    def after_step(self) -> None:
        """Give the atoms unit norm again, after the solver has moved them."""
        atoms = atoms_of(self.parameters)
        slices = equal_slices(len(atoms), min(len(atoms), self._n_busy))
        self._crew.run([partial(normalise, atoms[units]) for units in slices])

    @property
    def _n_busy(self) -> int:
        """Members of the crew that have had something to do: for others it is too little here."""
        return max((len(parts) for parts in self._parts.values()), default=1)

    @property
    def beta(self) -> Tensor:
        """Zeros, shape (n_models,): there is no penalty."""
        return self._terms.beta[:, 0, 0]

    @property
    def beta_drift(self) -> Tensor:
        """Zeros, shape (n_models,)."""
        return self._epoch_loss.beta_drift

    def ends_in(self, n_steps: int, model: int) -> None:
        """Hear that a model's training ends after so many more batches."""

    def is_settled(self, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return whether the activity is what it shall be: it always is, (n_models,)."""
        return np.ones(self.parameters.n_models, dtype=bool)

    def epoch_loss(self) -> Tensor:
        """Return J averaged over the batches since the last call, shape (n_models,)."""
        return self._epoch_loss.take(self.parameters)

    def state(self, models: list[int] | None = None) -> dict[str, np.ndarray]:
        """Return what the next minibatch's gradient depends on besides the parameters."""
        state = self._dead_units.state()
        return state if models is None else {name: each[models] for name, each in state.items()}

    def part(
        self, penalties: Penalties, parameters: Parameters, models: list[int]
    ) -> "ExactObjective":
        """Return the objective of some of the models, to go on with at the end of an epoch.

        Parameters
        ----------
        penalties : Penalties
            Theirs.
        parameters : Parameters
            Theirs.
        models : list of int
            Which they are.
        """
        rest = ExactObjective(
            penalties,
            parameters,
            self._terms.loss,
            n_steps=self._n_steps,
            pace=self._pace,
            crew=self._crew,
            half=self._half,
            state=self.state(models),
        )
        rest._epoch_loss = self._epoch_loss.of_models(rest._terms, models)
        rest._guess = self._guess[models]
        return rest


def _counted_on(parts: list[ExactPart]) -> list[Entries]:
    """Return the entries of all parts, whose residuals of dead units follow each other.

    Each part has counted its own from the end of the minibatch's residuals.
    """
    entries, n_before = [], 0
    for part in parts:
        ordinary, *taught = part.entries
        entries.append(ordinary)
        entries += [each._replace(residuals=each.residuals + n_before) for each in taught]
        n_before += sum(map(len, part.taught))
    return entries
