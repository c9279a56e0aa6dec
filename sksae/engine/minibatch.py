"""J and its gradient over one minibatch after another."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import measured, measured_of_rows, share_not_negligible
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
    read_as : str, optional
        As in `TrainingTask`.
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
        read_as: str | None = None,
        state: dict[str, np.ndarray] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            penalties, parameters, loss, state=state, drops=drops, read_as=read_as, **settings
        )
        self._drops, self._read_as = drops, read_as or penalties.sparsity
        # Of each part of a minibatch; the first one becomes that of the whole.
        self._gradients = [self.gradient]
        # By the number of rows: of each layer that drops units.
        self._masks: dict[int, dict[int, Tensor]] = {}
        terms, known = self._terms, state or {}
        self._running = RunningCode(terms.rho, window=self._window, pace=self._pace, state=known)
        self._upkeep = (
            terms.code.upkeep(parameters, terms.rho, terms.is_auto, state=known)
            if self._controller is not None
            else None
        )

    def __call__(self, batch: Batch) -> None:
        terms, controller = self._terms, self._controller
        self._start_control(batch)
        self._last = []
        if self._drops is not None:
            self._drops.draw(self._masks_for(batch.rows.shape[1]).values())

        # What couples the rows is the mean code, which has to be known before the way back.
        by_unit = terms.code.penalises_means
        mean_code = None
        if by_unit:
            code_sum = self._on_parts(batch, self._sum_codes)
            mean_code = self._follow(code_sum, self._last)
        self._on_parts(batch, partial(self._go_back, mean_code))
        is_active = None
        if self._upkeep is not None:
            is_active = self._made_up(batch, mean_code)(_where_active)
            is_active = is_active if batch.has_any else torch.zeros_like(is_active)
            is_active = self._gradient_of_all.sum_up_with(is_active)
        else:
            self._gradient_of_all.sum_up()
        self._keep_losses(mean_code)
        if terms.common_alpha is None:
            terms.add_weight_decay(self.gradient, self.parameters)
        if controller is not None:
            self._control(controller, batch, mean_code, is_active)
        self._portions.tell()

    def _keep_losses(self, mean_code: Tensor | None) -> None:
        """Keep J of a minibatch for that of the epoch.

        A function of its own: once it returns, nothing but the objective holds parts, and their
        buffers are free when it gives them up.
        """
        for part in self._last:
            self._epoch_loss.add_rows(part.row_weights, part.losses, part.row_penalty)
        self._epoch_loss.end_batch(mean_code)

    def _sum_codes(self, parts: list[Part]) -> Tensor:
        """Return the sum over rows of the code times what a row counts."""
        if parts[0].takes_turns:
            sums = [part.encode() for part in parts]
        else:
            sums = self._crew.run([part.encode for part in parts])
        return sum(sums[1:], sums[0])

    def _go_back(self, mean_code: Tensor | None, parts: list[Part]) -> None:
        """Leave the gradient of all rows in ``gradient``."""
        if parts[0].takes_turns:
            self.gradient.flat.zero_()
            for part in parts:
                part.go_back(mean_code)
            return
        self._crew.run([partial(part.go_back, mean_code) for part in parts])
        for part in parts[1:]:
            self.gradient.flat.add_(part.gradient.flat)

    def measure(self, model: int, sparsity: str | None) -> CodeMeasured | None:
        architecture, own = self.parameters.architecture, slice(model, model + 1)
        if not architecture.n_encoder_layers:
            return None
        layer = self._terms.code_layer
        row_weights = torch.cat([part.row_weights for part in self._last], dim=1)
        if self._last[0].takes_turns:
            means, sparsities = (
                torch.cat([part.by_row[at][model] for part in self._last]) for at in (0, 1)
            )
            return measured_of_rows(means, sparsities, row_weights)
        code = torch.cat([part.workspace.out[layer][own] for part in self._last], dim=2)
        return measured(code, row_weights, sparsity, architecture.activations[layer])

    def _masks_for(self, n_rows: int) -> dict[int, Tensor]:
        """Return the masks for so many rows: drawn for all at once, however they are divided."""
        if n_rows not in self._masks:
            sizes, flat = self.parameters.architecture.sizes, self.parameters.flat
            self._masks[n_rows] = {
                layer: flat.new_ones(self.parameters.n_models, sizes[layer + 1], n_rows)
                for layer in (() if self._drops is None else self._drops.layers)
            }
        return self._masks[n_rows]

    def _make_parts(self, n_rows: int, n_together: int) -> list[Part]:
        parameters, cuts = self.parameters, self._portions.cut(slice(0, n_rows))
        takes_turns = self._portions.most is not None
        if not takes_turns:
            n_members = n_parts(3.0 * n_rows * len(parameters.flat), n_rows, self._crew.n_members)
            cuts = equal_slices(n_rows, n_members)
        n_gradients = 2 if takes_turns else len(cuts)
        while len(self._gradients) < n_gradients:
            self._gradients.append(parameters.with_flat(torch.zeros_like(parameters.flat)))
        all_masks, workspaces, parts = self._masks_for(n_rows), dict[int, Workspace](), list[Part]()
        for at, which in enumerate(cuts):
            length = which.stop - which.start
            masks = {layer: mask[:, :, which] for layer, mask in all_masks.items()}
            if length not in workspaces or not takes_turns:
                workspaces[length] = Workspace(
                    parameters, length, 1.0 / n_together, masks=masks, half=self._half
                )
            parts.append(
                Part(
                    which,
                    workspaces[length],
                    self._gradients[1 if takes_turns else at],
                    self._terms,
                    is_part=len(cuts) > 1,
                    # The weights decay once.
                    decays=which.start == 0 and self._processes.is_first,
                    masks=masks,
                    total=self.gradient if takes_turns else None,
                    read_as=self._read_as,
                )
            )
        return parts

    def _made_up(
        self, batch: Batch, mean_code: Tensor | None
    ) -> Callable[[Callable[[list[Part]], Tensor]], Tensor]:
        """Return what does a piece of work on parts of a minibatch that have gone back.

        Parameters
        ----------
        batch : Batch
            The minibatch.
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            As in `_control`.
        """

        def on_parts(work: Callable[[list[Part]], Tensor]) -> Tensor:
            def make_up_and_work(parts: list[Part]) -> Tensor:
                for part in parts:
                    part.make_up(mean_code)
                return work(parts)

            return self._on_parts(batch, make_up_and_work)

        return on_parts

    def _control(
        self,
        controller: BetaController,
        batch: Batch,
        mean_code: Tensor | None,
        is_active: Tensor | None,
    ) -> None:
        """Let the controller move beta, and the code see to its units.

        Parameters
        ----------
        controller : BetaController
            Moves beta.
        batch : Batch
            The minibatch, of which the gradient is there.
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            Running mean of the code, where S is a function of it.
        is_active : Tensor of bool of shape (n_models, n_components, 1) or None
            Which units are active in some row, where units are seen to.
        """
        processes, on_parts = self._processes, self._made_up(batch, mean_code)

        def largest() -> Tensor:
            found = on_parts(_largest)
            return processes.largest_(found if batch.has_any else torch.zeros_like(found))

        def share(largest: Tensor) -> Tensor:
            counted = processes.sum_(on_parts(partial(_count, largest)))
            if batch.weight is None:
                return counted
            # Of weighted rows the shares do not add up to 1.
            return counted / processes.sum_(on_parts(_sum_weights))

        has_moved = controller.after_batch(mean_code, largest=largest, share=share)
        if self._upkeep is not None and is_active is not None:
            self._upkeep.watch(is_active, self._pace * batch.n_together)
            if has_moved:
                n_own = batch.rows.shape[1] if batch.has_any else 0
                self._upkeep.act(
                    lambda: processes.joined(batch.rows[:, :n_own], 1),
                    lambda: processes.joined(on_parts(partial(_errors, mean_code))[:, :n_own], 1),
                    controller.share_left,
                )

    def _own_state(self) -> dict[str, np.ndarray]:
        upkeep = {} if self._upkeep is None else self._upkeep.state()
        return upkeep | self._running.state()

    def _follow(self, code_sum: Tensor, parts: list[Part]) -> Tensor:
        """Move the running mean of the code on by one batch and return it."""
        if not parts[0].is_weighted and not self._running.is_weighted:
            return self._running.follow(self._processes.sum_(code_sum), None)
        total = _sum_weights(parts)
        if self._processes.are_several:
            # With the sum of weights below those of codes.
            both = torch.cat([code_sum, total.expand(len(code_sum), 1, 1)], dim=1)
            self._processes.sum_(both)
            code_sum, total = both[:, :-1], both[:1, -1:]
        return self._running.follow(code_sum, total)


def _whole(tensors: list[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=dim)


def _largest(parts: list[Part]) -> Tensor:
    """Return each unit's largest activation, in magnitude."""
    return reduce(torch.maximum, [part.code().abs().amax(dim=2, keepdim=True) for part in parts])


def _sum_weights(parts: list[Part]) -> Tensor:
    """Return what the rows count together, shape (1, 1, 1)."""
    return _whole([part.row_weights for part in parts], 1).sum(dim=1, keepdim=True)


def _count(largest: Tensor, parts: list[Part]) -> Tensor:
    """Return what rows count in which each unit is not negligible beside its largest."""
    row_weights = _whole([part.row_weights for part in parts], 1)
    if parts[0].takes_turns:
        counts = [
            share_not_negligible(part.code().abs(), largest, part.row_weights) for part in parts
        ]
        return sum(counts[1:], counts[0])
    code = _whole([part.code() for part in parts], 2)
    return share_not_negligible(code.abs(), largest, row_weights)


def _where_active(parts: list[Part]) -> Tensor:
    """Return which units are active in some row."""
    return reduce(torch.logical_or, [part.find_active() for part in parts])


def _errors(mean_code: Tensor | None, parts: list[Part]) -> Tensor:
    """Return the gradient of the loss by what enters the output's activation, of all rows."""
    return _whole([part.error(mean_code) for part in parts], 1)
