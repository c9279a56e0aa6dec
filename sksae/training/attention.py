"""A network of sparse attention: what is asked for, and what that is on some rows.

As of autoencoders there is a specification (parameters) and a plan (what they ask for on rows).
`attention_fit` trains it.
"""

from dataclasses import dataclass, fields
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from sksae.model.attention import AttentionArchitecture, AttentionNetwork
from sksae.model.codes import BOUNDED, CODES, Selection
from sksae.model.loss_parts import LossParts
from sksae.model.numbers import kept_dtype
from sksae.model.settings import Penalties, TrainingConfig
from sksae.model.tasks import Monitor, State, TrainingTask
from sksae.process.warning import warn_user
from sksae.training import defaults, validation
from sksae.training.attention_start import TokenRows, scaling_of_tokens, starting_parameters
from sksae.training.splits import split_rows

# Steps over which the learning rate rises; where it falls later, a quarter of all at most.
WARM_UP = 200
# The rate of adam by default, up to that width between blocks. Units of relu die of long steps.
BOUNDED_RATE, RELU_RATE, REFERENCE_WIDTH = 1e-2, 3e-3, 64
# So many tokens are a minibatch by default, in so many rows at least and at most.
TOKENS_PER_BATCH, FEWEST_ROWS, MOST_ROWS = 512, 16, 256


@dataclass(frozen=True)
class AttentionSpecification:
    """A network that is asked for; as the parameters of the same names say."""

    n_components: int
    attention_density: float | int
    n_blocks: int
    n_heads: int
    d_model: int
    dim_feedforward: int
    positions: str
    dropout: float
    mask_fraction: float
    visible_weight: float
    sparsity: str | None
    rho: float
    beta: float | None
    alpha: float
    learning_rate: float | str
    learning_rate_schedule: str
    batch_size: int | str
    max_iter: int
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    dtype: str
    device: str
    random_state: int | np.random.RandomState | None

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} must divide d_model={self.d_model}: each head has as many "
                "units of it as the others."
            )
        numbers = {} if self.beta is None else {"beta": float(self.beta)}
        validation.check_precision(
            self.dtype,
            rho=self.rho_share,
            alpha=float(self.alpha),
            learning_rate=self.rate,
            **numbers,
        )
        defaults.resolve_beta(self.beta, self.sparsity, is_scaled=True)

    @property
    def rate(self) -> float:
        """The learning rate, given or by default."""
        if not isinstance(self.learning_rate, str):
            return float(self.learning_rate)
        rate = BOUNDED_RATE if CODES[self.sparsity].activation in BOUNDED else RELU_RATE
        return rate * min(1.0, REFERENCE_WIDTH / self.d_model)

    @property
    def rho_share(self) -> float:
        """The wanted share of active units."""
        return validation.resolve_rho(self.rho, self.n_components)

    @property
    def selection(self) -> Selection | None:
        """What the code keeps of its units; None is all."""
        if self.sparsity is None or not CODES[self.sparsity].is_exact:
            return None
        n_active = round(self.rho_share * self.n_components)
        if n_active < 1:
            raise ValueError(
                f"rho={self.rho} of n_components={self.n_components} rounds to no active unit: "
                f"with sparsity={self.sparsity!r} give rho as a number of units, or raise "
                "n_components."
            )
        return Selection(self.sparsity, (n_active,))

    @property
    def penalties(self) -> Penalties:
        """The terms of J besides the loss."""
        beta = defaults.resolve_beta(self.beta, self.sparsity, is_scaled=True)
        return Penalties(self.sparsity, self.rho_share, beta, float(self.alpha))

    def architecture(self, token_width: int, length: int) -> AttentionArchitecture:
        """Return the sizes of the network for rows of so many tokens.

        Raises
        ------
        ValueError
            If more scores are to be kept than there are.
        """
        density = self.attention_density
        if isinstance(density, Integral):
            density = int(density)
            if density > length:
                raise ValueError(
                    f"attention_density={density} is a number of tokens, and rows have {length} at "
                    f"most: use at most {length}, or a share in (0, 1]."
                )
        else:
            density = float(density)
        return AttentionArchitecture(
            token_width=token_width,
            length=length,
            n_components=int(self.n_components),
            d_model=int(self.d_model),
            dim_feedforward=int(self.dim_feedforward),
            n_blocks=int(self.n_blocks),
            n_heads=int(self.n_heads),
            density=density,
            positions=self.positions,
            sparsity=self.sparsity,
        )

    def warn_of_idle(self, usual_rho: float, length: int) -> None:
        """Warn of what was set and has no effect.

        Parameters
        ----------
        usual_rho : float
            What rho is by default.
        length : int
            Tokens of a row at most.
        """
        facts = CODES[self.sparsity]
        if isinstance(self.attention_density, Integral) and self.attention_density == 1 < length:
            warn_user(
                "attention_density=1 keeps one score of each query, whose weight is 1: queries and "
                "keys learn nothing. Use at least 2 tokens, or a share in (0, 1]."
            )
        if self.rho != usual_rho and not facts.uses_rho(self.beta):
            warn_user(f"rho={self.rho} has no effect with sparsity={self.sparsity!r}.")
        if self.beta is not None and not facts.has_penalty:
            warn_user(f"beta={self.beta} has no effect with sparsity={self.sparsity!r}.")


class AttentionRecord(NamedTuple):
    """What a training that goes on must know of all before it.

    Attributes
    ----------
    seed : int
        Of the order of rows, of masks and dropout, and of which rows are held out.
    has_varied : bool
        Whether tokens have differed, so that their scaling is known.
    state : dict of ndarray
        Where the solver stood.
    n_steps : int
        Steps.
    largest_activation : ndarray of shape (n_components,)
        Of each unit, over the tokens that count.
    losses, validation_curve : list of LossParts, list of float
        One entry an epoch; the latter is empty where no rows are held out.
    """

    seed: int
    has_varied: bool
    state: State
    n_steps: int
    largest_activation: np.ndarray
    losses: list[LossParts]
    validation_curve: list[float]


class AttentionFitted(NamedTuple):
    """A network and how its training went: what another training can go on from."""

    network: AttentionNetwork
    record: AttentionRecord


@dataclass(frozen=True)
class AttentionPlan:
    """A training that is asked for.

    Attributes
    ----------
    specification : AttentionSpecification
    architecture : AttentionArchitecture
    config : TrainingConfig
    start : ndarray of shape (n_parameters,)
        Parameters to start from.
    state : dict of ndarray or None
        Where the solver stood that goes on.
    mean : ndarray of shape (token_width,)
        Subtracted from tokens.
    scale : float
        Tokens are divided by it.
    has_varied : bool
        Whether tokens have differed so far.
    index, held_out_index : ndarray of int or None
        Training rows (None: all) and rows held out (None: none).
    largest_before : ndarray of shape (n_components,) or None
        Largest activity of each unit on earlier rows that count.
    """

    specification: AttentionSpecification
    architecture: AttentionArchitecture
    config: TrainingConfig
    start: np.ndarray
    state: State | None
    mean: np.ndarray
    scale: float
    has_varied: bool
    index: np.ndarray | None
    held_out_index: np.ndarray | None
    largest_before: np.ndarray | None

    def task(self, monitor: Monitor | None) -> TrainingTask:
        """Return it in the engine's words."""
        return TrainingTask(
            self.specification.penalties,
            self.config,
            self.start,
            self.specification.selection,
            self.state,
            monitor,
            largest_before=self.largest_before,
        )

    def network(self, flat: np.ndarray, threshold: float | None = None) -> AttentionNetwork:
        """Return the network of some parameters.

        Parameters
        ----------
        flat : ndarray of shape (n_parameters,)
            What was learnt.
        threshold : float, optional
            Above which units are kept, where that was found.
        """
        selection = self.specification.selection
        if selection is not None and threshold is not None:
            selection = selection._replace(threshold=threshold)
        parameters = self.architecture.split(flat)
        return AttentionNetwork(self.architecture, parameters, self.mean, self.scale, selection)


def make_attention_plan(
    specification: AttentionSpecification,
    rows: TokenRows,
    length: int,
    *,
    resume_from: AttentionFitted | None = None,
    one_pass: bool = False,
) -> AttentionPlan:
    """Return the training of a network on some rows.

    Parameters
    ----------
    specification : AttentionSpecification
        The network.
    rows : TokenRows
        Rows; some row that counts has a token.
    length : int
        Tokens of a row at most.
    resume_from : AttentionFitted, optional
        What to go on from; by default training starts from new weights.
    one_pass : bool, default=False
        Whether to make a single pass at the constant rate, as ``partial_fit`` does.

    Raises
    ------
    ValueError
        If parameters make no sense together, if the network to go on from is another one, or if
        there are too few rows for some to be held out.
    """
    from sksae.engine.device import training_device

    training_device(specification.device, specification.dtype)
    before = resume_from
    architecture = specification.architecture(rows.X.shape[1] // length, length)
    if before is not None:
        check_same_architecture(before.network.architecture, architecture)
    draws = check_random_state(specification.random_state)
    drawn = int(draws.randint(np.iinfo(np.int32).max))
    seed = drawn if before is None else before.record.seed
    weight = rows.counted_weight
    index, held_out_index = split_rows(specification, rows.X.shape[0], weight, seed)
    if before is not None and before.record.has_varied:
        mean, scale, has_varied = before.network.mean, before.network.scale, True
    else:
        scaling = scaling_of_tokens(rows, index, weight)
        mean, scale = scaling.mean, float(scaling.scale)
        has_varied = scaling.columns is not None and bool(scaling.columns.variance.any())
    dtype = kept_dtype(specification.dtype)
    if before is None:
        start = starting_parameters(architecture, specification.rho_share, draws)
    else:
        start = architecture.joined(before.network.parameters)
    n_rows = rows.X.shape[0] if index is None else len(index)
    return AttentionPlan(
        specification,
        architecture,
        _config_of(specification, seed, n_rows, length, before, one_pass=one_pass),
        start.astype(dtype),
        None if before is None else before.record.state,
        mean,
        scale,
        has_varied,
        index,
        held_out_index,
        before.record.largest_activation if before is not None and one_pass else None,
    )


def _config_of(
    specification: AttentionSpecification,
    seed: int,
    n_rows: int,
    length: int,
    before: AttentionFitted | None,
    *,
    one_pass: bool,
) -> TrainingConfig:
    """Return the steps of a training on so many rows.

    Parameters
    ----------
    specification : AttentionSpecification
        What is asked for.
    seed : int
        Of all draws.
    n_rows, length : int
        Training rows, and tokens of a row at most.
    before : AttentionFitted or None
        What training goes on from.
    one_pass : bool
        Whether to make a single pass at the constant rate.
    """
    return TrainingConfig(
        solver="adam",
        max_iter=1 if one_pass else specification.max_iter,
        tol=specification.tol,
        n_iter_no_change=specification.n_iter_no_change,
        learning_rate=specification.rate,
        learning_rate_schedule="constant" if one_pass else specification.learning_rate_schedule,
        batch_size=resolve_batch_size(specification.batch_size, n_rows, length),
        seed=seed,
        first_epoch=0 if before is None else len(before.record.losses),
        n_steps_before=0 if before is None else before.record.n_steps,
        warm_up=WARM_UP,
        is_one_pass=one_pass,
    )


def resolve_batch_size(batch_size: int | str, n_rows: int, length: int) -> int:
    """Return the most rows of a minibatch; "auto" is those of some hundred tokens.

    Parameters
    ----------
    batch_size : int or "auto"
        As it was given.
    n_rows, length : int
        Training rows, and tokens of a row at most.
    """
    if not isinstance(batch_size, str):
        return int(batch_size)
    of_few_rows = defaults.resolve_batch_size("auto", n_rows)
    return min(of_few_rows, max(FEWEST_ROWS, min(MOST_ROWS, TOKENS_PER_BATCH // length)))


def check_same_architecture(before: AttentionArchitecture, now: AttentionArchitecture) -> None:
    """Raise if a training is to go on with a network of other sizes."""
    for each in fields(before):
        old, new = getattr(before, each.name), getattr(now, each.name)
        if old != new or type(old) is not type(new):
            name = {"density": "attention_density"}.get(each.name, each.name)
            raise ValueError(
                f"The network was fitted with {name}={old!r} and cannot go on with {new!r}: set it "
                "back, or fit anew with warm_start=False."
            )
