"""Rows for the study of codes with k active units: sentences, and mixtures of known atoms."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

SPLIT_SEED = 0
HELD_OUT_SHARE = 0.2  # of all documents
CHOOSING_SHARE = 0.1  # of the others


@dataclass(frozen=True)
class Rows:
    """Rows to learn from and rows to be judged by, float32, centred and scaled by the former.

    Attributes
    ----------
    name : str
    X_train, X_test : ndarray of shape (n_rows, n_features)
        The training rows have mean 0 and a mean squared norm of 1.
    y_train, y_test : ndarray of shape (n_rows,), optional
        Labels.
    groups_test : ndarray of shape (n_rows,), optional
        Which test rows are not independent of each other: the documents they are from.
    true_atoms : ndarray of shape (n_atoms, n_features), optional
    """

    name: str
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray | None = None
    y_test: np.ndarray | None = None
    groups_test: np.ndarray | None = None
    true_atoms: np.ndarray | None = None


def scaled(X_train: np.ndarray, X_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both less the mean of the training rows and over their root mean squared norm."""
    mean = X_train.mean(axis=0, dtype=np.float64)
    size = np.sqrt(np.square(X_train - mean).sum(axis=1).mean())
    X_train, X_test = (((X - mean) / size).astype(np.float32) for X in (X_train, X_test))
    return X_train, X_test


def sentences(path: Path) -> tuple[Rows, Rows]:
    """Return the rows of the study, and rows to choose by: none of the held-out documents' there.

    Choosing has its own training and test rows, both from the training documents of the study.
    """
    with np.load(path) as file:
        X, y, doc = file["X"].astype(np.float32), file["y"], file["doc"]
    documents = np.random.default_rng(SPLIT_SEED).permutation(np.unique(doc))
    n_held_out = round(HELD_OUT_SHARE * len(documents))
    held_out, learnt = documents[:n_held_out], documents[n_held_out:]
    n_choosing = round(CHOOSING_SHARE * len(learnt))

    def rows(name: str, train: np.ndarray, test: np.ndarray) -> Rows:
        train, test = (np.flatnonzero(np.isin(doc, which)) for which in (train, test))
        return Rows(name, *scaled(X[train], X[test]), y[train], y[test], doc[test])

    study = rows("sentences", learnt, held_out)
    return study, rows("choosing", learnt[n_choosing:], learnt[:n_choosing])


# --- known atoms -----------------------------------------------------------------------------

N_ATOMS, N_FEATURES, N_ACTIVE = 256, 64, 8
N_KNOWN_TRAIN, N_KNOWN_TEST = 50_000, 10_000
GROUP = 16  # atoms that are on together more often than others
LOADING = 0.5  # of the variance behind them that they share
N_CHILDREN = 3  # of each parent
CHILD_RATE = 1 / 3  # how often a child is on where its parent is


def known(codes: str, seed: int) -> Rows:
    """Return mixtures of 256 atoms, random directions of 64 features.

    A code has 8 atoms on in the mean, each with a coefficient that is uniform in [0.5, 1.5].

    Parameters
    ----------
    codes : {"independent", "correlated", "hierarchical"}
        Which atoms are on. Independent: each in 1/32 of the rows, whatever the others are.
        Correlated: each in 1/32 of the rows, where a normal variable is high, half of whose
        variance it shares with the other 15 atoms of its group. Hierarchical: 64 parents, each in
        1/16 of the rows, and of each 3 children, each in a third of the rows in which its
        parent is on and in no others.
    seed : int
    """
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(N_ATOMS, N_FEATURES))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    is_on = CODES[codes](rng, N_KNOWN_TRAIN + N_KNOWN_TEST)
    X = (is_on * rng.uniform(0.5, 1.5, size=is_on.shape)) @ atoms
    X_train, X_test = scaled(X[:N_KNOWN_TRAIN], X[N_KNOWN_TRAIN:])
    return Rows(codes, X_train, X_test, true_atoms=atoms)


def independent(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    return rng.random((n_rows, N_ATOMS)) < N_ACTIVE / N_ATOMS


def correlated(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    shared = rng.normal(size=(n_rows, N_ATOMS // GROUP)).repeat(GROUP, axis=1)
    own = rng.normal(size=(n_rows, N_ATOMS))
    variable = np.sqrt(LOADING) * shared + np.sqrt(1 - LOADING) * own
    return variable > norm.isf(N_ACTIVE / N_ATOMS)


def hierarchical(rng: np.random.Generator, n_rows: int) -> np.ndarray:
    n_parents = N_ATOMS // (1 + N_CHILDREN)
    rate = N_ACTIVE / n_parents / (1 + N_CHILDREN * CHILD_RATE)
    parents = rng.random((n_rows, n_parents)) < rate
    children = rng.random((n_rows, n_parents, N_CHILDREN)) < CHILD_RATE
    children &= parents[:, :, None]
    return np.hstack([parents, children.reshape(n_rows, -1)])


CODES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "independent": independent,
    "correlated": correlated,
    "hierarchical": hierarchical,
}
