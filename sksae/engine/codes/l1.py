"""Mean over rows of the sum over units of abs(a)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes.code import Code, Networks
from sksae.engine.control_law import ControlLaw
from sksae.engine.revival import Revival

START = 0.2


class L1(Code):
    """Mean over rows of the sum over units of abs(a)."""

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

    def upkeep(
        self,
        networks: Networks,
        rho: Tensor,
        is_auto: np.ndarray,
        *,
        state: Mapping[str, np.ndarray],
    ) -> Revival | None:
        # Behind hidden layers an error of the output does not tell what a unit should detect.
        if networks.architecture.n_layers > 2:
            return None
        return Revival(networks, rho, is_auto, state=state)


CODE = L1
