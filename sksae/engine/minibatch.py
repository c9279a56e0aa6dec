"""J and its gradient over one minibatch after another."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Batch
from sksae.engine.beta_controller import OPEN_END, BetaController
from sksae.engine.epoch_loss import EpochLoss
from sksae.engine.losses import Loss
from sksae.engine.network import Workspace
from sksae.engine.noise import Drops
from sksae.engine.objective import ObjectiveTerms
from sksae.engine.parameters import Parameters
from sksae.engine.parts import Part
from sksae.engine.running_code import RunningCode
from sksae.engine.threads import Crew, n_parts
from sksae.model.settings import TOLERANCE, Penalties
from sksae.model.slices import equal_slices

# Over how many rows the running mean of the code reaches back, and over how many batches at most.
# Few rows tell little of a small rho; but a mean of many lags behind the units. On data with one
# dominant direction they move together, and a penalty that lags makes them swing.
RHO_HAT_ROWS, LONGEST_WINDOW = 512, 10


class MinibatchObjective:
    """J and its gradient over one minibatch after another.

    The mean code that a penalty on means is a function of is a running mean over the last batches
    (see `RunningCode`). A window of 1 gives J of each batch itself.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        The network; moved by a solver between calls.
    loss : Loss
        Of the output.
    window : int
        Batches over which the mean activation is taken.
    n_steps : int
        Batches to come, as far as is known; by which beta="auto" paces itself.
    solver : str
        Who moves the parameters.
    pace : float
        For how many steps each step counts (see `TrainingConfig`).
    drops : Drops, optional
        Leaves units out.
    crew : Crew, optional
        Who shares the rows of large minibatches.
    half : bool, default=False
        Whether products are in bfloat16.
    state : dict of ndarray, optional
        What `state` gave, when a training goes on.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        loss: Loss,
        *,
        window: int = 1,
        n_steps: int = OPEN_END,
        solver: str = "adam",
        pace: float = 1.0,
        drops: Drops | None = None,
        crew: Crew | None = None,
        half: bool = False,
        state: dict[str, np.ndarray] | None = None,
    ) -> None:
        self._drops = drops
        self.parameters = parameters
        self._crew, self._half = crew or Crew(1), half
        self.gradient = parameters.with_flat(torch.zeros_like(parameters.flat))
        # Of each part of a minibatch; the first one becomes that of the whole.
        self._gradients = [self.gradient]
        self._terms = ObjectiveTerms(penalties, parameters, loss)
        # By the number of rows.
        self._parts: dict[int, list[Part]] = {}
        self._masks: dict[int, list[Tensor]] = {}
        self._window = window
        self._n_steps, self._solver, self._pace = n_steps, solver, pace
        terms = self._terms
        known = state or {}
        self._running = RunningCode(terms.rho, window=window, pace=pace, state=known)
        self._controller = self._make_controller(known) if terms.is_auto.any() else None
        self._upkeep = (
            terms.code.upkeep(parameters, terms.rho, terms.is_auto, state=known)
            if self._controller is not None
            else None
        )
        self._epoch_loss = EpochLoss(terms)

    def _make_controller(self, state: dict[str, np.ndarray]) -> BetaController:
        """Return what moves beta, from where it stood."""
        terms, law = self._terms, self._terms.code.law
        assert law is not None
        return BetaController(
            law,
            terms.code.activity if terms.code.penalises_means else None,
            terms.rho,
            terms.beta,
            terms.is_auto,
            window=self._window,
            n_steps=self._n_steps,
            solver=self._solver,
            pace=self._pace,
            divergence=terms.divergence,
            state=state,
        )

    def __call__(self, batch: Batch) -> None:
        """Write the gradient by one minibatch into ``gradient``, and keep what J was."""
        terms, weight, controller = self._terms, batch.weight, self._controller
        if controller is not None and not controller.has_started:
            controller.start(batch.rows, weight)
        parts = self._parts_of(batch)
        if self._drops is not None:
            self._drops.draw(self._masks[batch.rows.shape[1]])

        # What couples the rows is the mean code, which has to be known before the way back.
        by_unit = terms.code.penalises_means
        mean_code = None
        if by_unit:
            sums = self._crew.run([part.encode for part in parts])
            mean_code = self._follow(sum(sums[1:], sums[0]), parts)
        self._crew.run([partial(part.go_back, mean_code) for part in parts])
        for part in parts:
            self._epoch_loss.add_rows(part.row_weights, part.losses, part.row_penalty)
        self._epoch_loss.end_batch(mean_code)
        for part in parts[1:]:
            self.gradient.flat.add_(part.gradient.flat)
        if terms.common_alpha is None:
            terms.add_weight_decay(self.gradient, self.parameters)
        if controller is not None:
            self._control(controller, batch.rows, parts, mean_code)

    def _parts_of(self, batch: Batch) -> list[Part]:
        """Divide a minibatch among the members of the crew."""
        n_rows = batch.rows.shape[1]
        if n_rows not in self._parts:
            self._parts[n_rows] = self._make_parts(n_rows)
        for part in self._parts[n_rows]:
            part.take(batch)
        return self._parts[n_rows]

    def _make_parts(self, n_rows: int) -> list[Part]:
        parameters = self.parameters
        n_members = n_parts(3.0 * n_rows * len(parameters.flat), n_rows, self._crew.n_members)
        while len(self._gradients) < n_members:
            self._gradients.append(parameters.with_flat(torch.zeros_like(parameters.flat)))
        # Drawn for all rows at once: the same, however many members there are.
        sizes, flat = parameters.architecture.sizes, parameters.flat
        masks = {
            layer: flat.new_ones(parameters.n_models, sizes[layer + 1], n_rows)
            for layer in (() if self._drops is None else self._drops.layers)
        }
        self._masks[n_rows] = list(masks.values())
        return [
            Part(
                which,
                Workspace(
                    parameters,
                    which.stop - which.start,
                    1.0 / n_rows,
                    masks={layer: mask[:, :, which] for layer, mask in masks.items()},
                    half=self._half,
                ),
                gradient,
                self._terms,
                is_part=n_members > 1,
            )
            for which, gradient in zip(
                equal_slices(n_rows, n_members), self._gradients, strict=False
            )
        ]

    def _control(
        self,
        controller: BetaController,
        rows: Tensor,
        parts: list[Part],
        mean_code: Tensor | None,
    ) -> None:
        """Let the controller move beta, and the code see to its units.

        Parameters
        ----------
        controller : BetaController
            Moves beta.
        rows : Tensor of shape (1, n_rows, n_features)
            Of the minibatch.
        parts : list of Part
            Those that the members of the crew have worked on.
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            Running mean of the code, where S is a function of it.
        """

        def whole(tensors: list[Tensor], dim: int) -> Tensor:
            return tensors[0] if len(parts) == 1 else torch.cat(tensors, dim=dim)

        code_layer = self._terms.code_layer
        code = whole([part.workspace.out[code_layer] for part in parts], 2)
        row_weights = whole([part.row_weights for part in parts], 1)
        has_moved = controller.after_batch(
            code, mean_code, row_weights, is_weighted=parts[0].is_weighted
        )
        if self._upkeep is not None:
            self._upkeep.watch(code, self._pace)
            if has_moved:
                error = whole([part.workspace.gradient[-1] for part in parts], 1)
                self._upkeep.act(rows, error, controller.share_left)

    def after_step(self) -> None:
        """Hear that the solver has moved the parameters."""

    @property
    def beta(self) -> Tensor:
        """Weight of S by now, shape (n_models,)."""
        return self._terms.beta[:, 0, 0]

    def ends_in(self, n_steps: int, model: int) -> None:
        """Hear that a model's training ends after so many more batches."""
        if self._controller is not None:
            self._controller.n_left[model] = n_steps

    def is_settled(self, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return whether the activity is what a beta to be found shall make it, (n_models,).

        True where beta is given.
        """
        if self._controller is None:
            return np.ones(self.parameters.n_models, dtype=bool)
        return self._controller.is_settled(tolerance)

    def epoch_loss(self) -> Tensor:
        """Return J averaged over the batches since the last call, shape (n_models,)."""
        return self._epoch_loss.take(self.parameters)

    @property
    def beta_drift(self) -> Tensor:
        """How much of the last epoch's loss is due to moves of beta (see `EpochLoss`)."""
        return self._epoch_loss.beta_drift

    def state(self, models: list[int] | None = None) -> dict[str, np.ndarray]:
        """Return what the next minibatch's gradient depends on besides the parameters.

        Of some models, or of all; arrays are (n_models, ...) or common to all models.
        """
        state = {} if self._controller is None else self._controller.state()
        if self._upkeep is not None:
            state |= self._upkeep.state()
        state |= self._running.state()
        if models is None:
            return state
        return {
            name: value if value.ndim == 0 or len(value) == 1 else value[models]
            for name, value in state.items()
        }

    def part(
        self, penalties: Penalties, parameters: Parameters, models: list[int]
    ) -> "MinibatchObjective":
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
        rest = type(self)(
            penalties,
            parameters,
            self._terms.loss,
            window=self._window,
            n_steps=self._n_steps,
            solver=self._solver,
            pace=self._pace,
            drops=self._drops,
            crew=self._crew,
            half=self._half,
            state=self.state(models),
        )
        rest._epoch_loss = self._epoch_loss.of_models(rest._terms, models)
        if self._controller is not None and rest._controller is not None:
            rest._controller.n_left = self._controller.n_left[models]
        return rest

    def _follow(self, code_sum: Tensor, parts: list[Part]) -> Tensor:
        """Move the running mean of the code on by one batch and return it."""
        total = None
        if parts[0].is_weighted or self._running.is_weighted:
            row_weights = torch.cat([part.row_weights for part in parts], dim=1)
            total = row_weights.sum(dim=1, keepdim=True)
        return self._running.follow(code_sum, total)
