"""The data of the study of defaults: each set drawn by a seed, split, and scaled to [0, 1].

What is fitted to rows, the scaling too, is fitted to training rows only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from _harness import MNIST, NATURAL_IMAGES, SENTENCES, find_data, natural_patches
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_image, load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import MinMaxScaler

N_FOLDS = 5
N_TRAIN, N_TEST = 10_000, 5_000
PHOTOS = ("china.jpg", "flower.jpg")
SIDE = 8  # of a patch, in pixels
STRIPE = 32  # width of the parts of a photo that are for training and for testing by turns
# Few rows of many columns.
N_FEW_TRAIN, N_FEW_TEST = 200, 1000
LARGE_SIDE = 32
N_GENES, N_PATHWAYS = 4000, 12


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be judged by; labels are None where there are none."""

    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray | None
    y_test: np.ndarray | None


@dataclass(frozen=True)
class DataSet:
    """A named set of data.

    Attributes
    ----------
    n_components : int
        Size of the codes that are compared on it.
    splits : callable
        From a seed to its splits: one, or the folds of a cross-validation.
    picture : tuple of int, optional
        Shape of a row as a picture (rows, columns, channels), where it is one.
    """

    name: str
    n_components: int
    splits: Callable[[int], Iterator[Split]]
    picture: tuple[int, int, int] | None = None


def data_sets(folder: Path | None) -> dict[str, DataSet]:
    """Return the sets that there is data for, the unlabelled one last."""
    patch = (SIDE, SIDE, 3)
    found = [
        DataSet("digits", 64, partial(folds, digits), (SIDE, SIDE, 1)),
        DataSet("breast_cancer", 64, partial(folds, partial(load_breast_cancer, return_X_y=True))),
        DataSet("wine", 64, partial(folds, partial(load_wine, return_X_y=True))),
        DataSet("counts", 100, partial(folds, digit_patterns)),
    ]
    if path := find_data(folder, MNIST):
        found.append(DataSet("mnist", 100, partial(mnist_draw, path), (28, 28, 1)))
    if path := find_data(folder, SENTENCES):
        found.append(DataSet("embeddings", 100, partial(embeddings_draw, path)))
    found += [
        DataSet("photos", 100, partial(photos_draw, SIDE, N_TRAIN, N_TEST), patch),
        DataSet(
            "large photos",
            64,
            partial(photos_draw, LARGE_SIDE, N_FEW_TRAIN, N_FEW_TEST),
            (LARGE_SIDE, LARGE_SIDE, 3),
        ),
        DataSet("genes", 64, genes_draw),
    ]
    if path := find_data(folder, NATURAL_IMAGES):
        found.append(DataSet("patches", 100, partial(patches_draw, path), (SIDE, SIDE, 1)))
    return {data.name: data for data in found}


def scaled(X_train, X_test, y_train=None, y_test=None, dtype=np.float32) -> Split:
    """Return the split with every feature's training range mapped to [0, 1], test rows clipped.

    NMF needs non-negative features and BernoulliRBM a range of [0, 1]; the rest get the same.
    """
    scaler = MinMaxScaler(clip=True).fit(X_train)
    X_train, X_test = (scaler.transform(X).astype(dtype) for X in (X_train, X_test))
    return Split(X_train, X_test, y_train, y_test)


def digits() -> tuple[np.ndarray, np.ndarray]:
    return load_digits(return_X_y=True)


def digit_patterns() -> tuple[np.ndarray, np.ndarray]:
    """Return how often each of the 512 black and white patterns of 3x3 pixels is in a digit."""
    X, y = digits()
    black = X.reshape(-1, SIDE, SIDE) > X.max() / 2
    windows = np.lib.stride_tricks.sliding_window_view(black, (3, 3), axis=(1, 2))
    pattern = windows.reshape(len(X), -1, 9) @ 2 ** np.arange(9)
    return np.array([np.bincount(row, minlength=512) for row in pattern], dtype=float), y


def folds(load: Callable, seed: int) -> Iterator[Split]:
    """Yield the splits of a stratified cross-validation of one of scikit-learn's sets."""
    X, y = load()
    for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(X, y):
        yield scaled(X[train], X[test], y[train], y[test], np.float64)


@cache
def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def mnist_draw(path: Path, seed: int) -> Iterator[Split]:
    """Yield one split of MNIST's training images, drawn at random."""
    file = arrays_of(path)
    which = np.random.default_rng(seed).permutation(len(file["X_train"]))[: N_TRAIN + N_TEST]
    X, y = file["X_train"][which].astype(np.float32), file["y_train"][which]
    yield scaled(X[:N_TRAIN], X[N_TRAIN:], y[:N_TRAIN], y[N_TRAIN:])


def embeddings_draw(path: Path, seed: int) -> Iterator[Split]:
    """Yield one split of the sentences; those of a third of all documents are for testing only."""
    file = arrays_of(path)
    rng = np.random.default_rng(seed)
    documents = rng.permutation(np.unique(file["doc"]))
    is_test = np.isin(file["doc"], documents[: len(documents) // 3])
    train = rng.permutation(np.flatnonzero(~is_test))[:N_TRAIN]
    test = rng.permutation(np.flatnonzero(is_test))[:N_TEST]
    X, y = file["X"].astype(np.float32), file["y"]
    yield scaled(X[train], X[test], y[train], y[test])


def photos_draw(side: int, n_train: int, n_test: int, seed: int) -> Iterator[Split]:
    """Yield one split of colour patches of scikit-learn's two photos; the label says of which.

    Training and test patches come from stripes of their own, so that none overlap.
    """
    rng = np.random.default_rng(seed)
    parts: dict[bool, tuple[list, list]] = {False: ([], []), True: ([], [])}
    for label, name in enumerate(PHOTOS):
        windows = np.lib.stride_tricks.sliding_window_view(
            load_sample_image(name), (side, side), axis=(0, 1)
        ).transpose(0, 1, 3, 4, 2)
        left = np.arange(windows.shape[1])
        within = left % STRIPE <= STRIPE - side
        for test, n_rows in ((False, n_train // 2), (True, n_test // 2)):
            columns = left[within & ((left // STRIPE) % 2 == test)]
            top = rng.integers(windows.shape[0], size=n_rows)
            rows = windows[top, rng.choice(columns, size=n_rows)].reshape(n_rows, -1)
            parts[test][0].append(rows.astype(np.float32))
            parts[test][1].append(np.full(n_rows, label))
    (X_train, y_train), (X_test, y_test) = (
        tuple(map(np.concatenate, parts[test])) for test in (False, True)
    )
    yield scaled(X_train, X_test, y_train, y_test)


def genes_draw(seed: int) -> Iterator[Split]:
    """Yield one split of made-up log counts of genes; the label says whether a pathway is active.

    Each of the pathways is active in 30 % of the rows and moves a tenth of the genes.
    """
    rng = np.random.default_rng(seed)
    n_rows = N_FEW_TRAIN + N_FEW_TEST
    active = rng.random((n_rows, N_PATHWAYS)) < 0.3
    loading = rng.normal(size=(N_PATHWAYS, N_GENES)) * (rng.random((N_PATHWAYS, N_GENES)) < 0.1)
    strength = active * np.abs(rng.normal(size=active.shape))
    noise = rng.normal(size=N_GENES) + 0.35 * rng.normal(size=(n_rows, N_GENES))
    counts = rng.poisson(np.exp(np.clip(strength @ loading + noise + 2, -3, 8)))
    X = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    y = active[:, 0].astype(int)
    yield scaled(X[:N_FEW_TRAIN], X[N_FEW_TRAIN:], y[:N_FEW_TRAIN], y[N_FEW_TRAIN:])


def patches_draw(path: Path, seed: int) -> Iterator[Split]:
    """Yield one split of patches of whitened natural images; they have no labels."""
    X = natural_patches(path, N_TRAIN + N_TEST, SIDE, seed)
    yield scaled(X[:N_TRAIN], X[N_TRAIN:])
