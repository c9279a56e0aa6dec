"""One walk over rows: what is known of each unit and each row afterwards."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _num_samples

from sksae.inspection.subject import Block, Subject
from sksae.metrics.activity import mask_of, rest_of
from sksae.metrics.reductions import extremes
from sksae.metrics.sparseness import hoyer_sparsity
from sksae.model.numbers import Matrix

# A unit that is active in a larger share of rows than this tells rows apart by how much only.
ALWAYS_ON = 0.9


class Survey(NamedTuple):
    """What a walk over rows has found.

    Attributes
    ----------
    active : csc_array of shape (n_samples, n_units)
        Activations where units are active; stored ones may be 0, other entries are inactive.
    mean : ndarray of shape (n_units,), float64
        Mean activity: of activations, of (1 + a) / 2 where tanh units rest at -1.
    largest : ndarray of shape (n_units,), float64
        The largest magnitude of the activity.
    row_sparsity : ndarray of shape (n_samples,), float64
        Hoyer's sparsity of each row's activities.
    rest : float
        The activation of units that are not active.
    """

    active: sp.csc_array
    mean: np.ndarray
    largest: np.ndarray
    row_sparsity: np.ndarray
    rest: float = 0.0

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.active.shape[0]

    @property
    def density(self) -> np.ndarray:
        """Share of rows in which each unit is active, shape (n_units,)."""
        return np.diff(self.active.indptr) / self.n_samples

    @property
    def marks(self) -> sp.csc_array:
        """1 where units are active, of float64 and shape (n_samples, n_units)."""
        active = self.active
        return sp.csc_array((np.ones(active.nnz), active.indices, active.indptr), active.shape)

    def of_unit(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows in which a unit is active, in their order, and its activations."""
        found = slice(self.active.indptr[column], self.active.indptr[column + 1])
        return self.active.indices[found].astype(np.intp), self.active.data[found]


def survey(
    subject: Subject,
    X: Any,
    units: np.ndarray | None = None,
    *,
    also: Callable[[Block], None] | None = None,
) -> Survey:
    """Walk over rows once (twice, where nobody knows yet from where on units are active).

    Memory is for a block of rows, and for the entries of units that are active.

    Parameters
    ----------
    subject : Subject
        Whose units.
    X : {array-like, sparse matrix, sequence} of n_samples rows
        Rows as the estimator takes them.
    units : ndarray of int, optional
        Of which units the entries are kept, in this order; of all by default.
    also : callable, optional
        Is given each `Block` too.
    """
    thresholds = subject.thresholds(X)
    units = np.arange(subject.n_units) if units is None else units
    row_sparsity, kept = np.empty(_num_samples(X)), []
    total = np.zeros(subject.n_units)
    largest = np.zeros(subject.n_units)
    for block in subject.blocks(X):
        codes, activities = block.codes, block.activities
        total += np.asarray(activities.sum(axis=0, dtype=np.float64)).ravel()
        lowest, highest = extremes(activities, 0)
        np.maximum(largest, np.maximum(highest, -lowest), out=largest)
        row_sparsity[block.which] = hoyer_sparsity(activities)
        kept.append(active_entries(codes[:, units], activities[:, units], thresholds[units]))
        if also is not None:
            also(block)
    active = sp.csc_array(sp.vstack(kept, format="csc"))
    active.sort_indices()
    mean = total / len(row_sparsity)
    rest = rest_of(subject.autoencoder)
    return Survey(active, mean[units], largest[units], row_sparsity, rest)


def active_entries(codes: Matrix, activities: Matrix, thresholds: np.ndarray) -> sp.csc_array:
    """Return codes where units are active; a unit that is active at 0 is stored as well.

    Parameters
    ----------
    codes, activities : ndarray or csr_array of shape (n_rows, n_units)
        As in `Block`.
    thresholds : ndarray of shape (n_units,)
        Above which magnitude of its activity each unit is active.
    """
    rows, units = mask_of(activities, thresholds).nonzero()
    values = np.asarray(codes[rows, units]).ravel()
    return sp.csc_array((values, (rows, units)), shape=codes.shape)
