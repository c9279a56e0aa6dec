"""Each activation: its value, and the derivative that leads back through it.

Layers work in place on large buffers, so an activation writes its value over the pre-activation
and later multiplies the gradient that comes back by a derivative read off that value. Those that
learn something for each unit must remember the pre-activation: with a learned slope, say, the value
no longer tells on which side of zero it came from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# torch's own fused backward kernels: one pass over memory where the plain formula takes two.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_threshold_backward = torch.ops.aten.threshold_backward.grad_input

Tensors = Mapping[str, Tensor]

# Where what is learnt for each unit starts, unless it depends on the rows: slopes by He et al.
# (2015), "Delving deep into rectifiers", section 3.
STARTS = {"slope": 0.25, "threshold": 0.0, "log_gain": 0.0, "offset": 0.0}


@dataclass(frozen=True)
class Activation:
    """One elementwise function f and what a network needs to know of it.

    Attributes
    ----------
    forward : callable
        ``forward(pre, out, units)`` writes f(pre) into ``out``; the two may be the same buffer
        unless ``keeps_pre``. ``units`` has what is learnt for each unit by name (see
        `UNIT_PARAMETERS`).
    backward : callable
        ``backward(gradient, out, pre, units, unit_gradients)`` turns dJ/df(pre) into dJ/dpre, in
        place, and writes dJ by what is learnt for each unit into ``unit_gradients``.
    inverse : callable
        The pre-activation at which a starting bias makes the function take the given values, for
        numpy arrays: values outside a bounded range are clipped into it, and all others of an
        unbounded function are taken as they are.
    keeps_pre : bool
        Whether ``backward`` needs the pre-activation besides the value.
    """

    forward: Callable[[Tensor, Tensor, Tensors], object]
    backward: Callable[[Tensor, Tensor, Tensor, Tensors, Tensors], object]
    inverse: Callable[[np.ndarray], np.ndarray]
    keeps_pre: bool = False

    def evaluate(self, pre: np.ndarray, units: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return f(pre) for a numpy array, in memory of its own."""
        before = torch.from_numpy(pre.copy())
        after = torch.empty_like(before) if self.keeps_pre else before
        # Copies: arrays may be read-only, which torch does not know of.
        tensors = {name: torch.from_numpy(each.astype(pre.dtype)) for name, each in units.items()}
        self.forward(before, after, tensors)
        return after.numpy()


def _logit(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0.01, 0.99)
    return np.log(value / (1.0 - value))


def _arctanh(value: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(value, -0.99, 0.99))


def _itself(value: np.ndarray) -> np.ndarray:
    return value


def _prelu(pre: Tensor, out: Tensor, units: Tensors) -> None:
    torch.mul(pre, units["slope"], out=out)
    torch.where(pre > 0, pre, out, out=out)


def _prelu_chain(
    gradient: Tensor, out: Tensor, pre: Tensor, units: Tensors, unit_gradients: Tensors
) -> None:
    slope = units["slope"]
    unit_gradients["slope"].copy_((gradient * pre.clamp(max=0)).sum_to_size(slope.shape))
    torch.where(pre > 0, gradient, gradient * slope, out=gradient)


def _jumprelu(pre: Tensor, out: Tensor, units: Tensors) -> None:
    torch.mul(pre, pre > units["threshold"], out=out)


def _jumprelu_backward(
    gradient: Tensor, out: Tensor, pre: Tensor, units: Tensors, unit_gradients: Tensors
) -> None:
    # Thresholds are learnt by the code's own objective alone, and are fixed for any other.
    unit_gradients["threshold"].zero_()
    gradient.mul_(out > 0.0)


def _gated(pre: Tensor, out: Tensor, units: Tensors) -> None:
    torch.mul(pre, torch.exp(units["log_gain"]), out=out)
    out.add_(units["offset"]).clamp_(min=0.0).mul_(pre > 0.0)


def _gated_backward(
    gradient: Tensor, out: Tensor, pre: Tensor, units: Tensors, unit_gradients: Tensors
) -> None:
    gradient.mul_(out > 0.0)
    unit_gradients["offset"].copy_(gradient.sum_to_size(units["offset"].shape))
    gradient.mul_(torch.exp(units["log_gain"]))
    unit_gradients["log_gain"].copy_((gradient * pre).sum_to_size(units["log_gain"].shape))


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(
        forward=lambda pre, out, units: torch.sigmoid(pre, out=out),
        backward=lambda g, out, pre, units, gs: _sigmoid_backward(g, out, grad_input=g),
        inverse=_logit,
    ),
    "tanh": Activation(
        forward=lambda pre, out, units: torch.tanh(pre, out=out),
        backward=lambda g, out, pre, units, gs: _tanh_backward(g, out, grad_input=g),
        inverse=_arctanh,
    ),
    "relu": Activation(
        forward=lambda pre, out, units: torch.clamp(pre, min=0, out=out),
        backward=lambda g, out, pre, units, gs: _threshold_backward(g, out, 0, grad_input=g),
        inverse=_itself,
    ),
    "prelu": Activation(forward=_prelu, backward=_prelu_chain, inverse=_itself, keeps_pre=True),
    "jumprelu": Activation(
        forward=_jumprelu, backward=_jumprelu_backward, inverse=_itself, keeps_pre=True
    ),
    "gated": Activation(forward=_gated, backward=_gated_backward, inverse=_itself, keeps_pre=True),
    "identity": Activation(
        forward=lambda pre, out, units: None,
        backward=lambda g, out, pre, units, gs: None,
        inverse=_itself,
    ),
}
