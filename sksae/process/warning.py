"""Warnings that say who speaks and point at the user's line."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sksae.process.callers import RUNNERS, belongs_to, outward
from sksae.process.processes import processes_in_use

# Modules between a fit and the line of the user that asked for it; contextlib's and numpy's are
# decorators.
PASSED_OVER = (*RUNNERS, "contextlib", "numpy", "runpy", "sklearn", "sksae", "threading")
# Decorators of this package around public methods.
AROUND_METHODS = ("sksae.base.together",)


@dataclass(frozen=True)
class Membership:
    """An estimator as part of another one, which fits it.

    Attributes
    ----------
    estimator, whole : estimator
        Both.
    name : str
        Of the member.
    on_codes : bool
        Whether its rows are codes of another member, and not the user's.
    """

    estimator: object
    whole: object
    name: str
    on_codes: bool


_membership: ContextVar[Membership | None] = ContextVar("membership", default=None)
_speaker: ContextVar[str] = ContextVar("speaker", default="")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning in the name of the innermost caller outside `PASSED_OVER`.

    Of several processes that fit one model the first one speaks for all.

    In a thread or a process of its own there may be none: then of the method that was called.

    Parameters
    ----------
    message : str
        Text; during a fit it says before whose fit it is (`speaking_for`).
    category : type of Warning, default=UserWarning
        Kind.
    """
    if not processes_in_use().is_first:
        return
    of_method = 2
    for depth, frame in enumerate(outward(sys._getframe(1)), start=2):
        if not belongs_to(frame, PASSED_OVER):
            break
        if belongs_to(frame, ["sksae"]) and not belongs_to(frame, AROUND_METHODS):
            of_method = depth
    else:
        depth = of_method
    speaker = _speaker.get()
    warnings.warn(f"{speaker}: {message}" if speaker else message, category, stacklevel=depth)


@contextmanager
def speaking_for(estimator: object) -> Iterator[None]:
    """Let warnings begin with an estimator's class, or with its whole's class and its name."""
    membership = membership_of(estimator)
    if membership is None:
        speaker = type(estimator).__name__
    else:
        speaker = f"{type(membership.whole).__name__}, member {membership.name!r}"
    token = _speaker.set(speaker)
    try:
        yield
    finally:
        _speaker.reset(token)


@contextmanager
def fitting_member(
    estimator: object, whole: object, name: str, *, on_codes: bool
) -> Iterator[None]:
    """Let it be known that an estimator is fitted as a member of another one.

    Parameters
    ----------
    estimator : estimator
        The member.
    whole : estimator
        What it is a member of.
    name : str
        Of the member.
    on_codes : bool
        Whether its rows are codes of another member, and not the user's.
    """
    token = _membership.set(Membership(estimator, whole, name, on_codes))
    try:
        yield
    finally:
        _membership.reset(token)


def membership_of(estimator: object) -> Membership | None:
    """Return of what an estimator is being fitted as a member, if it is."""
    membership = _membership.get()
    return membership if membership is not None and membership.estimator is estimator else None
