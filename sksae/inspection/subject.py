"""What is inspected: the autoencoder in an estimator, walked over rows a block at a time."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sksae.base.protocols import HasNetwork
from sksae.inspection.names import check_names
from sksae.metrics.activity import activity_of, thresholds_in
from sksae.metrics.checks import MatrixLike
from sksae.metrics.lookup import AutoencoderLocation, fitted_autoencoder
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix

# Entries of rows and codes that are held at a time.
BLOCK_ENTRIES = 2**23
FEWEST_BLOCK_ROWS = 64


class Block(NamedTuple):
    """Some rows and what the autoencoder makes of them.

    Attributes
    ----------
    which : slice
        Which rows of X.
    rows : {array-like, sparse matrix} of shape (n_rows, n_features)
        As they reach the autoencoder.
    codes : ndarray or csr_array of shape (n_rows, n_units)
        What its ``transform`` gives.
    activities : ndarray or csr_array of shape (n_rows, n_units)
        Codes such that what is inactive is 0 or little more.
    """

    which: slice
    rows: MatrixLike
    codes: Matrix
    activities: Matrix


def sliceable(X: Any) -> Any:
    """Return rows in a container of which some can be taken: not all sparse ones are such."""
    return X.tocsr() if sp.issparse(X) else X


def dense_rows(rows: Any) -> np.ndarray:
    """Return rows, whatever holds them, as an array of float64."""
    return np.asarray(rows.toarray() if sp.issparse(rows) else rows, dtype=np.float64)


def checked_numbers(numbers: ArrayLike | None, n: int, *, name: str, of: str) -> np.ndarray:
    """Return numbers of things as an array of one dimension, of all of them for None.

    Parameters
    ----------
    numbers : int, array-like of int or None
        What the user gave.
    n : int
        How many things there are.
    name : str
        What errors call the numbers.
    of : str
        And the things.

    Raises
    ------
    ValueError
        If there are none, or not so many things.
    TypeError
        If they are no whole numbers.
    """
    if numbers is None:
        return np.arange(n)
    found = np.atleast_1d(np.asarray(numbers))
    if not found.size:
        raise ValueError(f"{name} must name one of the {of} at least, got none.")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, got {numbers!r}.")
    if found.min() < 0 or found.max() >= n:
        raise ValueError(
            f"{name} must be numbers from 0 to {n - 1}, as there are {n} {of}, got {numbers!r}."
        )
    return found


class Subject:
    """The fitted autoencoder in an estimator, to be inspected.

    Parameters
    ----------
    estimator : estimator
        An autoencoder, stack, classifier or regressor, or what `sparsity_scorers` says may hold
        one.
    needed_by : str
        Who inspects; errors begin with it.

    Raises
    ------
    ValueError
        If there is no autoencoder.
    NotFittedError
        If it is not fitted.
    """

    def __init__(self, estimator: Any, *, needed_by: str) -> None:
        self.estimator, self.needed_by = estimator, needed_by
        self._location: AutoencoderLocation = fitted_autoencoder(estimator, needed_by=needed_by)

    @property
    def autoencoder(self) -> HasNetwork:
        """The autoencoder itself."""
        return self._location.autoencoder

    @cached_property
    def network(self) -> FittedNetwork:
        """What it has learnt."""
        return self.autoencoder.__sksae_network__()

    @property
    def n_units(self) -> int:
        """Number of units of the code."""
        return self.network.n_components

    @property
    def n_features(self) -> int:
        """Number of features that reach the autoencoder."""
        return self.network.n_features

    def rows(self, X: Any) -> MatrixLike:
        """Return rows of the estimator as they reach the autoencoder."""
        return self._location.rows(X)

    def check_units(self, units: ArrayLike | None, *, name: str = "units") -> np.ndarray:
        """Return numbers of units, of all of them for None, as an array.

        Raises
        ------
        ValueError
            If there are not so many units.
        TypeError
            If they are no whole numbers.
        """
        return checked_numbers(units, self.n_units, name=name, of="units")

    def blocks(self, X: Any) -> Iterator[Block]:
        """Yield rows in their order, with their codes, as many at a time as there is room for."""
        n_samples = _num_samples(X)
        if not n_samples:
            raise ValueError(f"{self.needed_by} needs one row of X at least, got none.")
        X = sliceable(X)
        width = self.n_units + (0 if sp.issparse(X) else self.n_features)
        length = max(FEWEST_BLOCK_ROWS, BLOCK_ENTRIES // width)
        for start in range(0, n_samples, length):
            which = slice(start, min(start + length, n_samples))
            rows = self.rows(_safe_indexing(X, which) if n_samples > length else X)
            codes = self.autoencoder.transform(rows)
            codes = sp.csr_array(codes) if sp.issparse(codes) else np.asarray(codes)
            yield Block(which, rows, codes, activity_of(self.autoencoder, codes))

    def thresholds(self, X: Any) -> np.ndarray:
        """Return above which magnitude of its activity each unit is active, shape (n_units,).

        Parameters
        ----------
        X : {array-like, sparse matrix, sequence}
            Rows, which are walked over where nothing is known of the training rows.
        """
        return thresholds_in(self.autoencoder, (block.activities for block in self.blocks(X)))

    def feature_names(
        self, X: Any = None, given: Sequence[str] | None = None, *, name: str = "feature_names"
    ) -> np.ndarray | None:
        """Return names of the features that reach the autoencoder, or None if they have none.

        Parameters
        ----------
        X : {array-like, sparse matrix, sequence}, optional
            Rows, whose columns may have names.
        given : sequence of str, optional
            Names that the user gave.
        name : str
            What errors call them.

        Raises
        ------
        ValueError
            If there are more or fewer names than features.
        """
        if given is not None:
            check_names(given)
            if len(given) != self.n_features:
                raise ValueError(
                    f"{name} must have one name for each of the {self.n_features} features that "
                    f"reach the autoencoder, got {len(given)}."
                )
            return np.array([str(each) for each in given], dtype=object)
        names = self._location.feature_names(X)
        return names if names is not None and len(names) == self.n_features else None
