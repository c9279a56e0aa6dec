"""The gradient by a minibatch whose rows several processes have: one sum at each step."""

import torch
from torch import Tensor

from sksae.engine.parameters import Parameters
from sksae.process.processes import Processes


class GradientOfAll:
    """The gradient, and beside it which units are active in some row of a minibatch.

    Both stand in one vector, which all processes sum up at once: how long that takes is at small
    networks a matter of how often, not of how much.

    Parameters
    ----------
    parameters : Parameters
        The networks.
    processes : Processes
        Who has rows of the minibatch.
    tells_of_units : bool
        Whether units are told of.

    Attributes
    ----------
    gradient : Parameters
        In which each process leaves that by its own rows.
    """

    def __init__(
        self, parameters: Parameters, processes: Processes, *, tells_of_units: bool
    ) -> None:
        flat, architecture = parameters.flat, parameters.architecture
        shape = parameters.n_models, architecture.n_components, 1
        n_units = shape[0] * shape[1] if processes.are_several and tells_of_units else 0
        self._processes = processes
        self._all = torch.zeros(len(flat) + n_units, dtype=flat.dtype, device=flat.device)
        self.gradient = parameters.with_flat(self._all[: len(flat)])
        self._units = self._all[len(flat) :].view(shape) if n_units else None

    def sum_up(self) -> None:
        """Leave in ``gradient`` that by the rows of all."""
        self._processes.sum_(self._all)

    def sum_up_with(self, is_active: Tensor) -> Tensor:
        """Do so, and return which units are active in some row of all.

        Parameters
        ----------
        is_active : Tensor of bool of shape (n_models, n_components, 1)
            Which are in rows of this process.
        """
        if self._units is None:
            return is_active
        self._units.copy_(is_active)
        self.sum_up()
        return self._units > 0.5
