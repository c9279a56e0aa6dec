"""beta="auto" in training by L-BFGS: one beta after another, each for some iterations."""

from math import exp

import numpy as np

from sksae.engine.activity import is_met
from sksae.engine.control_law import FURTHEST, ControlLaw, control_error
from sksae.model.tasks import State

# Integral action of one round; rounds in all iterations, and the most iterations of one. No
# proportional action, as each round has left the last one's error behind.
ROUND_INTEGRAL = 0.5
ROUNDS, LONGEST_ROUND = 40, 20
# So far off rho, as a share of it, an activity is left alone; or where that may be on either side,
# so large an error.
NEAR_ENOUGH, NEAR_ERROR = 0.05, 0.03


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
        self._band = law.band
        self._rho = np.asarray(rho)
        self._length = int(np.clip(max_iter // ROUNDS, 1, LONGEST_ROUND))
        self._log_beta = log_beta
        self._lowest, self._highest = log_beta - FURTHEST, log_beta + FURTHEST

    @property
    def beta(self) -> float:
        """Weight of S in this round."""
        return exp(self._log_beta)

    def state(self) -> State:
        """Return what later rounds depend on."""
        log_betas = {"now": self._log_beta, "lowest": self._lowest, "highest": self._highest}
        return {name: np.asarray(value) for name, value in log_betas.items()}

    def restore(self, state: State) -> None:
        """Go on from a `state`."""
        self._log_beta = float(state["now"])
        self._lowest, self._highest = float(state["lowest"]), float(state["highest"])

    def is_over(self, iteration: int) -> bool:
        """Return whether the round ends with that iteration (counted from 1)."""
        return iteration % self._length == 0

    def move(self, activity: float) -> bool:
        """Return whether the activity calls for another beta, and set it."""
        now = np.asarray(activity)
        error = control_error(now, self._rho, self._rho, band=self._band)
        # Each move costs the curvature found, so a small error is left alone.
        if is_met(now, self._rho, NEAR_ENOUGH) if self._band is None else abs(error) <= NEAR_ERROR:
            return False
        moved = self._log_beta + ROUND_INTEGRAL * float(error)
        self._log_beta = min(max(moved, self._lowest), self._highest)
        return True
