"""Sums over the processes that fit one model together, by torch.distributed.

What a process has to say to others when all is lost goes through the store of torch.distributed,
where each has a key of its own: connections may be gone by then, and a process that has died says
nothing, which tells who it was.
"""

import json
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sksae.engine.store import LostStoreError, Store, first_line, timeout_of_all, within
from sksae.process.processes import Processes, ProcessesError

T = TypeVar("T")

# How long a process that has lost another one waits for the others to say what they know, and at
# least for the store to answer; and how often it looks.
SECONDS_TO_TELL, SECONDS_BETWEEN_LOOKS = 5.0, 0.02
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
        self._store, self._name = Store(), f"sksae/{n_fits}"
        self.timeout = timeout_of_all()
        # Until when answers of the store may be waited for, if that is not over before.
        self._end = 0.0

    def _key(self, what: str, rank: int) -> str:
        return f"{self._name}/{what}/{rank}"

    @property
    def _patience(self) -> float:
        return max(self._end - monotonic(), SECONDS_TO_TELL)

    def say(self, what: str, value: Any) -> None:
        """Tell the others something that JSON can hold."""
        self._store.set(self._key(what, self.rank), json.dumps(value), self._patience)

    def heard(self, what: str, rank: int) -> Any:
        """Return what a process has told; None if it has said nothing."""
        key = self._key(what, rank)
        if not self._store.has([key], self._patience):
            return None
        return json.loads(self._store.get(key, self._patience))

    def exchanged(self, what: str, value: Any) -> list[Any]:
        """Tell something and return what all have told, once they have.

        Raises
        ------
        ProcessesError
            If one has failed, or says nothing for as long as torch.distributed would wait.
        """
        self._end = monotonic() + self.timeout.total_seconds()
        try:
            return self._exchanged(what, value)
        finally:
            self._end = 0.0

    def _exchanged(self, what: str, value: Any) -> list[Any]:
        self.say(what, value)
        keys = [self._key(what, rank) for rank in range(self.size)]
        while not self._store.has(keys, self._patience):
            reasons = self.reasons()
            # One that refuses what all have said has said so after the last of them.
            if reasons and not self._store.has(keys, self._patience):
                self._raise(reasons)
            if monotonic() > self._end:
                silent = self._silent(what)
                self.say("end", LEFT)
                raise ProcessesError(
                    f"{_ranks(silent)} did not begin the same fit within "
                    f"{self.timeout.total_seconds():g} s: each process must call it, in the same "
                    "order as other fits with data_parallel=True."
                )
            sleep(SECONDS_BETWEEN_LOOKS)
        return [json.loads(self._store.get(key, self._patience)) for key in keys]

    def tell(self, error: BaseException) -> None:
        """Tell the others why this process fails, unless it does so as another one has failed."""
        if not isinstance(error, ProcessesError):
            kind, text = type(error).__name__, first_line(error)
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

    def _raise(self, reasons: dict[int, str]) -> NoReturn:
        """Raise what processes have said of why they failed."""
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
        except LostStoreError as error:
            return error
        if reasons:
            return ProcessesError("; ".join(_said(*each) for each in sorted(reasons.items())))
        if silent:
            return ProcessesError(
                f"{_ranks(silent)} ended without a word (killed, say, for its memory), or could "
                f"not be reached in time, and the fit with it: {lost}"
            )
        return ProcessesError(f"The processes have lost each other: {lost}")


def _ranks(ranks: list[int]) -> str:
    return f"Rank {ranks[0]}" if len(ranks) == 1 else f"Ranks {', '.join(map(str, ranks))}"


def _said(rank: int, reason: str) -> str:
    return f"The fit failed on rank {rank}, and so on all: {reason}"


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
        # torch waits for the store without end where it takes back a wait that was too long.
        longest = meeting.timeout.total_seconds() + SECONDS_TO_TELL
        try:
            self._group: Any = within(
                longest, partial(dist.new_group, backend=backend, timeout=meeting.timeout)
            )
        except TimeoutError as error:
            raise meeting.explained(f"no connections within {longest:g} s.") from error
        except RuntimeError as error:
            raise meeting.explained(first_line(error)) from error

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
        try:
            work(*arguments, group=self._group, **options)
        except RuntimeError as error:
            lost = first_line(error)
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
