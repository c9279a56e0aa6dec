"""Mean over rows of the sum over units of abs(a)."""

import torch
from torch import Tensor

from sksae.engine.codes.code import Code
from sksae.engine.control_law import ControlLaw

START = 0.2


class L1(Code):
    """Mean over rows of the sum over units of abs(a)."""

    revives_units = True
    law = ControlLaw(
        start={"adam": START, "sgd": START, "lbfgs": START},
        start_power=0.5,
        integral=100.0,
        max_rate=0.025,
        proportional=1.5,
        largest_boost=2.0,
        descent=40.0,
    )

    def row_penalty(self, code: Tensor) -> Tensor:
        return code.abs().sum(dim=1)

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor:
        return torch.sign(code).mul_(beta)


CODE = L1
