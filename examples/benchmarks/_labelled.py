"""The data of the study of defaults: each set drawn by a seed, split, and scaled to [0, 1].

What is fitted to rows, the scaling too, is fitted to training rows only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from _harness import find_data, natural_patches
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_image, load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import MinMaxScaler

N_FOLDS = 5
N_TRAIN, N_TEST = 10_000, 5_000
PHOTOS = ("china.jpg", "flower.jpg")
SIDE = 8  # of a patch, in pixels
STRIPE = 32  # width of the parts of a photo that are for training and for testing by turns


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
    """

    name: str
    n_components: int
    splits: Callable[[int], Iterator[Split]]


def data_sets(folder: Path | None) -> dict[str, DataSet]:
    """Return the sets that there is data for, the unlabelled one last."""
    small = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}
    found = [DataSet(name, 64, partial(folds, load)) for name, load in small.items()]
    if path := find_data(folder, "mnist.npz"):
        found.append(DataSet("mnist", 100, partial(mnist_draw, path)))
    if path := find_data(folder, "sentence_embeddings.npz"):
        found.append(DataSet("embeddings", 100, partial(embeddings_draw, path)))
    found.append(DataSet("photos", 100, photos_draw))
    if path := find_data(folder, "natural_images_whitened.npz"):
        found.append(DataSet("patches", 100, partial(patches_draw, path)))
    return {data.name: data for data in found}


def scaled(X_train, X_test, y_train=None, y_test=None, dtype=np.float32) -> Split:
    """Return the split with every feature's training range mapped to [0, 1], test rows clipped.

    NMF needs non-negative features and BernoulliRBM a range of [0, 1]; the rest get the same.
    """
    scaler = MinMaxScaler(clip=True).fit(X_train)
    X_train, X_test = (scaler.transform(X).astype(dtype) for X in (X_train, X_test))
    return Split(X_train, X_test, y_train, y_test)


def folds(load: Callable, seed: int) -> Iterator[Split]:
    """Yield the splits of a stratified cross-validation of one of scikit-learn's sets."""
    X, y = load(return_X_y=True)
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


def photos_draw(seed: int) -> Iterator[Split]:
    """Yield one split of colour patches of scikit-learn's two photos; the label says of which.

    Training and test patches come from stripes of their own, so that none overlap.
    """
    rng = np.random.default_rng(seed)
    parts: dict[bool, tuple[list, list]] = {False: ([], []), True: ([], [])}
    for label, name in enumerate(PHOTOS):
        windows = np.lib.stride_tricks.sliding_window_view(
            load_sample_image(name), (SIDE, SIDE), axis=(0, 1)
        )
        left = np.arange(windows.shape[1])
        within = left % STRIPE <= STRIPE - SIDE
        for test, n_rows in ((False, N_TRAIN // 2), (True, N_TEST // 2)):
            columns = left[within & ((left // STRIPE) % 2 == test)]
            top = rng.integers(windows.shape[0], size=n_rows)
            rows = windows[top, rng.choice(columns, size=n_rows)].reshape(n_rows, -1)
            parts[test][0].append(rows.astype(np.float32))
            parts[test][1].append(np.full(n_rows, label))
    (X_train, y_train), (X_test, y_test) = (
        tuple(map(np.concatenate, parts[test])) for test in (False, True)
    )
    yield scaled(X_train, X_test, y_train, y_test)


def patches_draw(path: Path, seed: int) -> Iterator[Split]:
    """Yield one split of patches of whitened natural images; they have no labels."""
    X = natural_patches(path, N_TRAIN + N_TEST, SIDE, seed)
    yield scaled(X[:N_TRAIN], X[N_TRAIN:])
