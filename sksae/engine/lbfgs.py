"""L-BFGS on a flat vector in float64, made for objectives whose values carry rounding noise.

The direction comes from the compact form of the inverse Hessian (Byrd, Nocedal & Schnabel 1994,
eq. 3.1): two passes over the stored pairs instead of the two-loop recursion's hundreds of small
operations. The line search accepts a step by Hager and Zhang's approximate Wolfe condition (2005,
eq. 4.1) as well as by the strong Wolfe conditions: near a minimum the differences of J drown in
the rounding of float32 products while its slope is still sharp.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.linalg import solve_triangular

from sksae.model.states import prefixed, unprefixed
from sksae.model.tasks import State

Evaluate = Callable[[Tensor], tuple[float, Tensor]]

MAX_PAIRS = 100
# The stored pairs take at most this much memory, but never fewer than MIN_PAIRS are kept.
HISTORY_BYTES = 2**27
MIN_PAIRS = 8

SUFFICIENT_DECREASE = 1e-4
# A more exact search than the usual 0.9: J on UFLDL's patches ends 0.1 % lower in as many
# iterations, and never above scipy's, for 3 % more evaluations.
CURVATURE = 0.7
MAX_EVALUATIONS = 25


class InverseHessian:
    """The last curvature pairs s = change of parameters, y = change of gradient.

    All products of pairs with each other that the direction needs are differences of their
    products with successive gradients, which it computes anyway.

    Parameters
    ----------
    like : Tensor of shape (n_parameters,)
        Gives size, precision and device.
    """

    def __init__(self, like: Tensor) -> None:
        fitting = HISTORY_BYTES // (2 * like.element_size() * len(like))
        self._max_pairs = int(np.clip(fitting, MIN_PAIRS, MAX_PAIRS))
        # Rows 2k and 2k + 1 hold s and y of slot k, so that one product serves both.
        self._pairs = like.new_zeros(2 * self._max_pairs, len(like))
        self.clear()

    def clear(self) -> None:
        """Forget all pairs."""
        self._slots: list[int] = []  # of the pairs, oldest first
        # By age, oldest first: s_i^T y_j for i not newer than j, 0 below; and y_i^T y_j. They are
        # torch's and on the CPU: the threads of numpy's and scipy's BLAS spin for a while after
        # each operation, and would take the cores from the products over rows.
        shape = (self._max_pairs, self._max_pairs)
        self._sy = torch.zeros(shape, dtype=torch.float64, device="cpu")
        self._yy = torch.zeros_like(self._sy)
        self._projected: Tensor | None = None  # (slots, 2): pairs times the last gradient
        self._newest_is_bare = False  # its products with the older pairs are still missing

    def state(self) -> State:
        """Return what later directions depend on."""
        n_pairs = len(self._slots)
        state = {
            "pairs": self._pairs[: 2 * n_pairs].cpu().numpy(),
            "slots": np.asarray(self._slots, dtype=np.int64),
            "sy": self._sy[:n_pairs, :n_pairs].numpy(),
            "yy": self._yy[:n_pairs, :n_pairs].numpy(),
            "newest_is_bare": np.asarray(self._newest_is_bare),
        }
        if self._projected is not None:
            state["projected"] = self._projected.numpy()
        return state

    def restore(self, state: State) -> None:
        """Go on from a `state`."""
        self.clear()
        self._slots = [int(slot) for slot in state["slots"]]
        n_pairs = len(self._slots)
        self._pairs[: 2 * n_pairs] = self._pairs.new_tensor(state["pairs"])
        for name, products in (("sy", self._sy), ("yy", self._yy)):
            products[:n_pairs, :n_pairs] = torch.from_numpy(state[name])
        self._newest_is_bare = bool(state["newest_is_bare"])
        if "projected" in state:
            self._projected = torch.tensor(state["projected"], device="cpu")

    def __len__(self) -> int:
        return len(self._slots)

    def update(self, step: Tensor, change: Tensor) -> None:
        """Store a pair, dropping the oldest if need be; ignored unless it is curved upward.

        Call once between two calls of `direction`, with the change between their gradients.
        """
        curvature, square = float(torch.dot(step, change)), float(torch.dot(change, change))
        if curvature <= np.finfo(np.float64).eps * square:
            self._projected = None
            return
        n_pairs = len(self._slots)
        if n_pairs == self._max_pairs:
            slot = self._slots.pop(0)
            for products in (self._sy, self._yy):
                products[:-1, :-1] = products[1:, 1:].clone()
                products[-1] = 0.0
        else:
            slot = n_pairs
        self._slots.append(slot)
        self._pairs[2 * slot] = step
        self._pairs[2 * slot + 1] = change
        newest = len(self._slots) - 1
        self._sy[newest, newest], self._yy[newest, newest] = curvature, square
        self._newest_is_bare = True

    def _multiply_newest(self, projected: Tensor) -> None:
        """Fill in the products of the newest pair's y with the older pairs."""
        if not self._newest_is_bare:
            return
        if self._projected is None:
            products = self._project(self._pairs[2 * self._slots[-1] + 1])
        else:
            products = projected[: len(self._projected)] - self._projected
        newest = len(self._slots) - 1
        on_s, on_y = products[self._slots[:-1]].T
        self._sy[:newest, newest] = on_s
        self._yy[:newest, newest] = self._yy[newest, :newest] = on_y
        self._newest_is_bare = False

    def _project(self, vector: Tensor) -> Tensor:
        """Return the products of a vector with s and y of each slot, shape (n_slots, 2)."""
        return (self._pairs[: 2 * len(self._slots)] @ vector).cpu().view(-1, 2)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return -H g."""
        n_pairs = len(self._slots)
        if n_pairs == 0:
            return -gradient
        projected = self._project(gradient)
        self._multiply_newest(projected)
        self._projected = projected

        sy, yy = self._sy[:n_pairs, :n_pairs], self._yy[:n_pairs, :n_pairs]
        gamma = sy[-1, -1] / yy[-1, -1]
        on_s, on_y = projected[self._slots].split(1, dim=1)
        u = solve_triangular(sy, on_s, upper=True)
        right = sy.diagonal().unsqueeze(1) * u + gamma * (yy @ u - on_y)
        v = solve_triangular(sy.T, right, upper=False)
        weights = torch.empty(n_pairs, 2, dtype=torch.float64, device="cpu")
        weights[self._slots] = torch.cat([-v, gamma * u], dim=1)
        on_pairs = weights.view(-1).to(gradient.device)
        return (on_pairs @ self._pairs[: 2 * n_pairs]).sub_(gradient, alpha=float(gamma))


@dataclass
class Point:
    """A point on the search line: its step, J there, J's slope along the line, the gradient."""

    step: float
    value: float
    slope: float
    gradient: Tensor


def _cubic_minimum(a: Point, b: Point) -> float:
    """Return the minimiser of the cubic through two points (Nocedal & Wright 2006, eq. 3.59)."""
    d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0.0:
        return 0.5 * (a.step + b.step)
    d2 = np.copysign(np.sqrt(square), b.step - a.step)
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2)


def _inside(step: float, low: float, high: float, margin: float = 0.1) -> float:
    """Keep a trial step away from the ends of its bracket; bisect if it is not a number.

    Parameters
    ----------
    step : float
        The trial step.
    low, high : float
        Ends of the bracket, in either order.
    margin : float
        How far from them to stay, as a share of the bracket.
    """
    if not isfinite(step):
        return 0.5 * (low + high)
    width = high - low
    return min(max(step, low + margin * width), high - margin * width)


def line_search(
    probe: Callable[[float], Point], start: Point, first_step: float, noise: float
) -> Point | None:
    """Find a step that satisfies the Wolfe conditions, or the approximate ones.

    Parameters
    ----------
    probe : callable
        Evaluates J at a step along the line.
    start : Point
        At step 0; its slope is negative.
    first_step : float
        First step tried.
    noise : float
        Rounding error to be expected in a value of J.

    Returns
    -------
    point : Point or None
        None if none was found in ``MAX_EVALUATIONS``.
    """

    def is_too_far(point: Point) -> bool:
        if not isfinite(point.value):
            return True
        drop = SUFFICIENT_DECREASE * point.step * start.slope
        exact = point.value <= start.value + drop
        approximate = (
            abs(point.value - start.value) <= noise
            and point.slope <= (2.0 * SUFFICIENT_DECREASE - 1.0) * start.slope
        )
        return not (exact or approximate)

    low, high = start, None
    step = first_step
    for _ in range(MAX_EVALUATIONS):
        point = probe(step)
        if is_too_far(point):
            high = point
        elif abs(point.slope) <= -CURVATURE * start.slope:
            return point
        elif point.slope < 0.0:
            low = point
        else:
            high = point
        if high is None:
            step = min(max(_cubic_minimum(start, point), 2.0 * step), 10.0 * step)
        else:
            usable = isfinite(high.value) and isfinite(high.slope)
            guess = _cubic_minimum(low, high) if usable else inf
            step = _inside(guess, low.step, high.step)
    return low if low.value < start.value else None


class LBFGS:
    """Limited-memory BFGS (Liu & Nocedal 1989), one accepted step a call.

    Parameters
    ----------
    evaluate : callable
        Returns J, a float, and its gradient at a flat float64 vector.
    flat : Tensor of shape (n_parameters,), float64
        Where it is.
    value, gradient : float, Tensor of shape (n_parameters,)
        J there, and its gradient.
    noise : float
        Relative rounding error of J: the machine epsilon of the matrix products.

    Attributes
    ----------
    flat : Tensor
        The point reached; J there is ``value``.
    n_evaluations : int
        Calls of ``evaluate`` so far.
    """

    def __init__(
        self, evaluate: Evaluate, flat: Tensor, value: float, gradient: Tensor, noise: float
    ) -> None:
        self._evaluate = evaluate
        self._noise = noise
        self._hessian = InverseHessian(flat)
        self.flat, self.value, self._gradient = flat, value, gradient
        self.n_evaluations = 1

    @classmethod
    def begin(cls, evaluate: Evaluate, start: Tensor, noise: float) -> Self:
        """Return a solver before its first step."""
        flat = start.clone()
        return cls(evaluate, flat, *evaluate(flat), noise)

    @classmethod
    def resumed(cls, evaluate: Evaluate, state: State, like: Tensor, noise: float) -> Self:
        """Return a solver that goes on from a `state`; ``like`` gives precision and device."""
        flat, gradient = like.new_tensor(state["flat"]), like.new_tensor(state["gradient"])
        solver = cls(evaluate, flat, float(state["value"]), gradient, noise)
        solver.n_evaluations = int(state["n_evaluations"])
        solver._hessian.restore(unprefixed("hessian", state))
        return solver

    def state(self) -> State:
        """Return what later steps depend on."""
        return {
            "flat": self.flat.cpu().numpy(),
            "value": np.asarray(self.value),
            "gradient": self._gradient.cpu().numpy(),
            "n_evaluations": np.asarray(self.n_evaluations),
            **prefixed("hessian", self._hessian.state()),
        }

    def step(self) -> bool:
        """Take one step; return False if none that lowers J can be found."""
        if not self._gradient.any():
            return False
        if self._search():
            return True
        # A direction spoilt by rounding: try once more from the steepest descent.
        if not len(self._hessian):
            return False
        self._hessian.clear()
        return self._search()

    def _search(self) -> bool:
        direction = self._hessian.direction(self._gradient)
        slope = float(torch.dot(direction, self._gradient))
        if not slope < 0.0:
            return False
        start = Point(0.0, self.value, slope, self._gradient)
        trial = torch.empty_like(self.flat)

        def probe(step: float) -> Point:
            torch.add(self.flat, direction, alpha=step, out=trial)
            value, gradient = self._evaluate(trial)
            self.n_evaluations += 1
            return Point(step, value, float(torch.dot(direction, gradient)), gradient)

        # Without curvature there is no scale to a step: begin with a short one.
        first = 1.0 if len(self._hessian) else min(1.0, 1.0 / float(direction.abs().sum()))
        found = line_search(probe, start, first, noise=self._noise * abs(self.value))
        if found is None:
            return False
        moved = direction.mul_(found.step)
        if not torch.any(self.flat + moved != self.flat):
            return False
        self._hessian.update(moved, found.gradient - self._gradient)
        self.flat = self.flat + moved
        self.value, self._gradient = found.value, found.gradient
        return True
