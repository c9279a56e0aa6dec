"""The store of torch.distributed, of which no answer is waited for longer than it may take.

torch waits for an answer as long as the connection stands; and if the store's host is cut off, the
operating system keeps a connection for a quarter of an hour and more.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

import torch
from torch.distributed import distributed_c10d

from sksae.process.processes import ProcessesError

T = TypeVar("T")

LONGEST_REASON = 500
# How long an answer is waited for at least, and what others know when one is lost.
SECONDS_TO_TELL = 5.0


class LostStoreError(ProcessesError):
    """The store does not answer, and nobody can be asked what became of the others."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The store of torch.distributed (that of rank 0, under torchrun torchrun's own) is "
            f"gone or cannot be reached from here, and the fit with it: {reason}"
        )


class CommonStore:
    """The store that all processes have in common, from which they read what others wrote.

    Once it has not answered it is not asked again: the one who asked may still wait for it.

    Attributes
    ----------
    end : float
        Until when, by `time.monotonic`, answers may be waited for, if that is not over before.
    """

    def __init__(self) -> None:
        # Public ways to the store ask for one of the user's own.
        self._store = distributed_c10d._get_default_store()
        self._lost: str | None = None
        self.end = 0.0

    def set(self, key: str, value: str) -> None:
        """Write something."""
        self._asked(self._store.set, key, value)

    def get(self, key: str) -> str | None:
        """Return what was written; None if nothing was."""
        if not self._asked(self._store.check, [key]):
            return None
        return bytes(self._asked(self._store.get, key)).decode()

    def swap(self, key: str, old: str, new: str) -> str:
        """Write something if `old` was written, "" for nothing, and return what is there then."""
        return bytes(self._asked(self._store.compare_set, key, old, new)).decode()

    def _asked(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """Return an answer.

        Raises
        ------
        LostStoreError
            If there is none in time, or there was none before.
        """
        if self._lost is None:
            seconds = max(self.end - monotonic(), SECONDS_TO_TELL)
            try:
                return within(seconds, ask, *arguments)
            except TimeoutError:
                self._lost = f"it did not answer for {seconds:.3g} s."
            except RuntimeError as error:
                self._lost = first_line(error)
        raise LostStoreError(self._lost)


def within(seconds: float, work: Callable[..., T], *arguments: Any) -> T:
    """Return what a call returns, or raise what it raises.

    Raises
    ------
    TimeoutError
        If it takes longer. It goes on by itself, and ends with the process at the latest.
    """
    found: list[Any] = []

    def run() -> None:
        try:
            found.extend((work(*arguments), None))
        except BaseException as error:
            found.extend((None, error))

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if not found:
        raise TimeoutError
    value, error = found
    if error is not None:
        raise error
    return value


def timeout_of_all() -> timedelta:
    """Return how long the group of all processes waits, as `init_process_group` was told."""
    with suppress(RuntimeError, AttributeError):
        backend = distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        found = backend.options._timeout
        if isinstance(found, timedelta):
            return found
    return distributed_c10d.default_pg_timeout


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, if it is not very long."""
    return str(error).partition("\n")[0][:LONGEST_REASON]
