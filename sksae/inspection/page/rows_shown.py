"""How rows of X are shown to people: as pictures, as texts, as lines, or by what is special."""

from functools import cached_property
from math import prod
from numbers import Real
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sksae.inspection.displays.rows import kind_of, strongest
from sksae.inspection.names import are_counted
from sksae.inspection.page.pictures import as_bytes, line_source, png_source
from sksae.inspection.subject import dense_rows
from sksae.inspection.texts import shortened

Kind = Literal["image", "text", "line", "table"]
# A longer text is cut, and a longer value in a row of a table.
MOST_CHARACTERS, MOST_OF_VALUE = 400, 60
# Of a row of a table, the features that are furthest from their means; as many columns of words.
N_SPECIAL, N_WORDS = 6, 3
# Values beyond these quantiles of the rows shown are as dark, or as light, as can be.
DARKEST, LIGHTEST = 0.005, 0.995
# Of so many rows, spread over X, mean and deviation of columns are taken.
N_MEASURED = 1000


class RowsShown:
    """Rows of X in the form in which a page shows them.

    Parameters
    ----------
    X : {array-like, csr matrix, DataFrame, sequence} of n_samples rows
        Rows as the user gave them.
    image_shape : tuple of int or None
        Of rows that are pictures.
    text : ndarray of str of shape (n_samples,) or None
        What rows are about, if it is known in words.
    names : ndarray of str or None
        Of the columns of X.
    """

    def __init__(
        self,
        X: Any,
        image_shape: tuple[int, ...] | None,
        text: np.ndarray | None,
        names: np.ndarray | None,
    ) -> None:
        self._X, self._image_shape, self._text, self._names = X, image_shape, text, names
        self.kind: Kind = self._choose_kind()

    def _choose_kind(self) -> Kind:
        if self._text is not None:
            return "text"
        n_columns = np.shape(self._X)[1]
        kind = kind_of(
            n_columns,
            has_shape=self._image_shape is not None and n_columns == prod(self._image_shape),
            is_named=sp.issparse(self._X)
            or (self._names is not None and not are_counted(self._names)),
            kinds=("image", "line", "bar"),
        )
        return "image" if kind == "image" else "table" if kind == "bar" else "line"

    def show(self, indices: np.ndarray) -> list[Any]:
        """Return what a page shows for some rows, in their order.

        Parameters
        ----------
        indices : ndarray of int of shape (n_rows,)
            Which rows.
        """
        if not len(indices):
            return []
        if self._text is not None:
            return [shortened(each, MOST_CHARACTERS) for each in self._text[indices]]
        rows = _safe_indexing(self._X, indices)
        if self.kind == "table":
            return self._of_entries(rows) if sp.issparse(rows) else self._special(rows)
        values = dense_rows(rows)
        if self.kind == "line":
            limits = float(np.nanmin(values)), float(np.nanmax(values))
            return [line_source(row, limits) for row in values]
        low, high = np.nanquantile(values, [DARKEST, LIGHTEST])
        if low == high:
            low, high = np.nanmin(values), np.nanmax(values)
        assert self._image_shape is not None
        pixels = as_bytes(values, low, high).reshape(-1, *self._image_shape)
        return [png_source(each) for each in pixels]

    def _of_entries(self, rows: Any) -> list[str]:
        """Return the largest entries of sparse rows in words."""
        rows, found = sp.csr_array(rows), []
        for row in range(rows.shape[0]):
            entries = slice(rows.indptr[row], rows.indptr[row + 1])
            columns, values = rows.indices[entries], rows.data[entries]
            largest = strongest(values, N_SPECIAL, signed=False)
            found.append(self._listed(columns[largest], values[largest]))
        return found

    def _special(self, rows: Any) -> list[str]:
        """Return in words what is special in rows of a table: numbers that are far off, and words.

        Parameters
        ----------
        rows : {array-like, DataFrame} of shape (n_rows, n_columns)
            Some rows.
        """
        columns, mean, deviation = self._measured
        every, found = np.asarray(rows), []
        words = np.setdiff1d(np.arange(every.shape[1]), columns)[:N_WORDS]
        far = (every[:, columns].astype(np.float64) - mean) / deviation
        for row, distances in zip(every, far, strict=True):
            if len(columns) <= N_SPECIAL:
                special = columns
            else:
                special = columns[strongest(np.nan_to_num(distances), N_SPECIAL, signed=False)]
            chosen = np.concatenate([words, special])
            found.append(self._listed(chosen, row[chosen]))
        return found

    @cached_property
    def _measured(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns of numbers, with the mean and the deviation of each."""
        some = np.unique(np.linspace(0, _num_samples(self._X) - 1, N_MEASURED).astype(int))
        values = np.asarray(_safe_indexing(self._X, some))
        if values.dtype.kind in "iufb":
            columns = np.arange(values.shape[1])
        else:
            columns = np.flatnonzero([all(map(is_number, column)) for column in values.T])
        numbers = values[:, columns].astype(np.float64)
        mean, deviation = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
        return columns, np.nan_to_num(mean), np.where(deviation > 0.0, deviation, 1.0)

    def _listed(self, columns: np.ndarray, values: np.ndarray) -> str:
        """Return names of columns with values, as a line."""
        names = self._names
        return " · ".join(
            f"{f'x{column}' if names is None else names[column]} {as_text(value)}"
            for column, value in zip(columns, values, strict=True)
        )


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or a gap among numbers."""
    return isinstance(value, Real) or value is None


def as_text(value: Any) -> str:
    """Return a value of a table as people read it."""
    if value is None or (isinstance(value, Real) and value != value):
        return "missing"
    return format(value, ".4g") if isinstance(value, Real) else shortened(value, MOST_OF_VALUE)
