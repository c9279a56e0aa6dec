"""Units that no row keeps any more learn what the others leave over (AuxK).

Gao et al. 2024, "Scaling and evaluating sparse autoencoders", https://arxiv.org/abs/2406.04093: of
each row the error e = z - z_hat, held fixed, is rebuilt by the largest units among the dead ones,
without b, and 1/2 ||e - e_hat||^2 is added to the loss of the minibatch. Three things are otherwise
than there, after trials on images and embeddings: e is not divided by its norm; pre-activations are
taken as they are, negative ones too, so that units which lie far on the wrong side come back as
well; and a row teaches as many units as a code has active ones, or half of the dead if these are
fewer, so that dead units do not all learn the same.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sksae.engine.parameters import Parameters

# A unit is dead that no row has kept in an epoch, and in so many steps at least: in rows a row of
# weight 2 would not be as much as two rows.
LEAST_STEPS = 20


class DeadUnits:
    """Counts for each unit the steps since it was active, in training alone.

    Parameters
    ----------
    parameters : Parameters
        Of dictionaries side by side.
    n_steps : int
        Steps of an epoch.
    state : mapping of str to ndarray
        What `state` gave, when a training goes on; {} when it begins.
    """

    def __init__(
        self, parameters: Parameters, n_steps: int, state: Mapping[str, np.ndarray]
    ) -> None:
        n_models, n_components = parameters.n_models, parameters.architecture.n_components
        self._idle = parameters.flat.new_zeros(n_models, n_components)
        self._limit = max(n_steps, LEAST_STEPS)
        if "idle_steps" in state:
            self._idle.copy_(torch.from_numpy(state["idle_steps"][..., 0]))

    def find(self) -> list[Tensor]:
        """Return for each model the units that are dead, as a vector of ints."""
        dead = self._idle >= self._limit
        if not dead.any():
            return [dead.new_empty(0, dtype=torch.long)] * len(dead)
        return [model.nonzero()[:, 0] for model in dead]

    def watch(self, is_active: Tensor, pace: float) -> None:
        """Take note of the codes of a minibatch.

        Parameters
        ----------
        is_active : Tensor of bool of shape (n_models, n_components, 1)
            Which units are active in some of its rows.
        pace : float
            How many times it counts.
        """
        self._idle.add_(pace).masked_fill_(is_active[..., 0], 0.0)

    def state(self) -> dict[str, np.ndarray]:
        """Return what is known of the units; arrays are (n_models, n_components, 1)."""
        return {"idle_steps": self._idle.cpu().numpy().copy()[..., None]}


def n_taught(n_active: int, n_dead: int) -> int:
    """Return how many dead units learn of each row.

    Parameters
    ----------
    n_active : int
        Active units of a code.
    n_dead : int
        At least 1.
    """
    return min(n_active, max(1, n_dead // 2))
