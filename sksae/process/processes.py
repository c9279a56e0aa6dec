"""The processes that fit one model together, each with rows of its own; by default one alone.

What belongs to all rows goes through here: sums, extremes, and what one process tells the others.
All processes get the same bits. For one alone everything is what it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class ProcessesError(RuntimeError):
    """Another process has failed or is gone, and so is the fit of all."""


class Processes:
    """A process alone; and what `engine.processes` must do for several.

    Each method is called by all processes in the same order, or by none.

    Attributes
    ----------
    rank : int
        Which of them this is.
    size : int
        How many they are.
    n_exchanges : int
        How often this one has called a method, which others then have too.
    are_rows_compared : bool
        Whether they have compared their rows. Those of members of a stack are not compared again.
    """

    rank, size = 0, 1
    n_exchanges = 0
    are_rows_compared = False

    @property
    def is_first(self) -> bool:
        """Whether this one speaks for all: it warns, prints and writes files."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    @property
    def key(self) -> tuple[int, ...]:
        """What is drawn by a seed and this is drawn anew in each process: () for one alone."""
        return ()

    def total(self, values: T) -> T:
        """Return the sum over processes of a number or an array, in float64."""
        return values

    def smallest(self, values: np.ndarray) -> np.ndarray:
        """Return the smallest of each entry over processes."""
        return values

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Return the largest of each entry over processes."""
        return values

    def any(self, is_so: bool) -> bool:
        """Return whether it is so in any process."""
        return is_so

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes; arrays, numbers, strings, and lists of such."""
        return [value]

    def of_first(self, value: T) -> T:
        """Return the value that the first process has."""
        return value

    def meet(self) -> None:
        """Wait for all others: if one has failed, so does this one."""

    # Of tensors, which torch alone knows.

    def sum_(self, tensor: Any) -> Any:
        """Write the sum over processes into a tensor, and return it."""
        return tensor

    def largest_(self, tensor: Any) -> Any:
        """Write the largest of each entry over processes into a tensor, and return it."""
        return tensor

    def first_(self, tensor: Any) -> Any:
        """Write what the first process has into a tensor, and return it."""
        return tensor

    def joined(self, tensor: Any, dim: int = 0) -> Any:
        """Return the tensors of all processes, one after another along an axis.

        Along it they may be of any length, along others they are alike.
        """
        return tensor


ALONE = Processes()
_in_use: ContextVar[Processes] = ContextVar("processes of a fit", default=ALONE)


@contextmanager
def working_with(processes: Processes) -> Iterator[None]:
    """Let fits in this context be those of several processes; with `ALONE`, of this one."""
    token = _in_use.set(processes)
    try:
        yield
    finally:
        _in_use.reset(token)


def processes_in_use() -> Processes:
    """Return the processes that fit a model together here."""
    return _in_use.get()
