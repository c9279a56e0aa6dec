"""beta="auto" in minibatch training: beta is moved after some batches, as the code's law says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import exp
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import is_met, to_numpy
from sksae.engine.control_law import FURTHEST, ControlLaw, control_error, next_log_beta
from sksae.model.settings import TOLERANCE

# A training is divided by this many moves, but so many batches lie between two of them: the
# controller must cost little beside a step of a small network.
MOVES, SHORTEST_INTERVAL, LONGEST_INTERVAL = 160, 4, 50
# One-sided, ln(beta) falls at most so far below where the activity was last above rho: units that
# are asleep wake slowly however small beta is, and would then find it far too small.
LARGEST_FALL = 3.0
# By how much a unit's largest activation is forgotten at each move.
FORGETTING = 0.01
# Steps that a training is taken to have where nobody knows (partial_fit).
OPEN_END = 2000


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


class BetaController:
    """Moves beta from one minibatch to the next.

    Parameters
    ----------
    law : ControlLaw
        The code's.
    activity_of : callable or None
        Given the mean code, returns the activity, where rho is compared with that; None where the
        activity is the share of rows in which units are not negligible.
    rho, beta : Tensor of shape (n_models, n_components, 1)
        Activity wanted; and the weight of S, written to in place.
    is_auto : ndarray of bool of shape (n_models,)
        Whose beta to move.
    window : int
        Batches over which the share of such rows is averaged.
    n_steps : int
        Batches that the training has.
    solver : str
        Who moves the parameters.
    pace : float
        For how many batches each counts.
    divergence : float, optional
        Of the loss, as in `ControlLaw.starting_beta`.
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
        divergence: float | None = None,
        state: Mapping[str, np.ndarray],
    ) -> None:
        self._divergence = divergence
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

    def start(self, square: np.ndarray) -> None:
        """Set out from a small beta.

        Parameters
        ----------
        square : ndarray of shape (n_models,) or (1,)
            Mean squared norm of the centred rows of the first minibatch.
        """
        square = np.broadcast_to(square, self._rho.shape)
        beta = self._law.starting_beta(square, self._beta.shape[1], self._solver, self._divergence)
        log_beta = np.log(beta)
        highest = self._law.highest(log_beta, self._rho, self._solver)
        self._now = ControlState.begin(log_beta, highest)
        self._write(self._now)

    def after_batch(
        self,
        mean_code: Tensor | None,
        *,
        largest: Callable[[], Tensor],
        share: Callable[[Tensor], Tensor],
    ) -> bool:
        """Measure the activity and move beta, both once in some calls; return whether in this one.

        Parameters
        ----------
        mean_code : Tensor of shape (n_models, n_components, 1) or None
            Running mean of the code, where S is a function of it.
        largest : callable
            Returns each unit's largest activation in the batch, in magnitude, likewise in shape.
        share : callable
            ``share(largest)`` returns the share of its rows in which each unit is not negligible,
            as `share_not_negligible` counts, likewise in shape.
        """
        if not self._is_due():
            return False
        assert self._now is not None
        if self._activity_of is not None and mean_code is not None:
            self._now.activity = to_numpy(self._activity_of(mean_code))
        else:
            self._largest.mul_(1.0 - FORGETTING)
            torch.maximum(self._largest, largest(), out=self._largest)
            self._follow(self._now, to_numpy(share(self._largest).mean(dim=(1, 2))))
        self._move(self._now)
        return True

    def after_share(self, share: Callable[[], np.ndarray]) -> bool:
        """Do the same where the share of active units of the batch is known, shape (n_models,)."""
        if not self._is_due():
            return False
        assert self._now is not None
        self._follow(self._now, share())
        self._move(self._now)
        return True

    def _is_due(self) -> bool:
        """Count a batch and return whether beta is to be moved after it."""
        n_moves = self._n_batches // self._interval
        self._n_batches += self._pace
        return self._n_batches // self._interval != n_moves

    def _follow(self, now: ControlState, share: np.ndarray) -> None:
        """Bring the running share of rows up to date."""
        newest = self._newest if self._has_moved else 1.0
        now.activity = now.activity + newest * (share - now.activity)

    def _move(self, now: ControlState) -> None:
        law, activity, rho = self._law, now.activity, self._rho
        descended = now.target * exp(-self._descent) if self._has_moved else activity
        now.target = rho if law.is_two_sided else np.maximum(descended, rho)
        error = control_error(activity, now.target, rho, band=law.band)
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
        now.error, self._has_moved = error, True
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
