"""Warnings that say who speaks and point at the user's line; both storeys stand on this."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# Packages between a fit and the line of the user that asked for it.
# numpy's is the decorator that keeps floating-point errors silent.
PASSED_OVER = ("sksae", "sklearn", "joblib", "numpy")


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

    Parameters
    ----------
    message : str
        Text; during a fit it says before whose fit it is (`speaking_for`).
    category : type of Warning, default=UserWarning
        Kind.
    """
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in PASSED_OVER:
            break
        frame, depth = frame.f_back, depth + 1
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
    """Let it be known that an estimator is fitted as a member of another one."""
    token = _membership.set(Membership(estimator, whole, name, on_codes))
    try:
        yield
    finally:
        _membership.reset(token)


def membership_of(estimator: object) -> Membership | None:
    """Return of what an estimator is being fitted as a member, if it is."""
    membership = _membership.get()
    return membership if membership is not None and membership.estimator is estimator else None
