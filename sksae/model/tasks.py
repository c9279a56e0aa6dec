"""What is to be trained, what a training leaves behind, and who hears of its epochs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from sksae.model.codes import Selection
from sksae.model.loss_parts import UNKNOWN, LossParts, totals
from sksae.model.settings import Penalties, TrainingConfig

# What the next step of a solver depends on.
State: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class Snapshot:
    """A network at one moment of its training, as numpy arrays of its own.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters in the precision of training, for centred rows.
    losses, validation_curve : list of LossParts, list of float
        As in `TrainingResult`, up to this moment.
    """

    flat: np.ndarray
    losses: list[LossParts]
    validation_curve: list[float]


TakeSnapshot = Callable[[], Snapshot]
TakeState = Callable[[], State]


class CodeMeasured(NamedTuple):
    """What the code of some rows is like: means over units and rows, and of rows' sparsity."""

    mean_activation: float
    row_sparsity: float


class Progress(NamedTuple):
    """How far a training has come by the end of an epoch.

    Attributes
    ----------
    n_epochs, n_left : int
        Epochs of this training so far, and that are still planned: at most so many.
    loss : LossParts
        J over the epoch.
    score : float or None
        Of the rows held out, if there are any.
    measure : callable
        Measures the code of the epoch's last minibatch (for lbfgs of some rows); None where none
        is trained. To be called before training goes on.
    """

    n_epochs: int
    n_left: int
    loss: LossParts
    score: float | None
    measure: Callable[[], CodeMeasured | None]


class Monitor(Protocol):
    """Who is told of every epoch (of every iteration, for lbfgs)."""

    def epoch_begins(self, snapshot: TakeSnapshot) -> None:
        """Hear of an epoch about to start."""

    def epoch_ends(self, snapshot: TakeSnapshot, progress: Progress | None) -> bool:
        """Hear of an epoch just ended, None if nothing came of it; return whether to stop."""

    def training_ends(self, stopped_by: str) -> None:
        """Hear why there are no more epochs."""


class Keeper(Protocol):
    """Who keeps where a training stands, so that it can be resumed after it was interrupted."""

    def __call__(self, n_epochs: int, take_state: TakeState) -> None:
        """Hear that so many epochs (iterations, for lbfgs) are done.

        What `take_state` returns may share memory with the training, which waits meanwhile.
        """


@dataclass
class TrainingResult:
    """What a training leaves behind.

    What is found by going over all rows again is unknown, nan or None, where the user did not wait
    for it.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters, for centred rows.
    loss : float
        J over all training rows.
    loss_parts : LossParts
        The same, with its terms.
    beta : float
        Weight of S; what was found, if it was to be.
    activity : float or None
        Over all training rows, what a beta to be found shall bring to rho.
    mean_code : ndarray of shape (n_components,)
        Weighted mean of the code over the training rows; zeros where there is no code.
    active_share : ndarray of shape (n_components,)
        Weighted share of the training rows in which each unit is active, of autoencoders.
    lowest, highest : ndarray of shape (n_components,)
        Smallest and largest activation of each unit on the training rows.
    largest : ndarray of shape (n_components,)
        Largest activity of each unit on these rows, and on those before that count.
    row_sparsity : float
        Weighted mean over the training rows of Hoyer's sparsity of their activities.
    error, deviation : float
        Mean squared error over the training rows, and that of their mean (see `Evaluation`).
    loss_of_mean : float
        The loss, without other terms of J, if their mean were the output for all rows.
    threshold : float or None
        Above which units of a code are kept that selected them by the batch.
    loss_at_start : float or None
        J at the parameters that training began with, with the beta that it ended with; None
        where nothing is held against it.
    losses, validation_curve : list of LossParts, list of float
        One entry an epoch: mean J over its batches (J for lbfgs); R^2 of the held-out rows.
    n_steps : int
        Steps taken.
    stopped_by : {"max_iter", "tol", "callback", "interrupt", "precision"}
        Why training ended.
    state : dict of ndarray
        What a training that goes on from here needs.
    """

    flat: np.ndarray
    loss: float = nan
    loss_parts: LossParts = UNKNOWN
    beta: float = 0.0
    activity: float | None = None
    mean_code: np.ndarray = field(default_factory=lambda: np.empty(0))
    active_share: np.ndarray = field(default_factory=lambda: np.empty(0))
    lowest: np.ndarray = field(default_factory=lambda: np.empty(0))
    highest: np.ndarray = field(default_factory=lambda: np.empty(0))
    largest: np.ndarray = field(default_factory=lambda: np.empty(0))
    row_sparsity: float = nan
    error: float = nan
    deviation: float = nan
    loss_of_mean: float = nan
    threshold: float | None = None
    loss_at_start: float | None = None
    losses: list[LossParts] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    n_steps: int = 0
    stopped_by: str = "max_iter"
    state: State = field(default_factory=dict)

    @property
    def loss_curve(self) -> list[float]:
        """J of each epoch."""
        return totals(self.losses)


@dataclass(frozen=True)
class TrainingTask:
    """One network to be trained.

    Attributes
    ----------
    penalties : Penalties
        The terms of J besides the loss.
    config : TrainingConfig
        Solver, length and steps.
    start : ndarray of shape (n_parameters,)
        Parameters to start from, for centred rows.
    selection : Selection or None
        What its code keeps of its units.
    state : dict of ndarray, optional
        ``TrainingResult.state`` of the training that this one continues; of a single task only.
    monitor : Monitor, optional
        Told of every epoch, and asked whether to stop.
    keeper : Keeper, optional
        Told of every epoch of a single task after all else.
    interrupted_at : dict of ndarray, optional
        What the keeper of the very same training was given: it goes on from there, to the same bits
        as if it had not been interrupted.
    read_as : str, optional
        The code whose activities the activations are, where S is not of that (see `activity`).
    largest_before : ndarray of shape (n_components,), optional
        Largest activity of each unit on earlier rows that count.
    """

    penalties: Penalties
    config: TrainingConfig
    start: np.ndarray
    selection: Selection | None = None
    state: State | None = None
    monitor: Monitor | None = None
    keeper: Keeper | None = None
    interrupted_at: State | None = None
    read_as: str | None = None
    largest_before: np.ndarray | None = None

    @property
    def code(self) -> str | None:
        """The name of the code that activations are of."""
        return self.read_as or self.penalties.sparsity

    @property
    def finds_beta(self) -> bool:
        """Whether beta is to be found."""
        return self.penalties.beta == "auto"
