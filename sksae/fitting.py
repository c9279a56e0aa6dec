"""From an estimator's parameters and its rows to fitted attributes, by way of the engine."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.callback import CallbackContext
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sksae import validation
from sksae.monitoring import EpochMonitor
from sksae.scaling import Matrix, Scaling, find_scaling
from sksae.warning import warn_user

if TYPE_CHECKING:
    from sksae.engine.network import Architecture
    from sksae.engine.training import Schedule, Trained
    from sksae.transformer import SparseAutoencoderTransformer


AUTO_BATCH_SIZE = 256
# Adam's steps are as long as the rate; those of sgd shrink with the gradient and need a larger one.
AUTO_LEARNING_RATES = {"adam": 1e-2, "sgd": 0.1, "lbfgs": 0.0}


def fitted_attributes(
    estimator: "SparseAutoencoderTransformer",
    X: Matrix,
    y: object,
    sample_weight: np.ndarray | None,
    *,
    resume: bool,
    one_pass: bool,
    context: CallbackContext | None,
) -> dict[str, Any]:
    """Train a network as an estimator's parameters say.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer
        Read only.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    y : object
        Nothing but shown to callbacks.
    sample_weight : ndarray of shape (n_samples,), optional
        Validated weights.
    resume : bool
        Whether to go on from the estimator's fitted attributes.
    one_pass : bool
        Whether to make a single pass at the constant rate, as ``partial_fit`` does.
    context : CallbackContext or None
        Where callbacks hear of the fit.

    Returns
    -------
    attributes : dict
        Every fitted attribute and its value.
    """
    from sksae.engine.batches import Rows
    from sksae.engine.device import training_device
    from sksae.engine.network import starting_parameters
    from sksae.engine.objective import Penalties
    from sksae.engine.training import torch_dtype, train

    device = training_device(estimator.device, estimator.dtype)
    architecture = make_architecture(estimator, X.shape[1])
    rho = validation.resolve_rho(estimator.rho, estimator.n_components)
    beta = validation.resolve_beta(estimator.beta, estimator.sparsity)
    numbers = {"rho": rho, "alpha": estimator.alpha}
    validation.check_precision(
        estimator.dtype, **(numbers if beta == "auto" else numbers | {"beta": beta})
    )
    check_parameters(estimator)
    validation.warn_of_unreachable_targets(X, estimator.output_activation, estimator.scale_data)
    if resume:
        check_same_network(estimator, architecture)
        seed = estimator._seed
    else:
        random_state = check_random_state(estimator.random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
    index, held_out_index = split_rows(estimator, X.shape[0], sample_weight, seed)

    if resume:
        scaling = Scaling(
            mean=estimator.mean_,
            scale=estimator.scale_,
            shift=estimator._shift,
            centre=estimator._centre,
            scaled=estimator._scaled,
        )
        start = parameters_of(estimator, scaling)
    else:
        scaling = find_scaling(
            X,
            index,
            sample_weight,
            scale_data=estimator.scale_data,
            output_activation=estimator.output_activation,
        )
        code_activation = architecture.activations[architecture.n_encoder_layers - 1]
        start = starting_parameters(
            architecture,
            random_state,
            code_bias=validation.code_bias(estimator.sparsity, code_activation, rho),
            target_mean=scaling.offset,
        )

    def rows(of: np.ndarray | None) -> Rows:
        return Rows(
            X,
            centre=scaling.centre,
            scale=scaling.scale,
            dtype=torch_dtype(estimator.dtype),
            device=device,
            index=of,
            sample_weight=sample_weight,
        )

    schedule = make_schedule(estimator, seed, resume=resume, one_pass=one_pass)
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    task = {"X": X, "y": y, "metadata": metadata}
    monitor = EpochMonitor(
        estimator,
        context,
        task,
        lambda snapshot: network_attributes(architecture, snapshot.flat, scaling),
        verbose=estimator.verbose,
        n_before=estimator.n_iter_ if resume else 0,
    )
    if context is not None:
        context.call_on_fit_task_begin(estimator=estimator, **task)
    trained = train(
        architecture,
        Penalties(estimator.sparsity, rho, beta, float(estimator.alpha)),
        schedule,
        rows(index),
        start,
        offset=scaling.offset,
        held_out=None if held_out_index is None else rows(held_out_index),
        state=estimator._state if resume else None,
        monitor=monitor,
    )
    attributes = network_attributes(architecture, trained.flat, scaling)
    attributes |= record(estimator, architecture, trained, resume=resume)
    attributes |= {"_seed": seed, "_state": trained.state}
    warn_of_end(trained, schedule, one_pass=one_pass)
    if not one_pass:
        warn_of_missed_rho(trained, estimator, rho)
    if context is not None:
        context.call_on_fit_task_end(
            estimator=estimator, reconstruction_attributes=attributes, **task
        )
    return attributes


def make_architecture(estimator: "SparseAutoencoderTransformer", n_features: int) -> "Architecture":
    """Return the layers that an estimator's parameters describe."""
    from sksae.engine.network import Architecture

    return Architecture.autoencoder(
        n_features,
        estimator.n_components,
        hidden_layer_sizes=validation.resolve_hidden_layer_sizes(estimator.hidden_layer_sizes),
        hidden_activation=estimator.hidden_activation,
        activation=validation.resolve_activation(estimator.activation, estimator.sparsity),
        output_activation=estimator.output_activation,
    )


def check_parameters(estimator: "SparseAutoencoderTransformer") -> None:
    """Raise on parameters that contradict each other, warn of those that do nothing."""
    validation.check_scaling(estimator.output_activation, estimator.scale_data)
    defaults = type(estimator)().get_params(deep=False)
    validation.warn_of_idle_penalty(estimator.sparsity, estimator.get_params(deep=False), defaults)


def check_same_network(
    estimator: "SparseAutoencoderTransformer", architecture: "Architecture"
) -> None:
    """Raise if training is to go on with other layers than it began with."""
    if estimator.scale_data != estimator._scaled:
        raise ValueError(
            f"Training can only go on with scale_data={estimator._scaled}, with which it began: "
            "set it back, or fit anew with warm_start=False."
        )
    sizes = (*(coef.shape[0] for coef in estimator.coefs_), estimator.coefs_[-1].shape[1])
    before, now = (sizes, estimator._activations), (architecture.sizes, architecture.activations)
    if before != now:
        raise ValueError(
            "Training can only go on with the layers it began with: they had sizes "
            f"{before[0]} and activations {before[1]}, the parameters now ask for {now[0]} and "
            f"{now[1]}. Set the parameters back, or fit anew with warm_start=False."
        )


def split_rows(
    estimator: "SparseAutoencoderTransformer",
    n_samples: int,
    sample_weight: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the indices of training rows (None: all) and of rows held out (None: none).

    A function of the seed, so that a training that goes on holds out the same rows.
    """
    index = None
    if sample_weight is not None and not sample_weight.all():
        index = np.flatnonzero(sample_weight)
    if not estimator.early_stopping:
        return index, None
    rows = np.arange(n_samples) if index is None else index
    order = np.random.default_rng(seed).permutation(rows)
    n_held_out = int(np.ceil(estimator.validation_fraction * len(order)))
    if len(order) - n_held_out < 1 or n_held_out < 2:
        raise ValueError(
            f"early_stopping=True with validation_fraction={estimator.validation_fraction} would "
            f"hold out {n_held_out} of {len(order)} rows: at least 2 must be held out and 1 must "
            "remain. Change validation_fraction, or use early_stopping=False."
        )
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def make_schedule(
    estimator: "SparseAutoencoderTransformer", seed: int, *, resume: bool, one_pass: bool
) -> "Schedule":
    """Return the solver and the steps that an estimator's parameters describe."""
    from sksae.engine.minibatch import RHO_HAT_WINDOW
    from sksae.engine.training import Schedule

    batch_size, learning_rate = estimator.batch_size, estimator.learning_rate
    return Schedule(
        solver=estimator.solver,
        max_iter=1 if one_pass else estimator.max_iter,
        tol=estimator.tol,
        n_iter_no_change=estimator.n_iter_no_change,
        learning_rate=(
            AUTO_LEARNING_RATES[estimator.solver] if learning_rate == "auto" else learning_rate
        ),
        learning_rate_schedule="constant" if one_pass else estimator.learning_rate_schedule,
        momentum=estimator.momentum,
        batch_size=AUTO_BATCH_SIZE if batch_size == "auto" else batch_size,
        shuffle=estimator.shuffle,
        seed=seed,
        first_epoch=estimator.n_iter_ if resume else 0,
        # The rows of a call are a sample of a stream, however few batches they make.
        rho_hat_window=RHO_HAT_WINDOW if one_pass else None,
        is_one_pass=one_pass,
    )


def network_attributes(
    architecture: "Architecture", flat: np.ndarray, scaling: Scaling
) -> dict[str, Any]:
    """Return the fitted attributes that make a network work, from its centred parameters."""
    from sksae.engine.network import to_layers

    coefs, intercepts, slopes = to_layers(architecture, flat)
    moved = scaling.offset @ coefs[0].astype(np.float64)
    intercepts[0] = (intercepts[0] - moved).astype(flat.dtype)
    return {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "slopes_": slopes,
        "mean_": scaling.mean,
        "scale_": scaling.scale,
        "_shift": scaling.shift,
        "_centre": scaling.centre,
        "_activations": architecture.activations,
        "_scaled": scaling.scaled,
    }


def parameters_of(estimator: "SparseAutoencoderTransformer", scaling: Scaling) -> np.ndarray:
    """Return an estimator's parameters for centred rows; undoes `network_attributes`."""
    from sksae.engine.network import to_flat

    first = estimator.intercepts_[0] + scaling.offset @ estimator.coefs_[0].astype(np.float64)
    return to_flat(estimator.coefs_, [first, *estimator.intercepts_[1:]], estimator.slopes_)


def record(
    estimator: "SparseAutoencoderTransformer",
    architecture: "Architecture",
    trained: "Trained",
    *,
    resume: bool,
) -> dict[str, Any]:
    """Return the fitted attributes that tell how training went."""
    code_activation = architecture.activations[architecture.n_encoder_layers - 1]
    signed = code_activation == "tanh"
    curve, validation_curve = trained.loss_curve, trained.validation_curve
    n_iter, n_steps = len(curve), trained.n_steps
    if resume:
        curve = [*estimator.loss_curve_, *curve]
        validation_curve = [*(estimator.validation_score_curve_ or []), *validation_curve]
        n_iter += estimator.n_iter_
        n_steps += estimator.n_steps_
    return {
        "loss_": trained.loss,
        "beta_": None if estimator.sparsity is None else trained.beta,
        "loss_curve_": curve,
        "validation_score_curve_": validation_curve or None,
        "mean_activation_": (1.0 + trained.mean_code) / 2.0 if signed else trained.mean_code,
        "n_iter_": n_iter,
        "n_steps_": n_steps,
    }


def warn_of_end(trained: "Trained", schedule: "Schedule", *, one_pass: bool) -> None:
    """Warn if training ended before it was done; a single pass never claims to be."""
    if trained.stopped_by == "interrupt":
        warn_user("Training interrupted by user.")
    if one_pass or trained.stopped_by != "max_iter":
        return
    curve = trained.loss_curve
    if schedule.solver != "lbfgs" and schedule.learning_rate_schedule == "linear":
        # The rate has fallen to zero as planned: only a loss still on its way down is a reason.
        n_epochs = min(schedule.n_iter_no_change, len(curve) - 1)
        earlier = curve[-1 - n_epochs]
        if earlier - curve[-1] <= n_epochs * schedule.tol * abs(earlier):
            return
    warn_user(
        f"solver={schedule.solver!r} reached max_iter={schedule.max_iter} and the loss has not "
        "converged yet: raise max_iter, or tol.",
        ConvergenceWarning,
    )


def warn_of_missed_rho(
    trained: "Trained", estimator: "SparseAutoencoderTransformer", rho: float
) -> None:
    """Warn if the beta that was to be found has not been."""
    from sksae.engine.controller import TOLERANCE

    activity = trained.activity
    if activity is None or abs(activity - rho) <= TOLERANCE * rho:
        return
    what = "mean activation" if estimator.sparsity == "kl" else "share of active units"
    if activity > rho:
        advice = "raise max_iter, rho or n_components"
        if estimator.sparsity != "kl":
            advice += ", or use activation='relu' and sparsity='l1', which makes exact zeros"
    else:
        advice = "raise max_iter, or lower the learning rate, at which units may die, or rho"
    warn_user(
        f"beta='auto' ended at beta_={trained.beta:.3g} with a {what} of {activity:.4g}, more than "
        f"{TOLERANCE:.0%} off rho={rho:.4g}: {advice}.",
        ConvergenceWarning,
    )
