"""What a training in pieces knows of all rows that it has seen, and which scaling they ask for."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from sksae.model.numbers import Matrix, nearest_positive, root_mean_square
from sksae.process.processes import processes_in_use
from sksae.training.moments import (
    count_rows,
    largest_weight,
    mean_and_deviation,
    rounding_of,
    well_scaled,
)

# The scaling is off where the deviation of rows is so many times what it takes it for, or less.
FAR_OFF = 2.0
# So many rows tell what the deviation is. Until then the scaling follows every piece that shows it
# off by more than SLIGHTLY_OFF.
ENOUGH_ROWS, SLIGHTLY_OFF = 100, 1.1
# Among the first so many rows, a piece that shows the scaling far off tells what later rows will be
# like, and those before do not count: they were taken in the dark, say. Later both may come again.
START_ROWS = 10_000
# The weight of what came first falls with the square of how much has come since.
FORGETTING = 2.0
# No row counts for more than so many: it would make the others count for nothing.
LARGEST_PACE = 10.0


@dataclass(frozen=True)
class Seen:
    """Running moments of the rows that count.

    Attributes
    ----------
    n_rows : float
        How many they are.
    weight : float
        Their mean weight.
    usual_weight : float
        Mean of the pieces' mean weights, each counting by all that the piece weighs: ever so many
        rows of next to no weight do not change it.
    mean, deviation : ndarray of shape (n_features,)
        Weighted; of the last rows more than of the first (``FORGETTING``).
    n_told : float
        Of how many rows these two tell.
    n_first_told : float
        Of how many at first, where rows before had been unlike those; else 0.
    """

    n_rows: float
    weight: float
    usual_weight: float
    mean: np.ndarray
    deviation: np.ndarray
    n_told: float
    n_first_told: float = 0.0

    @classmethod
    def of(cls, n_rows: int, weight: float, mean: np.ndarray, deviation: np.ndarray) -> Self:
        """Return what one piece tells.

        Parameters
        ----------
        n_rows : int
            Rows that count.
        weight : float
            Their mean weight.
        mean, deviation : ndarray of shape (n_features,)
            Weighted.
        """
        return cls(float(n_rows), weight, weight, mean, deviation, float(n_rows))

    @classmethod
    def of_rows(cls, X: Matrix, index: np.ndarray | None, weight: np.ndarray | None) -> Self:
        """Return what the rows of X that an index names tell; all by default.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        index : ndarray of int or None
            Those that count; None for all.
        weight : ndarray of shape (n_samples,) or None
            Their weights, as they were given.
        """
        n_rows = count_rows(X, index)
        moments = mean_and_deviation(X, index, well_scaled(weight))
        return cls.of(n_rows, mean_weight(weight, index), *moments)

    @property
    def has_varied(self) -> bool:
        """Whether any two rows differed."""
        return bool(np.any(self.deviation > 0.0))

    @property
    def mean_deviation(self) -> float:
        """Deviation over all entries: the root of the mean variance."""
        return root_mean_square(self.deviation)

    @property
    def is_young(self) -> bool:
        """Whether the rows suffice to be compared with the next, but may all be unlike later ones.

        A piece for which others were dropped is not dropped for the next: they may come by turns.
        """
        is_known = self.n_told > self.n_first_told
        return is_known and self.n_told >= ENOUGH_ROWS and self.n_rows <= START_ROWS

    @property
    def tolerance(self) -> float:
        """By what factor the deviation may be off before the scaling follows it."""
        return FAR_OFF if self.n_told >= ENOUGH_ROWS else SLIGHTLY_OFF

    def followed_by(self, piece: "Seen") -> "Seen":
        """Return what is known after one more piece."""
        n_rows = self.n_rows + piece.n_rows
        weight = self.weight + (piece.weight - self.weight) * (piece.n_rows / n_rows)
        relative = piece.weight / self.weight
        heavier = piece.usual_weight - self.usual_weight
        usual = self.usual_weight + heavier * _share(relative * (piece.n_rows / self.n_rows))
        moved = piece.mean - self.mean
        moved[np.abs(moved) <= rounding_of(self.mean)] = 0.0
        n_told = self.n_told
        if not self.has_varied and (piece.has_varied or moved.any()):
            n_told = 1.0  # so much do rows tell that are all alike
        ratio = min(relative, LARGEST_PACE) * (piece.n_rows / n_told)
        share = 1.0 - (1.0 - _share(ratio)) ** FORGETTING
        # Not as variances, which may be beyond float64 where the deviations are not.
        own = np.hypot(np.sqrt(1.0 - share) * self.deviation, np.sqrt(share) * piece.deviation)
        deviation = np.hypot(own, np.sqrt(share * (1.0 - share)) * moved)
        mean = self.mean + share * moved
        n_told += piece.n_rows
        return Seen(n_rows, weight, usual, mean, deviation, n_told, self.n_first_told)

    def turned_into(self, piece: "Seen") -> "Seen":
        """Return what is known after a piece unlike the rows before, which tell no more of it."""
        seen = replace(self, n_told=1.0).followed_by(piece)
        seen = replace(seen, n_first_told=seen.n_told)
        if not piece.has_varied:
            return seen
        return replace(seen, mean=piece.mean, deviation=piece.deviation)

    def is_far_from(self, centre: np.ndarray, deviation: float) -> bool:
        """Return whether rows deviate from a centre by far more or less than is taken for granted.

        Parameters
        ----------
        centre : ndarray of shape (n_features,)
            What rows are compared with.
        deviation : float
            What their deviation from it, over all entries, is taken to be.
        """
        least, most = deviation / self.tolerance, deviation * self.tolerance
        about_centre = root_mean_square(np.hypot(self.deviation, self.mean - centre))
        return self.mean_deviation < least or about_centre > most

    def pace(self, piece: "Seen") -> float:
        """Return for how many rows each row of a piece counts, as its weight is to the usual."""
        # Never 0, by which shares of what was seen would be divided.
        return min(nearest_positive(piece.weight / self.usual_weight), LARGEST_PACE)

    def as_dict(self) -> dict[str, Any]:
        """Return it as numbers and arrays, which pickles of any kind can hold."""
        return asdict(self)


def mean_weight(weight: np.ndarray | None, index: np.ndarray | None = None) -> float:
    """Return the mean weight of the rows that an index names; 1 where there are no weights."""
    if weight is None:
        return 1.0
    counted = weight if index is None else weight[index]
    largest = largest_weight(counted)
    if largest == 0.0:
        return 0.0
    processes = processes_in_use()
    total, n_rows = processes.total((counted / largest).sum()), processes.total(len(counted))
    return float(total / n_rows * largest)


def _share(ratio: float) -> float:
    """Return the share in a sum of a part that is so many times the rest."""
    return ratio / (1.0 + ratio) if ratio < 1.0 else 1.0 / (1.0 + 1.0 / ratio)
