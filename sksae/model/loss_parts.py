"""What J is the sum of, epoch by epoch."""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import NamedTuple

# What the first part is called of networks that rebuild their rows, and of those with a target.
RECONSTRUCTION, TARGET = "reconstruction", "target"


class LossParts(NamedTuple):
    """J, and the terms that it is the sum of.

    Attributes
    ----------
    total : float
        J as it was computed: the sum of the others up to rounding.
    error : float
        The mean loss of rows; of codes that rebuild rows twice, of both times.
    sparsity : float
        beta * S; 0 where there is none.
    decay : float
        Weight decay.
    """

    total: float
    error: float
    sparsity: float
    decay: float


UNKNOWN = LossParts(nan, nan, nan, nan)


def totals(epochs: Iterable[LossParts]) -> list[float]:
    """Return J of each epoch."""
    return [each.total for each in epochs]


def as_lists(epochs: Sequence[LossParts], of_error: str) -> dict[str, list[float]]:
    """Return the terms of each epoch in three lists, the first by a name of its own."""
    return {
        of_error: [each.error for each in epochs],
        "sparsity": [each.sparsity for each in epochs],
        "decay": [each.decay for each in epochs],
    }


def from_lists(
    curve: Sequence[float], lists: Mapping[str, Sequence[float]], of_error: str
) -> list[LossParts]:
    """Return what `totals` and `as_lists` were made of."""
    terms = lists[of_error], lists["sparsity"], lists["decay"]
    return [LossParts(*each) for each in zip(curve, *terms, strict=True)]
