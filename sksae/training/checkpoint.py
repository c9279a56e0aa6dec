"""The trainings of one fit as they are kept, so that a fit that was interrupted can be resumed.

A fit is a row of trainings: one of an autoencoder, several of a stack. What lies between them
depends on nothing else than what they came to. So a fit is resumed by making it again: trainings
that had ended are not trained but read, and the one that was at work goes on from where it stood.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from sksae.model.failure import NonFiniteLossError
from sksae.model.loss_parts import LossParts
from sksae.model.states import as_text, from_text, prefixed, unprefixed
from sksae.model.tasks import State, TakeState, TrainingResult, TrainingTask

ENDED, STANDING = "ended", "standing"


class Write(Protocol):
    """Writes what is kept, in place of what was kept before."""

    def __call__(self, state: State) -> None:
        """Write it."""


class TrainingJournal:
    """The trainings of one fit, in order.

    Parameters
    ----------
    write : Write
        Writes the journal.
    every : int
        After how many epochs of a training it is written; and when a training has ended.
    known : dict of ndarray
        What was written of the same fit before it was interrupted; {} if nothing was.
    """

    def __init__(self, write: Write, every: int, known: State) -> None:
        self._write, self._every = write, every
        self._known, self._ended, self._n_trainings = known, State(), 0

    def begin_next(self) -> TrainingResult | None:
        """Begin with the next training; return what it came to if it had ended before."""
        self._name = str(self._n_trainings)
        self._n_trainings += 1
        state = unprefixed(ENDED, unprefixed(self._name, self._known))
        if not state:
            return None
        self._ended |= prefixed(self._name, prefixed(ENDED, state))
        return result_from(state)

    def prepared(self, task: TrainingTask) -> TrainingTask:
        """Return the task of this training, to be kept, and to go on if it was at work before."""
        standing = unprefixed(STANDING, unprefixed(self._name, self._known))
        return replace(task, keeper=self._keep, interrupted_at=standing or None)

    def _keep(self, n_epochs: int, take_state: TakeState) -> None:
        if n_epochs % self._every == 0:
            self._write(self._ended | prefixed(self._name, prefixed(STANDING, take_state())))

    def take(self, outcome: TrainingResult | NonFiniteLossError) -> None:
        """Hear what this training came to.

        One that the user ended goes on from its last epochs when it is resumed.
        """
        if isinstance(outcome, NonFiniteLossError) or outcome.stopped_by == "interrupt":
            return
        self._ended |= prefixed(self._name, prefixed(ENDED, state_of(outcome)))
        self._write(self._ended)


_journal: ContextVar[TrainingJournal | None] = ContextVar("journal of trainings", default=None)


@contextmanager
def keep_trainings(journal: TrainingJournal | None) -> Iterator[None]:
    """Keep every training in this context in a journal; with None, keep none."""
    token = _journal.set(journal)
    try:
        yield
    finally:
        _journal.reset(token)


def journal_in_use() -> TrainingJournal | None:
    """Return where trainings are to be kept, if anywhere."""
    return _journal.get()


def state_of(result: TrainingResult) -> State:
    """Return what a training came to as arrays."""
    values = {each.name: getattr(result, each.name) for each in fields(result)}
    solver = values.pop("state")
    arrays = {name: each for name, each in values.items() if isinstance(each, np.ndarray)}
    others = {name: each for name, each in values.items() if name not in arrays}
    return {"facts": as_text(others), **prefixed("array", arrays), **prefixed("solver", solver)}


def result_from(state: State) -> TrainingResult:
    """Return what `state_of` was given."""
    values: dict[str, Any] = from_text(state["facts"])
    values["losses"] = [LossParts(*each) for each in values["losses"]]
    values["loss_parts"] = LossParts(*values["loss_parts"])
    values |= unprefixed("array", state)
    return TrainingResult(**values, state=unprefixed("solver", state))
