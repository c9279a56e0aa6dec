"""Each activation: its value, and the derivative that leads back through it.

Layers work in place on large buffers, so an activation writes its value over the pre-activation
and later multiplies the gradient that comes back by a derivative read off that value. Only prelu
must remember its pre-activation: with a learned slope the value no longer tells on which side of
zero it came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# torch's own fused backward kernels: one pass over memory where the plain formula takes two.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_threshold_backward = torch.ops.aten.threshold_backward.grad_input

INITIAL_PRELU_SLOPE = 0.25  # He et al. (2015), "Delving deep into rectifiers", section 3


@dataclass(frozen=True)
class Activation:
    """One elementwise function f and what a network needs to know of it.

    Attributes
    ----------
    forward : callable
        ``forward(pre, out, slope)`` writes f(pre) into ``out``; the two may be the same buffer
        unless ``keeps_pre``. ``slope`` is None for all but prelu.
    backward : callable
        ``backward(gradient, out, pre, slope, slope_gradient)`` turns dJ/df(pre) into dJ/dpre, in
        place, and writes dJ/dslope where there is a slope.
    inverse : callable
        The pre-activation at which a starting bias makes the function take the given values, for
        numpy arrays: values outside a bounded range are clipped into it, and all others of an
        unbounded function are taken as they are.
    keeps_pre : bool
        Whether ``backward`` needs the pre-activation besides the value.
    """

    forward: Callable[[Tensor, Tensor, Any], object]
    backward: Callable[[Tensor, Tensor, Tensor, Any, Any], object]
    inverse: Callable[[np.ndarray], np.ndarray]
    keeps_pre: bool = False

    def evaluate(self, pre: np.ndarray, slope: np.ndarray | None) -> np.ndarray:
        """Return f(pre) for a numpy array, in memory of its own."""
        before = torch.from_numpy(pre.copy())
        after = torch.empty_like(before) if self.keeps_pre else before
        self.forward(before, after, None if slope is None else torch.from_numpy(slope))
        return after.numpy()


def _logit(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0.01, 0.99)
    return np.log(value / (1.0 - value))


def _arctanh(value: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(value, -0.99, 0.99))


def _itself(value: np.ndarray) -> np.ndarray:
    return value


def _prelu(pre: Tensor, out: Tensor, slope: Tensor) -> None:
    torch.mul(pre, slope, out=out)
    torch.where(pre > 0, pre, out, out=out)


def _prelu_chain(
    gradient: Tensor, out: Tensor, pre: Tensor, slope: Tensor, slope_gradient: Tensor
) -> None:
    slope_gradient.copy_((gradient * pre.clamp(max=0)).sum_to_size(slope.shape))
    torch.where(pre > 0, gradient, gradient * slope, out=gradient)


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(
        forward=lambda pre, out, slope: torch.sigmoid(pre, out=out),
        backward=lambda g, out, pre, slope, gs: _sigmoid_backward(g, out, grad_input=g),
        inverse=_logit,
    ),
    "tanh": Activation(
        forward=lambda pre, out, slope: torch.tanh(pre, out=out),
        backward=lambda g, out, pre, slope, gs: _tanh_backward(g, out, grad_input=g),
        inverse=_arctanh,
    ),
    "relu": Activation(
        forward=lambda pre, out, slope: torch.clamp(pre, min=0, out=out),
        backward=lambda g, out, pre, slope, gs: _threshold_backward(g, out, 0, grad_input=g),
        inverse=_itself,
    ),
    "prelu": Activation(forward=_prelu, backward=_prelu_chain, inverse=_itself, keeps_pre=True),
    "identity": Activation(
        forward=lambda pre, out, slope: None,
        backward=lambda g, out, pre, slope, gs: None,
        inverse=_itself,
    ),
}
