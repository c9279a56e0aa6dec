"""From a specification and rows to a plan: all that the engine is to know of a training."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sksae.model.architecture import Architecture
from sksae.model.numbers import HALF, Matrix
from sksae.model.scaling import Scaling, scaled_deviation
from sksae.model.settings import Noise, Penalties, TrainingConfig
from sksae.model.tasks import Monitor, TrainingTask
from sksae.process.processes import processes_in_use
from sksae.process.shortage import IN_TRAINING, explained_shortage
from sksae.training import defaults
from sksae.training.code_start import BANDWIDTH, code_start, deviation_at_start
from sksae.training.moments import count_rows, find_scaling
from sksae.training.open_parameters import resolve_alpha, resolve_beta, resolve_learning_rate
from sksae.training.record import Fitted
from sksae.training.seen import Seen
from sksae.training.specification import Specification, TrainingSpecification
from sksae.training.splits import check_rows, split_rows
from sksae.training.start import ScalingFinder, begin, check_same_network, go_on

# Steps over which the learning rate rises, for each layer between input and code. There gradients
# begin small and grow many times over while the layers adapt to each other. Until Adam has seen
# that, its steps are far too long: they move relu units to where no row reaches them any more.
WARM_UP = 200


@dataclass(frozen=True)
class Plan:
    """A training that is asked for.

    Attributes
    ----------
    architecture : Architecture
    penalties : Penalties
    config : TrainingConfig
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
    loss : {"squared_error", "cross_entropy"}
        Of the output; the latter of labels, or of rows where there is no target.
    target : ndarray of shape (n_samples, n_targets) or None
        What is to be made of each row; the row itself by default.
    read_as, largest_before
        As in `TrainingTask`.
    """

    architecture: Architecture
    penalties: Penalties
    config: TrainingConfig
    start: np.ndarray
    scaling: Scaling
    dtype: str
    device: str
    state: "dict[str, np.ndarray] | None" = None
    seen: Seen | None = None
    index: np.ndarray | None = None
    held_out_index: np.ndarray | None = None
    loss: str = "squared_error"
    target: np.ndarray | None = None
    read_as: str | None = None
    largest_before: np.ndarray | None = None

    @property
    def rho(self) -> float:
        """Wanted share of active units."""
        rho = self.penalties.rho
        assert isinstance(rho, float)
        return rho

    def count_rows(self, X: Matrix) -> int:
        """Return how many rows of X are trained on."""
        return count_rows(X, self.index)

    def task(self, monitor: Monitor | None = None) -> TrainingTask:
        """Return it in the engine's words."""
        return TrainingTask(
            self.penalties,
            self.config,
            self.start,
            self.architecture.selection,
            self.state,
            monitor,
            read_as=self.read_as,
            largest_before=self.largest_before,
        )


def shared_draws(draws: np.random.RandomState) -> np.random.RandomState:
    """Return what all of several processes draw from: what the first one has."""
    processes = processes_in_use()
    state = processes.of_first(draws.get_state(legacy=True))
    if processes.is_first:
        return draws
    draws = np.random.RandomState()
    draws.set_state(state)
    return draws


def check_device(specification: TrainingSpecification) -> None:
    """Raise if the device is not there, or cannot train in that precision."""
    from sksae.engine.device import training_device

    training_device(specification.device, specification.dtype)


@explained_shortage(IN_TRAINING)
def make_plan(
    specification: Specification,
    X: Matrix,
    sample_weight: np.ndarray | None,
    *,
    resume_from: Fitted | None = None,
    one_pass: bool = False,
    random_state: int | np.random.RandomState | None = None,
    find: ScalingFinder = find_scaling,
) -> Plan:
    """Return the training of an autoencoder on some rows.

    Parameters
    ----------
    specification : Specification
        The autoencoder.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows.
    sample_weight : ndarray of shape (n_samples,), optional
        Validated weights.
    resume_from : Fitted, optional
        What to go on from; by default training starts from new weights.
    one_pass : bool
        Whether to make a single pass at the constant rate, as ``partial_fit`` does.
    random_state : int, RandomState or None
        What to draw from where the specification's own ``random_state`` is None.
    find : callable
        `find_scaling`, or what knows what it would return.
    """
    check_device(specification)
    n_features, before = X.shape[1], resume_from
    architecture = make_architecture(specification, n_features)
    if before is None:
        own = specification.random_state
        draws = shared_draws(check_random_state(random_state if own is None else own))
        seed = int(draws.randint(np.iinfo(np.int32).max))
    else:
        check_same_network(
            before.network,
            architecture,
            loss=specification.loss,
            scale_data=specification.scale_data,
            tied_weights=specification.tied_weights,
        )
        seed = before.record.seed
    check_rows(specification.loss, X, sample_weight)
    index, held_out_index = split_rows(specification, X.shape[0], sample_weight, seed)
    find_code_start = partial(
        code_start, specification.sparsity, specification.activation, specification.rho
    )
    if before is None:
        start = begin(
            architecture,
            X,
            index,
            sample_weight,
            draws,
            find_code_start=find_code_start,
            loss=specification.loss,
            scale_data=specification.scale_data,
            find=find,
        )
    else:
        start = go_on(
            before,
            architecture,
            X,
            index,
            sample_weight,
            find_code_start=find_code_start,
            sparsity=specification.sparsity,
            is_piece=one_pass,
        )
    return Plan(
        architecture=architecture,
        penalties=Penalties(
            specification.sparsity,
            specification.rho,
            resolve_beta(specification, specification.beta, start.scaling.divergence),
            resolve_alpha(specification, specification.alpha, n_features),
            # Atoms of unit norm do not decay.
            decays="encoder" if architecture.is_dictionary else "all",
            bandwidth=BANDWIDTH * deviation_at_start(start.scaling, start.seen.mean_deviation),
        ),
        config=_config_of_rows(
            specification,
            seed,
            count_rows(X, index),
            n_features,
            before=before,
            one_pass=one_pass,
            pace=start.pace,
        ),
        start=start.flat,
        state=start.state,
        seen=start.seen,
        scaling=start.scaling,
        index=index,
        held_out_index=held_out_index,
        dtype=specification.dtype,
        device=specification.device,
        loss=specification.loss,
        # Another fit may be of rows that have nothing to do with those before.
        largest_before=before.record.largest_activation if before and one_pass else None,
    )


def make_architecture(specification: Specification, n_features: int) -> Architecture:
    """Return the layers of an autoencoder for rows of so many features."""
    return Architecture.autoencoder(
        n_features,
        specification.n_components,
        hidden_layer_sizes=specification.hidden_layer_sizes,
        hidden_activation=specification.hidden_activation,
        activation=specification.activation,
        output_activation=specification.output_activation,
        tied_weights=specification.tied_weights,
        selection=specification.selection,
    )


def _config_of_rows(
    specification: Specification,
    seed: int,
    n_rows: int,
    n_features: int,
    *,
    before: Fitted | None,
    one_pass: bool,
    pace: float,
) -> TrainingConfig:
    """Return the solver and the steps of an autoencoder's training on so many rows.

    Parameters
    ----------
    specification : Specification
        The autoencoder that is asked for.
    seed : int
        Of the order of rows.
    n_rows : int
        Training rows.
    n_features : int
        Of the rows.
    before : Fitted or None
        What training goes on from.
    one_pass : bool
        Whether to make a single pass at the constant rate.
    pace : float
        For how many steps each step counts.
    """
    batch_size = defaults.resolve_batch_size(specification.batch_size, n_rows)
    n_hidden_layers = len(specification.hidden_layer_sizes)
    return make_training_config(
        specification,
        seed,
        learning_rate=resolve_learning_rate(specification, specification.learning_rate, n_features),
        code_bias_gain=defaults.code_bias_gain(
            specification.solver,
            n_hidden_layers,
            n_features,
            specification.tied_weights,
            specification.is_scaled,
        ),
        threshold_gain=defaults.threshold_gain(
            specification.solver, n_features, specification.is_scaled
        ),
        batch_size=batch_size,
        max_iter=defaults.resolve_max_iter(
            specification.max_iter, specification.solver, n_rows, batch_size
        ),
        n_iter_no_change=defaults.resolve_patience(
            specification.n_iter_no_change, specification.solver, n_rows, batch_size
        ),
        first_epoch=0 if before is None else before.record.n_iter,
        one_pass=one_pass,
        pace=pace,
        noise=_make_noise(specification, n_features),
        blanks_to_zero=not specification.scale_data,
        n_steps_before=0 if before is None else before.record.n_steps,
        warm_up=WARM_UP * n_hidden_layers,
    )


def make_training_config(
    specification: TrainingSpecification,
    seed: int,
    *,
    one_pass: bool,
    max_iter: int,
    **resolved: Any,
) -> TrainingConfig:
    """Return the solver and the steps that a specification describes.

    Parameters
    ----------
    specification : TrainingSpecification
        What needs no rows to be known.
    seed : int
        Of the order of rows.
    one_pass : bool
        Whether to make a single pass at the constant rate.
    max_iter : int
        Epochs, if not.
    **resolved
        Other fields of `TrainingConfig`.
    """
    return TrainingConfig(
        solver=specification.solver,
        max_iter=1 if one_pass else max_iter,
        tol=specification.tol,
        learning_rate_schedule="constant" if one_pass else specification.learning_rate_schedule,
        momentum=specification.momentum,
        shuffle=specification.shuffle,
        seed=seed,
        is_one_pass=one_pass,
        half=specification.dtype == HALF,
        **resolved,
    )


def _make_noise(specification: Specification, n_features: int) -> Noise | None:
    """Return the noise that is asked for, in the units of the network."""
    if specification.noise is None:
        return None
    level = specification.noise_level
    if specification.noise == "gaussian" and specification.scale_data:
        level *= scaled_deviation(n_features, specification.row_range)
    return Noise(specification.noise, float(level))
