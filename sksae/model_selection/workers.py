"""Who trains groups of networks: threads of this process, or the processes of a search."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from threading import Event
from typing import Protocol

from joblib import effective_n_jobs
from joblib.parallel import LokyBackend, get_active_backend
from sklearn.utils.parallel import Parallel, delayed

from sksae.model.failure import NonFiniteLossError
from sksae.model.tasks import Monitor, TrainingResult
from sksae.training.plan import Plan

# What came of each network, and how many seconds all of them took.
Result = tuple[list[TrainingResult | NonFiniteLossError], float]


class Trainable(Protocol):
    """A group of networks."""

    @property
    def plans(self) -> Sequence[Plan]:
        """What each network is trained by."""

    def train(self, monitor: Monitor | None = None) -> Result:
        """Train them side by side."""


class Workers:
    """Processes of joblib's own, if a search made here has several, or threads of this one.

    Threads of small networks wait for each other's Python, processes do not.

    Parameters
    ----------
    n_jobs : int or None
        As searches take it.

    Attributes
    ----------
    are_threads : bool
        Whether they are several threads of this process.
    """

    def __init__(self, n_jobs: int | None) -> None:
        backend, _ = get_active_backend()
        n_workers = effective_n_jobs(n_jobs)
        self.are_threads = n_workers > 1 and getattr(backend, "supports_sharedmem", False)
        # Other engines' may be on other machines, or forks, in which threads of this process hang.
        self._n_processes = n_workers if isinstance(backend, LokyBackend) else 1
        # The search has a loop of its own open meanwhile, and one backend serves one loop.
        self._backend = copy(backend) if self._n_processes > 1 else None

    def n_at_a_time(self, groups: Sequence[Trainable]) -> int:
        """Return how many groups are trained at a time."""
        if not groups or not _on_cpu(groups):
            return 1
        return max(_n_threads(groups), self._n_processes)

    def train(self, groups: Sequence[Trainable]) -> list[Result]:
        """Train groups; those on a GPU in this process."""
        if self._n_processes == 1 or not groups or not _on_cpu(groups):
            return train_here(groups)
        # Each process has its share of the cores, and threads for them.
        size = -(-self.n_at_a_time(groups) // self._n_processes)
        bundles = [groups[first : first + size] for first in range(0, len(groups), size)]
        parallel = Parallel(self._n_processes, backend=self._backend, batch_size=1)
        found = parallel(delayed(train_here)(bundle) for bundle in bundles)
        return [result for results in found for result in results]


class _StopWhenSet:
    """Ends trainings in other threads after their epoch."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        self._event.set()

    def epoch_begins(self, snapshot: object) -> None: ...

    def training_ends(self, stopped_by: object) -> None: ...

    def epoch_ends(self, snapshot: object, progress: object) -> bool:
        return self._event.is_set()


def train_here(groups: Sequence[Trainable]) -> list[Result]:
    """Train groups in this process, as many at a time as there are cores for them."""
    from sksae.engine.threads import Crew

    n_threads = _n_threads(groups)
    if n_threads == 1:
        return [group.train() for group in groups]
    stop = _StopWhenSet()

    def train(group: Trainable) -> Result:
        with Crew(1):
            return group.train(stop)

    with ThreadPoolExecutor(n_threads) as executor:
        futures = [executor.submit(train, group) for group in groups]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _n_threads(groups: Sequence[Trainable]) -> int:
    """Return how many groups a process trains at a time."""
    from sksae.engine.threads import n_cores

    return n_cores() if _on_cpu(groups) else 1


def _on_cpu(groups: Sequence[Trainable]) -> bool:
    from sksae.engine.device import training_device

    devices = {(group.plans[0].device, group.plans[0].dtype) for group in groups}
    return all(training_device(*device).type == "cpu" for device in devices)
