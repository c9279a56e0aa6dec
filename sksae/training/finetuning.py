"""Training fitted autoencoders on, all layers together: for reconstruction, or for a task."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.callback import CallbackContext

from sksae.base.monitoring import EpochMonitor
from sksae.model.network import FittedNetwork, Layer
from sksae.process.shortage import IN_TRAINING, explained_shortage
from sksae.scaling import Matrix, Scaling, weighted_moments
from sksae.training import defaults, validation
from sksae.training.centred import architecture_of, from_centred, to_centred
from sksae.training.fit import train_plans
from sksae.training.outcome import warn_of_finetuning
from sksae.training.plan import FineTuned, Plan, Trainable, make_schedule

if TYPE_CHECKING:
    from sksae.engine.jobs import Schedule, Trained
    from sksae.engine.noise import Noise
    from sksae.engine.objective import Penalties

Attributes: TypeAlias = Callable[[Sequence[Layer], list[float], list[float]], dict[str, Any]]


def scaling_of_first(
    network: FittedNetwork,
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
) -> Scaling:
    """Return a network's scaling, centred on the rows that are now trained on."""
    centre, _ = weighted_moments(X, index, weight, with_variance=False)
    return replace(network.scaling, centre=centre)


def scaling_of_codes(
    codes: np.ndarray, index: np.ndarray | None, weight: np.ndarray | None
) -> Scaling:
    """Return the scaling of what no member scales: none, but centred."""
    centre, _ = weighted_moments(codes, index, weight, with_variance=False)
    return Scaling(np.zeros_like(centre), scale=1.0, shift=0.0, centre=centre, scaled=False)


def finetuning_noise(estimator: FineTuned, unit: float) -> "Noise | None":
    """Return the noise of what enters the layers, of whose entries that is the deviation."""
    from sksae.engine.noise import Noise

    if estimator.noise is None:
        return None
    level = float(estimator.noise_level)
    if estimator.noise == "gaussian":
        level *= unit
    return Noise(estimator.noise, level)


def finetune_schedule(
    estimator: Trainable,
    seed: int,
    *,
    n_rows: int,
    n_features: int,
    first_epoch: int = 0,
    one_pass: bool = False,
    pace: float = 1.0,
    **rest: Any,
) -> "Schedule":
    """Return the solver and the steps of a fine-tuning.

    Parameters
    ----------
    estimator : estimator
        Read only.
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
        Noise and dropout, as in `make_schedule`.
    """
    batch_size = defaults.resolve_finetuning_batch_size(estimator.batch_size)
    return make_schedule(
        estimator,
        seed,
        learning_rate=defaults.resolve_finetuning_rate(
            estimator.learning_rate, estimator.solver, n_features
        ),
        batch_size=batch_size,
        max_iter=estimator.max_iter,
        n_iter_no_change=defaults.resolve_patience(
            estimator.n_iter_no_change, estimator.solver, n_rows, batch_size
        ),
        first_epoch=first_epoch,
        one_pass=one_pass,
        pace=pace,
        **rest,
    )


@explained_shortage(IN_TRAINING)
def plan_layers(
    estimator: Trainable,
    layers: Sequence[Layer],
    n_encoder_layers: int,
    scaling: Scaling,
    schedule: "Schedule",
    penalties: "Penalties",
    **rest: Any,
) -> Plan:
    """Return the plan to train layers from where they stand.

    Parameters
    ----------
    estimator : estimator
        Gives precision and device.
    layers : list of Layer
        Of the network.
    n_encoder_layers : int
        How many of them lead to a code.
    scaling : Scaling
        Of what enters them.
    schedule, penalties : Schedule, Penalties
        How to train, and to what.
    **rest
        Rows, state, loss and target, as in `Plan`; by default all rows, from the start, for
        reconstruction.
    """
    gives_rows = rest.get("target") is None
    architecture = architecture_of(layers, n_encoder_layers, gives_rows=gives_rows)
    return Plan(
        architecture=architecture,
        penalties=penalties,
        schedule=schedule,
        start=to_centred(architecture, layers, scaling),
        scaling=scaling,
        dtype=estimator.dtype,
        device=estimator.device,
        **rest,
    )


def epoch_monitor(
    estimator: Trainable,
    plan: Plan,
    context: CallbackContext | None,
    task: dict[str, Any],
    attributes: Attributes,
    n_before: int = 0,
    *,
    quiet: bool = False,
) -> EpochMonitor:
    """Return what tells callbacks and the user of epochs.

    Parameters
    ----------
    estimator : estimator
        Whose fit it is.
    plan : Plan
        What is trained.
    context : CallbackContext or None
        Of the fine-tuning.
    task : dict
        What callbacks may ask for: X, y and metadata of the fit.
    attributes : callable
        Makes fitted attributes of layers, loss curve and validation curve.
    n_before : int, default=0
        Epochs before.
    quiet : bool, default=False
        Whether the user need not be told, whatever ``verbose`` says.
    """
    return EpochMonitor(
        estimator,
        context,
        task,
        lambda snapshot: attributes(
            from_centred(plan.architecture, snapshot.flat, plan.scaling),
            snapshot.loss_curve,
            snapshot.validation_curve,
        ),
        verbose=not quiet and estimator.verbose,
        n_before=n_before,
    )


def train_layers(
    plan: Plan,
    X: Matrix,
    sample_weight: np.ndarray | None,
    monitor: EpochMonitor,
    *,
    warn: bool = True,
) -> "tuple[tuple[Layer, ...], Trained]":
    """Train layers as planned.

    Parameters
    ----------
    plan : Plan
        Made by `plan_layers`.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        What enters the layers, before scaling.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights.
    monitor : EpochMonitor
        Told of epochs.
    warn : bool, default=True
        Whether to warn if training ended before it was done.

    Returns
    -------
    layers : tuple of Layer
        As many, trained.
    trained : Trained
        How it went.

    Raises
    ------
    ValueError
        If the loss stops being finite.
    """
    trained = train_plans([plan], X, sample_weight, monitor)[0]
    if isinstance(trained, ValueError):
        raise trained
    if warn:
        warn_of_finetuning(trained, plan)
    return from_centred(plan.architecture, trained.flat, plan.scaling), trained


def check_training(estimator: Trainable) -> None:
    """Raise if the device is not there, or a number is beyond the precision."""
    from sksae.engine.device import training_device

    training_device(estimator.device, estimator.dtype)
    validation.check_half(estimator.dtype, estimator.solver)
    validation.check_learning_rate(estimator.learning_rate, estimator.solver, estimator.dtype)
    if estimator.alpha is not None:
        validation.check_precision(estimator.dtype, alpha=float(estimator.alpha))
