"""From a plan and rows to a fitted network, by way of the engine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from sksae.model.codes import CODES, mean_activation
from sksae.model.failure import NonFiniteLossError
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.model.tasks import Monitor, TrainingResult
from sksae.process.processes import ALONE, processes_in_use, working_with
from sksae.training.centred import from_centred
from sksae.training.checkpoint import journal_in_use, keep_trainings
from sksae.training.moments import well_scaled
from sksae.training.plan import Plan
from sksae.training.record import FitResult, Fitted, TrainingRecord

if TYPE_CHECKING:
    from sksae.engine.batches import Rows


def train_plans(
    plans: Sequence[Plan],
    X: Matrix,
    sample_weight: np.ndarray | None,
    monitor: Monitor | None = None,
) -> list[TrainingResult | NonFiniteLossError]:
    """Train what plans for the same rows ask for, side by side if they are several.

    Parameters
    ----------
    plans : sequence of Plan
        For the same rows.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    monitor : Monitor, optional
        Told of every epoch.
    """
    from sksae.engine.losses import make_loss
    from sksae.engine.training import train

    tasks = [plan.task(monitor) for plan in plans]
    check_same_start(plans)
    journal = journal_in_use() if len(plans) == 1 else None
    if journal is not None:
        ended = journal.begin_next()
        if ended is not None:
            return [ended]
        tasks = [journal.prepared(*tasks)]
    first = plans[0]
    held_out = first.held_out_index
    rows = rows_of(first, X, sample_weight, first.index)
    validation = None if held_out is None else rows_of(first, X, sample_weight, held_out)
    # What callbacks train meanwhile is no part of this fit.
    with keep_trainings(None), working_with(ALONE):
        outcomes = train(
            first.architecture,
            tasks,
            rows,
            make_loss(first.loss, first.scaling if first.target is None else None),
            held_out=validation,
        )
    if journal is not None:
        journal.take(*outcomes)
    return outcomes


def check_same_start(plans: Sequence[Plan]) -> None:
    """Raise, in all processes, if one of several is to start from other weights.

    Parameters
    ----------
    plans : sequence of Plan
        Of the trainings.
    """
    processes = processes_in_use()
    if not processes.are_several:
        return
    sums = processes.gathered([crc32(np.ascontiguousarray(plan.start).data) for plan in plans])
    others = [rank for rank, other in enumerate(sums) if other != sums[0]]
    if others:
        raise ValueError(
            f"Training must start from the same weights in all processes, but those on rank "
            f"{others[0]} are others than on rank 0: with warm_start, partial_fit, and "
            "autoencoders that are not trained, each process needs the same fitted model."
        )


def rows_of(
    plan: Plan, X: Matrix, sample_weight: np.ndarray | None, index: np.ndarray | None
) -> "Rows":
    """Return rows of X as the network sees them.

    Parameters
    ----------
    plan : Plan
        Of the training.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    index : ndarray of int or None
        Those that count; None for all.
    """
    from sksae.engine.batches import Rows
    from sksae.engine.device import training_device
    from sksae.engine.training import torch_dtype

    return Rows(
        X,
        centre=plan.scaling.centre,
        scale=plan.scaling.scale,
        dtype=torch_dtype(plan.dtype),
        device=training_device(plan.device, plan.dtype),
        index=index,
        sample_weight=well_scaled(sample_weight),
        target=plan.target,
        processes=processes_in_use(),
    )


def successful(outcome: TrainingResult | NonFiniteLossError) -> TrainingResult:
    """Return what a training came to, or raise the error that it ended with."""
    if isinstance(outcome, ValueError):
        raise outcome
    return outcome


def network_of_plan(plan: Plan, flat: np.ndarray, threshold: float | None = None) -> FittedNetwork:
    """Return the network that a training makes, from its parameters for centred rows.

    Parameters
    ----------
    plan : Plan
        What was asked for.
    flat : ndarray of shape (n_parameters,)
        What was learnt.
    threshold : float, optional
        Above which units are kept, where that was found.
    """
    layers = from_centred(plan.architecture, flat, plan.scaling)
    n_encoder_layers = plan.architecture.n_encoder_layers
    *before, code = layers[:n_encoder_layers]
    if threshold is not None and code.selection is not None:
        code = code._replace(selection=code.selection._replace(threshold=threshold))
        layers = (*before, code, *layers[n_encoder_layers:])
    return FittedNetwork(layers, n_encoder_layers, plan.scaling, plan.penalties.sparsity, plan.loss)


def result_of(plan: Plan, trained: TrainingResult, before: Fitted | None = None) -> FitResult:
    """Return what a fit has come to.

    Parameters
    ----------
    plan : Plan
        What was asked for.
    trained : TrainingResult
        What the engine left behind.
    before : Fitted, optional
        What the training went on from.
    """
    penalties, network = plan.penalties, network_of_plan(plan, trained.flat, trained.threshold)
    # A beta that was given is told as given, not as the dtype of training rounds it.
    beta = penalties.beta if isinstance(penalties.beta, float) else trained.beta
    assert isinstance(penalties.alpha, float)
    return FitResult(
        network=network,
        record=_record_of(plan, trained, before),
        loss=trained.loss,
        alpha=penalties.alpha,
        beta=beta if CODES[penalties.sparsity].has_penalty else None,
        mean_activation=mean_activation(trained.mean_code, network.code_activation),
        active_share=trained.active_share,
        row_sparsity=trained.row_sparsity,
    )


def _record_of(plan: Plan, trained: TrainingResult, before: Fitted | None) -> TrainingRecord:
    """Return the record of a training and of all before it.

    Parameters
    ----------
    plan, trained, before
        As in `result_of`.
    """
    assert plan.seen is not None
    n_steps, losses, validation_curve = trained.n_steps, trained.losses, trained.validation_curve
    if before is not None:
        earlier = before.record
        n_steps = earlier.n_steps + n_steps
        losses = [*earlier.losses, *losses]
        validation_curve = [*earlier.validation_curve, *validation_curve]
    return TrainingRecord(
        seed=plan.config.seed,
        seen=plan.seen,
        state=trained.state,
        n_steps=n_steps,
        stopped_by=trained.stopped_by,
        largest_activation=trained.largest,
        losses=losses,
        validation_curve=validation_curve,
    )
