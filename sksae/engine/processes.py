"""Sums over the processes that fit one model together, by torch.distributed.

What a process has to say to others when all is lost goes through the store of torch.distributed,
where each has a key of its own: connections may be gone by then, and a process that has died says
nothing, which tells who it was.
"""

import json
from contextlib import suppress
from datetime import timedelta
from time import monotonic, sleep
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from sksae.process.processes import Processes, ProcessesError
from sksae.process.shortage import is_shortage

T = TypeVar("T")

# How long a process that has lost another one waits for the others to say what they know, and how
# often it looks.
SECONDS_TO_TELL, SECONDS_BETWEEN_LOOKS = 5.0, 0.02
LONGEST_REASON = 500
# What a process says that has failed only because another one did.
LEFT = "left"
DONE = "done"


class Meeting:
    """Where processes tell each other about one fit: the store of torch.distributed.

    Parameters
    ----------
    n_fits : int
        How many fits there have been before, the same number in all processes.
    """

    def __init__(self, n_fits: int) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # Public ways to the store ask for one of the user's own.
        self._store = distributed_c10d._get_default_store()
        self._name = f"sksae/{n_fits}"
        self.timeout = _timeout()

    def _key(self, what: str, rank: int) -> str:
        return f"{self._name}/{what}/{rank}"

    def say(self, what: str, value: Any) -> None:
        """Tell the others something that JSON can hold."""
        self._store.set(self._key(what, self.rank), json.dumps(value))

    def heard(self, what: str, rank: int) -> Any:
        """Return what a process has told; None if it has said nothing."""
        key = self._key(what, rank)
        return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def exchanged(self, what: str, value: Any) -> list[Any]:
        """Tell something and return what all have told, once they have.

        Raises
        ------
        ProcessesError
            If one has failed, or says nothing for as long as torch.distributed would wait.
        """
        self.say(what, value)
        keys = [self._key(what, rank) for rank in range(self.size)]
        end = monotonic() + self.timeout.total_seconds()
        while not self._store.check(keys):
            self.raise_reasons()
            if monotonic() > end:
                silent = self._silent(what)
                self.say("end", LEFT)
                raise ProcessesError(
                    f"{_ranks(silent)} did not begin the same fit within "
                    f"{self.timeout.total_seconds():g} s: each process must call it, in the same "
                    "order as other fits with data_parallel=True."
                )
            sleep(SECONDS_BETWEEN_LOOKS)
        return [json.loads(self._store.get(key)) for key in keys]

    def tell(self, error: BaseException) -> None:
        """Tell the others why this process fails, unless it does so as another one has failed."""
        if not isinstance(error, ProcessesError):
            kind, text = type(error).__name__, _first_line(error)
            with suppress(Exception):
                self.say("end", f"{kind}: {text}" if text else kind)

    def reasons(self) -> dict[int, str]:
        """Return why processes have failed, those that say so."""
        said = {rank: self.heard("end", rank) for rank in range(self.size)}
        return {rank: each for rank, each in said.items() if each not in (None, LEFT, DONE)}

    def part(self) -> None:
        """Wait until all are done, for a while: none closes connections that others still use."""
        with suppress(Exception):
            self.say("end", DONE)
            end = monotonic() + SECONDS_TO_TELL
            while self._silent("end") and monotonic() < end:
                sleep(SECONDS_BETWEEN_LOOKS / 10.0)

    def _silent(self, what: str) -> list[int]:
        """Return the processes that have not told something."""
        return [rank for rank in range(self.size) if self.heard(what, rank) is None]

    def raise_reasons(self) -> None:
        """Raise if a process has said why it failed."""
        reasons = self.reasons()
        if reasons:
            with suppress(Exception):
                self.say("end", LEFT)
            raise ProcessesError("; ".join(_said(*each) for each in sorted(reasons.items())))

    def explained(self, lost: str) -> ProcessesError:
        """Return what became of the others, where talking to them failed by this error."""
        try:
            self.say("end", LEFT)
            end = monotonic() + SECONDS_TO_TELL
            while True:
                reasons = self.reasons()
                silent = self._silent("end")
                if reasons or not silent or monotonic() > end:
                    break
                sleep(SECONDS_BETWEEN_LOOKS)
        except Exception as error:
            return ProcessesError(
                "The process that holds the store of torch.distributed (rank 0, under torchrun "
                f"torchrun itself) is gone, and the fit with it: {_first_line(error)}"
            )
        if reasons:
            return ProcessesError("; ".join(_said(*each) for each in sorted(reasons.items())))
        if silent:
            return ProcessesError(
                f"{_ranks(silent)} ended without a word (killed, say, for its memory), or did not "
                f"answer in time, and the fit with it: {lost}"
            )
        return ProcessesError(f"The processes have lost each other: {lost}")


def _timeout() -> timedelta:
    """Return how long the group of all processes waits, as `init_process_group` was told."""
    try:
        backend = distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        found = backend.options._timeout
    except (RuntimeError, AttributeError):
        return distributed_c10d.default_pg_timeout
    return found if isinstance(found, timedelta) else distributed_c10d.default_pg_timeout


def _ranks(ranks: list[int]) -> str:
    return f"Rank {ranks[0]}" if len(ranks) == 1 else f"Ranks {', '.join(map(str, ranks))}"


def _said(rank: int, reason: str) -> str:
    return f"The fit failed on rank {rank}, and so on all: {reason}"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:LONGEST_REASON]


class ProcessGroup(Processes):
    """Several processes that fit one model.

    They have a group of their own, whose connections a process that fails closes: the others then
    fail too, at once, whatever they are waiting for. The user's groups stay as they are.

    Parameters
    ----------
    meeting : Meeting
        Where they tell each other what went wrong.
    """

    def __init__(self, meeting: Meeting) -> None:
        self._meeting, self.rank, self.size = meeting, meeting.rank, meeting.size
        backend = "cpu:gloo,cuda:nccl" if "nccl" in str(dist.get_backend()) else "gloo"
        try:
            self._group: Any = dist.new_group(backend=backend, timeout=meeting.timeout)
        except RuntimeError as error:
            raise meeting.explained(_first_line(error)) from error

    @property
    def key(self) -> tuple[int, ...]:
        return (self.rank,)

    def end(self) -> None:
        """Close the connections: who still waits for this process waits in vain."""
        if self._group is None:
            return  # to destroy None is to destroy the user's groups
        with suppress(Exception):
            dist.destroy_process_group(self._group)
        # Connections are closed when nobody holds the group.
        self._group = None

    def _call(self, work: Any, *arguments: Any, **options: Any) -> None:
        """Let all do something together, or say who failed to."""
        lost = None
        self.n_exchanges += 1
        try:
            work(*arguments, group=self._group, **options)
        except RuntimeError as error:
            if is_shortage(error):
                raise  # that of this process, which it tells the others
            lost = _first_line(error)
        if lost is not None:
            # Not before the error is gone, which holds the group: others may wait for this process
            # as it did for one that failed, and shall hear of that at once.
            self.end()
            raise self._meeting.explained(lost)

    def total(self, values: T) -> T:
        found = self._reduced(values, dist.ReduceOp.SUM)
        if isinstance(values, np.ndarray):
            return found  # type: ignore[return-value]
        own: Any = int(found) if isinstance(values, int) else float(found)
        return own

    def smallest(self, values: np.ndarray) -> np.ndarray:
        return self._reduced(values, dist.ReduceOp.MIN)

    def largest(self, values: np.ndarray) -> np.ndarray:
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: Any, operation: Any) -> np.ndarray:
        own = np.array(values, dtype=np.float64)
        self._call(dist.all_reduce, torch.from_numpy(own.reshape(-1)), operation)
        return own

    def any(self, is_so: bool) -> bool:
        return bool(self.largest(np.array(float(is_so))) > 0.0)

    def gathered(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.size
        self._call(dist.all_gather_object, found, value)
        return found

    def of_first(self, value: T) -> T:
        found: list[Any] = [value]
        self._call(dist.broadcast_object_list, found, self._global_rank(0))
        return found[0]

    def meet(self) -> None:
        self.any(False)

    def sum_(self, tensor: Tensor) -> Tensor:
        return self._in_place(dist.all_reduce, tensor)

    def largest_(self, tensor: Tensor) -> Tensor:
        return self._in_place(dist.all_reduce, tensor, dist.ReduceOp.MAX)

    def first_(self, tensor: Tensor) -> Tensor:
        return self._in_place(dist.broadcast, tensor, self._global_rank(0))

    def _in_place(self, work: Any, tensor: Tensor, *arguments: Any) -> Tensor:
        # Views of several models may have gaps.
        dense = tensor.contiguous()
        self._call(work, dense, *arguments)
        if dense is not tensor:
            tensor.copy_(dense)
        return tensor

    def joined(self, tensor: Tensor, dim: int = 0) -> Tensor:
        lengths = self.gathered(tensor.shape[dim])
        rows = tensor.movedim(dim, 0)
        room = rows.new_zeros(max(lengths), *rows.shape[1:])
        room[: len(rows)] = rows
        found = [torch.empty_like(room) for _ in lengths]
        self._call(dist.all_gather, found, room)
        own = [each[:length] for each, length in zip(found, lengths, strict=True)]
        return torch.cat(own).movedim(0, dim)

    def _global_rank(self, rank: int) -> int:
        return dist.get_global_rank(self._group, rank)
