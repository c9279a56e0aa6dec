"""The rows of the studies of deep networks: MNIST's digits and the sentence embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _harness import Digits

PER_CLASS = 100  # labels in the study with few of them
UNLABELLED = -1


@dataclass(frozen=True)
class Labelled:
    """float32 rows and int64 labels, to learn from and to be judged by."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def as_labelled(digits: Digits) -> Labelled:
    return Labelled(digits.X_train, digits.y_train, digits.X_test, digits.y_test)


def some_of(rows: Labelled, n_train: int, seed: int) -> Labelled:
    """Return as many of the training rows, drawn at random, and all test rows."""
    kept = np.random.default_rng(seed).permutation(len(rows.X_train))[:n_train]
    return Labelled(rows.X_train[kept], rows.y_train[kept], rows.X_test, rows.y_test)


def half_of_the_low_digits(digits: Labelled) -> tuple[np.ndarray, Labelled]:
    """Return the training digits 5-9 without labels, and 0-4 in two halves, as UFLDL has them."""
    high = digits.y_train >= 5
    X, y = digits.X_train[~high], digits.y_train[~high]
    half = len(X) // 2
    return digits.X_train[high], Labelled(X[:half], y[:half], X[half:], y[half:])


@dataclass(frozen=True)
class SomeLabels:
    """Rows of which few have a label, and rows to be judged by.

    Attributes
    ----------
    y : ndarray of shape (n_rows,)
        UNLABELLED where there is no label.
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def labelled(self) -> Labelled:
        """The rows with a label alone, for what can learn from no others."""
        kept = self.y != UNLABELLED
        return Labelled(self.X[kept], self.y[kept], self.X_test, self.y_test)


def few_labels(digits: Labelled, seed: int) -> SomeLabels:
    """Return the digits with labels for as many rows of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    of_class = (np.flatnonzero(digits.y_train == label) for label in np.unique(digits.y_train))
    kept = np.concatenate([rng.choice(rows, PER_CLASS, replace=False) for rows in of_class])
    y = np.full_like(digits.y_train, UNLABELLED)
    y[kept] = digits.y_train[kept]
    return SomeLabels(digits.X_train, y, digits.X_test, digits.y_test)


def sentences(path: Path, n_rows: Sequence[int], seed: int) -> Labelled:
    """Return rows of training and test sentences; no document has sentences in both.

    The sentences of a third of all documents, drawn at random, are for testing only.
    """
    with np.load(path) as file:
        X, y, doc = file["X"].astype(np.float32), file["y"].astype(np.int64), file["doc"]
    rng = np.random.default_rng(seed)
    documents = rng.permutation(np.unique(doc))
    is_test = np.isin(doc, documents[: len(documents) // 3])
    train = rng.permutation(np.flatnonzero(~is_test))[: n_rows[0]]
    test = rng.permutation(np.flatnonzero(is_test))[: n_rows[1]]
    return Labelled(X[train], y[train], X[test], y[test])
