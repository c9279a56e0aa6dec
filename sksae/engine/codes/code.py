"""The protocol of a code: a way to be sparse, and all that the engine needs to know of it.

A code has up to five parts, each a method or an attribute below with a default that does nothing:

1. how it is made: `select` changes activations in place; where each unit adds its atom to the
   row that is made, training asks for the active ones alone (`active`, and before it `bound`);
2. parameters of its units that are learnt besides weights and biases: those of its activation;
3. the penalty S, of mean codes (`mean_penalty`) or of each row's code (`row_penalty`);
4. how beta="auto" moves beta: `law`, and the `activity` that is brought to rho;
5. what follows a step of the solver: `upkeep`.

Nothing else in the engine asks which code it is.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sksae.engine.control_law import ControlLaw
from sksae.model.architecture import Architecture
from sksae.model.codes import Selection


class Networks(Protocol):
    """The networks of a training: of `Parameters` what an upkeep may look at and write to."""

    @property
    def architecture(self) -> Architecture:
        """Layers."""

    @property
    def weights(self) -> list[Tensor]:
        """Of each layer, shape (n_models, n_outputs, n_inputs)."""

    @property
    def biases(self) -> list[Tensor]:
        """Of each layer, shape (n_models, n_outputs, 1)."""


class Active(NamedTuple):
    """The entries of some rows' codes that are kept, row after row.

    Attributes
    ----------
    units : Tensor of int32 of shape (n_entries,)
        Of models side by side those of the second one follow those of the first.
    values : Tensor of shape (n_entries,)
        Activations; what is kept may be 0.
    rows : Tensor of int32 of shape (n_entries,)
        In which row, likewise.
    is_even : bool
        Whether each row has as many entries as the code keeps, the largest first.
    """

    units: Tensor
    values: Tensor
    rows: Tensor
    is_even: bool = False

    @classmethod
    def of_models(cls, models: "Sequence[Active]", n_components: int, n_rows: int) -> "Active":
        """Return the entries of models side by side.

        Parameters
        ----------
        models : sequence of Active
            Of each model, its own units and rows counted from 0.
        n_components, n_rows : int
            Of each.
        """
        if len(models) == 1:
            return models[0]
        return cls(
            torch.cat([each.units + at * n_components for at, each in enumerate(models)]),
            torch.cat([each.values for each in models]),
            torch.cat([each.rows + at * n_rows for at, each in enumerate(models)]),
            models[0].is_even,
        )


class Upkeep(Protocol):
    """What is done to units between the steps of minibatch training."""

    def watch(self, code: Tensor, pace: float = 1.0) -> None:
        """Take note of a minibatch's code, shape (n_models, n_components, n_rows).

        The batch counts ``pace`` times.
        """

    def act(self, rows: Tensor, error: Tensor, share_left: np.ndarray) -> None:
        """Change the networks; after forward and backward pass, where beta was moved.

        Parameters
        ----------
        rows : Tensor of shape (n_models or 1, n_rows, n_features)
            Centred rows of the minibatch.
        error : Tensor of shape (n_models, n_rows, n_features)
            Gradient of the loss by what enters the output activation.
        share_left : ndarray of shape (n_models,)
            Share of the training's steps that are still to come.
        """

    def state(self) -> dict[str, np.ndarray]:
        """Return what is known of the units; arrays are (n_models, ...)."""


class Code:
    """No penalty at all, and the defaults of those that have one.

    In training codes have shape (n_models, n_components, n_rows); means over rows, ``rho`` and
    ``beta`` (n_models, n_components, 1).

    Parameters
    ----------
    activation : str
        Of its units.

    Attributes
    ----------
    law : ControlLaw or None
        How beta="auto" moves beta; None where there is none.
    penalises_means : bool
        Whether S is a function of mean codes, which couples the rows: they must be known before
        the way back.
    """

    law: ClassVar[ControlLaw | None] = None
    penalises_means: ClassVar[bool] = False

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def select(self, code: Tensor, selection: Selection, axis: int) -> None:
        """Leave of activations what the code keeps, in place.

        Parameters
        ----------
        code : Tensor
            Activations; what is not kept becomes 0, where the activation must have no gradient.
        selection : Selection
            How many units are kept.
        axis : int
            Along which the units of a row lie.
        """

    def bound(
        self, parts: Sequence[Tensor], n_active: Sequence[int], guess: np.ndarray
    ) -> np.ndarray | None:
        """Return what couples the rows of a minibatch: above which pre-activation units are kept.

        Parameters
        ----------
        parts : sequence of Tensor of shape (n_models, n_rows, n_components)
            Pre-activations; together they are those of the minibatch.
        n_active : sequence of int
            How many units each model keeps of a row on average.
        guess : ndarray of shape (n_models,)
            What was returned for another minibatch; zeros at first.

        Returns
        -------
        bound : ndarray of shape (n_models,), or None where each row decides for itself
        """
        return None

    def active(self, pre: Tensor, n_active: int, bound: float | None) -> Active:
        """Return the entries of one model's codes that are kept.

        Parameters
        ----------
        pre : Tensor of shape (n_rows, n_components)
            Pre-activations.
        n_active : int
            How many units are kept.
        bound : float or None
            What `bound` returned for the minibatch, or a threshold.
        """
        raise NotImplementedError

    def activity(self, mean_code: Tensor) -> Tensor:
        """Return the mean over units of the mean activation, where rho is compared with that."""
        raise NotImplementedError

    def mean_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        """Return S as a function of the mean code, shape (n_models,)."""
        raise NotImplementedError

    def mean_gradient(self, mean_code: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        """Return beta times the gradient of `mean_penalty` by the mean code."""
        raise NotImplementedError

    def row_penalty(self, code: Tensor) -> Tensor | None:
        """Return the function of each row's code whose mean is S, shape (n_models, n_rows)."""
        return None

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor | None:
        """Return beta times the gradient of `row_penalty` by the code."""
        return None

    def upkeep(
        self,
        networks: Networks,
        rho: Tensor,
        is_auto: np.ndarray,
        *,
        state: Mapping[str, np.ndarray],
    ) -> Upkeep | None:
        """Return what is done to units between steps where beta is to be found, if anything is.

        Parameters
        ----------
        networks : Networks
            They may be written to.
        rho : Tensor of shape (n_models, n_components, 1)
            Wanted activity.
        is_auto : ndarray of bool of shape (n_models,)
            In which networks beta is to be found; the others stay as J makes them.
        state : mapping of str to ndarray
            What ``state`` gave, when a training goes on; {} when it begins.
        """
        return None
