"""Sums over the processes that fit one model together, by torch.distributed."""

from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sksae.engine.common_store import SECONDS_TO_TELL, first_line, within
from sksae.engine.meeting import Meeting
from sksae.engine.short_sums import is_short, reduce_short_
from sksae.process.processes import Processes
from sksae.process.shortage import is_shortage

T = TypeVar("T")


def _reduce_(tensor: Tensor, operation: Any, group: Any) -> None:
    reduce_ = reduce_short_ if is_short(tensor) else dist.all_reduce
    reduce_(tensor, operation, group)


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
        self.n_exchanges += 1
        try:
            work(*arguments, group=self._group, **options)
        except RuntimeError as error:
            if is_shortage(error):
                raise  # that of this process, which it tells the others
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
        self._call(_reduce_, torch.from_numpy(own.reshape(-1)), operation)
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
        return self._in_place(_reduce_, tensor, dist.ReduceOp.SUM)

    def largest_(self, tensor: Tensor) -> Tensor:
        return self._in_place(_reduce_, tensor, dist.ReduceOp.MAX)

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
