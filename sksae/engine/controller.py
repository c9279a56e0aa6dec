"""beta="auto": a controller that raises or lowers beta until the code is as active as rho says.

The activity of a code is one number for each model: the mean over units of the mean activation
(kl), or of the share of rows in which a unit is active (l1, l2). The controller follows its
logarithm and moves that of beta, by proportional and integral action in incremental form
(Astrom & Hagglund 1995, "PID Controllers", chapter 3).

- l1 and l2: the larger beta, the fewer rows in which a unit is active. The error is
  ln(activity / target), where the target comes down to rho step by step: a beta that shoots up
  kills units which no later, smaller beta brings back to life.
- kl: with beta the activity tends to rho, from above or from below. The error is
  abs(ln(activity / rho)) - BAND, so that beta ends as small as it can be: where the activity is
  off rho by half of what is allowed.

All quantities are of shape (n_models,), and no step branches on the values of one model. Apart from
what is measured on a code, they are numpy's: an operation on so few numbers takes torch several
times as long, and a move is some twenty of them.
"""

from math import exp, inf, log

import numpy as np
import torch
from torch import Tensor

from sksae.engine.sparsity import Sparsity

# Activity and rho may differ by this share of rho.
TOLERANCE = 0.1
# An estimate from the last minibatches that is so near is taken as a sign that all rows are within
# TOLERANCE.
NEAR = 0.07
# Where the controller of kl holds the activity, in ln(activity / rho).
BAND = 0.05
# A unit is active in a row if it is above this share of its largest activation.
ACTIVE_FROM = 1e-3
# A training is divided by this many moves, but so many batches lie between two of them: the
# controller must cost little beside a step of a small network.
MOVES, SHORTEST_INTERVAL, LONGEST_INTERVAL = 160, 4, 50
# Integral action, by degree of the sparsity (0 is kl): by how much an error of 1 that lasts all the
# training moves ln(beta); in no step, however short the training, more than MAX_RATE. Proportional
# action: by how much a change of the error by 1 does. Measured on digits and nature patches: kl
# needs little, and more drives beta up while the units are still on their way; with l2 it is an
# early large beta that silences units, and one that follows the activity from the start only
# shrinks them.
INTEGRAL = {0: 50.0, 1: 100.0, 2: 10.0}
MAX_RATE = {0: 0.1, 1: 0.025, 2: 0.5}
PROPORTIONAL = {0: 1.5, 1: 1.5, 2: 1.0}
# Toward the end the integral action grows, as the falling learning rate makes the network slower:
# with the inverse of the share of steps left, up to this factor.
LARGEST_BOOST = {0: 4.0, 1: 2.0, 2: 40.0}
# Larger errors count as this.
ERROR_LIMIT = 1.0
# How far ln(target) would come down in all the training.
DESCENT = {0: inf, 1: 40.0, 2: inf}
# With l1 and l2 ln(beta) falls at most so far below where the activity was last above rho: units
# that are asleep wake slowly however small beta is, and would then find it far too small.
LARGEST_FALL = 3.0
# By how much a unit's largest activation is forgotten at each move.
FORGETTING = 0.01
# beta of kl stays below so many times the squared error for each unit, over rho: beyond, the
# minibatches' noise in the gradient of the penalty keeps the units off rho itself.
KL_CEILING = 5.0
# Where beta starts, by `starting_beta`; with l2, where it silences some units but not yet all for
# good, which takes a tenth with sgd of what adam bears.
KL_START, L1_START = 0.6, 0.2
L2_STARTS = {"adam": 6.0, "sgd": 0.2, "lbfgs": 6.0}
# ln(beta) stays so near where it began.
FURTHEST = 16.0
# L-BFGS: integral action of one round; rounds in all iterations, and the most iterations of one;
# how large errors of kl are left alone. No proportional action, as each round has left the last
# one's error behind.
ROUND_INTEGRAL = 0.5
ROUNDS, LONGEST_ROUND, ROUND_TOLERANCE = 40, 20, 0.03
# Steps that a training is taken to have where nobody knows (partial_fit).
OPEN_END = 2000


def starting_beta(
    sparsity: Sparsity,
    square: np.ndarray,
    n_components: int,
    l2_start: float = L2_STARTS["adam"],
) -> np.ndarray:
    """Return the beta to begin with; for kl and l1 small beside the squared error.

    Parameters
    ----------
    sparsity : Sparsity
        What S is.
    square : ndarray of shape (n_models,)
        Mean over rows of the squared deviation from the mean row, the error of no code at all.
    n_components : int
        Units that share in S.
    l2_start : float
        That of l2.
    """
    per_unit = np.maximum(square, np.finfo(np.float32).tiny) / n_components
    # S is counted in units (kl), in activations (l1), in their squares (l2); and the activations
    # grow with the rows, as the weights of both layers start at about the same length.
    if sparsity.of_mean_activation:
        return KL_START * per_unit
    return L1_START * np.sqrt(per_unit) if sparsity.degree == 1 else np.full_like(square, l2_start)


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
    """Return ln(beta) after one move, by the error and by its change."""
    return log_beta + integral * error + proportional * (error - error_before)


def to_numpy(values: Tensor) -> np.ndarray:
    """Return a tensor's values in float64."""
    return values.cpu().numpy().astype(np.float64)


def share_active(
    code: Tensor, largest: Tensor, share: Tensor, *, is_weighted: bool = False
) -> Tensor:
    """Return the share of some rows in which each unit is active, (n_models, n_components, 1).

    Parameters
    ----------
    code : Tensor of shape (n_models, n_components, n_rows)
        Absolute values.
    largest : Tensor of shape (n_models, n_components, 1)
        Each unit's largest activation.
    share : Tensor of shape (1, n_rows, 1)
        What each row counts.
    is_weighted : bool, default=False
        If so, the shares do not add up to 1, and are divided by their sum.
    """
    active = (code > ACTIVE_FROM * largest).to(share.dtype) @ share
    return active / share.sum(dim=1, keepdim=True) if is_weighted else active


def is_met(activity: np.ndarray, rho: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return whether the activity is rho, up to a share of rho."""
    return np.abs(activity - rho) <= tolerance * rho


class BetaController:
    """Moves beta after one minibatch and another.

    Parameters
    ----------
    sparsity : Sparsity
        What S is.
    rho, beta : Tensor of shape (n_models, n_components, 1)
        Activity wanted; and the weight of S, written to in place.
    is_auto : ndarray of bool of shape (n_models,)
        Whose beta to move.
    window : int
        Batches over which the share of active rows is averaged.
    n_steps : int
        Batches that the training has.
    l2_start : float
        See `starting_beta`.
    pace : float
        For how many batches each counts.
    state : dict of ndarray
        What `state` gave, when a training goes on; {} when it begins.

    Attributes
    ----------
    n_left : ndarray of shape (n_models,)
        Batches that are left; to be set where training ends sooner than was planned.
    """

    KEPT = ("log_beta", "start", "floor", "ceiling", "target", "error", "activity")

    def __init__(
        self,
        sparsity: Sparsity,
        rho: Tensor,
        beta: Tensor,
        is_auto: np.ndarray,
        *,
        window: int,
        n_steps: int,
        l2_start: float,
        pace: float = 1.0,
        state: dict[str, np.ndarray],
    ) -> None:
        self._pace = pace
        self._sparsity, self._beta = sparsity, beta
        self._rho, self._given = to_numpy(rho[:, 0, 0]), to_numpy(beta[:, 0, 0])
        self._is_auto = is_auto
        self._two_sided, degree = sparsity.of_mean_activation, sparsity.degree
        self._n_steps, self._l2_start = float(n_steps), l2_start
        self.n_left = np.full(len(self._rho), self._n_steps)
        self._interval = int(np.clip(n_steps // MOVES, SHORTEST_INTERVAL, LONGEST_INTERVAL))
        self._descent = self._interval * min(DESCENT[degree] / n_steps, MAX_RATE[degree])
        self._newest = min(1.0, max(self._interval / window, 0.3))
        self._n_batches, self._has_moved = 0.0, False
        self._now: dict[str, np.ndarray] = {}
        # Each unit's largest activation.
        self._largest = torch.zeros_like(beta)
        # What is known of another sparsity is of no use.
        if state.get("beta_degree") == degree:
            self._n_batches = float(state["beta_n_batches"])
            self._has_moved = bool(state["beta_has_moved"])
            self._now = {name: state[f"beta_{name}"].copy() for name in self.KEPT}
            self._largest.copy_(torch.tensor(state["beta_largest"], device="cpu"))
            self._write()

    @property
    def has_started(self) -> bool:
        """Whether there is a beta."""
        return bool(self._now)

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
        n_components = self._beta.shape[1]
        log_beta = np.log(starting_beta(self._sparsity, square, n_components, self._l2_start))
        if self._two_sided:
            ceiling = log_beta + log(KL_CEILING / KL_START) - np.log(self._rho)
        else:
            ceiling = log_beta + FURTHEST
        zero = np.zeros_like(log_beta)
        self._now = {
            "log_beta": log_beta,
            "start": log_beta,
            "floor": log_beta - LARGEST_FALL,
            "ceiling": ceiling,
            "target": zero,
            "error": zero,
            "activity": zero,
        }
        self._write()

    def after_batch(
        self, code: Tensor, mean_code: Tensor | None, share: Tensor, *, is_weighted: bool
    ) -> bool:
        """Measure the activity and move beta, once in some calls; return whether in this one.

        Parameters
        ----------
        code : Tensor of shape (n_models, n_components, n_rows)
            Of the batch.
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            Running mean of the code, where S is a function of it.
        share : Tensor of shape (1, n_rows, 1)
            What each row counts.
        is_weighted : bool
            Whether rows differ in it.
        """
        n_moves = self._n_batches // self._interval
        self._n_batches += self._pace
        if self._n_batches // self._interval == n_moves:
            return False
        if mean_code is not None:
            self._now["activity"] = to_numpy(self._sparsity.activity(mean_code))
        else:
            self._measure(code, share, is_weighted=is_weighted)
        self._move()
        self._has_moved = True
        return True

    def _measure(self, code: Tensor, share: Tensor, *, is_weighted: bool) -> None:
        """Bring the running share of active rows up to date."""
        size = code.abs()
        self._largest.mul_(1.0 - FORGETTING)
        torch.maximum(self._largest, size.amax(dim=2, keepdim=True), out=self._largest)
        shares = share_active(size, self._largest, share, is_weighted=is_weighted)
        active, before = to_numpy(shares.mean(dim=(1, 2))), self._now["activity"]
        newest = self._newest if self._has_moved else 1.0
        self._now["activity"] = before + newest * (active - before)

    def _move(self) -> None:
        now, activity, rho = self._now, self._now["activity"], self._rho
        descended = now["target"] * exp(-self._descent) if self._has_moved else activity
        now["target"] = rho if self._two_sided else np.maximum(descended, rho)
        error = control_error(activity, now["target"], rho, two_sided=self._two_sided)
        before = now["error"] if self._has_moved else error
        log_beta = next_log_beta(
            now["log_beta"],
            error,
            before,
            integral=self._integral(),
            proportional=PROPORTIONAL[self._sparsity.degree],
        )
        if not self._two_sided:
            now["floor"] = np.where(error > 0, log_beta - LARGEST_FALL, now["floor"])
            log_beta = np.maximum(log_beta, now["floor"])
        lowest = now["start"] - FURTHEST
        now["log_beta"] = np.minimum(np.maximum(log_beta, lowest), now["ceiling"])
        now["error"] = error
        self._write()

    def _integral(self) -> np.ndarray:
        """Return by how much a move adds up an error of 1, shape (n_models,)."""
        self.n_left = self.n_left - self._interval
        degree = self._sparsity.degree
        boost = self._n_steps / np.maximum(self.n_left, self._n_steps / LARGEST_BOOST[degree])
        each = self._interval * INTEGRAL[degree] / self._n_steps
        return np.minimum(each * boost, self._interval * MAX_RATE[degree])

    def _write(self) -> None:
        beta = np.where(self._is_auto, np.exp(self._now["log_beta"]), self._given)
        self._beta.copy_(self._beta.new_tensor(beta).view(-1, 1, 1))

    def is_settled(self, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return whether the activity last measured is rho, or beta is given; (n_models,)."""
        if not self._has_moved:
            return ~self._is_auto
        return is_met(self._now["activity"], self._rho, tolerance) | ~self._is_auto

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next moves depend on; arrays are (n_models, ...)."""
        if not self._now:
            return {}
        return {f"beta_{name}": self._now[name].copy() for name in self.KEPT} | {
            "beta_largest": self._largest.cpu().numpy().copy(),
            "beta_n_batches": np.asarray(self._n_batches),
            "beta_has_moved": np.asarray(self._has_moved),
            "beta_degree": np.asarray(self._sparsity.degree),
        }


class Rounds:
    """Moves beta between rounds of L-BFGS, each of them at one beta; a single model.

    Parameters
    ----------
    sparsity : Sparsity
        What S is.
    rho : float
        Activity wanted.
    max_iter : int
        Iterations that the training has.
    log_beta : float
        Where to begin.
    """

    def __init__(self, sparsity: Sparsity, rho: float, max_iter: int, log_beta: float) -> None:
        self._two_sided = sparsity.of_mean_activation
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
