"""From an estimator's parameters and its rows to fitted attributes, by way of the engine."""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.callback import CallbackContext

from sksae import defaults, diagnostics, validation
from sksae.beforehand import find_fit
from sksae.joined import from_centred
from sksae.monitoring import EpochMonitor
from sksae.outcome import Unusual, warn_of_end
from sksae.planning import Plan, make_plan
from sksae.scaling import Matrix, Scaling, has_scaled_norm
from sksae.stages import short_named
from sksae.warning import membership_of, warn_user

if TYPE_CHECKING:
    from sksae.engine.jobs import Trained
    from sksae.engine.parameters import Architecture
    from sksae.engine.watching import Monitor, NonFiniteLossError
    from sksae.transformer import SparseAutoencoderTransformer

# A learning rate that is less than this share of the usual one may be why nothing was learnt.
TOO_SLOW = 0.1


def fitted_attributes(
    estimator: "SparseAutoencoderTransformer",
    X: Matrix,
    y: object,
    sample_weight: np.ndarray | None,
    *,
    resume: bool,
    one_pass: bool,
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
        Whether to make a single pass at the constant rate, as ``partial_fit`` does, of which
        callbacks do not hear.

    Returns
    -------
    attributes : dict
        Every fitted attribute and its value.
    """
    made = None if resume or one_pass else find_fit(estimator, X, sample_weight)
    if made is None:
        plan = make_plan(
            estimator,
            X,
            sample_weight,
            resume_from=estimator if resume else None,
            one_pass=one_pass,
        )
    else:
        plan = made.plan
    warn_of_parameters(estimator, X, plan)
    if plan.scaling.columns is not None:
        warn_of_rows(estimator, X, plan)
    architecture, scaling = plan.architecture, plan.scaling
    context: CallbackContext | None = None
    if not one_pass:
        n_epochs = plan.schedule.max_iter
        context = short_named(estimator._init_callback_context(max_subtasks=n_epochs))
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
    trained = made.outcome if made else train_plans([plan], X, sample_weight, monitor)[0]
    if isinstance(trained, ValueError):
        raise trained
    attributes = network_attributes(architecture, trained.flat, scaling)
    attributes |= record(estimator, plan, trained, resume=resume)
    attributes |= {"_seed": plan.schedule.seed, "_state": trained.state}
    attributes["_stopped_by"] = trained.stopped_by
    assert plan.seen is not None
    attributes["_seen"] = plan.seen.as_dict()
    n_rows = X.shape[0] if plan.index is None else len(plan.index)
    warn_of_end(trained, plan, unusual_parameters(estimator, plan), n_rows=n_rows)
    if context is not None:
        context.call_on_fit_task_end(
            estimator=estimator, reconstruction_attributes=attributes, **task
        )
    return attributes


def train_plans(
    plans: Sequence[Plan],
    X: Matrix,
    sample_weight: np.ndarray | None,
    monitor: "Monitor | None" = None,
) -> "list[Trained | NonFiniteLossError]":
    """Train what plans for the same rows ask for, side by side if they are several."""
    from sksae.engine.losses import SquaredError
    from sksae.engine.training import train

    first = plans[0]
    held_out = first.held_out_index
    return train(
        first.architecture,
        [plan.job(monitor) for plan in plans],
        first.rows(X, sample_weight, first.index),
        first.loss or SquaredError(first.scaling.offset),
        held_out=None if held_out is None else first.rows(X, sample_weight, held_out),
    )


def warn_of_parameters(estimator: "SparseAutoencoderTransformer", X: Matrix, plan: Plan) -> None:
    """Warn of parameters that do nothing, or ask for what cannot be."""
    defaults = type(estimator)()
    given, default = ({"rho": each.rho, "beta": each.beta} for each in (estimator, defaults))
    validation.warn_of_idle_penalty(estimator.sparsity, given, default)
    validation.warn_of_idle_noise(estimator.noise, estimator.noise_level, defaults.noise_level)
    columns = plan.scaling.columns if plan.index is None else None
    validation.warn_of_unreachable_targets(
        X, estimator.output_activation, estimator.scale_data, columns
    )


def warn_of_rows(estimator: "SparseAutoencoderTransformer", X: Matrix, plan: Plan) -> None:
    """Warn of columns that spoil a training, and of unscaled rows that the defaults are not for."""
    scaling, membership = plan.scaling, membership_of(estimator)
    on_codes = membership is not None and membership.on_codes
    message = None
    if not on_codes:
        owner = estimator if membership is None else membership.whole
        names = getattr(owner, "feature_names_in_", None)
        message = diagnostics.message_on_columns(X, plan.index, scaling, names)
    given: set[float | str | None] = {estimator.alpha}
    if estimator.sparsity is not None:
        given.add(0.0 if estimator.beta == "auto" else estimator.beta)
    if estimator.solver != "lbfgs":
        given.add(estimator.learning_rate)
    if message is None and not given.isdisjoint({None, "auto"}):
        message = diagnostics.message_on_norm(
            scaling, estimator.output_activation, may_multiply=not on_codes
        )
    if message is not None:
        warn_user(message)


def unusual_parameters(estimator: "SparseAutoencoderTransformer", plan: Plan) -> list[Unusual]:
    """Return the parameters that are set higher than what their defaults stand for.

    And a learning rate that is far lower.
    """
    sparsity, solver = estimator.sparsity, estimator.solver
    n_features = plan.architecture.sizes[0]
    is_scaled = has_scaled_norm(estimator.output_activation, estimator.scale_data)
    n_hidden_layers = plan.architecture.n_encoder_layers - 1
    default = type(estimator)().get_params(deep=False)
    usual: dict[str, Any] = {
        "learning_rate": defaults.resolve_learning_rate(
            "auto", solver, sparsity, n_features, is_scaled
        ),
        "alpha": defaults.resolve_alpha(None, sparsity, n_hidden_layers, n_features, is_scaled),
        "beta": defaults.resolve_beta(None, sparsity, is_scaled),
        "noise_level": default["noise_level"],
        "tol": default["tol"],
    }
    without_effect = {
        "learning_rate": solver == "lbfgs",
        "beta": sparsity is None,
        "noise_level": estimator.noise is None,
    }
    return [
        Unusual(name, float(value), default[name], usual[name])
        for name in usual
        if not without_effect.get(name)
        and isinstance(value := getattr(estimator, name), Real)
        and (
            float(value) > usual[name]
            or (name == "learning_rate" and float(value) < TOO_SLOW * usual[name])
        )
    ]


def network_attributes(
    architecture: "Architecture", flat: np.ndarray, scaling: Scaling
) -> dict[str, Any]:
    """Return the fitted attributes that make a network work, from its centred parameters."""
    layers = from_centred(architecture, flat, scaling)
    return {
        "coefs_": [layer.coef for layer in layers],
        "intercepts_": [layer.intercept.astype(flat.dtype) for layer in layers],
        "slopes_": [layer.slope for layer in layers],
        "mean_": scaling.mean,
        "scale_": scaling.scale,
        "_shift": scaling.shift,
        "_centre": scaling.centre,
        "_activations": architecture.activations,
        "_tied": any(architecture.tied),
        "_scaled": scaling.scaled,
        "_stretch": scaling.stretch,
    }


def record(
    estimator: "SparseAutoencoderTransformer",
    plan: Plan,
    trained: "Trained",
    *,
    resume: bool,
) -> dict[str, Any]:
    """Return the fitted attributes that tell how training went."""
    architecture = plan.architecture
    # A beta that was given is told as given, not as the dtype of training rounds it.
    beta = trained.beta if isinstance(plan.penalties.beta, str) else plan.penalties.beta
    code_activation = architecture.activations[architecture.n_encoder_layers - 1]
    curve, validation_curve = trained.loss_curve, trained.validation_curve
    n_iter, n_steps = len(curve), trained.n_steps
    if resume:
        curve = [*estimator.loss_curve_, *curve]
        validation_curve = [*(estimator.validation_score_curve_ or []), *validation_curve]
        n_iter += estimator.n_iter_
        n_steps += estimator.n_steps_
    return {
        "loss_": trained.loss,
        "beta_": None if estimator.sparsity is None else beta,
        "alpha_": plan.penalties.alpha,
        "loss_curve_": curve,
        "validation_score_curve_": validation_curve or None,
        "mean_activation_": mean_activation(trained.mean_code, code_activation),
        "n_iter_": n_iter,
        "n_steps_": n_steps,
    }


def mean_activation(mean_code: np.ndarray, activation: str) -> np.ndarray:
    """Return the activity of units whose code has that mean; tanh is read as (1 + a) / 2."""
    return (1.0 + mean_code) / 2.0 if activation == "tanh" else mean_code
