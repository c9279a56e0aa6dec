"""By which of a row's active units the loss reads it: up to budgets, or among prefixes of all."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from numbers import Integral, Real

import numpy as np

from sksae.model.codes import CODES

# Shares of the active units by which codes are read besides all of them.
AUTO_BUDGETS = (0.25, 0.5)


def resolve_budgets(
    budgets: Sequence[float] | str | None,
    prefixes: Sequence[float] | None,
    sparsity: str | None,
    rho: float,
    n_components: int,
    n_hidden_layers: int,
) -> tuple[int, ...]:
    """Return how many active units the loss reads, one number after another, all of them at last.

    Parameters
    ----------
    budgets : sequence of float or int, "auto" or None
        As it was given: shares of the active units, or numbers of units.
    prefixes : sequence of float or int or None
        As it was given.
    sparsity : str or None
        Name of the code.
    rho : float
        Share of active units.
    n_components : int
        Units of the code.
    n_hidden_layers : int
        Layers between input and code.

    Returns
    -------
    budgets : tuple of int
        Empty where the code does not say how many units are active.
    """
    facts = CODES[sparsity]
    if not facts.counts_units:
        return ()
    n_active = round(rho * n_components)
    if not facts.is_exact:
        return (max(n_active, 1),)
    if n_active < 1:
        raise ValueError(
            f"rho={rho:.4g} of n_components={n_components} rounds to no active unit at all: with "
            f"sparsity={sparsity!r} give rho as a number of units (rho=1 at least), or raise "
            "n_components."
        )
    is_given = not (budgets is None or isinstance(budgets, str))
    is_alone = n_hidden_layers > 0 or facts.selects_by_batch or prefixes is not None
    if budgets is None or (is_alone and not is_given):
        return (n_active,)
    if is_alone:
        if prefixes is not None:
            other, why = f"prefixes={prefixes!r}", "the loss reads a row in one way or the other"
        elif facts.selects_by_batch:
            other = f"sparsity={sparsity!r}"
            why = "rows have no number of units that they are read by"
        else:
            other = "hidden_layer_sizes"
            why = "the decoder is not linear, and units do not add up one after another"
        raise ValueError(
            f"budgets={budgets!r} cannot be had with {other}: {why}. Use budgets=None."
        )
    wanted = AUTO_BUDGETS if isinstance(budgets, str) else budgets
    return _numbers_of("budgets", wanted, n_active, "active units")


def resolve_prefixes(
    prefixes: Sequence[float] | None,
    sparsity: str | None,
    n_components: int,
    n_hidden_layers: int,
) -> tuple[int, ...]:
    """Return the numbers of first units that the loss reads, all of them at last; () for none.

    Parameters
    ----------
    prefixes : sequence of float or int or None
        As it was given: shares of the units, or numbers of them.
    sparsity, n_components, n_hidden_layers
        As in `resolve_budgets`.
    """
    if prefixes is None or not CODES[sparsity].is_exact:
        return ()
    if n_hidden_layers > 0:
        raise ValueError(
            f"prefixes={prefixes!r} cannot be had with hidden_layer_sizes: the decoder is not "
            "linear, and units do not add up one after another. Use prefixes=None."
        )
    return _numbers_of("prefixes", prefixes, n_components, "units")


def _numbers_of(name: str, given: Sequence[float], total: int, what: str) -> tuple[int, ...]:
    """Return shares of some units, or numbers of them, as numbers that end with all.

    Parameters
    ----------
    name : str
        Of the parameter.
    given : sequence of float or int
        Its value, increasing.
    total : int
        How many units there are.
    what : str
        What they are called.

    Raises
    ------
    ValueError
        If it is no such sequence.
    """
    if np.ndim(given) != 1 or isinstance(given, str):
        or_auto = "'auto' " if name == "budgets" else ""
        raise ValueError(
            f"{name}={given!r} must be a sequence of shares of the {what} or of numbers of units, "
            f"{or_auto}or None."
        )
    wanted = tuple(given)
    found = [_number_of(name, given, each, total, what) for each in wanted]
    if any(later < sooner for sooner, later in pairwise(found)) or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"{name} must increase, got {given!r}: of {total} {what} they are {found} "
            "(floats are shares, ints numbers of units)."
        )
    # Shares of few units may be the same number of them.
    return tuple(sorted({*found, total}))


def _number_of(name: str, given: Sequence[float], one: float, total: int, what: str) -> int:
    """Return a share of some units, or a number of them, as a number.

    Parameters
    ----------
    one : float or int
        The share or number.
    name, given, total, what
        As in `_numbers_of`.
    """
    if isinstance(one, Integral) and not isinstance(one, bool):
        if not 1 <= one <= total:
            raise ValueError(
                f"{name}={given!r} must hold shares in (0, 1], or numbers of units from 1 to "
                f"the {total} {what}; {one} is none."
            )
        return int(one)
    if not (isinstance(one, Real) and 0.0 < one <= 1.0) or isinstance(one, bool):
        raise ValueError(
            f"{name}={given!r} must hold shares of the {what} in (0, 1], or numbers of units; "
            f"{one!r} is none."
        )
    # .3 of 10 is 3, whatever rounding made of it.
    return max(1, ceil(float(one) * total * (1.0 - 1e-12)))
