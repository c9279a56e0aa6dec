"""The solvers of minibatch training, adam and sgd: from a gradient to a step."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sksae.engine.threads import Crew
from sksae.model.tasks import State

# The powers of adam's betas for a smaller pace are 1 to the last digits.
LEAST_PACE = 1e-13


def part_of_step(newest: float, pace: float) -> float:
    """Return what share of a running mean is new after a step that counts for ``pace``.

    Parameters
    ----------
    newest : float
        The share after one step.
    pace : float
        At least 0.
    """
    return newest if pace == 1.0 else 1.0 - (1.0 - newest) ** pace


class Solver(Protocol):
    """What turns a gradient into a step, and a state of numpy arrays to resume from."""

    def step(self, gradient: Tensor, learning_rate: float | Tensor, pace: float = 1.0) -> None:
        """Move the parameters against the gradient, at one rate or one for each of them.

        The step counts for ``pace`` steps: so much further it goes, and so much more it forgets.

        Parameters
        ----------
        gradient : Tensor of shape (n,)
            Of the parameters.
        learning_rate : float or Tensor of shape (n,)
            Rate.
        pace : float, default=1.0
            For how many steps it counts.
        """

    def state(self) -> State:
        """Return copies of what the next step depends on."""

    def epoch_state(self) -> State:
        """Return what later steps of this training depend on besides `state`."""

    def restore(self, epoch_state: State) -> None:
        """Go on from an `epoch_state`."""

    def part(self, pick: Callable[[Tensor], Tensor], flat: Tensor) -> "Solver":
        """Return a solver that goes on with ``flat``, what ``pick`` takes of the parameters."""


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), by torch's fused kernel: one pass over memory.

    Parameters
    ----------
    flat : Tensor of shape (n,)
        Parameters, moved in place.
    state : dict of ndarray, optional
        Where an earlier training stood.
    crew : Crew, optional
        Who shares the parameters where they are many.
    """

    BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
    # Weights of columns that never vary decay towards 0 for ever, and numbers too small to be
    # normal take many times as long: now and then those that count for nothing become 0.
    STEPS_BETWEEN_SWEEPS = 64

    def __init__(self, flat: Tensor, state: State | None = None, crew: Crew | None = None) -> None:
        self._crew = crew or Crew(1)
        state = state or {
            "first_moment": np.zeros(len(flat)),
            "second_moment": np.zeros(len(flat)),
            "n_steps": np.zeros(()),
        }
        self._flat = flat
        self._first = flat.new_tensor(state["first_moment"])
        self._second = flat.new_tensor(state["second_moment"])
        # As the kernel wants it whatever the precision.
        n_steps = float(state["n_steps"])
        self._n_steps = torch.tensor(n_steps, dtype=torch.float32, device=flat.device)
        self._n_until_sweep = self._n_until_next_sweep(int(state["n_steps"]))
        self._slices = self._crew.slices_of(len(flat))
        self._move = flat.new_empty(0)

    def _n_until_next_sweep(self, n_steps: int) -> int:
        return self.STEPS_BETWEEN_SWEEPS - n_steps % self.STEPS_BETWEEN_SWEEPS

    def step(self, gradient: Tensor, learning_rate: float | Tensor, pace: float = 1.0) -> None:
        if pace < LEAST_PACE:
            return  # nothing would move, and the kernel divide by 0
        self._n_steps.add_(pace)
        if isinstance(learning_rate, Tensor):
            # The kernel knows one rate only: let it make the step of rate 1.
            if len(self._move) != len(gradient):
                self._move = torch.empty_like(gradient)
            self._move.zero_()
            self._move_by(self._move, gradient, pace, pace)
            self._flat.addcmul_(self._move, learning_rate)
        else:
            self._move_by(self._flat, gradient, pace * learning_rate, pace)
        self._n_until_sweep -= 1
        if self._n_until_sweep == 0:
            self._n_until_sweep = self.STEPS_BETWEEN_SWEEPS
            self._sweep()

    def _sweep(self) -> None:
        """Set to 0 what lies far below the precision of any sum it is in."""
        least = torch.finfo(self._flat.dtype).eps ** 2
        for values, smallest in (
            (self._flat, least),
            (self._first, least),
            (self._second, least**2),
        ):
            values.mul_(values.abs() > smallest)

    def _move_by(self, flat: Tensor, gradient: Tensor, learning_rate: float, pace: float) -> None:
        """Move ``flat`` against ``gradient`` at one ``learning_rate``; `step` says ``pace``."""
        # The kernel raises its betas to this power: together it is that of the steps.
        n_steps = [self._n_steps if pace == 1.0 else self._n_steps / pace]

        def move(flat: Tensor, gradient: Tensor, first: Tensor, second: Tensor) -> None:
            torch._fused_adam_(
                [flat],
                [gradient],
                [first],
                [second],
                [],
                n_steps,
                lr=learning_rate,
                beta1=self.BETA1**pace,
                beta2=self.BETA2**pace,
                eps=self.EPS,
                weight_decay=0.0,
                amsgrad=False,
                maximize=False,
            )

        vectors = (flat, gradient, self._first, self._second)
        if len(self._slices) == 1:
            move(*vectors)
        else:
            parts = [[vector[which] for vector in vectors] for which in self._slices]
            self._crew.run([partial(move, *each) for each in parts])

    def state(self) -> State:
        return {
            "first_moment": self._first.cpu().numpy().copy(),
            "second_moment": self._second.cpu().numpy().copy(),
            "n_steps": self._n_steps.cpu().numpy().copy(),
        }

    def epoch_state(self) -> State:
        return {"n_until_sweep": np.asarray(self._n_until_sweep)}

    def restore(self, epoch_state: State) -> None:
        self._n_until_sweep = int(epoch_state["n_until_sweep"])

    def part(self, pick: Callable[[Tensor], Tensor], flat: Tensor) -> "Adam":
        rest = Adam(flat, crew=self._crew)
        rest._first, rest._second = pick(self._first), pick(self._second)
        rest._n_steps = self._n_steps.clone()
        rest._n_until_sweep = self._n_until_sweep
        return rest


class SGD:
    """Stochastic gradient descent with momentum (Polyak 1964).

    Parameters
    ----------
    flat : Tensor of shape (n,)
        Parameters, moved in place.
    momentum : float
        Share of the last step's velocity that is kept.
    state : dict of ndarray, optional
        Where an earlier training stood.
    """

    def __init__(self, flat: Tensor, momentum: float, state: State | None = None) -> None:
        state = state or {"velocity": np.zeros(len(flat))}
        self._flat, self._momentum = flat, momentum
        self._velocity = flat.new_tensor(state["velocity"])

    def step(self, gradient: Tensor, learning_rate: float | Tensor, pace: float = 1.0) -> None:
        # What steps of a constant gradient add up to.
        push = part_of_step(1.0 - self._momentum, pace) / (1.0 - self._momentum)
        self._velocity.mul_(self._momentum**pace)
        if isinstance(learning_rate, Tensor):
            self._velocity.addcmul_(gradient, learning_rate, value=-push)
        else:
            self._velocity.add_(gradient, alpha=-push * learning_rate)
        self._flat.add_(self._velocity, alpha=pace)

    def state(self) -> State:
        return {"velocity": self._velocity.cpu().numpy().copy()}

    def epoch_state(self) -> State:
        return {}

    def restore(self, epoch_state: State) -> None:
        pass

    def part(self, pick: Callable[[Tensor], Tensor], flat: Tensor) -> "SGD":
        rest = SGD(flat, self._momentum)
        rest._velocity = pick(self._velocity)
        return rest
