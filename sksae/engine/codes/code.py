"""The protocol of a code: a way to be sparse, and all that the engine needs to know of it.

A code has up to five parts, each a method or an attribute below with a default that does nothing:

1. how it is made: `select` changes activations in place; where each unit adds its atom to the
   row that is made, training asks for the active ones alone (`active`, before it `bound`, and
   `backward` after it);
2. parameters of its units that are learnt besides weights and biases: those of its activation,
   whose gradients `backward` gives and which `settle` keeps where they may be;
3. the penalty S, of mean codes (`mean_penalty`), of each row's code (`row_penalty`), or of entries
   (`entry_penalty`, `price`);
4. how beta="auto" moves beta: `law`, and the `activity` that is brought to rho;
5. what follows a step of the solver: `upkeep`.

Nothing else in the engine asks which code it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import Tensors
from sksae.engine.control_law import ControlLaw
from sksae.model.architecture import Architecture
from sksae.model.codes import Selection
from sksae.process.processes import ALONE, Processes

# Pre-activations of shape (n_models, n_rows, n_components), and what their rows count, a Tensor of
# shape (1, n_rows, 1), or None where all are alike.
Piece = tuple[Tensor, Tensor | None]
# ``on_pieces(work)`` returns what ``work(pieces)`` does with an iterable of all, each of which is
# valid until the next one. Where memory ends, the work is done again on smaller ones.
OnPieces = Callable[[Callable[[Iterable[Piece]], Any]], Any]


def on_all(pieces: Iterable[Piece]) -> OnPieces:
    """Return what does a piece of work on pieces that are there, as often as it is asked for."""
    return lambda work: work(pieces)


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
    has_full_rows : bool
        Whether each row has as many entries as the code keeps, the largest first.
    pre : Tensor of shape (n_entries,), optional
        Pre-activations, where they are not the activations.
    gates : Tensor of shape (n_entries,), optional
        Other activations of the same entries, by which rows are rebuilt a second time, with the
        decoder held as it is.
    """

    units: Tensor
    values: Tensor
    rows: Tensor
    has_full_rows: bool = False
    pre: Tensor | None = None
    gates: Tensor | None = None

    def in_order(self, order: Tensor) -> "Active":
        """Return them in another order, that of some positions."""
        units, values, rows, _, pre, gates = self
        return Active(
            units.index_select(0, order),
            values.index_select(0, order),
            rows.index_select(0, order),
            pre=None if pre is None else pre.index_select(0, order),
            gates=None if gates is None else gates.index_select(0, order),
        )

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

        def together(tensors: Sequence[Tensor | None]) -> Tensor | None:
            found = [each for each in tensors if each is not None]
            return torch.cat(found) if found else None

        return cls(
            torch.cat([each.units + at * n_components for at, each in enumerate(models)]),
            torch.cat([each.values for each in models]),
            torch.cat([each.rows + at * n_rows for at, each in enumerate(models)]),
            models[0].has_full_rows,
            together([each.pre for each in models]),
            together([each.gates for each in models]),
        )


def entries_where(is_kept: Tensor, pre: Tensor) -> Active:
    """Return some entries of codes, whose values are their pre-activations.

    Parameters
    ----------
    is_kept : Tensor of bool of shape (n_rows, n_components)
        Which.
    pre : Tensor of shape (n_rows, n_components)
        Pre-activations.
    """
    kept = is_kept.view(-1).nonzero()[:, 0]
    rows = torch.div(kept, pre.shape[1], rounding_mode="floor")
    units = kept - pre.shape[1] * rows
    return Active(units.to(torch.int32), pre.view(-1)[kept], rows.to(torch.int32))


class Keeping(NamedTuple):
    """By what the entries of one model's codes are kept.

    Attributes
    ----------
    n_active : int
        How many units are kept, exactly or on average.
    bound : float or None
        What `Code.bound` returned for the minibatch, or a threshold.
    units : mapping of str to Tensor of shape (n_components,)
        What is learnt for each unit besides weights and bias.
    bandwidth : float
        Pre-activations so near, above or below, to where units become active have a gradient by
        that, and are entries too: half of it on each side.
    """

    n_active: int
    bound: float | None = None
    units: Tensors = MappingProxyType({})
    bandwidth: float = 0.0


class WayBack(NamedTuple):
    """What comes back to entries from the output; tensors have shape (n_entries,).

    Attributes
    ----------
    deltas : Tensor
        dJ by their activations.
    gate_deltas : Tensor or None
        dJ by their gates, where they have some.
    costs : Tensor or None
        What `Code.price` says of their units, times what their rows count; None where it says
        nothing.
    units : mapping of str to Tensor
        What is learnt for their units besides weights and bias.
    bandwidth : float
        As in `Keeping`.
    """

    deltas: Tensor
    gate_deltas: Tensor | None
    costs: Tensor | None
    units: Tensors
    bandwidth: float


class EntryGradients(NamedTuple):
    """What entries add to gradients.

    Attributes
    ----------
    deltas : Tensor of shape (n_entries,)
        dJ by pre-activations.
    of_units : mapping of str to Tensor of shape (n_entries,)
        dJ by what is learnt for their units, by name.
    """

    deltas: Tensor
    of_units: Tensors = MappingProxyType({})


class Upkeep(Protocol):
    """What is done to units between the steps of minibatch training."""

    def watch(self, is_active: Tensor, n_rows: float) -> None:
        """Take note of a minibatch's code.

        Parameters
        ----------
        is_active : Tensor of bool of shape (n_models, n_components, 1)
            Which units are active in some row.
        n_rows : float
            For how many rows the minibatch counts.
        """

    def act(
        self, rows: Callable[[], Tensor], error: Callable[[], Tensor], share_left: np.ndarray
    ) -> None:
        """Change the networks; after forward and backward pass, where beta was moved.

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
    penalises_counts : bool
        Whether S is a function of the mean number of active units, as a share of all; it is then
        that which `mean_penalty` is given, of shape (n_models, 1, n_batches).
    """

    law: ClassVar[ControlLaw | None] = None
    penalises_means: ClassVar[bool] = False
    penalises_counts: ClassVar[bool] = False

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
        self,
        on_pieces: OnPieces,
        n_counted: float,
        n_active: Sequence[int],
        guess: np.ndarray,
        processes: Processes = ALONE,
    ) -> np.ndarray | None:
        """Return what couples the rows of a minibatch: above which pre-activation units are kept.

        Parameters
        ----------
        on_pieces : OnPieces
            Does a piece of work on the pre-activations of the minibatch. Other processes are not
            spoken to in it, as it may be done again.
        n_counted : float
            What the rows count together, with those of other processes: their number, where all
            are alike.
        n_active : sequence of int
            How many units each model keeps of a row on average.
        guess : ndarray of shape (n_models,)
            What was returned for another minibatch; zeros at first.
        processes : Processes
            Who has the other rows of the minibatch.

        Returns
        -------
        bound : ndarray of shape (n_models,), or None where each row decides for itself
        """
        return None

    def active(self, pre: Tensor, keeping: Keeping) -> Active:
        """Return the entries of one model's codes that are kept.

        Parameters
        ----------
        pre : Tensor of shape (n_rows, n_components)
            Pre-activations.
        keeping : Keeping
            Which are kept.
        """
        raise NotImplementedError

    def backward(self, active: Active, back: WayBack) -> EntryGradients:
        """Return the way of entries back through the activation; tensors may be overwritten."""
        return EntryGradients(back.deltas.mul_(active.values > 0.0))

    def price(self, n_active: Tensor, rho: Tensor, beta: Tensor) -> Tensor | None:
        """Return what an entry more costs, or its size: the derivative of beta S by that.

        Parameters
        ----------
        n_active : Tensor of shape (n_models, 1, 1)
            Mean over rows of how many units are active.
        rho, beta : Tensor of shape (n_models, n_components, 1)
            Wanted share of active units; weight of S.

        Returns
        -------
        price : Tensor like ``beta``, or None where entries have none
        """
        return None

    def entry_penalty(self, active: Active) -> Tensor | None:
        """Return what entries of a row's code add to the function of it whose mean is S."""
        return None

    def settle(self, units: Tensors) -> None:
        """Bring what is learnt for units, after a step, back to where it may be, in place."""

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
