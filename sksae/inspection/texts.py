"""Texts of rows."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _num_samples


def texts_of(X: Any, text: Any) -> np.ndarray | None:
    """Return the text of each row, or None if there are none.

    Parameters
    ----------
    X : {array-like, sparse matrix, sequence} of n_samples rows
        Which are texts themselves, if it is a sequence of strings.
    text : sequence of str of length n_samples, or None
        What the user gave.

    Raises
    ------
    ValueError
        If there are more or fewer texts than rows.
    TypeError
        If one is no string.
    """
    n_samples = _num_samples(X)
    if text is not None:
        return _checked(text, n_samples, "text")
    if sp.issparse(X) or len(getattr(X, "shape", (0,))) != 1 or not n_samples:
        return None
    return _checked(X, n_samples, "X") if isinstance(next(iter(X)), str) else None


def shortened(text: object, length: int) -> str:
    """Return a text in one line of some characters at most."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _checked(text: Any, n_samples: int, name: str) -> np.ndarray:
    """Return texts as an array of so many strings, or raise."""
    if isinstance(text, str) or _num_samples(text) != n_samples:
        got = "one string" if isinstance(text, str) else _num_samples(text)
        raise ValueError(f"{name} must have a text for each of the {n_samples} rows, got {got}.")
    texts = np.empty(n_samples, dtype=object)
    texts[:] = list(text)
    for row, each in enumerate(texts):
        if not isinstance(each, str):
            raise TypeError(f"{name} must be strings, got {each!r} in row {row}.")
    return texts
