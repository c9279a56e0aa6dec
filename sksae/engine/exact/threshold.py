"""The threshold above which n k of all rows' pre-activations lie, found exactly in one walk.

Of a stream of numbers the m largest are known at the end if the m largest so far are kept; so many
are the entries of all rows' codes. A running mean of what batches keep, as others have it, is no
such thing: it lags behind the weights, and held-out rows have other numbers of active units.
"""

import numpy as np
import torch

from sksae.engine.largest import just_below
from sksae.process.processes import Processes

# The largest are told apart from the others when so many new ones have come, by the number of
# those that are kept, and so many at least.
NEW_PER_KEPT, LEAST_NEW = 1.0, 2**16


class LargestOfAll:
    """The largest of a stream of numbers, which together count so much.

    Parameters
    ----------
    wanted : float
        What those count that shall be above the threshold.

    Attributes
    ----------
    bound : float
        Numbers that are not above it are not among the largest.
    """

    def __init__(self, wanted: float) -> None:
        self._wanted = wanted
        self._values: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._n_kept = self._n_new = 0
        self.bound = 0.0

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take up numbers, all those above ``bound`` at least.

        Parameters
        ----------
        values : ndarray of shape (n,)
            Numbers.
        weights : ndarray of shape (n,), optional
            What each counts; 1 by default. It is given for all numbers or for none.
        """
        self._values.append(values)
        if weights is not None:
            self._weights.append(weights)
        self._n_new += len(values)
        if self._n_new > max(NEW_PER_KEPT * self._n_kept, LEAST_NEW):
            self._keep_largest()

    def merge(self, other: "LargestOfAll") -> None:
        """Take up what another one has kept of its part of the stream."""
        for at, values in enumerate(other._values):
            self.add(values, other._weights[at] if other._weights else None)

    def joined(self, processes: Processes, *, has_any: bool) -> "LargestOfAll":
        """Return what all processes have kept, each of its part of the stream.

        Parameters
        ----------
        processes : Processes
            All of them.
        has_any : bool
            Whether this one had a part.
        """
        self._keep_largest()
        values = self._values[0] if has_any else self._values[0][:0]
        weights = self._weights[0][: len(values)] if self._weights else None
        both = processes.joined(torch.from_numpy(values)).numpy()
        other = LargestOfAll(self._wanted)
        if weights is not None:
            weights = processes.joined(torch.from_numpy(weights)).numpy()
        other.add(both, weights)
        return other

    def threshold(self) -> float:
        """Return what lies midway between the last number that is wanted and the next smaller one.

        0 where there is none: then all positive numbers are wanted.
        """
        found = self._keep_largest()
        return 0.0 if found is None else (found[0] + found[1]) / 2.0

    def _keep_largest(self) -> tuple[float, float] | None:
        """Forget all numbers but those that are wanted and the next smaller one.

        Returns
        -------
        last, following : float
            The smallest that is wanted and the next smaller one; None if there are no more numbers
            than are wanted.
        """
        values = np.concatenate(self._values or [np.empty(0)])
        weights = np.concatenate(self._weights) if self._weights else None
        last, found = self._last_wanted(values, weights), None
        if last is not None:
            # Equal numbers are wanted together, as a row of weight 2 is two rows.
            is_wanted = values > just_below(last, float(np.finfo(values.dtype).eps))
            rest = values[~is_wanted]
            if len(rest):
                at = int(np.flatnonzero(~is_wanted)[rest.argmax()])
                is_wanted[at] = True
                found = last, float(values[at])
                self.bound = found[1]
                values = values[is_wanted]
                weights = None if weights is None else weights[is_wanted]
        self._values, self._n_kept, self._n_new = [values], len(values), 0
        self._weights = [] if weights is None else [weights]
        return found

    def _last_wanted(self, values: np.ndarray, weights: np.ndarray | None) -> float | None:
        """Return the smallest number that is wanted, or None if all are and more would be.

        Parameters
        ----------
        values : ndarray of shape (n,)
            Numbers.
        weights : ndarray of shape (n,) or None
            What each counts.
        """
        if weights is None:
            at = len(values) - round(self._wanted)
            return float(np.partition(values, at)[at]) if at >= 0 else None
        order = np.argsort(-values, kind="stable")
        # A sum of so many is rounded.
        reached = np.cumsum(weights[order]) >= self._wanted * (1.0 - 1e-9)
        return float(values[order[reached.argmax()]]) if reached.any() else None
