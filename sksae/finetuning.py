"""Training fitted autoencoders on, all layers together: for reconstruction, or for a task."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.callback import CallbackContext

from sksae import validation
from sksae.fitting import train_plans, warn_of_end
from sksae.joined import Layer, architecture_of, from_centred, n_encoder_layers, to_centred
from sksae.monitoring import EpochMonitor
from sksae.planning import Plan, Trainable, make_schedule
from sksae.scaling import Matrix, Scaling, weighted_moments

if TYPE_CHECKING:
    from sksae.engine.jobs import Schedule, Trained
    from sksae.engine.losses import Loss
    from sksae.engine.objective import Penalties
    from sksae.transformer import SparseAutoencoderTransformer

# Smaller than a first training's, which would undo what the layers have learnt; measured on MNIST.
AUTO_LEARNING_RATES = {"adam": 3e-3, "sgd": 0.03, "lbfgs": 0.0}


def encode_through(
    members: "Sequence[SparseAutoencoderTransformer]", X: Matrix, n_layers: int | None = None
) -> Matrix:
    """Return what the first encoder layers of a stack, by default all of them, make of rows."""
    from sksae.engine.inference import encode

    for member in members:
        of_member = n_encoder_layers(member)
        taken = of_member if n_layers is None else min(of_member, n_layers)
        if taken == 0:
            break
        X = encode(member._codec(), X, member.device, taken)
        if n_layers is not None:
            n_layers -= taken
    return X


def scaling_of_first(
    member: "SparseAutoencoderTransformer",
    X: Matrix,
    index: np.ndarray | None,
    weight: np.ndarray | None,
) -> Scaling:
    """Return a member's scaling, centred on the rows that are now trained on."""
    centre, _ = weighted_moments(X, index, weight, with_variance=False)
    return Scaling(
        mean=member.mean_,
        scale=member.scale_,
        shift=member._shift,
        centre=centre,
        scaled=member._scaled,
    )


def scaling_of_codes(
    codes: np.ndarray, index: np.ndarray | None, weight: np.ndarray | None
) -> Scaling:
    """Return the scaling of what no member scales: none, but centred."""
    centre, _ = weighted_moments(codes, index, weight, with_variance=False)
    return Scaling(np.zeros_like(centre), scale=1.0, shift=0.0, centre=centre, scaled=False)


def finetune_schedule(
    estimator: Trainable, seed: int, *, first_epoch: int = 0, one_pass: bool = False
) -> "Schedule":
    """Return the solver and the steps of a fine-tuning."""
    return make_schedule(
        estimator, seed, AUTO_LEARNING_RATES, first_epoch=first_epoch, one_pass=one_pass
    )


def train_layers(
    estimator: Trainable,
    layers: Sequence[Layer],
    n_encoder_layers: int,
    X: Matrix,
    scaling: Scaling,
    *,
    schedule: "Schedule",
    penalties: "Penalties",
    sample_weight: np.ndarray | None = None,
    index: np.ndarray | None = None,
    held_out_index: np.ndarray | None = None,
    loss: "Loss | None" = None,
    target: np.ndarray | None = None,
    state: dict[str, np.ndarray] | None = None,
    context: CallbackContext | None = None,
    attributes: Callable[[list[Layer], list[float], list[float]], dict[str, Any]] | None = None,
    task: dict[str, Any] | None = None,
    n_before: int = 0,
) -> "tuple[list[Layer], Trained]":
    """Train layers from where they stand.

    Parameters
    ----------
    estimator : estimator
        Gives precision, device and verbosity; callbacks hear of it.
    layers : list of Layer
        Of the network.
    n_encoder_layers : int
        How many of them lead to a code.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        What enters them, before ``scaling``.
    scaling : Scaling
        Of X.
    schedule, penalties : Schedule, Penalties
        How to train, and to what.
    sample_weight : ndarray of shape (n_samples,), optional
        Weights.
    index, held_out_index : ndarray of int, optional
        Rows to train on (by default all), and rows that decide when to stop (none).
    loss, target : Loss, ndarray of shape (n_samples, n_targets), optional
        What is wanted of the output; by default the rows.
    state : dict of ndarray, optional
        Where the training stood that is continued.
    context : CallbackContext, optional
        Where callbacks hear of epochs.
    attributes : callable, optional
        Makes fitted attributes for them, of layers, loss curve and validation curve.
    task : dict, optional
        What they may ask for: X, y and metadata of the fit.
    n_before : int, default=0
        Epochs before.

    Returns
    -------
    layers : list of Layer
        As many, trained.
    trained : Trained
        How it went.

    Raises
    ------
    ValueError
        If the loss stops being finite.
    """
    architecture = architecture_of(layers, n_encoder_layers)
    plan = Plan(
        architecture=architecture,
        penalties=penalties,
        schedule=schedule,
        start=to_centred(architecture, layers, scaling),
        state=state,
        scaling=scaling,
        index=index,
        held_out_index=held_out_index,
        dtype=estimator.dtype,
        device=estimator.device,
        loss=loss,
        target=target,
    )
    monitor = None
    if attributes is not None:
        monitor = EpochMonitor(
            estimator,
            context,
            task or {},
            lambda snapshot: attributes(
                from_centred(architecture, snapshot.flat, scaling),
                snapshot.loss_curve,
                snapshot.validation_curve,
            ),
            verbose=estimator.verbose,
            n_before=n_before,
        )
    trained = train_plans([plan], X, sample_weight, monitor)[0]
    if isinstance(trained, ValueError):
        raise trained
    if attributes is not None:
        warn_of_end(trained, plan, one_pass=schedule.is_one_pass)
    return from_centred(architecture, trained.flat, scaling), trained


def check_training(estimator: Trainable) -> None:
    """Raise if the device is not there, or a number is beyond the precision."""
    from sksae.engine.device import training_device

    training_device(estimator.device, estimator.dtype)
    validation.check_precision(estimator.dtype, alpha=float(estimator.alpha))
