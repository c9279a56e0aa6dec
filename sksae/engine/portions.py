"""Work on rows in portions: on all at once, and again on halves of them where memory ends.

A network that fits into the memory of a device may yet have no room there for what it makes of
many rows. Who works on rows leaves what came before as it is until the work is done, so that it can
be done again in smaller portions, whose sums are those of all rows up to rounding.
"""

import gc
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import torch

from sksae.model.slices import equal_slices, within
from sksae.process.processes import processes_in_use
from sksae.process.shortage import is_shortage, tell_of_portions

T = TypeVar("T")


class Portions:
    """How many rows are worked on at once.

    Parameters
    ----------
    of : str, default="rows"
        What is divided, as a warning says it.

    Attributes
    ----------
    most : int or None
        As many at most; None as long as memory has not ended.
    """

    def __init__(self, of: str = "rows") -> None:
        self._of = of
        self.most: int | None = None
        # With how many rows memory has ended, until the user is told.
        self._ended_with: int | None = None

    def cut(self, which: slice) -> list[slice]:
        """Cut some rows into slices, whose lengths differ by one at most."""
        n_rows = which.stop - which.start
        if self.most is None or n_rows <= self.most:
            return [which]
        return within(which, equal_slices(n_rows, -(-n_rows // self.most)))

    def halve(self, n_rows: int, error: RuntimeError) -> None:
        """Let half as many rows be worked on at once as those with which memory has ended.

        Parameters
        ----------
        n_rows : int
            So many they were.
        error : RuntimeError
            What was raised; it is raised again if it is another error, or if there was one row.
        """
        if n_rows < 2 or not is_shortage(error):
            raise error
        if self._ended_with is None:
            self._ended_with = n_rows
        self.most = n_rows // 2

    def tell(self) -> None:
        """Warn the user, when work has been done in portions for the first time."""
        if self._ended_with is not None:
            tell_of_portions(self._ended_with, self._of)
            self._ended_with = None

    def until_done(
        self, work: Callable[[], T], n_rows: Callable[[], int], let_go: Callable[[], None]
    ) -> T:
        """Do some work that cuts its rows by `cut`; from the start where memory ends.

        Parameters
        ----------
        work : callable
            The work. It talks to no other processes: it would do so again, and they would not. If
            it has, the error is raised.
        n_rows : callable
            Returns how many rows it has worked on at once at most, if none were cut.
        let_go : callable
            Gives up the memory that it has left behind.

        Returns
        -------
        What the work returns.
        """
        processes = processes_in_use()
        n_exchanges = processes.n_exchanges
        while True:
            try:
                return work()
            except RuntimeError as error:
                if processes.n_exchanges != n_exchanges:
                    raise
                self.halve(min(n_rows(), self.most or n_rows()), error)
            # Outside of the handler, as the error holds the memory that the work has taken.
            let_go()
            free_memory()

    def each(self, which: slice, work: Callable[[slice], object]) -> None:
        """Do some work on rows, portion by portion; work that has failed is done again.

        Parameters
        ----------
        which : slice
            The rows.
        work : callable
            ``work(portion)`` takes a slice of them.
        """
        waiting = deque(self.cut(which))
        while waiting:
            portion = waiting.popleft()
            try:
                work(portion)
            except RuntimeError as error:
                self.halve(portion.stop - portion.start, error)
            else:
                self.tell()
                continue
            free_memory()  # outside of the handler, as in `until_done`
            left = (portion, *waiting)
            waiting = deque(cut for each in left for cut in self.cut(each))


def free_memory() -> None:
    """Give back the memory that a failed piece of work has held."""
    # Errors that threads hand on are held by their own frames. These are young: to look through
    # all objects of a process would take longer than the work.
    gc.collect(1)
    torch.cuda.empty_cache()
