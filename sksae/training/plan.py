"""From an estimator's parameters and its rows to what the engine is to train."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.utils import check_random_state

from sksae.model.numbers import HALF
from sksae.process.shortage import IN_TRAINING, explained_shortage
from sksae.scaling import (
    Matrix,
    Scaling,
    find_scaling,
    has_scaled_norm,
    scaled_deviation,
    well_scaled,
)
from sksae.training import defaults, validation
from sksae.training.record import Fitted
from sksae.training.seen import Seen
from sksae.training.start import ScalingFinder, begin, check_same_network, go_on

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
    seen : Seen or None
        What is known of the rows of all pieces, these included.
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
    seen: Seen | None = None
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
            sample_weight=well_scaled(sample_weight),
            target=self.target,
        )


@explained_shortage(IN_TRAINING)
def make_plan(
    estimator: "SparseAutoencoderTransformer",
    X: Matrix,
    sample_weight: np.ndarray | None,
    *,
    resume_from: Fitted | None = None,
    one_pass: bool = False,
    random_state: int | np.random.RandomState | None = None,
    find: ScalingFinder = find_scaling,
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
    resume_from : Fitted, optional
        What to go on from; by default training starts from new weights.
    one_pass : bool
        Whether to make a single pass at the constant rate, as ``partial_fit`` does.
    random_state : int, RandomState or None
        What to draw from where the estimator's own ``random_state`` is None.
    find : callable
        `find_scaling`, or what knows what it would return.
    """
    from sksae.engine.device import training_device
    from sksae.engine.objective import Penalties

    training_device(estimator.device, estimator.dtype)  # raises if it is not there
    architecture = make_architecture(estimator, X.shape[1])
    rho, beta = check_parameters(estimator)
    before = resume_from
    if before is None:
        own = estimator.random_state
        draws = check_random_state(random_state if own is None else own)
        seed = int(draws.randint(np.iinfo(np.int32).max))
    else:
        check_same_network(
            before.network,
            architecture,
            scale_data=estimator.scale_data,
            tied_weights=estimator.tied_weights,
        )
        seed = before.record.seed
    index, held_out_index = split_rows(estimator, X.shape[0], sample_weight, seed)
    code_activation = architecture.activations[architecture.n_encoder_layers - 1]
    code_bias = validation.code_bias(estimator.sparsity, code_activation, rho)
    if before is None:
        start = begin(
            architecture,
            X,
            index,
            sample_weight,
            draws,
            code_bias=code_bias,
            scale_data=estimator.scale_data,
            find=find,
        )
    else:
        start = go_on(
            before,
            architecture,
            X,
            index,
            sample_weight,
            code_bias=code_bias,
            is_piece=one_pass,
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
            first_epoch=0 if before is None else before.record.n_iter,
            one_pass=one_pass,
            pace=start.pace,
            noise=make_noise(estimator, X.shape[1]),
            blanks_to_zero=not estimator.scale_data,
            n_steps_before=0 if before is None else before.record.n_steps,
            warm_up=WARM_UP * (architecture.n_encoder_layers - 1),
        ),
        start=start.flat,
        state=start.state,
        seen=start.seen,
        scaling=start.scaling,
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
    validation.check_half(estimator.dtype, estimator.solver)
    validation.check_precision(estimator.dtype, **numbers)
    validation.check_learning_rate(estimator.learning_rate, estimator.solver, estimator.dtype)
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
    pace: float = 1.0,
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
        pace=pace,
        noise=noise,
        blanks_to_zero=blanks_to_zero,
        dropout=dropout,
        half=estimator.dtype == HALF,
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
