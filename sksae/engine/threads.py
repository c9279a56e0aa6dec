"""The cores of the CPU: a crew of a few threads, each of which computes on a core of its own.

torch's and BLAS's own threads meet at the end of every operation, and whoever is there first spins
until the others are. While another process has the core that they wait for, that takes a thousand
times as long as the operation: two fits at once on two cores took a hundred times as long as one.
A crew divides the rows of a minibatch, or of a walk over all rows, and meets once or twice for all
operations on them; who waits, sleeps. Small networks are worked on by one thread alone.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from itertools import pairwise
from threading import RLock, get_ident
from typing import Self, TypeVar

import numpy as np
import torch
from threadpoolctl import LibController, ThreadpoolController

T = TypeVar("T")

# Multiplications for which it pays to wake another thread, which takes a hundredth of a millisecond
# or, on a virtual machine, a tenth; and rows for which products of a thread's own are worth while.
LEAST_WORK, LEAST_ROWS = 2e7, 32
# Entries of what goes through memory for which it does.
LEAST_ENTRIES = 2**17


def n_cores() -> int:
    """Return how many cores torch divides an operation among, or a crew its work."""
    return torch.get_num_threads()


def n_parts(work: float, n_rows: int, n_members: int) -> int:
    """Return into how many parts some rows are best divided, by sizes alone.

    Parameters
    ----------
    work : float
        Multiplications of all the work on them.
    n_rows : int
        Rows.
    n_members : int
        Members of the crew.
    """
    return max(1, min(n_members, int(work / LEAST_WORK), n_rows // LEAST_ROWS))


class Crew:
    """Threads that do parts of a piece of work side by side; a context manager.

    As long as it lasts, torch's operations in its threads, this one among them, and numpy's
    products anywhere keep to one core each. In what it does numpy's numbers may overflow as
    silently as torch's: whoever asked looks at what came out.

    Parameters
    ----------
    n_members : int, optional
        With this thread; by default as many as there are cores.
    """

    def __init__(self, n_members: int | None = None) -> None:
        self.n_members = n_cores() if n_members is None else n_members
        self._others: ThreadPoolExecutor | None = None
        self._thread = 0
        self._before: tuple[list[int], int | None] | None = None

    def __enter__(self) -> Self:
        try:
            torch.get_num_threads()  # asked first, or torch sets this thread's number anew
            self._thread, self._before = get_ident(), _numbers()
            _keep_to_one_core()
            _limit.enter(self)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._leave()
        except BaseException:  # Ctrl-C, which may come at any time
            self._leave()
            raise

    def __del__(self) -> None:
        # Ctrl-C may have kept it from being left.
        if getattr(self, "_before", None) is not None:
            self._leave()

    def _leave(self) -> None:
        """Restore what was changed, as far as that has not been done."""
        _limit.leave(self)
        if self._before is not None and self._thread == get_ident():
            _set_numbers(self._before)
        self._before = None
        if self._others is not None:
            self._others.shutdown()
        self._others = None

    @np.errstate(all="ignore")
    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """Do some tasks, not more than there are members, and return their results in order.

        The first one is done in this thread. If any raises, so does this, when all have ended.
        """
        if len(tasks) == 1:
            return [tasks[0]()]
        assert len(tasks) <= self.n_members
        others: list[Future[T]] = []
        try:
            rest = self._begin(tasks[1:], others)
            first = [task() for task in (tasks[0], *rest)]
        finally:
            _wait(others)
        return [first[0], *(other.result() for other in others), *first[1:]]

    def _begin(
        self, tasks: Sequence[Callable[[], T]], begun: list[Future[T]]
    ) -> Sequence[Callable[[], T]]:
        """Let others begin with tasks, and return those that none could begin with."""
        for index, task in enumerate(tasks):
            try:
                if self._others is None:
                    # Threads start when there is something to do.
                    self._others = ThreadPoolExecutor(
                        self.n_members - 1, initializer=_keep_to_one_core
                    )
                begun.append(self._others.submit(copy_context().run, task))
            except RuntimeError:  # the process is about to end, or may have no more threads
                return tasks[index:]
        return ()

    def slices_of(self, n_entries: int) -> list[slice]:
        """Return the slices on which work that goes entry by entry is best done side by side."""
        n_slices = max(1, min(self.n_members, n_entries // LEAST_ENTRIES))
        bounds = [n_entries * k // n_slices for k in range(n_slices + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]


def _wait(futures: Sequence[Future]) -> None:
    """Wait for all, whatever happens meanwhile: they write to memory that is in use."""
    error: BaseException | None = None
    while not all(future.done() for future in futures):
        try:
            wait(futures)
        except BaseException as interrupt:
            error = interrupt
    if error is not None:
        raise error


def _numbers() -> tuple[list[int], int | None]:
    """Return this thread's number for each library of OpenMP, and for the MKL in torch."""
    pools = _pools()
    mkl = None if pools.set_mkl is None else pools.set_mkl(1)
    return [library.get_num_threads() for library in pools.openmp], mkl


def _set_numbers(numbers: tuple[list[int], int | None]) -> None:
    pools, (openmp, mkl) = _pools(), numbers
    for library, n_threads in zip(pools.openmp, openmp, strict=True):
        library.set_num_threads(n_threads)
    if pools.set_mkl is not None and mkl is not None:
        pools.set_mkl(mkl)


def _keep_to_one_core() -> None:
    """Keep the operations of torch in this thread to one core."""
    torch.get_num_threads()
    pools = _pools()
    for library in pools.openmp:
        library.set_num_threads(1)
    # Where torch was told a number of threads, its MKL no longer asks OpenMP.
    if pools.set_mkl is not None:
        pools.set_mkl(1)


class _Pools:
    """The libraries that have threads: those of OpenMP, and OpenBLAS."""

    def __init__(self) -> None:
        libraries = ThreadpoolController().lib_controllers
        self.openmp = [each for each in libraries if each.user_api == "openmp"]
        self.blas = [each for each in libraries if each.internal_api == "openblas"]
        self.set_mkl = _mkl_setter()


@cache
def _pools() -> _Pools:
    return _Pools()


def _mkl_setter() -> Callable[[int], int] | None:
    """Return what sets this thread's number for the MKL in torch, and returns the one before."""
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    for name in ("libtorch_cpu.so", "torch_cpu.dll"):
        try:
            return ctypes.CDLL(os.path.join(folder, name)).MKL_Set_Num_Threads_Local
        except (OSError, AttributeError):
            continue
    return None


class _Limit:
    """Keeps BLAS, whose number is that of the process, to one thread while there are crews."""

    def __init__(self) -> None:
        # One that may be asked for again, as a crew may be deleted in the midst of anything.
        self._lock = RLock()
        self._inside: set[int] = set()
        self._before: list[tuple[LibController, int]] = []

    def enter(self, crew: Crew) -> None:
        with self._lock:
            if not self._inside:
                self._before = [(each, each.get_num_threads()) for each in _pools().blas]
            self._inside.add(id(crew))
            for each, _ in self._before:
                each.set_num_threads(1)

    def leave(self, crew: Crew) -> None:
        with self._lock:
            if self._inside == {id(crew)}:
                for library, n_threads in self._before:
                    library.set_num_threads(n_threads)
            self._inside.discard(id(crew))

    def begin_child(self) -> None:
        """Forget the parent's other threads, of which a fork has none, and their lock."""
        self._lock = RLock()
        if self._inside:
            for library, n_threads in self._before:
                library.set_num_threads(n_threads)
        self._inside.clear()


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.begin_child)
