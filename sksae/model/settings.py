"""How a network is trained: the terms of J, noise, solver and steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sksae.model.failure import NonFiniteLossError

# Where beta is to be found, activity and rho may differ by this share of rho.
TOLERANCE = 0.1

PerModel = float | Sequence[float]
# "auto" where beta is to be found by control.
Beta = float | str | Sequence[float | str]


@dataclass(frozen=True)
class Penalties:
    """The terms of J besides the loss; a number for all models or one for each.

    Attributes
    ----------
    sparsity : str or None
        The name of the code, which says what S is (see `model.codes`).
    rho, beta, alpha : float or sequence of float
        Wanted activity, weight of S, weight decay. beta may be "auto": then a controller moves it
        until the activity is rho (see `control_law`).
    decays : {"all", "last", "encoder"}
        Which layers' weights decay.
    bandwidth : float
        So near to where units become active pre-activations have a gradient by that, where it is
        learnt (see `Code.backward`).
    """

    sparsity: str | None
    rho: PerModel
    beta: Beta
    alpha: PerModel
    decays: str = "all"
    bandwidth: float = 0.0

    @classmethod
    def side_by_side(cls, penalties: Sequence[Self]) -> Self:
        """Return the penalties of models side by side, which have one sparsity."""
        if len(penalties) == 1:
            return penalties[0]
        rho, beta, alpha = (
            [getattr(each, name) for each in penalties] for name in ("rho", "beta", "alpha")
        )
        first, alpha = penalties[0], alpha[0] if len(set(alpha)) == 1 else alpha
        return cls(first.sparsity, rho, beta, alpha, first.decays, first.bandwidth)


@dataclass(frozen=True)
class Noise:
    """A way to corrupt rows.

    Attributes
    ----------
    kind : {"gaussian", "masking"}
        Something added to every entry, or some of the entries blanked.
    level : float
        Standard deviation of what is added, in the units of the network's input; or share of
        entries blanked.
    """

    kind: str
    level: float


@dataclass(frozen=True)
class Dropout:
    """Units that are left out of a pass.

    Attributes
    ----------
    rate : float
        Share of units, in [0, 1).
    layers : tuple of int
        Whose units.
    """

    rate: float
    layers: tuple[int, ...]


@dataclass(frozen=True)
class TrainingConfig:
    """How long and in what steps to train.

    Attributes
    ----------
    solver : {"adam", "sgd", "lbfgs"}
        Who moves the parameters.
    learning_rate, learning_rate_schedule, momentum
        Of adam and sgd.
    code_bias_gain : float
        How many times as far as the solver's step the biases of the code move.
    threshold_gain : float
        How many times as far thresholds do that its units learn.
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
    threshold_gain: float = 1.0
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
        """What configs must agree in for their networks to be trained side by side."""
        return (
            self.solver,
            self.code_bias_gain,
            self.threshold_gain,
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
