"""Mean over rows of half the sum over units of a squared."""

from torch import Tensor

from sksae.engine.codes.code import Code
from sksae.engine.control_law import ControlLaw


class L2(Code):
    """Mean over rows of half the sum over units of a squared."""

    law = ControlLaw(
        # Where it silences some units but not yet all for good, which takes a tenth with sgd of
        # what adam bears. It is an early large beta that silences units, and one that follows the
        # activity from the start only shrinks them.
        start={"adam": 6.0, "sgd": 0.2, "lbfgs": 6.0},
        start_power=0.0,
        integral=10.0,
        max_rate=0.5,
        proportional=1.0,
        largest_boost=40.0,
    )

    def row_penalty(self, code: Tensor) -> Tensor:
        return code.square().sum(dim=1) / 2.0

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor:
        return code * beta


CODE = L2
