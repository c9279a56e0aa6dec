"""J and its gradient over one minibatch after another."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import measured
from sksae.engine.batch_objective import BatchObjective
from sksae.engine.batches import Batch
from sksae.engine.beta_controller import BetaController
from sksae.engine.losses import Loss
from sksae.engine.network import Workspace
from sksae.engine.noise import Drops
from sksae.engine.parameters import Parameters
from sksae.engine.parts import Part
from sksae.engine.running_code import RunningCode
from sksae.engine.threads import n_parts
from sksae.model.settings import Penalties
from sksae.model.slices import equal_slices
from sksae.model.tasks import CodeMeasured

# Over how many rows the running mean of the code reaches back, and over how many batches at most.
# Few rows tell little of a small rho; but a mean of many lags behind the units. On data with one
# dominant direction they move together, and a penalty that lags makes them swing.
RHO_HAT_ROWS, LONGEST_WINDOW = 512, 10


class MinibatchObjective(BatchObjective[Part]):
    """J and its gradient over one minibatch after another, by products of whole layers.

    The mean code that a penalty on means is a function of is a running mean over the last batches
    (see `RunningCode`). A window of 1 gives J of each batch itself.

    Parameters
    ----------
    penalties, parameters, loss
        As in `BatchObjective`.
    drops : Drops, optional
        Leaves units out.
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
        drops: Drops | None = None,
        state: dict[str, np.ndarray] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(penalties, parameters, loss, state=state, drops=drops, **settings)
        self._drops = drops
        # Of each part of a minibatch; the first one becomes that of the whole.
        self._gradients = [self.gradient]
        # By the number of rows.
        self._masks: dict[int, list[Tensor]] = {}
        terms, known = self._terms, state or {}
        self._running = RunningCode(terms.rho, window=self._window, pace=self._pace, state=known)
        self._upkeep = (
            terms.code.upkeep(parameters, terms.rho, terms.is_auto, state=known)
            if self._controller is not None
            else None
        )

    def __call__(self, batch: Batch) -> None:
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

    def measure(self, model: int, sparsity: str | None) -> CodeMeasured | None:
        architecture, own = self.parameters.architecture, slice(model, model + 1)
        if not architecture.n_encoder_layers:
            return None
        layer = self._terms.code_layer
        code = torch.cat([part.workspace.out[layer][own] for part in self._last], dim=2)
        row_weights = torch.cat([part.row_weights for part in self._last], dim=1)
        return measured(code, row_weights, sparsity, architecture.activations[layer])

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

    def _own_state(self) -> dict[str, np.ndarray]:
        upkeep = {} if self._upkeep is None else self._upkeep.state()
        return upkeep | self._running.state()

    def _follow(self, code_sum: Tensor, parts: list[Part]) -> Tensor:
        """Move the running mean of the code on by one batch and return it."""
        total = None
        if parts[0].is_weighted or self._running.is_weighted:
            row_weights = torch.cat([part.row_weights for part in parts], dim=1)
            total = row_weights.sum(dim=1, keepdim=True)
        return self._running.follow(code_sum, total)
