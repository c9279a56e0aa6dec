"""Ctrl-C during a fit: what has been learnt is kept where a user called it, else it is raised."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

from sksae.callers import RUNNERS, belongs_to, outward

# Who has more to do when a fit returns than to give it to the user; methods of other estimators
# besides.
GO_ON = (*RUNNERS, "sklearn.model_selection", "sklearn.pipeline", "sksae.model_selection")


class _Ending:
    """The end of an interrupted fit.

    From `begin` to `close` Ctrl-C is heard, but raised only where ``may_skip`` is set.
    """

    def __init__(self) -> None:
        self.may_skip = False
        self.was_pressed = False
        self._replaces_handler = False

    def begin(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        # Whoever has a handler of their own has reasons.
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._hear)
            self._replaces_handler = True

    def close(self) -> None:
        if self._replaces_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.was_pressed = True
        if self.may_skip:
            raise KeyboardInterrupt


_ending: ContextVar[_Ending | None] = ContextVar("ending", default=None)


@contextmanager
def ending_when_interrupted() -> Iterator[None]:
    """Hold a fit: once `is_kept` has said so, no further Ctrl-C makes it lose what it learnt."""
    ending = _Ending()
    token = _ending.set(ending)
    try:
        yield
    finally:
        ending.close()
        _ending.reset(token)


def is_kept() -> bool:
    """Return whether what an interrupted training has learnt is kept, and begin to end the fit.

    It is where a user called the fit, in functions and subclasses of their own too. Others, such as
    searches and pipelines, would take what is half done for what they asked for, and go on.
    """
    if any(_goes_on(frame) for frame in outward(sys._getframe(1))):
        return False
    ending = _ending.get()
    if ending is not None:
        ending.begin()
    return True


@contextmanager
def skippable() -> Iterator[None]:
    """Let Ctrl-C end, or spare, a part of an interrupted fit that takes long: it raises there."""
    ending = _ending.get()
    if ending is None:
        yield
        return
    ending.may_skip = True
    try:
        if ending.was_pressed:
            raise KeyboardInterrupt
        yield
    finally:
        ending.may_skip = False


def ask_unless_skipped(question: Callable[[], bool]) -> bool:
    """Return the answer to what takes long, or False if Ctrl-C spares an interrupted fit it."""
    try:
        with skippable():
            return question()
    except KeyboardInterrupt:
        return False


def _goes_on(frame: FrameType) -> bool:
    """Return whether a frame belongs to somebody who goes on when a fit returns."""
    if belongs_to(frame, GO_ON):
        return True
    owner = type(frame.f_locals.get("self"))
    return hasattr(owner, "get_params") and not any(
        base.__module__.partition(".")[0] == "sksae" for base in owner.__mro__
    )
