"""Where workers leave word for the caller: an actor of Ray, which needs no shared folder."""

from typing import Any, NamedTuple


class Failure(NamedTuple):
    """Why a worker failed.

    Attributes
    ----------
    kind, text, traceback : str
        Name of the error's class, its message, and where it was raised.
    is_of_input : bool
        Whether it is a ValueError or a TypeError, which another try would raise again.
    is_of_others : bool
        Whether the worker failed only as another one did.
    """

    kind: str
    text: str
    traceback: str
    is_of_input: bool = False
    is_of_others: bool = False


class Desk:
    """What workers have said so far; an actor, of which each call is one of its methods."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._failures: dict[int, Failure] = {}
        self._workers: dict[int, Any] = {}
        self._model: bytes | None = None
        self._warnings: list[tuple[str, type[Warning]]] = []
        self._is_closed = False

    def begin(self, rank: int, worker: Any) -> bool:
        """Note that a worker begins, maybe again, and return whether it shall."""
        if not self._is_closed:
            self._failures.pop(rank, None)
            self._workers[rank] = worker
        return not self._is_closed

    def close(self) -> list[Any]:
        """Let no worker begin again, and return those that did."""
        self._is_closed = True
        return list(self._workers.values())

    def tell(self, text: str) -> None:
        """Take what a worker prints."""
        self._lines.append(text)

    def news(self) -> str:
        """Return what has been printed since this was asked last."""
        text = "".join(self._lines)
        self._lines.clear()
        return text

    def fail(self, rank: int, failure: Failure) -> bool:
        """Take why a worker fails, and return `is_final`."""
        self._failures[rank] = failure
        return self.is_final()

    def is_final(self) -> bool:
        """Return whether other workers would fail for the same reason."""
        return any(each.is_of_input for each in self._failures.values())

    def failures(self) -> dict[int, Failure]:
        """Return why workers have failed, by rank."""
        return self._failures

    def finish(self, model: bytes, warned: list[tuple[str, type[Warning]]]) -> None:
        """Take the model that the first worker has, pickled, and the warnings of its fit."""
        self._model, self._warnings = model, warned

    def outcome(self) -> tuple[bytes | None, list[tuple[str, type[Warning]]]]:
        """Return the model, None if there is none, and the warnings."""
        return self._model, self._warnings
