"""beta="auto": a controller that raises or lowers beta until the code is as active as rho says.

The activity of a code is one number for each model: the mean over units of the mean activation, or
of the share of rows in which a unit is active. The controller follows its logarithm and moves that
of beta, by proportional and integral action in incremental form (Astrom & Hagglund 1995, "PID
Controllers", chapter 3). How fast, and from where, the code's law says:

- One-sided (l1, l2): the larger beta, the fewer rows in which a unit is active. The error is
  ln(activity / target), where the target comes down to rho step by step: a beta that shoots up
  kills units which no later, smaller beta brings back to life.
- Two-sided (kl): with beta the activity tends to rho, from above or from below. The error is
  abs(ln(activity / rho)) - BAND, so that beta ends as small as it can be: where the activity is
  off rho by half of what is allowed.

All quantities are of shape (n_models,), and no step branches on the values of one model. Apart from
what is measured on a code, they are numpy's: an operation on so few numbers takes torch several
times as long, and a move is some twenty of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import exp, inf, log
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sksae.model.settings import TOLERANCE

# An estimate from the last minibatches that is so near is taken as a sign that all rows are within
# TOLERANCE.
NEAR = 0.07
# Where a two-sided controller holds the activity, in ln(activity / rho).
BAND = 0.05
# A unit is active in a row if it is above this share of its largest activation.
ACTIVE_FROM = 1e-3
# A training is divided by this many moves, but so many batches lie between two of them: the
# controller must cost little beside a step of a small network.
MOVES, SHORTEST_INTERVAL, LONGEST_INTERVAL = 160, 4, 50
# Larger errors count as this.
ERROR_LIMIT = 1.0
# One-sided, ln(beta) falls at most so far below where the activity was last above rho: units that
# are asleep wake slowly however small beta is, and would then find it far too small.
LARGEST_FALL = 3.0
# By how much a unit's largest activation is forgotten at each move.
FORGETTING = 0.01
# ln(beta) stays so near where it began.
FURTHEST = 16.0
# L-BFGS: integral action of one round; rounds in all iterations, and the most iterations of one;
# how large errors of a two-sided controller are left alone. No proportional action, as each round
# has left the last one's error behind.
ROUND_INTEGRAL = 0.5
ROUNDS, LONGEST_ROUND, ROUND_TOLERANCE = 40, 20, 0.03
# Steps that a training is taken to have where nobody knows (partial_fit).
OPEN_END = 2000


@dataclass(frozen=True)
class ControlLaw:
    """How a code's beta is moved; measured on digits and nature patches.

    Attributes
    ----------
    start : mapping of str to float
        Where beta begins, by solver: so many times the squared error for each unit to the power of
        ``start_power``.
    start_power : float
        In what S is counted: 1 in units, 1/2 in activations, 0 in their squares. Activations grow
        with the rows, as the weights of both layers start at about the same length.
    integral : float
        By how much an error of 1 that lasts all the training moves ln(beta).
    max_rate : float
        In no step, however short the training, it moves by more.
    proportional : float
        By how much a change of the error by 1 moves it.
    largest_boost : float
        Toward the end the integral action grows, as the falling learning rate makes the network
        slower: with the inverse of the share of steps left, up to this factor.
    descent : float
        How far ln(target) would come down in all the training.
    ceiling : float
        beta stays below so many times the squared error for each unit, over rho.
    is_two_sided : bool
        Whether the activity may be on either side of rho when beta is too small.
    """

    start: Mapping[str, float]
    start_power: float
    integral: float
    max_rate: float
    proportional: float
    largest_boost: float
    descent: float = inf
    ceiling: float = inf
    is_two_sided: bool = False

    def starting_beta(self, square: np.ndarray, n_components: int, solver: str) -> np.ndarray:
        """Return the beta to begin with, shape (n_models,).

        Parameters
        ----------
        square : ndarray of shape (n_models,)
            Mean over rows of the squared deviation from the mean row, the error of no code at all.
        n_components : int
            Units that share in S.
        solver : str
            Who moves the parameters.
        """
        per_unit = np.maximum(square, np.finfo(np.float32).tiny) / n_components
        beta: np.ndarray = self.start[solver] * per_unit**self.start_power
        return beta

    def highest(self, log_beta: np.ndarray, rho: np.ndarray, solver: str) -> np.ndarray:
        """Return the most that ln(beta) may become, given where it began.

        Parameters
        ----------
        log_beta : ndarray of shape (n_models,)
            ln(beta) at the beginning.
        rho : ndarray of shape (n_models,)
            Activity wanted.
        solver : str
            Who moves the parameters.
        """
        if self.ceiling == inf:
            return log_beta + FURTHEST
        return log_beta + log(self.ceiling / self.start[solver]) - np.log(rho)


@dataclass
class ControlState:
    """Where the controllers of several models stand; all arrays of shape (n_models,).

    Attributes
    ----------
    log_beta, start, floor, ceiling : ndarray
        ln(beta): now, at the beginning, and between which it stays.
    target : ndarray
        Activity that is aimed at by now.
    error, activity : ndarray
        At the last move.
    """

    log_beta: np.ndarray
    start: np.ndarray
    floor: np.ndarray
    ceiling: np.ndarray
    target: np.ndarray
    error: np.ndarray
    activity: np.ndarray

    @classmethod
    def begin(cls, log_beta: np.ndarray, ceiling: np.ndarray) -> Self:
        """Return the state before the first move."""
        zero = np.zeros_like(log_beta)
        return cls(log_beta, log_beta, log_beta - LARGEST_FALL, ceiling, zero, zero, zero)

    def as_dict(self) -> dict[str, np.ndarray]:
        """Return copies by name."""
        return {f"beta_{each.name}": getattr(self, each.name).copy() for each in fields(self)}

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray]) -> Self:
        """Return what `as_dict` was made of."""
        return cls(*(state[f"beta_{each.name}"].copy() for each in fields(cls)))


def control_error(
    activity: np.ndarray, target: np.ndarray, rho: np.ndarray, *, two_sided: bool
) -> np.ndarray:
    """Return by how much beta is too small, between -ERROR_LIMIT and ERROR_LIMIT.

    Parameters
    ----------
    activity, target, rho : ndarray of shape (n_models,)
        As it is; as it should be by now; as it should be in the end.
    two_sided : bool
        Whether the activity may be on either side of rho when beta is too small (kl).
    """
    log_activity = np.log(np.maximum(activity, np.finfo(np.float64).eps))
    error = log_activity - np.log(target)
    if two_sided:
        error = np.maximum(error, np.log(rho) - log_activity) - BAND
    return np.minimum(np.maximum(error, -ERROR_LIMIT), ERROR_LIMIT)


def next_log_beta(
    log_beta: np.ndarray,
    error: np.ndarray,
    error_before: np.ndarray,
    *,
    integral: np.ndarray | float,
    proportional: float,
) -> np.ndarray:
    """Return ln(beta) after one move, by the error and by its change.

    Parameters
    ----------
    log_beta : ndarray of shape (n_models,)
        ln(beta) so far.
    error, error_before : ndarray of shape (n_models,)
        By how much beta is too small, now and at the move before (see `control_error`).
    integral : ndarray of shape (n_models,) or float
        By how much an error of 1 moves ln(beta).
    proportional : float
        By how much a change of the error by 1 does.
    """
    return log_beta + integral * error + proportional * (error - error_before)


def to_numpy(values: Tensor) -> np.ndarray:
    """Return a tensor's values in float64."""
    return values.cpu().numpy().astype(np.float64)


def share_active(
    code: Tensor, largest: Tensor, row_weights: Tensor, *, is_weighted: bool = False
) -> Tensor:
    """Return the share of some rows in which each unit is active, (n_models, n_components, 1).

    Parameters
    ----------
    code : Tensor of shape (n_models, n_components, n_rows)
        Absolute values.
    largest : Tensor of shape (n_models, n_components, 1)
        Each unit's largest activation.
    row_weights : Tensor of shape (1, n_rows, 1)
        What each row counts.
    is_weighted : bool, default=False
        If so, the shares do not add up to 1, and are divided by their sum.
    """
    active = (code > ACTIVE_FROM * largest).to(row_weights.dtype) @ row_weights
    return active / row_weights.sum(dim=1, keepdim=True) if is_weighted else active


def is_met(activity: np.ndarray, rho: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return whether the activity is rho, up to a share of rho.

    Parameters
    ----------
    activity, rho : ndarray of shape (n_models,)
        As it is, and as it should be.
    tolerance : float
        By what share of rho they may differ.
    """
    return np.abs(activity - rho) <= tolerance * rho


class BetaController:
    """Moves beta from one minibatch to the next.

    Parameters
    ----------
    law : ControlLaw
        The code's.
    activity_of : callable or None
        Given the mean code, returns the activity, where rho is compared with that; None where the
        activity is the share of rows in which units are active.
    rho, beta : Tensor of shape (n_models, n_components, 1)
        Activity wanted; and the weight of S, written to in place.
    is_auto : ndarray of bool of shape (n_models,)
        Whose beta to move.
    window : int
        Batches over which the share of active rows is averaged.
    n_steps : int
        Batches that the training has.
    solver : str
        Who moves the parameters.
    pace : float
        For how many batches each counts.
    state : dict of ndarray
        What `state` gave, when a training goes on with the same code; {} when it begins.

    Attributes
    ----------
    n_left : ndarray of shape (n_models,)
        Batches that are left; to be set where training ends sooner than was planned.
    """

    def __init__(
        self,
        law: ControlLaw,
        activity_of: Callable[[Tensor], Tensor] | None,
        rho: Tensor,
        beta: Tensor,
        is_auto: np.ndarray,
        *,
        window: int,
        n_steps: int,
        solver: str,
        pace: float = 1.0,
        state: Mapping[str, np.ndarray],
    ) -> None:
        self._law, self._activity_of, self._solver = law, activity_of, solver
        self._beta, self._is_auto, self._pace = beta, is_auto, pace
        self._rho, self._given = to_numpy(rho[:, 0, 0]), to_numpy(beta[:, 0, 0])
        self._n_steps = float(n_steps)
        self.n_left = np.full(len(self._rho), self._n_steps)
        self._interval = int(np.clip(n_steps // MOVES, SHORTEST_INTERVAL, LONGEST_INTERVAL))
        self._descent = self._interval * min(law.descent / n_steps, law.max_rate)
        self._newest = min(1.0, max(self._interval / window, 0.3))
        self._n_batches, self._has_moved = 0.0, False
        self._now: ControlState | None = None
        # Each unit's largest activation.
        self._largest = torch.zeros_like(beta)
        if "beta_log_beta" in state:
            self._n_batches = float(state["beta_n_batches"])
            self._has_moved = bool(state["beta_has_moved"])
            self._now = ControlState.of(state)
            self._largest.copy_(torch.tensor(state["beta_largest"], device="cpu"))
            self._write(self._now)

    @property
    def has_started(self) -> bool:
        """Whether there is a beta."""
        return self._now is not None

    @property
    def share_left(self) -> np.ndarray:
        """Share of the steps that are still to come, shape (n_models,)."""
        return self.n_left / self._n_steps

    def start(self, rows: Tensor, weight: Tensor | None) -> None:
        """Set out from a small beta.

        Parameters
        ----------
        rows : Tensor of shape (n_models or 1, n_rows, n_features)
            Centred rows of the first minibatch.
        weight : Tensor of shape (1, n_rows, 1), or None where all rows are alike
        """
        squares = rows.square().sum(dim=2, keepdim=True)
        weighted = squares if weight is None else squares * weight
        square = np.broadcast_to(to_numpy(weighted.mean(dim=(1, 2))), self._rho.shape)
        beta = self._law.starting_beta(square, self._beta.shape[1], self._solver)
        log_beta = np.log(beta)
        highest = self._law.highest(log_beta, self._rho, self._solver)
        self._now = ControlState.begin(log_beta, highest)
        self._write(self._now)

    def after_batch(
        self, code: Tensor, mean_code: Tensor | None, row_weights: Tensor, *, is_weighted: bool
    ) -> bool:
        """Measure the activity and move beta, both once in some calls; return whether in this one.

        Parameters
        ----------
        code : Tensor of shape (n_models, n_components, n_rows)
            Of the batch.
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            Running mean of the code, where S is a function of it.
        row_weights : Tensor of shape (1, n_rows, 1)
            What each row counts.
        is_weighted : bool
            Whether rows differ in it.
        """
        n_moves = self._n_batches // self._interval
        self._n_batches += self._pace
        if self._n_batches // self._interval == n_moves:
            return False
        assert self._now is not None
        if self._activity_of is not None and mean_code is not None:
            self._now.activity = to_numpy(self._activity_of(mean_code))
        else:
            self._measure(self._now, code, row_weights, is_weighted=is_weighted)
        self._move(self._now)
        self._has_moved = True
        return True

    def _measure(
        self, now: ControlState, code: Tensor, row_weights: Tensor, *, is_weighted: bool
    ) -> None:
        """Bring the running share of active rows up to date.

        Parameters
        ----------
        now : ControlState
            Written to.
        code, row_weights, is_weighted
            As in `after_batch`.
        """
        size = code.abs()
        self._largest.mul_(1.0 - FORGETTING)
        torch.maximum(self._largest, size.amax(dim=2, keepdim=True), out=self._largest)
        shares = share_active(size, self._largest, row_weights, is_weighted=is_weighted)
        active = to_numpy(shares.mean(dim=(1, 2)))
        newest = self._newest if self._has_moved else 1.0
        now.activity = now.activity + newest * (active - now.activity)

    def _move(self, now: ControlState) -> None:
        law, activity, rho = self._law, now.activity, self._rho
        descended = now.target * exp(-self._descent) if self._has_moved else activity
        now.target = rho if law.is_two_sided else np.maximum(descended, rho)
        error = control_error(activity, now.target, rho, two_sided=law.is_two_sided)
        log_beta = next_log_beta(
            now.log_beta,
            error,
            now.error if self._has_moved else error,
            integral=self._integral(),
            proportional=law.proportional,
        )
        if not law.is_two_sided:
            now.floor = np.where(error > 0, log_beta - LARGEST_FALL, now.floor)
            log_beta = np.maximum(log_beta, now.floor)
        lowest = now.start - FURTHEST
        now.log_beta = np.minimum(np.maximum(log_beta, lowest), now.ceiling)
        now.error = error
        self._write(now)

    def _integral(self) -> np.ndarray:
        """Return by how much a move adds up an error of 1, shape (n_models,)."""
        self.n_left = self.n_left - self._interval
        law = self._law
        boost = self._n_steps / np.maximum(self.n_left, self._n_steps / law.largest_boost)
        each = self._interval * law.integral / self._n_steps
        return np.minimum(each * boost, self._interval * law.max_rate)

    def _write(self, now: ControlState) -> None:
        beta = np.where(self._is_auto, np.exp(now.log_beta), self._given)
        self._beta.copy_(self._beta.new_tensor(beta).view(-1, 1, 1))

    def is_settled(self, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return whether the activity last measured is rho, or beta is given; (n_models,)."""
        if self._now is None or not self._has_moved:
            return ~self._is_auto
        return is_met(self._now.activity, self._rho, tolerance) | ~self._is_auto

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next moves depend on; arrays are (n_models, ...)."""
        if self._now is None:
            return {}
        return self._now.as_dict() | {
            "beta_largest": self._largest.cpu().numpy().copy(),
            "beta_n_batches": np.asarray(self._n_batches),
            "beta_has_moved": np.asarray(self._has_moved),
        }


class BetaContinuation:
    """Moves beta between rounds of L-BFGS, each of them at one beta; a single model.

    Parameters
    ----------
    law : ControlLaw
        The code's.
    rho : float
        Activity wanted.
    max_iter : int
        Iterations that the training has.
    log_beta : float
        Where to begin.
    """

    def __init__(self, law: ControlLaw, rho: float, max_iter: int, log_beta: float) -> None:
        self._two_sided = law.is_two_sided
        self._rho = np.asarray(rho)
        self._length = int(np.clip(max_iter // ROUNDS, 1, LONGEST_ROUND))
        self._log_beta = log_beta
        self._lowest, self._highest = log_beta - FURTHEST, log_beta + FURTHEST

    @property
    def beta(self) -> float:
        """Weight of S in this round."""
        return exp(self._log_beta)

    def is_over(self, iteration: int) -> bool:
        """Return whether the round ends with that iteration (counted from 1)."""
        return iteration % self._length == 0

    def move(self, activity: float) -> bool:
        """Return whether the activity calls for another beta, and set it."""
        now = np.asarray(activity)
        error = control_error(now, self._rho, self._rho, two_sided=self._two_sided)
        # Each move costs the curvature found, so a small error is left alone.
        near = abs(error) <= ROUND_TOLERANCE if self._two_sided else is_met(now, self._rho, BAND)
        if near:
            return False
        moved = self._log_beta + ROUND_INTEGRAL * float(error)
        self._log_beta = min(max(moved, self._lowest), self._highest)
        return True
