"""Ctrl-C during a fit: what has been learnt is kept where a user called it, else it is raised."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic
from types import FrameType

from sksae.process.callers import RUNNERS, belongs_to, outward
from sksae.process.processes import processes_in_use

# Who has more to do when a fit returns than to give it to the user; methods of other estimators
# besides.
GO_ON = (*RUNNERS, "optuna", "sklearn.model_selection", "sklearn.pipeline", "sksae.model_selection")


# Of a Ctrl-C in a terminal a process may hear twice, once from a parent that passes it on.
SAME_PRESS = 0.1  # seconds


class _Hearing:
    """What a fit has heard of Ctrl-C.

    The first raises at once. Once the fit ends for it, later ones raise where ``may_skip`` is set.
    A fit of several processes, which are interrupted at several places, is given up.
    """

    def __init__(self) -> None:
        self.is_ending = self.may_skip = self.was_pressed_again = False
        self.gives_up = processes_in_use().are_several
        self._pressed_at = -inf

    def hear(self) -> None:
        now = monotonic()
        if now - self._pressed_at < SAME_PRESS:
            return
        self._pressed_at = now
        self.was_pressed_again = self.is_ending
        if self.may_skip or not self.is_ending:
            raise KeyboardInterrupt


_hearing: ContextVar[_Hearing | None] = ContextVar("hearing", default=None)


@contextmanager
def ending_when_interrupted() -> Iterator[None]:
    """Hold a fit: once `is_kept` has said so, no further Ctrl-C makes it lose what it learnt."""
    token = _hearing.set(_Hearing())
    is_main = threading.current_thread() is threading.main_thread()
    # Whoever has a handler of their own has reasons.
    replaces = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if replaces:
            signal.signal(signal.SIGINT, _hear)
        yield
    finally:
        if replaces and signal.getsignal(signal.SIGINT) is _hear:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _hearing.reset(token)


def _hear(number: int, frame: FrameType | None) -> None:
    """Tell the innermost fit of Ctrl-C."""
    hearing = _hearing.get()
    if hearing is None:
        raise KeyboardInterrupt
    hearing.hear()


def is_kept() -> bool:
    """Return whether what an interrupted training has learnt is kept, and begin to end the fit.

    It is where a user called the fit, in functions and subclasses of their own too. Others, such as
    searches and pipelines, would take what is half done for what they asked for, and go on.
    """
    hearing = _hearing.get()
    is_given_up = hearing is not None and hearing.gives_up
    if is_given_up or any(_goes_on(frame) for frame in outward(sys._getframe(1))):
        return False
    if hearing is not None:
        hearing.is_ending = True
    return True


@contextmanager
def skippable() -> Iterator[None]:
    """Let Ctrl-C end, or spare, a part of an interrupted fit that takes long: it raises there."""
    hearing = _hearing.get()
    if hearing is None:
        yield
        return
    hearing.may_skip = True
    try:
        if hearing.was_pressed_again:
            raise KeyboardInterrupt
        yield
    finally:
        hearing.may_skip = False


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
