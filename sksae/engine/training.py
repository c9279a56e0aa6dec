"""Training: from starting parameters and rows to trained networks.

`train` is the engine's front door. It takes and gives plain numbers and numpy arrays; everything
that it needs to know of a training stands in the frozen descriptions of `tasks`. Networks of one
architecture that visit the same rows in the same order are trained side by side, each with
penalties, learning rate and end of its own; a plain fit is a single one.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, nan

import numpy as np
import torch

from sksae.engine.activity import to_numpy
from sksae.engine.batches import Rows, kept_resident
from sksae.engine.evaluation import Evaluation, WalkedEvaluation
from sksae.engine.exact.evaluation import make_evaluation
from sksae.engine.lbfgs_training import train_by_lbfgs
from sksae.engine.losses import Loss, takes_logits
from sksae.engine.minibatch_training import MinibatchTraining
from sksae.engine.noise import corruption_of
from sksae.engine.parameters import Parameters
from sksae.engine.threads import Crew
from sksae.engine.validation_scorers import make_scorer
from sksae.model.architecture import Architecture
from sksae.model.codes import active_above, has_zeros, largest_activity, largest_so_far
from sksae.model.failure import NonFiniteLossError
from sksae.model.numbers import kept_dtype
from sksae.model.settings import Penalties
from sksae.model.tasks import TrainingResult, TrainingTask
from sksae.process.interrupts import is_kept, skippable
from sksae.process.shortage import IN_TRAINING, explained_shortage


def torch_dtype(name: str) -> torch.dtype:
    """Return what tensors have in a training in "float32", "float64" or "bfloat16"."""
    return {"float32": torch.float32, "float64": torch.float64}[kept_dtype(name)]


@explained_shortage(IN_TRAINING)
def train(
    architecture: Architecture,
    tasks: Sequence[TrainingTask],
    rows: Rows,
    loss: Loss,
    *,
    held_out: Rows | None = None,
) -> list[TrainingResult | NonFiniteLossError]:
    """Train networks side by side.

    Parameters
    ----------
    architecture : Architecture
        Layers of each; tasks may keep other numbers of units.
    tasks : sequence of TrainingTask
        One, or several of the same sparsity whose configs have ``common`` alike; with beta to be
        found, all of them and with ``max_iter`` alike. With solver "lbfgs" a single one.
    rows : Rows
        Rows and what to make of them; their dtype and device are those of training.
    loss : Loss
        What the output is compared with, and how.
    held_out : Rows, optional
        Rows whose score decides when to stop and which weights are kept.

    Returns
    -------
    outcomes : list of TrainingResult or NonFiniteLossError
        The error where a network's loss stopped being finite; it does not disturb the others.
    """
    if takes_logits(loss):
        architecture = architecture.with_linear_output
    parts = [rows] if held_out is None else [rows, held_out]
    with Crew(None if rows.device.type == "cpu" else 1) as crew, kept_resident(*parts):
        scorer = None if held_out is None else make_scorer(held_out, loss, max(architecture.sizes))
        if tasks[0].config.solver == "lbfgs":
            (task,) = tasks
            outcomes = [train_by_lbfgs(architecture, task, rows, loss, scorer, crew)]
        else:
            outcomes = MinibatchTraining(architecture, tasks, rows, loss, scorer, crew).run()
        trained = [outcome for outcome in outcomes if isinstance(outcome, TrainingResult)]
        n_components = architecture.n_components
        for each in trained:
            each.mean_code = np.full(n_components, nan)
            each.active_share = np.full(n_components, nan)
            each.largest = np.full(n_components, nan)
            if tasks[0].finds_beta:
                each.state["beta"] = np.asarray(each.beta)
        try:
            with skippable():
                _evaluate(architecture, tasks, rows, loss, outcomes, crew, held_out is None)
        except KeyboardInterrupt:
            if len(tasks) > 1 or not is_kept():
                raise
            for each in trained:
                each.stopped_by = "interrupt"
    for each in trained:
        # A pass over a piece that was cut short counts as one, whose loss is that of all its rows.
        if tasks[0].config.is_one_pass and not each.losses:
            each.losses.append(each.loss_parts)
    for outcome in outcomes:
        if isinstance(outcome, NonFiniteLossError):
            # Its frames hold the rows and the networks, for as long as a search keeps it.
            outcome.with_traceback(None)
    return outcomes


def _evaluate(
    architecture: Architecture,
    tasks: Sequence[TrainingTask],
    rows: Rows,
    loss: Loss,
    outcomes: list[TrainingResult | NonFiniteLossError],
    crew: Crew,
    with_start: bool,
) -> None:
    """Fill in what the networks that were trained come to over all rows.

    What they began with is a measure of them where J alone decides what a training returns: not
    rows held out, nor J of other rows than are shown.

    Parameters
    ----------
    architecture, tasks, rows, loss
        As in `train`.
    outcomes : list of TrainingResult or NonFiniteLossError
        One for each task; filled in, or replaced by an error where J is not finite.
    crew : Crew
        Who walks over the rows.
    with_start : bool
        Whether J at the start is to be found too.
    """
    done = [
        (index, task, outcome)
        for index, (task, outcome) in enumerate(zip(tasks, outcomes, strict=True))
        if isinstance(outcome, TrainingResult)
    ]
    if not done:
        return
    like = torch.empty(0, dtype=rows.dtype, device=rows.device)
    selections = [task.selection for _, task, _ in done]
    flats = [trained.flat for _, _, trained in done]
    parameters = Parameters.stacked(architecture, flats, like, selections)
    penalties = [replace(task.penalties, beta=trained.beta) for _, task, trained in done]
    side_by_side = Penalties.side_by_side(penalties)
    corruption = corruption_of(tasks[0].config, rows)
    full = make_evaluation(
        side_by_side,
        parameters,
        rows,
        loss,
        corruption=corruption,
        crew=crew,
        read_as=tasks[0].read_as,
    )
    found = full.evaluate()
    if tasks[0].finds_beta:
        for (_, _, trained), activity in zip(done, full.activity().tolist(), strict=True):
            trained.activity = activity
    largest = _largest_activities(architecture, [task for _, task, _ in done], found)
    shares = _active_shares(architecture, full, found, largest)
    losses = found.terms.of_models()
    for model, (index, task, trained) in enumerate(done):
        trained.loss, trained.loss_parts = losses[model].total, losses[model]
        for name in ("mean_code", "lowest", "highest"):
            setattr(trained, name, getattr(found, name)[model].cpu().numpy().ravel())
        trained.largest = largest[model]
        if shares is not None:
            trained.active_share = shares[model]
        for name in ("row_sparsity", "error", "deviation", "loss_of_mean"):
            setattr(trained, name, float(getattr(found, name)[model]))
        if found.thresholds is not None:
            trained.threshold = float(found.thresholds[model])
        if not isfinite(trained.loss):
            outcomes[index] = task.config.failure(len(trained.losses))
    config = tasks[0].config
    draws = config.noise is not None or config.dropout is not None
    if with_start and not draws and not config.is_one_pass:
        starts = [task.start for _, task, _ in done]
        parameters.flat.copy_(Parameters.stacked(architecture, starts, like, selections).flat)
        limit = found.loss
        if architecture.output_layout == "rows":
            # One that goes on may lose half of what had been gained (see `outcome`).
            limit = torch.minimum(limit, 2.0 * limit - found.loss_of_mean)
        # Good fits need not be held against it, which would take another pass over all rows.
        at_start = full.loss_unless_above(limit)
        if at_start is None:
            return
        for (_, _, trained), value in zip(done, at_start.tolist(), strict=True):
            trained.loss_at_start = value


def _largest_activities(
    architecture: Architecture, tasks: Sequence[TrainingTask], found: Evaluation
) -> np.ndarray:
    """Return the largest activity of each unit so far, (n_models, n_components).

    Parameters
    ----------
    architecture : Architecture
        Of the networks.
    tasks : sequence of TrainingTask
        What each was trained for.
    found : Evaluation
        Of all of them.
    """
    activation = architecture.activations[architecture.code_layer]
    extremes = zip(to_numpy(found.lowest), to_numpy(found.highest), strict=True)
    return np.array(
        [
            largest_so_far(
                task.largest_before,
                largest_activity(low.ravel(), high.ravel(), task.code, activation),
            )
            for task, (low, high) in zip(tasks, extremes, strict=True)
        ]
    )


def _active_shares(
    architecture: Architecture, full: WalkedEvaluation, found: Evaluation, largest: np.ndarray
) -> np.ndarray | None:
    """Return in what share of rows each unit is active, (n_models, n_components).

    None where it is not asked for: of a network with a target.

    Parameters
    ----------
    architecture : Architecture
        Of the networks.
    full : WalkedEvaluation
        Of all of them, to walk once more where units have no exact zeros.
    found : Evaluation
        What the first walk has found.
    largest : ndarray of shape (n_models, n_components)
        Their largest activities.
    """
    if architecture.output_layout != "rows":
        return None
    share, activation = found.active_share, architecture.activations[architecture.code_layer]
    if not has_zeros(activation):
        above = torch.from_numpy(active_above(largest, activation)).unsqueeze(2)
        share = full.active_shares(above.to(found.lowest))
    return to_numpy(share)[..., 0]
