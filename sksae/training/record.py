"""How a training went, as far as another one that goes on from it must know."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

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
    n_iter, n_steps : int
        Epochs and steps.
    stopped_by : {"max_iter", "tol", "callback", "interrupt", "precision"}
        Why it ended.
    loss_curve, validation_curve : list of float
        One entry an epoch; the latter is empty where no rows are held out.
    """

    seed: int
    seen: Seen
    state: dict[str, np.ndarray]
    n_iter: int
    n_steps: int
    stopped_by: str
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)


class Fitted(NamedTuple):
    """A network and how its training went: what another training can go on from."""

    network: FittedNetwork
    record: TrainingRecord
