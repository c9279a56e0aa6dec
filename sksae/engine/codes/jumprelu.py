"""Pre-activations above thresholds that are learnt (Rajamanoharan et al. 2024, "JumpReLU").

https://arxiv.org/abs/2407.14435, "Jumping ahead: improving reconstruction fidelity with JumpReLU
sparse autoencoders": a = p [p > theta], one threshold theta >= 0 for each unit. J jumps where theta
crosses a pre-activation; its mean over many rows does not, and the slope of that is estimated by
the rows that are near, with a rectangle of width eps as the kernel (their equations 11 and 12):

    d a / d theta = -(theta / eps) [|p - theta| < eps / 2]
    d [p > theta] / d theta = -(1 / eps) [|p - theta| < eps / 2]

The penalty is (L0 / k - 1)^2, with L0 the mean over rows of the number of active units ("targeting
a fixed sparsity", section 5); that of a minibatch counts as its rows weigh. It moves thresholds
alone. These are learnt as they are and brought back to 0 where a step leaves them below: the
logarithm, which others learn, hardly moves where thresholds are small.
"""

from torch import Tensor

from sksae.engine.activations import Tensors
from sksae.engine.codes.code import (
    Active,
    Code,
    EntryGradients,
    Keeping,
    WayBack,
    entries_where,
)
from sksae.engine.control_law import ControlLaw

START = 2.0


class JumpReLU(Code):
    """Pre-activations above a threshold for each unit; S = (L0 / k - 1)^2."""

    penalises_counts = True
    law = ControlLaw(
        start={"adam": START, "sgd": START},
        start_power=1.0,
        is_per_unit=False,
        integral=15.0,
        max_rate=0.1,
        proportional=1.5,
        largest_boost=4.0,
        # Where rho cannot be met J would be nothing but the penalty.
        ceiling=START,
        band=0.01,
    )

    def active(self, pre: Tensor, keeping: Keeping) -> Active:
        threshold = keeping.units["threshold"]
        found = entries_where(pre > threshold - keeping.bandwidth / 2.0, pre)
        is_active = found.values > threshold[found.units.long()]
        return found._replace(values=found.values * is_active, pre=found.values)

    def backward(self, active: Active, back: WayBack) -> EntryGradients:
        assert active.pre is not None
        assert back.costs is not None
        threshold, width = back.units["threshold"], back.bandwidth
        is_near = (active.pre - threshold).abs_() < width / 2.0
        slope = (threshold * back.deltas).add_(back.costs).mul_(is_near)
        deltas = back.deltas.mul_(active.values > 0.0)
        return EntryGradients(deltas, {"threshold": slope.div_(-width)})

    def price(self, n_active: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        k = rho * rho.shape[1]
        return 2.0 * beta * (n_active / k - 1.0) / k

    def mean_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        return (mean_code / rho[:, :1] - 1.0).square().sum(dim=(1, 2))

    def settle(self, units: Tensors) -> None:
        units["threshold"].clamp_(min=0.0)


CODE = JumpReLU
