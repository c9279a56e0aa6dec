"""The running mean of the code over the last minibatches."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sksae.engine.solvers import part_of_step


class RunningCode:
    """The mean of the code over the last batches.

    A single batch estimates a small rho badly, and as 1/rho_hat is convex the errors do not cancel:
    they keep the units from becoming selective.

    Parameters
    ----------
    like : Tensor of shape (n_models, n_components, 1)
        In the precision and on the device of the mean.
    window : int
        Batches over which it is taken; 1 gives that of each batch itself.
    pace : float
        For how many batches each counts.
    state : mapping of str to ndarray
        What `state` gave, when a training goes on; {} when it begins.
    """

    def __init__(
        self, like: Tensor, *, window: int, pace: float, state: Mapping[str, np.ndarray]
    ) -> None:
        self._pace, self._newest = pace, part_of_step(1.0 / window, pace)
        self._n_seen = 0.0
        # Running means of the sum over rows of weight * code, and of weight, which is 1 and not
        # kept as long as all rows are alike.
        self._code_sum = torch.zeros_like(like)
        self._weight_sum: Tensor | None = None

        def known(name: str) -> Tensor:
            return torch.tensor(state[name], dtype=like.dtype, device=like.device)

        if "code_sum" in state:
            self._n_seen, self._code_sum = float(state["n_seen"]), known("code_sum")
            if "weight_sum" in state:
                self._weight_sum = known("weight_sum")

    @property
    def is_weighted(self) -> bool:
        """Whether rows have differed in what they count."""
        return self._weight_sum is not None

    def follow(self, code_sum: Tensor, total: Tensor | None) -> Tensor:
        """Move on by one batch and return the mean, shape (n_models, n_components, 1).

        Parameters
        ----------
        code_sum : Tensor of shape (n_models, n_components, 1)
            Sum over the batch's rows of the code times what each counts.
        total : Tensor of shape (1, 1, 1) or None
            What they count together; None where all rows so far are alike.
        """
        newest = max(self._pace / (self._n_seen + self._pace), self._newest)
        self._n_seen += self._pace
        # Into memory of its own: the loss of the epoch keeps it.
        self._code_sum = self._code_sum.lerp(code_sum, newest)
        if total is None:
            return self._code_sum
        if self._weight_sum is None:
            self._weight_sum = code_sum.new_ones(1, 1, 1)
        self._weight_sum = self._weight_sum.lerp(total, newest)
        return self._code_sum / self._weight_sum.clamp(min=torch.finfo(code_sum.dtype).tiny)

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next mean depends on; arrays are (n_models, ...) or common to all."""
        if not self._n_seen:
            return {}
        state = {
            "code_sum": self._code_sum.cpu().numpy().copy(),
            "n_seen": np.asarray(self._n_seen),
        }
        if self._weight_sum is not None:
            state["weight_sum"] = self._weight_sum.cpu().numpy().copy()
        return state
