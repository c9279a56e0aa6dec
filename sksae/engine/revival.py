"""Units that no row reaches any more begin anew, while beta="auto" looks for beta.

A relu unit that is 0 in all rows has no gradient but that of the weight decay, and stays so. On the
way to the beta that meets rho the weakest units die one after another; rho is a share over all
units, so that those left would make up for them by being active too often. A dead unit is given to
a row with a large error (Bricken et al. 2023, "Towards monosemanticity"): it detects and writes
what that row still lacks, as strongly as live units do, in as many rows as rho wants.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes.code import Networks
from sksae.engine.portions import Portions

# A unit is dead that was 0 in so many rows one after another, over rho: one that is active a tenth
# as often as rho says is taken for dead once in twenty times.
IDLE_ROWS = 30.0
# In the last part of a training, by share of its steps, nothing begins anew: it would be left as it
# begins.
LAST_STEPS = 0.02


def mean_length(weights: Tensor, live: Tensor) -> Tensor:
    """Return the mean length of live units' weights, shape (n_models, 1, 1).

    Parameters
    ----------
    weights : Tensor of shape (n_models, n_components, n_features)
    live : Tensor of bool of shape (n_models, n_components, 1)
    """
    length = torch.linalg.vector_norm(weights, dim=2, keepdim=True) * live
    return length.sum(dim=1, keepdim=True) / live.sum(dim=1, keepdim=True).clamp(min=1)


def give_rows(dead: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Give each dead unit a row of its own, those with the largest error first.

    Parameters
    ----------
    dead : Tensor of bool of shape (n_models, n_components, 1)
    size : Tensor of shape (n_models, n_rows)
        How large each row's error is.

    Returns
    -------
    served : Tensor of bool of shape (n_models, n_components, 1)
        Dead units that got a row: no more than there are rows, as two units that began with the
        same row would stay the same.
    row : Tensor of int of shape (n_models, n_components)
        Which row; of units that got none it has no meaning.
    """
    rank = dead.cumsum(dim=1) - 1
    served = dead & (rank < size.shape[1])
    order = size.argsort(dim=1, descending=True, stable=True)
    return served, order.gather(1, rank[..., 0].clamp(0, size.shape[1] - 1))


def revive(networks: Networks, dead: Tensor, rows: Tensor, error: Tensor, rho: Tensor) -> Tensor:
    """Let dead units begin anew, and return which of them did.

    Parameters
    ----------
    networks : Networks
        Without hidden layers; written to.
    dead : Tensor of bool of shape (n_models, n_components, 1)
        Units to begin anew.
    rows : Tensor of shape (n_models or 1, n_rows, n_features)
        Centred rows of a minibatch.
    error : Tensor of shape (n_models, n_rows, n_features)
        Gradient of the loss by what enters the output activation.
    rho : Tensor of shape (n_models, n_components, 1)
        In what share of the rows they shall be active.
    """
    encoder, decoder, bias = networks.weights[0], networks.weights[1], networks.biases[0]
    served, row = give_rows(dead, error.square().sum(dim=2))
    lacking = -error.gather(1, row.unsqueeze(2).expand(-1, -1, error.shape[2]))
    tiny = torch.finfo(error.dtype).tiny
    direction = lacking / torch.linalg.vector_norm(lacking, dim=2, keepdim=True).clamp(min=tiny)
    inward = direction * mean_length(encoder, ~dead)
    outward = direction * mean_length(decoder, ~dead)
    input_scale = networks.architecture.input_scales[0]
    n_rows = rows.shape[1]
    n_active = (rho * n_rows).ceil().long().clamp(max=n_rows - 1)
    highest, threshold = torch.empty_like(bias), torch.empty_like(bias)

    def look_at(units: slice) -> None:
        reached = input_scale * torch.matmul(inward[:, units], rows.mT)
        reached = reached.sort(dim=2, descending=True).values
        highest[:, units] = reached[:, :, :1]
        threshold[:, units] = reached.gather(2, n_active[:, units])

    # They have as many numbers as the code of the whole minibatch.
    Portions("units").each(slice(0, inward.shape[1]), look_at)
    # Where all rows that come first are alike, or there is but one, they are to be active too.
    threshold = torch.where(threshold < highest, threshold, highest - highest.abs() / 2)
    encoder.copy_(torch.where(served, inward, encoder))
    # Of tied weights they are the encoder's.
    decoder.copy_(torch.where(served, outward, decoder))
    bias.copy_(torch.where(served, -threshold, bias))
    return served


class Revival:
    """Finds the units that are dead and lets them begin anew.

    Parameters
    ----------
    networks : Networks
        Without hidden layers.
    rho : Tensor of shape (n_models, n_components, 1)
        Share of rows in which a unit shall be active.
    is_auto : ndarray of bool of shape (n_models,)
        In which networks; those whose beta is given are left as J makes them.
    state : mapping of str to ndarray
        What `state` gave, when a training goes on; {} when it begins.
    """

    def __init__(
        self,
        networks: Networks,
        rho: Tensor,
        is_auto: np.ndarray,
        *,
        state: Mapping[str, np.ndarray],
    ) -> None:
        self._networks, self._rho, self._is_auto = networks, rho, is_auto
        # Rows since each unit was active.
        self._idle = torch.zeros_like(rho)
        if "idle_rows" in state:
            self._idle.copy_(torch.tensor(state["idle_rows"], device="cpu"))

    def watch(self, is_active: Tensor, n_rows: float) -> None:
        """Take note of a minibatch's code.

        Parameters
        ----------
        is_active : Tensor of bool of shape (n_models, n_components, 1)
            Which units are active in some row.
        n_rows : float
            For how many rows the minibatch counts.
        """
        self._idle.add_(n_rows).masked_fill_(is_active, 0.0)

    def act(
        self, rows: Callable[[], Tensor], error: Callable[[], Tensor], share_left: np.ndarray
    ) -> None:
        """Let units begin anew; after forward and backward pass.

        Parameters
        ----------
        rows : callable
            Returns the centred rows of the minibatch, (n_models or 1, n_rows, n_features).
        error : callable
            Returns the gradient of the loss by what enters the output activation, shape
            (n_models, n_rows, n_features).
        share_left : ndarray of shape (n_models,)
            Share of the training's steps that are still to come.
        """
        may = (
            torch.from_numpy(self._is_auto & (share_left > LAST_STEPS))
            .to(self._idle.device)
            .view(-1, 1, 1)
        )
        dead = (self._idle * self._rho >= IDLE_ROWS) & may
        if dead.any():
            served = revive(self._networks, dead, rows(), error(), self._rho)
            self._idle.masked_fill_(served, 0.0)

    def state(self) -> dict[str, np.ndarray]:
        """Return what is known of the units; arrays are (n_models, ...)."""
        return {"idle_rows": self._idle.cpu().numpy().copy()}
