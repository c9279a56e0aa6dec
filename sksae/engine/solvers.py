"""Who moves the parameters in minibatch training, and when to stop."""

from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

State = dict[str, np.ndarray]


class Solver(Protocol):
    """What turns a gradient into a step, and a state of numpy arrays to resume from."""

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Move the parameters against the gradient."""

    def state(self) -> State:
        """Return copies of what the next step depends on."""


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), by torch's fused kernel: one pass over memory.

    Parameters
    ----------
    flat : Tensor of shape (n_parameters,)
        Parameters, moved in place.
    state : dict of ndarray, optional
        Where an earlier training stood.
    """

    BETA1, BETA2, EPS = 0.9, 0.999, 1e-8

    def __init__(self, flat: Tensor, state: State | None = None) -> None:
        state = state or {
            "first_moment": np.zeros(len(flat)),
            "second_moment": np.zeros(len(flat)),
            "n_steps": np.zeros(()),
        }
        self._flat = flat
        self._first = torch.as_tensor(state["first_moment"]).to(flat, copy=True)
        self._second = torch.as_tensor(state["second_moment"]).to(flat, copy=True)
        self._n_steps = torch.tensor(float(state["n_steps"]), device=flat.device)

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        self._n_steps += 1
        torch._fused_adam_(
            [self._flat],
            [gradient],
            [self._first],
            [self._second],
            [],
            [self._n_steps],
            lr=learning_rate,
            beta1=self.BETA1,
            beta2=self.BETA2,
            eps=self.EPS,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> State:
        return {
            "first_moment": self._first.cpu().numpy().copy(),
            "second_moment": self._second.cpu().numpy().copy(),
            "n_steps": self._n_steps.cpu().numpy().copy(),
        }


class SGD:
    """Stochastic gradient descent with momentum (Polyak 1964).

    Parameters
    ----------
    flat : Tensor of shape (n_parameters,)
        Parameters, moved in place.
    momentum : float
        Share of the last step's velocity that is kept.
    state : dict of ndarray, optional
        Where an earlier training stood.
    """

    def __init__(self, flat: Tensor, momentum: float, state: State | None = None) -> None:
        state = state or {"velocity": np.zeros(len(flat))}
        self._flat, self._momentum = flat, momentum
        self._velocity = torch.as_tensor(state["velocity"]).to(flat, copy=True)

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        self._velocity.mul_(self._momentum).add_(gradient, alpha=-learning_rate)
        self._flat.add_(self._velocity)

    def state(self) -> State:
        return {"velocity": self._velocity.cpu().numpy().copy()}


def learning_rate_at(base: float, schedule: str, progress: float) -> float:
    """Return the rate when a share ``progress`` of all steps is done.

    "constant" is ``base`` throughout; "linear" falls from it to zero.
    """
    return base if schedule == "constant" else base * (1.0 - progress)


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

    def exhausted(self, value: float) -> bool:
        """Take the curve's next value and return whether to stop."""
        least = self.tol * (abs(self.best) if self.relative else 1.0) if self.best < inf else 0.0
        self.n_without = 0 if value < self.best - least else self.n_without + 1
        self.best = min(self.best, value)
        return self.n_without >= self.n_iter_no_change
