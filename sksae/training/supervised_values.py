"""What is to be learnt for a task, how its training went, and what it has come to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sksae.model.loss_parts import LossParts
from sksae.model.network import Layer
from sksae.training.seen import Seen


@dataclass(frozen=True)
class SupervisedTarget:
    """What is to be learnt, in the engine's words.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_targets)
        Of each row.
    loss : {"squared_error", "cross_entropy"}
        Of the output.
    index : ndarray of int
        Rows to learn from.
    weight : ndarray of shape (n_samples,) or None
        What each counts.
    n_outputs : int
        Units of the layer on top.
    attributes : dict
        Fitted attributes that describe the target.
    piece, seen : Seen
        What these rows tell, and what is known of them and of all pieces before.
    strata : ndarray of shape (n_samples,) or None
        Classes that rows held out shall hold in proportion.
    """

    values: np.ndarray
    loss: str
    index: np.ndarray
    weight: np.ndarray | None
    n_outputs: int
    attributes: dict[str, Any]
    piece: Seen
    seen: Seen
    strata: np.ndarray | None = None


@dataclass(frozen=True)
class SupervisedRecord:
    """What a training that goes on must know of all before it.

    Attributes
    ----------
    seed : int
        Of the order of rows, of noise and dropout, and of which rows are held out.
    state : dict of ndarray
        Where the solver stood.
    n_frozen : int
        Layers that were not trained.
    noise_unit : float
        The unit of noise where nothing scales the rows: their deviation; 0 if it is not known.
    alpha_of_none : float or None
        What alpha=None stood for, if it ever was None.
    n_steps : int
        Taken by all trainings.
    largest_activation : ndarray of shape (n_components,)
        Of each unit of the code, over the rows that count.
    losses, validation_curve : list of LossParts, list of float
        One entry an epoch.
    """

    seed: int
    state: dict[str, np.ndarray]
    n_frozen: int
    noise_unit: float
    alpha_of_none: float | None = None
    n_steps: int = 0
    largest_activation: np.ndarray = field(default_factory=lambda: np.empty(0))
    losses: list[LossParts] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)

    @property
    def n_iter(self) -> int:
        """Epochs."""
        return len(self.losses)


class SupervisedResult(NamedTuple):
    """What the last training has come to, or an epoch of it.

    Attributes
    ----------
    encoder : sequence of Layer
        All layers of the encoders, trained or not.
    top : Layer
        The layer on top.
    record : SupervisedRecord
        Up to then; of an epoch without the solver's state.
    loss, alpha : float
        J over all rows, and the weight decay in it; of an epoch nan.
    row_sparsity : float
        Mean over the rows of Hoyer's sparsity of the code; likewise.
    """

    encoder: Sequence[Layer]
    top: Layer
    record: SupervisedRecord
    loss: float = np.nan
    alpha: float = np.nan
    row_sparsity: float = np.nan
