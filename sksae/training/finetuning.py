"""Training fitted autoencoders on, all layers together: for reconstruction, or for a task."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sksae.model.network import FittedNetwork, Layer
from sksae.model.numbers import Matrix
from sksae.model.scaling import Scaling
from sksae.model.settings import Noise, Penalties, TrainingConfig
from sksae.model.tasks import Monitor, TrainingResult
from sksae.process.shortage import IN_TRAINING, explained_shortage
from sksae.training import defaults, validation
from sksae.training.centred import architecture_of, from_centred, to_centred
from sksae.training.fit import successful, train_plans
from sksae.training.moments import weighted_moments
from sksae.training.outcome import warn_of_finetuning
from sksae.training.plan import Plan, make_training_config
from sksae.training.specification import FinetuningSpecification, TrainingSpecification


def scaling_of_first(
    network: FittedNetwork,
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
) -> Scaling:
    """Return a network's scaling, centred on the rows that are now trained on.

    Parameters
    ----------
    network : FittedNetwork
        The first of those that are trained.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    centre, _ = weighted_moments(X, index, weight, with_variance=False)
    return replace(network.scaling, centre=centre)


def scaling_of_codes(
    codes: np.ndarray, index: np.ndarray | None, weight: np.ndarray | None
) -> Scaling:
    """Return the scaling of what no member scales: none, but centred.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        What enters the layers.
    index : ndarray of int or None
        Those that count; None for all.
    weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    centre, _ = weighted_moments(codes, index, weight, with_variance=False)
    return Scaling(np.zeros_like(centre), scale=1.0, shift=0.0, centre=centre, scaled=False)


def finetuning_noise(specification: FinetuningSpecification, unit: float) -> Noise | None:
    """Return the noise of what enters the layers; ``unit`` is the deviation of its entries."""
    if specification.noise is None:
        return None
    level = float(specification.noise_level)
    if specification.noise == "gaussian":
        level *= unit
    return Noise(specification.noise, level)


def make_finetuning_config(
    specification: TrainingSpecification,
    seed: int,
    *,
    n_rows: int,
    n_features: int,
    first_epoch: int = 0,
    one_pass: bool = False,
    pace: float = 1.0,
    **rest: Any,
) -> TrainingConfig:
    """Return the solver and the steps of a fine-tuning.

    Parameters
    ----------
    specification : TrainingSpecification
        What needs no rows to be known.
    seed : int
        Of the order of rows.
    n_rows : int
        That are trained on.
    n_features : int
        Inputs of the first layer that is trained.
    first_epoch : int
        Epochs done before.
    one_pass : bool
        Whether to make a single pass at the constant rate.
    pace : float
        For how many steps each of it counts.
    **rest
        Noise and dropout, as in `make_training_config`.
    """
    assert not isinstance(specification.max_iter, str)
    batch_size = defaults.resolve_finetuning_batch_size(specification.batch_size)
    return make_training_config(
        specification,
        seed,
        learning_rate=defaults.resolve_finetuning_rate(
            specification.learning_rate, specification.solver, n_features
        ),
        batch_size=batch_size,
        max_iter=specification.max_iter,
        n_iter_no_change=defaults.resolve_patience(
            specification.n_iter_no_change, specification.solver, n_rows, batch_size
        ),
        first_epoch=first_epoch,
        one_pass=one_pass,
        pace=pace,
        **rest,
    )


@explained_shortage(IN_TRAINING)
def plan_layers(
    specification: TrainingSpecification,
    layers: Sequence[Layer],
    n_encoder_layers: int,
    scaling: Scaling,
    config: TrainingConfig,
    penalties: Penalties,
    **rest: Any,
) -> Plan:
    """Return the plan to train layers from where they stand.

    Parameters
    ----------
    specification : TrainingSpecification
        Gives precision and device.
    layers : list of Layer
        Of the network.
    n_encoder_layers : int
        How many of them lead to a code.
    scaling : Scaling
        Of what enters them.
    config, penalties : TrainingConfig, Penalties
        How to train, and to what.
    **rest
        Rows, state, loss and target, as in `Plan`; by default all rows, from the start, for
        reconstruction.
    """
    layout = "rows" if rest.get("target") is None else "columns"
    architecture = architecture_of(layers, n_encoder_layers, output_layout=layout)
    for selection in architecture.selections:
        if selection is not None:
            validation.check_solver_of_code(selection.code, config.solver)
    if not architecture.is_dictionary:
        # J reads all active units at once, where each does not add its atom to the row.
        selections = (each and each.with_one_budget for each in architecture.selections)
        architecture = replace(architecture, selections=tuple(selections))
    return Plan(
        architecture=architecture,
        penalties=penalties,
        config=config,
        start=to_centred(architecture, layers, scaling),
        scaling=scaling,
        dtype=specification.dtype,
        device=specification.device,
        **rest,
    )


def train_layers(
    plan: Plan,
    X: Matrix,
    sample_weight: np.ndarray | None,
    monitor: Monitor,
    *,
    warn: bool = True,
) -> tuple[tuple[Layer, ...], TrainingResult]:
    """Train layers as planned.

    Parameters
    ----------
    plan : Plan
        Made by `plan_layers`.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        What enters the layers, before scaling.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights.
    monitor : Monitor
        Told of epochs.
    warn : bool, default=True
        Whether to warn if training ended before it was done.

    Returns
    -------
    layers : tuple of Layer
        As many, trained.
    trained : TrainingResult
        How it went.

    Raises
    ------
    ValueError
        If the loss stops being finite.
    """
    (outcome,) = train_plans([plan], X, sample_weight, monitor)
    trained = successful(outcome)
    if warn:
        warn_of_finetuning(trained, plan)
    return from_centred(plan.architecture, trained.flat, plan.scaling), trained
