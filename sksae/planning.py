"""From an estimator's parameters and its rows to what the engine is to train."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.utils import check_random_state

from sksae import defaults, validation
from sksae.joined import join, to_centred
from sksae.scaling import Matrix, Scaling, find_scaling, has_scaled_norm, scaled_deviation
from sksae.shortage import IN_TRAINING, explained_shortage

if TYPE_CHECKING:
    from sksae.engine.batches import Rows
    from sksae.engine.jobs import Job, Schedule
    from sksae.engine.losses import Loss
    from sksae.engine.noise import Dropout, Noise
    from sksae.engine.objective import Penalties
    from sksae.engine.parameters import Architecture
    from sksae.engine.watching import Monitor
    from sksae.transformer import SparseAutoencoderTransformer


class Trainable(Protocol):
    """An estimator with the parameters that say how a network is trained."""

    alpha: Any
    solver: Any
    learning_rate: Any
    learning_rate_schedule: Any
    momentum: Any
    batch_size: Any
    max_iter: Any
    tol: Any
    n_iter_no_change: Any
    early_stopping: Any
    validation_fraction: Any
    shuffle: Any
    dtype: Any
    device: Any
    verbose: Any
    random_state: Any


class FineTuned(Trainable, Protocol):
    """A `Trainable` whose layers are shown corrupted rows."""

    noise: Any
    noise_level: Any


def goes_by_minibatches(estimator: Trainable) -> bool:
    """Return whether an estimator can be trained bit by bit, or raise for `available_if`."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "with solver='lbfgs', which needs all rows at once: use solver='adam' or 'sgd', or fit."
        )
    return True


# Steps over which the learning rate rises, for each layer between input and code. There gradients
# begin small and grow many times over while the layers find to each other; until Adam has seen it
# its steps are far too long, and throw relu units to where no row reaches them any more.
WARM_UP = 200


@dataclass(frozen=True)
class Plan:
    """A training that an estimator asks for.

    Attributes
    ----------
    architecture : Architecture
    penalties : Penalties
    schedule : Schedule
    start : ndarray of shape (n_parameters,)
        Parameters to start from, for centred rows.
    state : dict of ndarray or None
        Where the training stood that this one continues.
    scaling : Scaling
        Of the rows.
    index, held_out_index : ndarray of int or None
        Training rows (None: all) and rows held out (None: none).
    dtype, device : str
        Precision and place of training.
    loss : Loss or None
        Of the output; of reconstruction by default.
    target : ndarray of shape (n_samples, n_targets) or None
        What is to be made of each row; the row itself by default.
    """

    architecture: "Architecture"
    penalties: "Penalties"
    schedule: "Schedule"
    start: np.ndarray
    scaling: Scaling
    dtype: str
    device: str
    state: "dict[str, np.ndarray] | None" = None
    index: np.ndarray | None = None
    held_out_index: np.ndarray | None = None
    loss: "Loss | None" = None
    target: np.ndarray | None = None

    @property
    def rho(self) -> float:
        """Wanted share of active units."""
        rho = self.penalties.rho
        assert isinstance(rho, float)
        return rho

    def job(self, monitor: "Monitor | None" = None) -> "Job":
        """Return it in the engine's words."""
        from sksae.engine.jobs import Job

        return Job(self.penalties, self.schedule, self.start, self.state, monitor)

    def rows(self, X: Matrix, sample_weight: np.ndarray | None, index: np.ndarray | None) -> "Rows":
        """Return the rows of X that an index names as the network sees them."""
        from sksae.engine.batches import Rows
        from sksae.engine.device import training_device
        from sksae.engine.training import torch_dtype

        return Rows(
            X,
            centre=self.scaling.centre,
            scale=self.scaling.scale,
            dtype=torch_dtype(self.dtype),
            device=training_device(self.device, self.dtype),
            index=index,
            sample_weight=sample_weight,
            target=self.target,
        )


@explained_shortage(IN_TRAINING)
def make_plan(
    estimator: "SparseAutoencoderTransformer",
    X: Matrix,
    sample_weight: np.ndarray | None,
    *,
    resume: bool = False,
    one_pass: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> Plan:
    """Return what an estimator's parameters ask for.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer
        Read only.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    sample_weight : ndarray of shape (n_samples,), optional
        Validated weights.
    resume : bool
        Whether to go on from the estimator's fitted attributes.
    one_pass : bool
        Whether to make a single pass at the constant rate, as ``partial_fit`` does.
    random_state : int, RandomState or None
        What to draw from where the estimator's own ``random_state`` is None.
    """
    from sksae.engine.device import training_device
    from sksae.engine.objective import Penalties
    from sksae.engine.parameters import starting_parameters

    training_device(estimator.device, estimator.dtype)  # raises if it is not there
    architecture = make_architecture(estimator, X.shape[1])
    rho, beta = check_parameters(estimator)
    if resume:
        check_same_network(estimator, architecture)
        seed = estimator._seed
    else:
        own = estimator.random_state
        draws = check_random_state(random_state if own is None else own)
        seed = int(draws.randint(np.iinfo(np.int32).max))
    index, held_out_index = split_rows(estimator, X.shape[0], sample_weight, seed)
    if resume:
        scaling = Scaling(
            mean=estimator.mean_,
            scale=estimator.scale_,
            shift=estimator._shift,
            centre=estimator._centre,
            scaled=estimator._scaled,
        )
        start = to_centred(architecture, join([estimator]), scaling)
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
            draws,
            code_bias=validation.code_bias(estimator.sparsity, code_activation, rho),
            target_mean=scaling.offset,
        )
    n_rows = X.shape[0] if index is None else len(index)
    batch_size = defaults.resolve_batch_size(estimator.batch_size, n_rows)
    is_scaled = has_scaled_norm(estimator.output_activation, estimator.scale_data)
    alpha = defaults.resolve_alpha(
        estimator.alpha,
        estimator.sparsity,
        architecture.n_encoder_layers - 1,
        X.shape[1],
        is_scaled,
    )
    return Plan(
        architecture=architecture,
        penalties=Penalties(estimator.sparsity, rho, beta, alpha),
        schedule=make_schedule(
            estimator,
            seed,
            learning_rate=defaults.resolve_learning_rate(
                estimator.learning_rate,
                estimator.solver,
                estimator.sparsity,
                X.shape[1],
                is_scaled,
                is_tied=estimator.tied_weights,
            ),
            code_bias_gain=defaults.code_bias_gain(
                estimator.solver,
                architecture.n_encoder_layers - 1,
                X.shape[1],
                estimator.tied_weights,
                is_scaled,
            ),
            batch_size=batch_size,
            max_iter=defaults.resolve_max_iter(
                estimator.max_iter, estimator.solver, n_rows, batch_size
            ),
            n_iter_no_change=defaults.resolve_patience(
                estimator.n_iter_no_change, estimator.solver, n_rows, batch_size
            ),
            first_epoch=estimator.n_iter_ if resume else 0,
            one_pass=one_pass,
            noise=make_noise(estimator, X.shape[1]),
            blanks_to_zero=not estimator.scale_data,
            n_steps_before=estimator.n_steps_ if resume else 0,
            warm_up=WARM_UP * (architecture.n_encoder_layers - 1),
        ),
        start=start,
        state=estimator._state if resume else None,
        scaling=scaling,
        index=index,
        held_out_index=held_out_index,
        dtype=estimator.dtype,
        device=estimator.device,
    )


def check_parameters(estimator: "SparseAutoencoderTransformer") -> tuple[float, float | str]:
    """Return rho as a share and beta, or raise if parameters make no sense together."""
    validation.resolve_hidden_layer_sizes(estimator.hidden_layer_sizes)
    validation.resolve_activation(estimator.activation, estimator.sparsity)
    rho = validation.resolve_rho(estimator.rho, estimator.n_components)
    is_scaled = has_scaled_norm(estimator.output_activation, estimator.scale_data)
    beta = defaults.resolve_beta(estimator.beta, estimator.sparsity, is_scaled)
    numbers = {"rho": rho}
    if estimator.alpha is not None:
        numbers["alpha"] = float(estimator.alpha)
    if not isinstance(beta, str):
        numbers["beta"] = beta
    if estimator.noise is not None:
        numbers["noise_level"] = float(estimator.noise_level)
    validation.check_precision(estimator.dtype, **numbers)
    validation.check_noise(estimator.noise, estimator.noise_level)
    validation.check_scaling(estimator.output_activation, estimator.scale_data)
    return rho, beta


def make_architecture(estimator: "SparseAutoencoderTransformer", n_features: int) -> "Architecture":
    """Return the layers that an estimator's parameters describe."""
    from sksae.engine.parameters import Architecture

    return Architecture.autoencoder(
        n_features,
        estimator.n_components,
        hidden_layer_sizes=validation.resolve_hidden_layer_sizes(estimator.hidden_layer_sizes),
        hidden_activation=estimator.hidden_activation,
        activation=validation.resolve_activation(estimator.activation, estimator.sparsity),
        output_activation=estimator.output_activation,
        tied_weights=estimator.tied_weights,
    )


def check_same_network(
    estimator: "SparseAutoencoderTransformer", architecture: "Architecture"
) -> None:
    """Raise if training is to go on with other layers than it began with."""
    if estimator.scale_data != estimator._scaled:
        raise ValueError(
            f"Training can only go on with scale_data={estimator._scaled}, with which it began: "
            "set it back, or fit anew with warm_start=False."
        )
    if estimator.tied_weights != estimator._tied:
        raise ValueError(
            f"Training can only go on with tied_weights={estimator._tied}, with which it began: "
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
    estimator: Trainable, n_samples: int, sample_weight: np.ndarray | None, seed: int
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
    estimator: Trainable,
    seed: int,
    *,
    learning_rate: float,
    batch_size: int,
    max_iter: int,
    n_iter_no_change: int,
    first_epoch: int,
    one_pass: bool,
    noise: "Noise | None" = None,
    blanks_to_zero: bool = False,
    dropout: "Dropout | None" = None,
    n_steps_before: int = 0,
    warm_up: int = 0,
    code_bias_gain: float = 1.0,
) -> "Schedule":
    """Return the solver and the steps that an estimator's parameters describe."""
    from sksae.engine.jobs import Schedule

    return Schedule(
        solver=estimator.solver,
        max_iter=1 if one_pass else max_iter,
        tol=estimator.tol,
        n_iter_no_change=n_iter_no_change,
        learning_rate=learning_rate,
        learning_rate_schedule="constant" if one_pass else estimator.learning_rate_schedule,
        code_bias_gain=code_bias_gain,
        momentum=estimator.momentum,
        batch_size=batch_size,
        shuffle=estimator.shuffle,
        seed=seed,
        first_epoch=first_epoch,
        n_steps_before=n_steps_before,
        warm_up=warm_up,
        is_one_pass=one_pass,
        noise=noise,
        blanks_to_zero=blanks_to_zero,
        dropout=dropout,
    )


def make_noise(estimator: "SparseAutoencoderTransformer", n_features: int) -> "Noise | None":
    """Return the noise that an estimator's parameters describe, in the units of the network."""
    from sksae.engine.noise import Noise

    if estimator.noise is None:
        return None
    level = estimator.noise_level
    if estimator.noise == "gaussian" and estimator.scale_data:
        level *= scaled_deviation(n_features, estimator.output_activation)
    return Noise(estimator.noise, float(level))
