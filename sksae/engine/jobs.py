"""What the engine is asked to train, and what it leaves behind."""

from dataclasses import dataclass, field
from math import nan

import numpy as np

from sksae.engine.batches import Rows
from sksae.engine.noise import Corruption, Dropout, Drops, Noise
from sksae.engine.objective import Penalties
from sksae.engine.solvers import State
from sksae.engine.watching import Monitor, NonFiniteLossError


@dataclass(frozen=True)
class Schedule:
    """How long and in what steps to train.

    Attributes
    ----------
    solver : {"adam", "sgd", "lbfgs"}
        Who moves the parameters.
    learning_rate, learning_rate_schedule, momentum
        Of adam and sgd.
    code_bias_gain : float
        How many times as far as the solver's step the biases of the code move.
    batch_size : int
        Most rows in a minibatch.
    max_iter : int
        Epochs, or iterations of lbfgs.
    tol, n_iter_no_change
        When to stop before.
    shuffle : bool
        Whether every epoch visits the rows in a new order.
    seed : int
        Of that order; epoch k of any training with this seed visits the rows alike.
    first_epoch : int
        Epochs done before.
    n_steps_before : int
        Steps taken before.
    warm_up : int
        Steps from the very first on over which the learning rate rises; if it falls later, a
        quarter of this training's at most.
    is_one_pass : bool
        Whether the rows are a piece of a stream, of unknown length.
    pace : float
        For how many steps each step counts: where rows weigh little beside those of the pieces
        before, for a part of one.
    noise : Noise, optional
        Corrupts the rows that are shown, drawn anew in every epoch; for lbfgs once for all.
    blanks_to_zero : bool
        Whether masked entries become 0 in the units of X, and not their mean.
    dropout : Dropout, optional
        Leaves units out of a pass, drawn anew for every minibatch; not for lbfgs.
    half : bool
        Whether the products of a step are in bfloat16; not those of lbfgs, whose line search
        compares values of J that are close to each other.
    """

    solver: str
    max_iter: int
    tol: float = 0.0
    n_iter_no_change: int = 10
    learning_rate: float = 1e-2
    learning_rate_schedule: str = "linear"
    code_bias_gain: float = 1.0
    momentum: float = 0.9
    batch_size: int = 256
    shuffle: bool = True
    seed: int = 0
    first_epoch: int = 0
    n_steps_before: int = 0
    warm_up: int = 0
    is_one_pass: bool = False
    pace: float = 1.0
    noise: Noise | None = None
    blanks_to_zero: bool = False
    dropout: Dropout | None = None
    half: bool = False

    @property
    def common(self) -> tuple[object, ...]:
        """What schedules must agree in to be followed side by side."""
        return (
            self.solver,
            self.code_bias_gain,
            self.momentum,
            self.batch_size,
            self.shuffle,
            self.seed,
            self.first_epoch,
            self.is_one_pass,
            self.pace,
            self.noise,
            self.blanks_to_zero,
            self.dropout,
            self.half,
        )

    def corruption(self, rows: Rows) -> Corruption | None:
        """Return what corrupts some rows, if anything does."""
        if self.noise is None:
            return None
        return Corruption(self.noise, self.seed, rows.blank(at_zero=self.blanks_to_zero))

    def drops(self, rows: Rows) -> Drops | None:
        """Return what leaves units out, if anything does."""
        return None if self.dropout is None else Drops(self.dropout, self.seed, rows.device)

    def failure(self, epoch: int) -> NonFiniteLossError:
        """Return the error that says in which epoch, counted from 1, training broke down."""
        epoch += self.first_epoch
        if self.solver == "lbfgs":
            return NonFiniteLossError(
                f"The loss is not finite at iteration {epoch} of solver='lbfgs': scale X "
                "(scale_data=True)."
            )
        return NonFiniteLossError(
            f"The loss stopped being finite in epoch {epoch} at "
            f"learning_rate={self.learning_rate}: lower the learning rate, or scale X "
            "(scale_data=True)."
        )


@dataclass
class Trained:
    """What a training leaves behind.

    What is found by going over all rows again is unknown, nan or None, where the user did not wait
    for it.

    Attributes
    ----------
    flat : ndarray of shape (n_parameters,)
        Parameters, for centred rows.
    loss : float
        J over all training rows.
    beta : float
        Weight of S; what was found, if it was to be.
    activity : float or None
        Over all training rows, what a beta to be found shall bring to rho.
    mean_code : ndarray of shape (n_components,)
        Weighted mean of the code over the training rows; zeros where there is no code.
    lowest, highest : ndarray of shape (n_components,)
        Smallest and largest activation of each unit on the training rows.
    error, deviation : float
        Mean squared error over the training rows, and that of their mean (see `Evaluation`).
    loss_at_start : float or None
        J at the parameters that training began with, with the beta that it ended with; None
        where nothing is held against it.
    loss_curve, validation_curve : list of float
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
    beta: float = 0.0
    activity: float | None = None
    mean_code: np.ndarray = field(default_factory=lambda: np.empty(0))
    lowest: np.ndarray = field(default_factory=lambda: np.empty(0))
    highest: np.ndarray = field(default_factory=lambda: np.empty(0))
    error: float = nan
    deviation: float = nan
    loss_at_start: float | None = None
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    n_steps: int = 0
    stopped_by: str = "max_iter"
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One network to be trained.

    Attributes
    ----------
    penalties : Penalties
        The terms of J besides the squared error.
    schedule : Schedule
        Solver, length and steps.
    start : ndarray of shape (n_parameters,)
        Parameters to start from, for centred rows.
    state : dict of ndarray, optional
        ``Trained.state`` of the training that this one continues; of a single job only.
    monitor : Monitor, optional
        Told of every epoch, and asked whether to stop.
    """

    penalties: Penalties
    schedule: Schedule
    start: np.ndarray
    state: State | None = None
    monitor: Monitor | None = None

    @property
    def finds_beta(self) -> bool:
        """Whether beta is to be found."""
        return self.penalties.beta == "auto"
