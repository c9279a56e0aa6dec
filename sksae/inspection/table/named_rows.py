"""What labels are made of: texts, or rows whose features have names."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _get_feature_names

from sksae.inspection.names import are_counted
from sksae.inspection.subject import Subject

# A column of words is left out if it has more different ones than this.
MOST_CATEGORIES = 20


class Category(NamedTuple):
    """The name of a feature that is 1 in rows in which a column of words has one of them.

    Attributes
    ----------
    column, word : str
        The column, and the word.
    """

    column: str
    word: str

    def __str__(self) -> str:
        """Return "column = word"."""
        return f"{self.column} = {self.word}"


class NamedRows(NamedTuple):
    """Rows whose features have names: those of X, or as they reach the autoencoder.

    Attributes
    ----------
    subject : Subject
        Whose rows they are.
    X : {array-like, sparse matrix, sequence} of n_samples rows
        As the user gave it.
    names : ndarray of {str, Category} of shape (n_features,)
        Of the features.
    are_of_X : bool
        Whether the features are those of X, in whose units users think.
    columns : tuple of int
        If X is a frame with words in it: the column of each feature.
    """

    subject: Subject
    X: Any
    names: np.ndarray
    are_of_X: bool  # noqa: N815 - a matrix
    columns: tuple[int, ...] = ()

    def take(self, which: np.ndarray) -> Any:
        """Return some rows, of float64, dense or as a csr_array."""
        rows = _safe_indexing(self.X, which)
        if self.columns:
            return np.column_stack(
                [
                    rows.iloc[:, column] == name.word
                    if isinstance(name, Category)
                    else rows.iloc[:, column].to_numpy(np.float64, na_value=np.nan)
                    for name, column in zip(self.names, self.columns, strict=True)
                ]
            ).astype(np.float64)
        rows = rows if self.are_of_X else self.subject.rows(rows)
        if sp.issparse(rows):
            return sp.csr_array(rows).astype(np.float64)
        return np.asarray(rows, dtype=np.float64)


def named_rows(subject: Subject, X: Any, given: Sequence[str] | None) -> NamedRows | None:
    """Return rows with names for their features, None if there are no names.

    They are the columns of X if these have names, for scaled features and components say less.
    Else they are what reaches the autoencoder.

    Parameters
    ----------
    subject : Subject
        Whose rows.
    X : {array-like, sparse matrix, sequence} of n_samples rows
        As the user gave it.
    given : sequence of str or None
        Names of the columns of X, or of the features that reach the autoencoder.

    Raises
    ------
    ValueError
        If there are more or fewer names than either.
    """
    shape = getattr(X, "shape", None) or np.shape(_safe_indexing(X, [0]))
    names = given
    for known in (_get_feature_names(X), getattr(subject.estimator, "feature_names_in_", None)):
        names = known if names is None else names
    if names is not None and len(shape) == 2 and len(names) == shape[1]:
        rows = _rows_of(subject, X, [str(each) for each in names])
        if rows is not None:
            return rows
    if given is not None and shape[1:] == (len(given),) != (subject.n_features,):
        return None
    found = subject.feature_names(X, given)
    if found is None or (given is None and are_counted(found)):
        return None
    return NamedRows(subject, X, found, False)


def _rows_of(subject: Subject, X: Any, names: list[str]) -> NamedRows | None:
    """Return rows of X itself, None if they are neither numbers nor a frame of pandas."""
    rows = NamedRows(subject, X, _objects(names), True)
    try:
        rows.take(np.arange(1))
    except (TypeError, ValueError):
        return _rows_of_frame(subject, X, names) if hasattr(X, "iloc") else None
    return rows


def _rows_of_frame(subject: Subject, X: Any, names: list[str]) -> NamedRows | None:
    """Return rows of a frame that has words in some columns, None if there is nothing to tell."""
    from pandas.api.types import is_numeric_dtype

    features: list[tuple[str | Category, int]] = []
    for column, name in enumerate(names):
        values = X.iloc[:, column]
        if is_numeric_dtype(values.dtype):
            features.append((name, column))
            continue
        words = sorted({each for each in values if isinstance(each, str)})
        if len(words) <= MOST_CATEGORIES:
            features.extend((Category(name, word), column) for word in words)
    if not features:
        return None
    found, columns = zip(*features, strict=True)
    return NamedRows(subject, X, _objects(found), True, columns)


def _objects(names: Sequence[Any]) -> np.ndarray:
    """Return names as an array of one dimension, although a `Category` is a tuple."""
    array = np.empty(len(names), dtype=object)
    for number, each in enumerate(names):
        array[number] = each
    return array
