"""By how much a target differs between the rows in which a unit is active and the others."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.stats import false_discovery_control

from sksae.inspection.subject import Block
from sksae.inspection.table.intervals import (
    Difference,
    Moments,
    difference_of_means,
    difference_of_shares,
)
from sksae.inspection.table.targets import Targets

# With fewer active or inactive rows than this in a half, nothing is said of a unit. Fisher's test
# is exact with any; means of less than ten numbers from a skewed distribution are too far from
# normal for Welch's.
FEWEST_ROWS, FEWEST_OF_NUMBERS = 5, 10
# A unit or a target varies if its variance is more than this share of its mean square: less is
# rounding.
LEAST_VARIANCE = 1e-12


class Separation(NamedTuple):
    """What units have to do with a target; nan, and column -1, of those of which nothing is said.

    Attributes
    ----------
    column : ndarray of int of shape (n_units,)
        Which column of the targets a unit was compared with.
    difference, low, high : ndarray of shape (n_units,)
        Mean of that column in rows in which the unit is active, less that in the others, with the
        ends of its 95 % confidence interval.
    p_value, p_adjusted : ndarray of shape (n_units,)
        Of the hypothesis that there is no difference; and so that among the units whose adjusted
        one is less than q a share of q at most is expected to be there by chance.
    """

    column: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    p_adjusted: np.ndarray


@np.errstate(all="ignore")
def separation_of(targets: Targets, active: sp.csc_array, first: np.ndarray) -> Separation:
    """Choose a column for each unit on one half of the rows, and compare on the other.

    Of many classes it is the one whose shares differ most in magnitude; of two the second.

    Parameters
    ----------
    targets : Targets
        Of all rows.
    active : csc_array of float64 of shape (n_samples, n_units)
        1 where units are active.
    first : ndarray of bool of shape (n_samples,)
        Which rows columns are chosen on.
    """
    column = chosen_columns(targets, active, first)
    rows = (~first).astype(np.float64)
    n_active = rows @ active
    n_inactive = rows.sum() - n_active
    fewest = FEWEST_OF_NUMBERS if targets.classes is None else FEWEST_ROWS
    said = (column >= 0) & (np.minimum(n_active, n_inactive) >= fewest)
    n_active, n_inactive = (np.where(said, each, np.nan) for each in (n_active, n_inactive))
    found = _compared(targets, active, rows, np.maximum(column, 0), n_active, n_inactive)
    tested = np.isfinite(found.p_value)
    adjusted = np.full(len(column), np.nan)
    if tested.any():
        adjusted[tested] = false_discovery_control(found.p_value[tested])
    return Separation(
        np.where(said, column, -1),
        targets.scale * found.difference,
        targets.scale * found.low,
        targets.scale * found.high,
        found.p_value,
        adjusted,
    )


def chosen_columns(targets: Targets, active: sp.csc_array, first: np.ndarray) -> np.ndarray:
    """Return which column each unit is compared with, -1 for none, shape (n_units,).

    Parameters
    ----------
    targets, active, first
        As in `separation_of`.
    """
    n_columns, n_units = targets.columns.shape[1], active.shape[1]
    if n_columns <= 2:
        return np.full(n_units, n_columns - 1)
    rows = first.astype(np.float64)
    n_active = rows @ active
    n_inactive = rows.sum() - n_active
    of_active, of_all = _sums(targets.columns, active, rows)
    differences = of_active / n_active - (of_all[:, None] - of_active) / n_inactive
    enough = np.minimum(n_active, n_inactive) >= FEWEST_ROWS
    return np.where(enough, np.abs(differences).argmax(axis=0), -1)


def _compared(
    targets: Targets,
    active: sp.csc_array,
    rows: np.ndarray,
    column: np.ndarray,
    n_active: np.ndarray,
    n_inactive: np.ndarray,
) -> Difference:
    """Return how a column of the targets differs, for each unit.

    Parameters
    ----------
    targets, active
        As in `separation_of`.
    rows : ndarray of float64 of shape (n_samples,)
        1 for the rows to be compared.
    column : ndarray of int of shape (n_units,)
        For each unit.
    n_active, n_inactive : ndarray of shape (n_units,)
        How many of these rows it is active in, and not; nan where nothing is to be said.
    """
    units = np.arange(len(column))
    of_active, of_all = _sums(targets.columns, active, rows)
    in_active = of_active[column, units]
    in_others = of_all[column] - in_active
    if targets.classes is not None:
        return difference_of_shares(in_active, n_active, in_others, n_inactive)
    squares_of_active, squares_of_all = _sums(targets.columns.power(2), active, rows)
    squares_in_active = squares_of_active[column, units]
    squares_in_others = squares_of_all[column] - squares_in_active
    return difference_of_means(
        _moments(n_active, in_active, squares_in_active),
        _moments(n_inactive, in_others, squares_in_others),
    )


def _moments(n: np.ndarray, total: np.ndarray, squares: np.ndarray) -> Moments:
    """Return moments of groups, of their sums and sums of squares."""
    deviations = squares - total**2 / n
    deviations[deviations <= LEAST_VARIANCE * squares] = 0.0
    return Moments(n, total / n, deviations / (n - 1.0))


def _sums(
    columns: sp.csr_array, active: sp.csc_array, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of columns over active rows, (n_columns, n_units), and over all of them."""
    counted = sp.csr_array(columns.multiply(rows[:, None]))
    return (counted.T @ active).toarray(), np.asarray(counted.sum(axis=0)).ravel()


class Correlations:
    """Correlations of activations with targets, summed up block by block.

    Parameters
    ----------
    targets : Targets
        Of all rows.
    rows : ndarray of bool of shape (n_samples,)
        Which of them count.
    n_units : int
        Number of units.
    """

    def __init__(self, targets: Targets, rows: np.ndarray, n_units: int) -> None:
        self._targets, self._rows = targets, rows
        self._sum, self._squares = np.zeros(n_units), np.zeros(n_units)
        self._products = np.zeros((targets.columns.shape[1], n_units))

    def see(self, block: Block) -> None:
        """Add the activations of a block."""
        rows = np.flatnonzero(self._rows[block.which])
        codes = block.codes[rows].astype(np.float64)
        targets = self._targets.columns[block.which][rows]
        products = targets.T @ codes
        self._products += products.toarray() if sp.issparse(products) else products
        self._sum += np.asarray(codes.sum(axis=0)).ravel()
        squares = codes * codes  # elementwise, of sparse arrays too
        self._squares += np.asarray(squares.sum(axis=0)).ravel()

    @np.errstate(all="ignore")
    def of(self, column: np.ndarray) -> np.ndarray:
        """Return the correlation of each unit with a column; nan where one does not vary.

        Parameters
        ----------
        column : ndarray of int of shape (n_units,)
            For each unit, -1 for none.
        """
        n = int(np.count_nonzero(self._rows))
        targets = self._targets.columns[self._rows]
        totals = np.asarray(targets.sum(axis=0)).ravel()
        squares = np.asarray(targets.power(2).sum(axis=0)).ravel()
        products = self._products[column, np.arange(len(column))]
        covariance = products - self._sum * totals[column] / n
        found = covariance / np.sqrt(
            _deviations(n, self._sum, self._squares) * _deviations(n, totals, squares)[column]
        )
        return np.where(column >= 0, found.clip(-1.0, 1.0), np.nan)


def _deviations(n: int, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return sums of squared deviations, nan for what does not vary."""
    deviations = squares - total**2 / n
    return np.where(deviations > LEAST_VARIANCE * squares, deviations, np.nan)
