"""Rows that have a say in the order in which a training visits them, as they lie in files."""

from typing import Protocol, runtime_checkable

import numpy as np


class Order(Protocol):
    """A permutation of positions, which is read from front to back."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: slice, /) -> np.ndarray: ...


@runtime_checkable
class OrdersVisits(Protocol):
    """Rows that know in what order they are read without many jumps."""

    def visiting_order(self, random: np.random.Generator, index: np.ndarray | None = None) -> Order:
        """Return a random order of the rows that count, as positions among them.

        Parameters
        ----------
        random : Generator
            What it is drawn from.
        index : ndarray of int, optional
            The rows that count; all by default.
        """
