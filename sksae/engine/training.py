"""Training: from starting parameters and rows to trained networks.

`train` is the engine's front door. It takes and gives plain numbers and numpy arrays; everything
that it needs to know of a training stands in the frozen descriptions of `jobs`. Networks of one
architecture that visit the same rows in the same order are trained side by side, each with
penalties, learning rate and end of its own; a plain fit is a single one.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, nan

import numpy as np
import torch

from sksae.engine.batches import Rows, kept_resident
from sksae.engine.descent import Descent
from sksae.engine.full_batch import FullObjective
from sksae.engine.held_out import make_judge
from sksae.engine.iteration import iterate
from sksae.engine.jobs import Job, Trained
from sksae.engine.losses import Loss
from sksae.engine.objective import Penalties
from sksae.engine.parameters import Architecture, Parameters
from sksae.engine.threads import Crew
from sksae.engine.watching import NonFiniteLossError
from sksae.interrupts import is_kept, skippable
from sksae.numbers import kept_dtype
from sksae.shortage import IN_TRAINING, explained_shortage


def torch_dtype(name: str) -> torch.dtype:
    """Return what tensors have in a training in "float32", "float64" or "bfloat16"."""
    return {"float32": torch.float32, "float64": torch.float64}[kept_dtype(name)]


@explained_shortage(IN_TRAINING)
def train(
    architecture: Architecture,
    jobs: Sequence[Job],
    rows: Rows,
    loss: Loss,
    *,
    held_out: Rows | None = None,
) -> list[Trained | NonFiniteLossError]:
    """Train networks side by side.

    Parameters
    ----------
    architecture : Architecture
        Layers of each.
    jobs : sequence of Job
        One, or several of the same sparsity whose schedules have ``common`` alike; with beta to be
        found, all of them and with ``max_iter`` alike. With solver "lbfgs" a single one.
    rows : Rows
        Rows and what to make of them; their dtype and device are those of training.
    loss : Loss
        What the output is compared with, and how.
    held_out : Rows, optional
        Rows whose score decides when to stop and which weights are kept.

    Returns
    -------
    outcomes : list of Trained or NonFiniteLossError
        The error where a network's loss stopped being finite; it does not disturb the others.
    """
    parts = [rows] if held_out is None else [rows, held_out]
    with Crew(None if rows.device.type == "cpu" else 1) as crew, kept_resident(*parts):
        judge = None if held_out is None else make_judge(held_out, loss, max(architecture.sizes))
        if jobs[0].schedule.solver == "lbfgs":
            (job,) = jobs
            outcomes = [iterate(architecture, job, rows, loss, judge, crew)]
        else:
            outcomes = Descent(architecture, jobs, rows, loss, judge, crew).run()
        trained = [outcome for outcome in outcomes if isinstance(outcome, Trained)]
        n_components = architecture.sizes[architecture.n_encoder_layers]
        for each in trained:
            each.mean_code = np.full(n_components, nan)
            if jobs[0].finds_beta:
                each.state["beta"] = np.asarray(each.beta)
        try:
            with skippable():
                _evaluate(architecture, jobs, rows, loss, outcomes, crew, held_out is None)
        except KeyboardInterrupt:
            if len(jobs) > 1 or not is_kept():
                raise
            for each in trained:
                each.stopped_by = "interrupt"
    for each in trained:
        # A pass over a piece that was cut short counts as one, whose loss is that of all its rows.
        if jobs[0].schedule.is_one_pass and not each.loss_curve:
            each.loss_curve.append(each.loss)
    for outcome in outcomes:
        if isinstance(outcome, NonFiniteLossError):
            # Its frames hold the rows and the networks, for as long as a search keeps it.
            outcome.with_traceback(None)
    return outcomes


def _evaluate(
    architecture: Architecture,
    jobs: Sequence[Job],
    rows: Rows,
    loss: Loss,
    outcomes: list[Trained | NonFiniteLossError],
    crew: Crew,
    with_start: bool,
) -> None:
    """Fill in what the networks that were trained come to over all rows.

    What they began with is a measure of them where J alone decides what a training returns: not
    rows held out, nor J of other rows than are shown.
    """
    done = [
        (place, job, outcome)
        for place, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True))
        if isinstance(outcome, Trained)
    ]
    if not done:
        return
    like = torch.empty(0, dtype=rows.dtype, device=rows.device)
    parameters = Parameters.stacked(architecture, [trained.flat for _, _, trained in done], like)
    penalties = [replace(job.penalties, beta=trained.beta) for _, job, trained in done]
    full = FullObjective(
        Penalties.side_by_side(penalties),
        parameters,
        rows,
        loss,
        corruption=jobs[0].schedule.corruption(rows),
        with_gradient=False,
        crew=crew,
    )
    found = full.evaluate()
    if jobs[0].finds_beta:
        for (_, _, trained), activity in zip(done, full.activity().tolist(), strict=True):
            trained.activity = activity
    for model, (place, job, trained) in enumerate(done):
        trained.loss = float(found.loss[model])
        for name in ("mean_code", "lowest", "highest"):
            setattr(trained, name, getattr(found, name)[model].cpu().numpy().ravel())
        trained.error, trained.deviation = float(found.error[model]), float(found.deviation[model])
        if not isfinite(trained.loss):
            outcomes[place] = job.schedule.failure(len(trained.loss_curve))
    schedule = jobs[0].schedule
    draws = schedule.noise is not None or schedule.dropout is not None
    if with_start and not draws and not schedule.is_one_pass:
        starts = [job.start for _, job, _ in done]
        parameters.flat.copy_(Parameters.stacked(architecture, starts, like).flat)
        limit = found.loss
        if architecture.gives_rows:
            # One that goes on may lose half of what had been gained (see `outcome`).
            limit = torch.minimum(limit, 2.0 * limit - found.deviation / 2.0)
        # Good fits need not be held against it, which would take another pass over all rows.
        at_start = full.loss_unless_above(limit)
        if at_start is None:
            return
        for (_, _, trained), value in zip(done, at_start.tolist(), strict=True):
            trained.loss_at_start = value
