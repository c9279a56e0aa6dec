"""The life of one network's training: its phases, the rate of its steps, and when it ends."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, Self

from sksae.model.loss_parts import LossParts
from sksae.model.settings import TrainingConfig

# With beta="auto" this share of the epochs is set aside, to go on at this share of the learning
# rate where rho is not met by then.
OVERTIME, OVERTIME_RATE = 0.15, 0.1
# A rate that falls later does not rise for longer than this share of the steps. A constant one has
# no length to go by: a training in parts is to be that of one piece.
LONGEST_WARM_UP = 0.25


class Phase(StrEnum):
    """What a training is at."""

    WARM_UP = "warm-up"  # the learning rate rises
    MAIN = "main"
    COOL_DOWN = "cool-down"  # the loss has settled, and the rate falls to zero
    OVERTIME = "overtime"  # only rho is still to be met
    DONE = "done"


class Event(StrEnum):
    """What moves a training from one phase to another."""

    RISEN = "the learning rate has risen"
    SETTLED = "the loss has settled"
    MISSED = "the steps are taken, but rho is missed"
    ENDED = "nothing is left to do"


TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    (Phase.WARM_UP, Event.RISEN): Phase.MAIN,
    (Phase.MAIN, Event.SETTLED): Phase.COOL_DOWN,
    (Phase.WARM_UP, Event.MISSED): Phase.OVERTIME,
    (Phase.MAIN, Event.MISSED): Phase.OVERTIME,
    (Phase.COOL_DOWN, Event.MISSED): Phase.OVERTIME,
    **{(phase, Event.ENDED): Phase.DONE for phase in Phase if phase is not Phase.DONE},
}


@dataclass
class LearningRate:
    """The rate of each step, and when the last one is taken.

    Attributes
    ----------
    base : float
        Rate of the first step.
    falls : bool
        Whether it falls from ``base`` to zero over all steps.
    n_steps : int
        How many they are.
    warm_up : int
        Over so many steps, counted from where training began, the rate rises to what the schedule
        makes it.
    n_before : int
        Steps taken before these.
    begin, now : int
        The step since which it falls, and the next one.
    """

    base: float
    falls: bool
    n_steps: int
    warm_up: int = 0
    n_before: int = 0
    begin: int = 0
    now: int = 0

    @property
    def value(self) -> float:
        """Rate of the next step."""
        rate = self.base
        if self.falls:
            rate = rate * (self.n_steps - self.now) / (self.n_steps - self.begin)
        if self.is_warming_up:
            rate *= (self.n_before + self.now + 1) / (self.warm_up + 1)
        return rate

    @property
    def is_warming_up(self) -> bool:
        """Whether it rises."""
        return self.n_before + self.now < self.warm_up

    @property
    def is_over(self) -> bool:
        """Whether the last step is taken."""
        return self.now >= self.n_steps

    def advance(self) -> None:
        """Go on to the next step."""
        self.now += 1

    def end(self) -> None:
        """Take no more steps."""
        self.n_steps = self.now

    def cool_down(self, n_steps: int) -> bool:
        """Fall to zero over the next ``n_steps``, or in what is left if that is less.

        Weights that have settled at a high rate still jitter about the minimum: to stop there
        would waste what the fall of the rate is for.

        Returns
        -------
        cools : bool
            False if the rate does not fall at all, so that training may stop at once.
        """
        if self.falls:
            self.base, self.begin, self.warm_up = self.value, self.now, 0
            self.n_steps = min(self.n_steps, self.now + n_steps)
        return self.falls


@dataclass
class Patience:
    """Stops when a curve has not fallen by more than a tolerance for some entries in a row.

    Attributes
    ----------
    tol : float
        Least fall that counts.
    relative : bool
        Whether the tolerance is a share of the best value so far.
    n_iter_no_change : int
        Entries in a row without one that stop.
    """

    tol: float
    n_iter_no_change: int
    relative: bool = True
    best: float = inf
    n_without: int = 0

    def anew(self) -> "Patience":
        """Return one with the same rule that has seen nothing yet."""
        return Patience(self.tol, self.n_iter_no_change, self.relative)

    def exhausted(self, value: float) -> bool:
        """Take the curve's next value and return whether to stop."""
        least = self.tol * (abs(self.best) if self.relative else 1.0) if self.best < inf else 0.0
        self.n_without = 0 if value < self.best - least else self.n_without + 1
        self.best = min(self.best, value)
        return self.n_without >= self.n_iter_no_change


@dataclass
class RunState:
    """How far the training of one network has come: plain numbers, which a file can hold.

    Attributes
    ----------
    rate : LearningRate
        Of its next step.
    patience : Patience
        When the loss, or the score of the rows held out, has settled.
    n_planned, n_overtime : int
        Steps in all before overtime, and in it.
    n_cool_down : int
        Steps over which the rate falls once the loss has settled.
    phase : Phase
        What it is at.
    stopped_by : str
        Why it ends, or is going to.
    n_steps : int
        Steps taken.
    losses, validation_curve : list of LossParts, list of float
        An entry for each epoch.
    best_score : float
        Of the rows held out, if there are any.
    """

    rate: LearningRate
    patience: Patience
    n_planned: int
    n_overtime: int = 0
    n_cool_down: int = 0
    phase: Phase = Phase.MAIN
    stopped_by: str = "max_iter"
    n_steps: int = 0
    losses: list[LossParts] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    best_score: float = -inf

    @classmethod
    def begin(
        cls,
        config: TrainingConfig,
        *,
        steps_per_epoch: int = 1,
        finds_beta: bool = False,
        has_scorer: bool = False,
    ) -> Self:
        """Return the state before the first step.

        Parameters
        ----------
        config : TrainingConfig
            How it is trained.
        steps_per_epoch : int
            Minibatches.
        finds_beta : bool
            Whether beta is to be found.
        has_scorer : bool
            Whether rows held out decide when to stop. R^2 has a scale of its own, so there the
            tolerance is absolute.
        """
        n_overtime = 0
        if finds_beta and not config.is_one_pass:
            n_overtime = round(OVERTIME * config.max_iter)
        n_planned = (config.max_iter - n_overtime) * steps_per_epoch
        falls, warm_up = config.learning_rate_schedule == "linear", config.warm_up
        if falls:
            warm_up = min(warm_up, int(LONGEST_WARM_UP * n_planned))
        rate = LearningRate(
            config.learning_rate, falls, n_planned, warm_up, n_before=config.n_steps_before
        )
        return cls(
            rate,
            Patience(config.tol, config.n_iter_no_change, relative=not has_scorer),
            n_planned,
            n_overtime * steps_per_epoch,
            config.n_iter_no_change * steps_per_epoch,
            Phase.WARM_UP if rate.is_warming_up else Phase.MAIN,
        )

    def _enter(self, event: Event) -> None:
        self.phase = TRANSITIONS[self.phase, event]

    def advance(self) -> None:
        """Go on to the next step."""
        self.rate.advance()
        self.n_steps += 1
        if self.phase is Phase.WARM_UP and not self.rate.is_warming_up:
            self._enter(Event.RISEN)

    def has_settled(
        self, loss: float, score: float | None, *, beta_drift: float = 0.0, may_end: bool = True
    ) -> bool:
        """Return whether training might as well stop after an epoch.

        Parameters
        ----------
        loss : float
            J.
        score : float or None
            R^2 of the held-out rows, if there are any.
        beta_drift : float
            What moves of beta have added to the loss.
        may_end : bool
            False as long as beta is being found or the rate rises: then nothing is over.
        """
        if not may_end:
            self.reset_patience()
        return self.patience.exhausted(loss - beta_drift if score is None else -score)

    def reset_patience(self) -> None:
        """Forget for how long the loss has not fallen: it is another one from now on."""
        self.patience = self.patience.anew()

    def take(self, verdict: str | None) -> int | None:
        """Take the verdict on an epoch; return in how many steps the end is due if that is new."""
        if self.phase is Phase.OVERTIME:
            if verdict == "callback":
                self.stopped_by = verdict
            return None
        if verdict is None or verdict == self.stopped_by == "tol":
            return None
        self.stopped_by = verdict
        if verdict == "tol" and self.rate.cool_down(self.n_cool_down):
            if self.phase is Phase.MAIN:
                self._enter(Event.SETTLED)
            return self.n_cool_down
        self.rate.end()
        return None

    @property
    def n_steps_left(self) -> int:
        """How many steps there are going to be at most, by what is known now."""
        overtime = 0 if self.phase is Phase.OVERTIME else self.n_overtime
        return max(0, self.rate.n_steps - self.rate.now) + overtime

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do, unless rho is still to be met."""
        return self.stopped_by == "callback" or self.rate.is_over

    @property
    def may_be_done(self) -> bool:
        """Whether nothing but rho may be left to be met."""
        return self.is_over or self.phase is Phase.OVERTIME

    def may_go_on(self, *, has_best: bool) -> bool:
        """Return whether there is overtime left in which to meet rho.

        Parameters
        ----------
        has_best : bool
            Whether rows held out have said which weights are best.
        """
        if self.stopped_by == "callback" or has_best or self.n_overtime == 0:
            return False
        return self.phase is not Phase.OVERTIME or not self.rate.is_over

    def go_into_overtime(self, learning_rate: float) -> None:
        """Go on at a small rate: that has fallen, and the last moves of beta told no more.

        Parameters
        ----------
        learning_rate : float
            That of the first step.
        """
        self._enter(Event.MISSED)
        self.rate = LearningRate(
            OVERTIME_RATE * learning_rate, falls=False, n_steps=self.n_overtime
        )

    def end(self) -> None:
        """Take no more steps at all."""
        self._enter(Event.ENDED)

    def as_dict(self) -> dict[str, Any]:
        """Return it as numbers, strings and lists."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return what `as_dict` was made of."""
        plain = dict(values)
        plain["rate"], plain["patience"] = (
            LearningRate(**plain["rate"]),
            Patience(**plain["patience"]),
        )
        plain["phase"] = Phase(plain["phase"])
        plain["losses"] = [LossParts(*each) for each in plain["losses"]]
        return cls(**plain)
