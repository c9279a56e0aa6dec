"""Checks of what displays are asked for, in scikit-learn's words."""

from collections.abc import Sized
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, validate_parameter_constraints


def check_counts(caller: str, **counts: int | None) -> None:
    """Raise on a number that is no whole number of at least 1, or None.

    Parameters
    ----------
    caller : str
        Whom errors name.
    **counts : int or None
        Numbers by the names of their parameters.

    Raises
    ------
    ValueError
        If one is something else.
    """
    allowed = [Interval(Integral, 1, None, closed="left"), None]
    validate_parameter_constraints(dict.fromkeys(counts, allowed), dict(counts), caller_name=caller)


def check_shape(caller: str, shape: tuple[int | str, ...], **arrays: np.ndarray) -> None:
    """Raise on arrays of another shape, or without an entry.

    Parameters
    ----------
    caller : str
        Whom errors name.
    shape : tuple of int or str
        Lengths that are known, and names of those of which nothing is asked but that they are not
        0.
    **arrays : ndarray
        By the names of their parameters.

    Raises
    ------
    ValueError
        If one has another shape.
    """
    for name, values in arrays.items():
        fits = len(shape) == values.ndim and all(
            n == wanted if isinstance(wanted, int) else n > 0
            for n, wanted in zip(values.shape, shape, strict=True)
        )
        if not fits:
            told = f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"
            is_empty = " with no length of 0" if not values.size else ""
            raise ValueError(
                f"{caller}: {name} must be of shape {told}{is_empty}, got {values.shape}."
            )


def check_lengths(caller: str, of: str, n: int, **given: Sized | None) -> None:
    """Raise on sequences that are given and have more or fewer entries than another one.

    Parameters
    ----------
    caller : str
        Whom errors name.
    of : str
        What there is an entry for each of.
    n : int
        How many of these there are.
    **given : sized or None
        By the names of their parameters.

    Raises
    ------
    ValueError
        If one has another length.
    """
    for name, values in given.items():
        if values is not None and len(values) != n:
            raise ValueError(
                f"{caller}: {name} must have an entry for each of the {n} {of}, got {len(values)}."
            )


def check_some(caller: str, **given: Sized) -> None:
    """Raise on sequences without an entry.

    Parameters
    ----------
    caller : str
        Whom errors name.
    **given : sized
        By the names of their parameters.

    Raises
    ------
    ValueError
        If one is empty.
    """
    for name, values in given.items():
        if not len(values):
            raise ValueError(f"{caller}: {name} must have one entry at least, got none.")


def check_places(caller: str, of: str, n: int, **given: Any) -> None:
    """Raise on numbers of things of which there are not so many; None passes.

    Parameters
    ----------
    caller : str
        Whom errors name.
    of : str
        What they are numbers of.
    n : int
        How many of these there are.
    **given : int, array-like of int or None
        By the names of their parameters.

    Raises
    ------
    ValueError
        If one is negative or too large.
    """
    for name, values in given.items():
        numbers = np.ravel([] if values is None else values)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= n):
            raise ValueError(
                f"{caller}: {name} must be from 0 to {n - 1}, as there are {n} {of}, got {values}."
            )
