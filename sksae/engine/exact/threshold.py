"""The threshold above which n k of all rows' pre-activations lie, found exactly in one walk.

Of a stream of numbers the m largest are known at the end if the m largest so far are kept; so many
are the entries of all rows' codes. A running mean of what batches keep, as others have it, is no
such thing: it lags behind the weights, and held-out rows have other numbers of active units.
"""

import numpy as np

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

    def threshold(self) -> float:
        """Return what lies midway between the last one that is wanted and the next, at least 0."""
        n_wanted = self._keep_largest()
        values = self._values[0]
        if n_wanted >= len(values):
            # There are no more positive numbers than are wanted.
            return 0.0
        # The next one has the last place.
        return max(0.0, (float(values[:n_wanted].min()) + float(values[n_wanted])) / 2.0)

    def _keep_largest(self) -> int:
        """Forget all numbers but those that are wanted and the next; return how many those are."""
        values = np.concatenate(self._values or [np.empty(0)])
        if self._weights:
            order = np.argsort(-values, kind="stable")
            values, weights = values[order], np.concatenate(self._weights)[order]
            # A sum of so many is rounded.
            reached = np.cumsum(weights) >= self._wanted * (1.0 - 1e-9)
            n_wanted = int(reached.argmax()) + 1 if reached.any() else len(values)
            self._weights = [weights[: n_wanted + 1]]
        else:
            n_wanted = round(self._wanted)
            if n_wanted < len(values):
                # In rising order those before the last n_wanted are the largest of the rest.
                at = len(values) - n_wanted
                values.partition((at - 1, at))
                values = values[at - 1 :][::-1]
        if n_wanted < len(values):
            values = values[: n_wanted + 1].copy()
            self.bound = float(values[-1])
        self._values, self._n_kept, self._n_new = [values], len(values), 0
        return n_wanted
