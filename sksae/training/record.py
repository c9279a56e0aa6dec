"""How a training went: what another one that goes on from it must know, and what a fit came to."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sksae.model.loss_parts import LossParts
from sksae.model.network import FittedNetwork
from sksae.training.seen import Seen


@dataclass(frozen=True)
class TrainingRecord:
    """What a training that goes on must know of all before it.

    Attributes
    ----------
    seed : int
        Of the order of rows, of noise, and of which rows are held out.
    seen : Seen
        What is known of all rows so far.
    state : dict of ndarray
        Where the solver stood; empty if it is to begin anew.
    n_steps : int
        Steps.
    stopped_by : {"max_iter", "tol", "callback", "interrupt", "precision"}
        Why it ended.
    largest_activation : ndarray of shape (n_components,)
        Of each unit, over the rows that count.
    losses, validation_curve : list of LossParts, list of float
        One entry an epoch; the latter is empty where no rows are held out.
    """

    seed: int
    seen: Seen
    state: dict[str, np.ndarray]
    n_steps: int
    stopped_by: str
    largest_activation: np.ndarray = field(default_factory=lambda: np.empty(0))
    losses: list[LossParts] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)

    @property
    def n_iter(self) -> int:
        """Epochs."""
        return len(self.losses)


class Fitted(NamedTuple):
    """A network and how its training went: what another training can go on from."""

    network: FittedNetwork
    record: TrainingRecord


class FitResult(NamedTuple):
    """What the fit of an autoencoder has come to.

    Attributes
    ----------
    network : FittedNetwork
    record : TrainingRecord
    loss : float
        J over all training rows; nan if the user did not wait for it.
    alpha : float
        Weight decay.
    beta : float or None
        Weight of the sparsity term, if there is one.
    mean_activation : ndarray of shape (n_components,)
        Of each unit over the training rows.
    active_share : ndarray of shape (n_components,)
        Of the training rows, for each unit, in which it is active.
    row_sparsity : float
        Mean over the training rows of Hoyer's sparsity.
    """

    network: FittedNetwork
    record: TrainingRecord
    loss: float
    alpha: float
    beta: float | None
    mean_activation: np.ndarray
    active_share: np.ndarray
    row_sparsity: float
