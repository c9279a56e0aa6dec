"""How rows of X are shown to people: as pictures, as texts, as lines, or by what is special."""

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sksae.inspection.displays.rows import FEW_FEATURES
from sksae.inspection.names import are_counted
from sksae.inspection.page.pictures import as_bytes, line_source, png_source
from sksae.inspection.texts import shortened

Kind = Literal["image", "text", "line", "table"]
# A longer text is cut.
MOST_CHARACTERS = 400
# Of a row of a table, the features that are furthest from their means.
N_SPECIAL = 6
# Values beyond these quantiles of the rows shown are as dark, or as light, as can be.
DARKEST, LIGHTEST = 0.005, 0.995


class RowsShown:
    """Rows of X in the form in which a page shows them.

    Parameters
    ----------
    X : {array-like, sparse matrix, DataFrame, sequence} of n_samples rows
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
        if self._image_shape is not None and n_columns == prod(self._image_shape):
            return "image"
        is_named = self._names is not None and not are_counted(self._names)
        is_table = is_named or sp.issparse(self._X) or n_columns <= FEW_FEATURES
        return "table" if is_table else "line"

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
            return self._special(rows)
        values = np.asarray(rows.toarray() if sp.issparse(rows) else rows, dtype=np.float64)
        if self.kind == "line":
            return [line_source(row) for row in values]
        low, high = np.quantile(values, [DARKEST, LIGHTEST])
        if low == high:
            low, high = values.min(), values.max()
        assert self._image_shape is not None
        pixels = as_bytes(values, low, high).reshape(-1, *self._image_shape)
        return [png_source(each) for each in pixels]

    def _special(self, rows: Any) -> list[str]:
        """Return in words what is special in rows of a table."""
        n_columns = np.shape(self._X)[1]
        names = self._names if self._names is not None else [f"x{j}" for j in range(n_columns)]
        if sp.issparse(rows):
            rows = sp.csr_array(rows)
            found = []
            for row in range(rows.shape[0]):
                entries = slice(rows.indptr[row], rows.indptr[row + 1])
                order = np.argsort(-np.abs(rows.data[entries]), kind="stable")[:N_SPECIAL]
                columns, values = rows.indices[entries][order], rows.data[entries][order]
                found.append(_listed(names, columns, values))
            return found
        values = np.asarray(rows)
        if values.dtype.kind not in "iufb":  # of mixed columns nobody knows which is far off
            order = np.tile(np.arange(min(n_columns, N_SPECIAL)), (len(values), 1))
        elif n_columns <= N_SPECIAL:
            order = np.broadcast_to(np.arange(n_columns), values.shape)
        else:
            mean, deviation = self._scale
            far = np.abs(values - mean) / deviation
            order = np.argsort(-far, axis=1, kind="stable")[:, :N_SPECIAL]
        return [_listed(names, each, row[each]) for each, row in zip(order, values, strict=True)]

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each column, of a thousand rows spread over X."""
        n_samples = _num_samples(self._X)
        some = np.unique(np.linspace(0, n_samples - 1, 1000).astype(int))
        values = np.asarray(_safe_indexing(self._X, some), dtype=np.float64)
        deviation = values.std(axis=0)
        return values.mean(axis=0), np.where(deviation > 0.0, deviation, 1.0)


def _listed(names: Sequence[str] | np.ndarray, columns: np.ndarray, values: np.ndarray) -> str:
    return " · ".join(
        f"{names[column]} {value if isinstance(value, str) else format(value, '.4g')}"
        for column, value in zip(columns, values, strict=True)
    )
