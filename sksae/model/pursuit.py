"""Codes by pursuit: what takes the place of activations when a fitted dictionary is read."""

from typing import NamedTuple

# What `transform_algorithm` may be; "encode" is no pursuit.
ALGORITHMS = ("encode", "refit", "omp")


class Pursuit(NamedTuple):
    """How the coefficients of atoms are found for each row anew.

    Attributes
    ----------
    n_active : int or None
        How many atoms are chosen one after another, by orthogonal matching pursuit. None are those
        of the units that the encoder makes active, which are fitted by least squares.
    """

    n_active: int | None


def chooses_few(pursuit: Pursuit | None) -> bool:
    """Return whether a number of atoms is all that is not 0 in a code, whatever the network."""
    return pursuit is not None and pursuit.n_active is not None
