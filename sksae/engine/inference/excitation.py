"""Rows that excite units most: what a unit behind hidden layers stands for.

Without hidden layers the row of norm 1 that excites unit j most is W_ij / sqrt(sum_i W_ij^2), as in
the UFLDL tutorial, "Visualizing a trained autoencoder". Behind hidden layers there is no such
formula, and gradient ascent on a sphere takes its place (Erhan, Bengio, Courville and Vincent 2009,
"Visualizing higher-layer features of a deep network", section 3). All units climb at once, each
with a row of its own.
"""

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.codes import selector
from sksae.engine.inference.layers import Layers
from sksae.model.network import FittedNetwork
from sksae.model.slices import chunk_slices

# Steps along the sphere, in units of its radius: long ones look around, short ones settle.
N_STEPS = 150
FIRST_STEP, LAST_STEP = 1.0, 0.005


def exciting_rows(
    network: FittedNetwork, units: np.ndarray, radius: float, device: str
) -> np.ndarray:
    """Return for each of some units the row at some distance from the mean that excites it most.

    Ascent may end at a row that only its neighbours do not surpass. It starts from two rows, and
    draws nothing: the same network gives the same rows.

    Parameters
    ----------
    network : FittedNetwork
        Whose code they are units of.
    units : ndarray of int of shape (n_units,)
        Which units.
    radius : float
        Distance of rows from the mean training row, in the space of z.
    device : str
        Where to compute.

    Returns
    -------
    differences : ndarray of shape (n_units, n_features), float64
        Of each row from the mean one, in the units of X.
    """
    encoder = Encoder(network, device)
    found = np.empty((len(units), network.n_features))
    for which in chunk_slices(len(units), 2 * sum(network.sizes)):
        some = torch.from_numpy(units[which].astype(np.int64)).to(encoder.device)
        found[which] = climb(encoder, some, radius).cpu().numpy()
    return found * (radius * network.scaling.scale)


class Encoder:
    """The way from rows to the pre-activations of the code, and back.

    Parameters
    ----------
    network : FittedNetwork
        Whose encoder.
    device : str
        Where to compute.
    """

    def __init__(self, network: FittedNetwork, device: str) -> None:
        network = network.without_input_scales()
        dtype = np.result_type(*(layer.coef for layer in network.encoder))
        self._layers = Layers(network, np.dtype(dtype), device)
        self._hidden, self._code = network.encoder[:-1], network.encoder[-1]
        self.device = self._layers.device
        self.centre = self._layers.as_tensor(network.scaling.offset)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return self._layers.kept(array).tensor[0]

    def excitation(self, rows: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much each row excites its unit, before the activation, and the gradient.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            In the space of z.
        units : Tensor of int of shape (n_rows,)
            The unit of each of them.
        """
        passed = []
        for layer in self._hidden:
            pre = rows @ self._tensor(layer.coef) + self._tensor(layer.intercept)
            activation = ACTIVATIONS[layer.activation]
            rows = torch.empty_like(pre) if activation.keeps_pre else pre
            learnt = {name: self._tensor(each) for name, each in layer.units.items()}
            activation.forward(pre, rows, learnt)
            select = selector(layer.selection)
            if select is not None:
                select(rows, -1)
            passed.append((layer, pre, rows, learnt))
        weights = self._tensor(self._code.coef)[:, units].T
        excitation = (rows * weights).sum(dim=1) + self._tensor(self._code.intercept)[0, units]
        gradient = weights.clone()
        for layer, pre, out, learnt in reversed(passed):
            # Where a unit is not kept its activation is 0, and so is the gradient through it.
            unneeded = {name: torch.empty_like(each) for name, each in learnt.items()}
            ACTIVATIONS[layer.activation].backward(gradient, out, pre, learnt, unneeded)
            gradient = gradient @ self._tensor(layer.coef).T
        return excitation, gradient

    def through_weights(self, units: Tensor) -> Tensor:
        """Return the gradient as it would be without activations, shape (n_units, n_features)."""
        gradient = self._tensor(self._code.coef)[:, units].T
        for layer in reversed(self._hidden):
            gradient = gradient @ self._tensor(layer.coef).T
        return gradient


def climb(encoder: Encoder, units: Tensor, radius: float) -> Tensor:
    """Return for each unit the direction from the centre in which it is excited most.

    Parameters
    ----------
    encoder : Encoder
        The network.
    units : Tensor of int of shape (n_units,)
        Which units.
    radius : float
        How far from the centre.

    Returns
    -------
    directions : Tensor of shape (n_units, n_features)
        Of norm 1.
    """
    centre, n_units = encoder.centre, len(units)
    _, slope = encoder.excitation(centre.expand(n_units, -1).clone(), units)
    starts = (slope, encoder.through_weights(units))
    directions = _unit_norm(torch.cat(starts), torch.ones_like(torch.cat(starts)))
    twice = units.repeat(len(starts))
    best, highest = directions, torch.full_like(directions[:, 0], -torch.inf)
    for step in np.geomspace(FIRST_STEP, LAST_STEP, N_STEPS):
        excitation, gradient = encoder.excitation(centre + radius * directions, twice)
        is_higher = excitation > highest
        highest = torch.where(is_higher, excitation, highest)
        best = torch.where(is_higher[:, None], directions, best)
        uphill = _unit_norm(gradient, torch.zeros_like(gradient))
        directions = _unit_norm(directions + float(step) * uphill, directions)
    which = highest.view(len(starts), n_units).argmax(dim=0)
    return best.view(len(starts), n_units, -1)[which, torch.arange(n_units, device=units.device)]


def _unit_norm(rows: Tensor, instead: Tensor) -> Tensor:
    """Return rows divided by their norms; others, which may be 0, in the place of those of 0."""
    norms = rows.norm(dim=1, keepdim=True)
    others = instead / instead.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return torch.where(norms > 1e-30, rows / norms.clamp(min=1e-30), others)
