"""Units that no token keeps any more learn what the others leave over; see `exact.dead_units`.

The error of a token, held fixed, is rebuilt by the pre-activations of the largest units among the
dead ones, without the decoder's bias, and 1/2 ||e - e_hat||^2 is added to its loss (AuxK, Gao et
al. 2024, arXiv:2406.04093).
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sksae.engine.attention.modules import AttentionModule
from sksae.engine.exact.dead_units import LEAST_STEPS, n_taught


class IdleUnits:
    """Counts for each unit the steps since a token kept it, and teaches those that none keeps.

    Parameters
    ----------
    n_active : int
        Active units of a code.
    steps_per_epoch : int
        A unit is dead that was not active for so many steps.
    like : Tensor
        Of whose precision and device codes are.
    n_components : int
        Units.
    state : mapping of str to ndarray
        What `state` gave, when a training goes on; {} when it begins.
    """

    def __init__(
        self,
        n_active: int,
        steps_per_epoch: int,
        like: Tensor,
        n_components: int,
        state: Mapping[str, np.ndarray],
    ) -> None:
        self._n_active, self._limit = n_active, max(steps_per_epoch, LEAST_STEPS)
        self._idle = like.new_zeros(n_components)
        if "idle_steps" in state:
            self._idle.copy_(torch.from_numpy(state["idle_steps"]))

    def watch(self, code: Tensor) -> None:
        """Take note of the codes of a minibatch, (n_tokens, n_components)."""
        self._idle.add_(1.0).masked_fill_((code.detach() > 0.0).any(dim=0), 0.0)

    def missed(self, module: AttentionModule, hidden: Tensor, error: Tensor) -> Tensor | None:
        """Return half the squared error of dead units, of each token; None where none is dead.

        Only dead units learn of it.

        Parameters
        ----------
        module : AttentionModule
            The network.
        hidden : Tensor of shape (n_tokens, d_model)
            Tokens after all blocks.
        error : Tensor of shape (n_tokens, token_width)
            What is to be rebuilt.
        """
        dead = (self._idle >= self._limit).nonzero()[:, 0]
        if not len(dead):
            return None
        encode = module.encode
        of_dead = F.linear(hidden.detach(), encode.weight[dead], encode.bias[dead])
        largest = of_dead.topk(n_taught(self._n_active, len(dead)), dim=1)
        taught = torch.zeros_like(of_dead).scatter(1, largest.indices, largest.values)
        return (taught @ module.decode.weight[:, dead].t() - error.detach()).square().sum(
            dim=1
        ) / 2.0

    def state(self) -> dict[str, np.ndarray]:
        """Return what is known of the units."""
        return {"idle_steps": self._idle.cpu().numpy().copy()}
