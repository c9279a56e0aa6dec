"""Codes by pursuit: what takes the place of activations when a fitted dictionary is read."""

from typing import NamedTuple

# What `transform_algorithm` may be; "encode" is no pursuit.
ALGORITHMS = ("encode", "refit", "omp")


class Pursuit(NamedTuple):
    """How the coefficients of atoms are found for each row anew.

    Attributes
    ----------
    algorithm : {"refit", "omp"}
        By least squares on the atoms of the units that the encoder makes active, or on atoms that
        are chosen one after another.
    n_active : int, optional
        How many atoms are chosen; None where the encoder chooses.
    """

    algorithm: str
    n_active: int | None = None


def chooses_few(pursuit: Pursuit | None) -> bool:
    """Return whether a number of atoms is all that is not 0 in a code, whatever the network."""
    return pursuit is not None and pursuit.n_active is not None
