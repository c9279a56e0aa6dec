"""From the plan of a network of sparse attention to a fitted one, by way of the engine."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sksae.model.codes import CODES, mean_activation
from sksae.model.numbers import Matrix
from sksae.model.tasks import Monitor, TrainingResult
from sksae.training.attention import (
    AttentionFitted,
    AttentionPlan,
    AttentionRecord,
)
from sksae.training.attention_start import TokenRows
from sksae.training.checkpoint import journal_in_use
from sksae.training.moments import well_scaled
from sksae.training.outcome import (
    dead_units,
    lower_any,
    no_use,
    unfinished,
    warn_of,
    warn_of_interrupt,
)

if TYPE_CHECKING:
    from sksae.engine.batches import Rows

# Rows whose dead units are worth a warning, as of autoencoders.
FEWEST_TOKENS = 10
BY_USER = ("interrupt", "callback")


class AttentionFit(NamedTuple):
    """What a fit has come to.

    Attributes
    ----------
    fitted : AttentionFitted
        The network, and what another training goes on from.
    beta : float or None
        Weight of the sparsity term, if there is one.
    mean_activation, active_share : ndarray of shape (n_components,)
        Of each unit over the training tokens.
    stopped_by : str
        Why training ended.
    """

    fitted: AttentionFitted
    beta: float | None
    mean_activation: np.ndarray
    active_share: np.ndarray
    stopped_by: str


def train_attention_plan(
    plan: AttentionPlan, rows: TokenRows, monitor: Monitor | None = None
) -> TrainingResult:
    """Train what a plan asks for.

    Parameters
    ----------
    plan : AttentionPlan
        For these rows.
    rows : TokenRows
        Rows.
    monitor : Monitor, optional
        Told of every epoch.

    Raises
    ------
    NonFiniteLossError
        If the loss stops being finite.
    """
    from sksae.engine.attention.training import AttentionTask, train_attention

    task, journal = plan.task(monitor), journal_in_use()
    if journal is not None:
        ended = journal.begin_next()
        if ended is not None:
            return ended
        task = journal.prepared(task)
    specification, held_out = plan.specification, plan.held_out_index
    trained = train_attention(
        AttentionTask(
            plan.architecture,
            task,
            float(specification.mask_fraction),
            float(specification.dropout),
            float(specification.visible_weight),
            has_missing=rows.X.dtype.kind == "f",
        ),
        _rows_of(plan, rows, plan.index),
        None if held_out is None else _rows_of(plan, rows, held_out),
    )
    if journal is not None:
        journal.take(trained)
    return trained


def _rows_of(plan: AttentionPlan, rows: TokenRows, index: np.ndarray | None) -> "Rows":
    """Return the rows that an index names as the network sees them; None for all."""
    from sksae.engine.batches import Rows
    from sksae.engine.device import training_device
    from sksae.engine.training import torch_dtype

    dtype = plan.specification.dtype
    X: Matrix = rows.X
    return Rows(
        X,
        centre=np.tile(plan.mean, plan.architecture.length),
        scale=plan.scale,
        dtype=torch_dtype(dtype),
        device=training_device(plan.specification.device, dtype),
        index=index,
        sample_weight=well_scaled(rows.weight),
    )


def attention_fit_of(
    plan: AttentionPlan, trained: TrainingResult, before: AttentionFitted | None
) -> AttentionFit:
    """Return what a fit has come to.

    Parameters
    ----------
    plan : AttentionPlan
        What was asked for.
    trained : TrainingResult
        What the engine left behind.
    before : AttentionFitted or None
        What the training went on from.
    """
    n_steps, losses, curve = trained.n_steps, trained.losses, trained.validation_curve
    if before is not None:
        earlier = before.record
        n_steps += earlier.n_steps
        losses, curve = [*earlier.losses, *losses], [*earlier.validation_curve, *curve]
    record = AttentionRecord(
        plan.config.seed,
        plan.has_varied,
        trained.state,
        n_steps,
        trained.largest,
        losses,
        curve,
    )
    architecture = plan.architecture
    has_penalty = CODES[architecture.sparsity].has_penalty
    return AttentionFit(
        AttentionFitted(plan.network(trained.flat, trained.threshold), record),
        trained.beta if has_penalty else None,
        mean_activation(trained.mean_code, architecture.activation),
        trained.active_share,
        trained.stopped_by,
    )


def warn_of_attention_end(trained: TrainingResult, plan: AttentionPlan, n_tokens: int) -> None:
    """Warn if a training was interrupted, not done or useless.

    Parameters
    ----------
    trained : TrainingResult
        What it left behind.
    plan : AttentionPlan
        What was asked for.
    n_tokens : int
        Tokens trained on.
    """
    warn_of_interrupt(trained)
    config = plan.config
    if config.is_one_pass or trained.stopped_by in BY_USER or trained.deviation == 0.0:
        return
    rate, alpha = ("learning_rate", config.learning_rate), ("alpha", plan.specification.alpha)
    late = unfinished(trained, config)
    useless = no_use(trained, f"raise max_iter ({config.max_iter} now), or {lower_any([alpha])}")
    dead = None
    if n_tokens >= FEWEST_TOKENS and useless is None:
        dead = dead_units(trained, lower_any([rate, alpha]))
    warn_of([late, useless, dead], [useless or late, dead])
