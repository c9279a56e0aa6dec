"""Made-up data with few rows for their many columns, and others that are slow to train on."""

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

Data = tuple[np.ndarray | sp.csr_array, np.ndarray | None]  # rows and labels


def low_rank(n_rows: int, n_features: int, rank: int = 5, seed: int = 0) -> np.ndarray:
    """Return rows of a few causes and as much noise: so many linear components explain 0.83."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, n_features))
    return (causes + rng.normal(size=causes.shape)).astype(np.float32)


def shifted_classes(n_rows: int, n_features: int, seed: int = 0) -> Data:
    """Return rows of three classes, each shifted along a direction of its own, in much noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    shifts = 0.15 * rng.normal(size=(3, n_features))
    return (shifts[y] + low_rank(n_rows, n_features, seed=seed + 1)).astype(np.float32), y


def counts(n_rows: int, n_features: int, n_pathways: int = 12, seed: int = 0) -> np.ndarray:
    """Return log counts of genes, of which each pathway that is on in a row moves a tenth."""
    rng = np.random.default_rng(seed)
    is_on = rng.random((n_rows, n_pathways)) < 0.3
    activity = np.abs(rng.normal(size=is_on.shape)) * is_on
    is_moved = rng.random((n_pathways, n_features)) < 0.1
    rate = activity @ (rng.normal(size=is_moved.shape) * is_moved)
    rate += rng.normal(size=n_features) + 0.35 * rng.normal(size=rate.shape)
    found = rng.poisson(np.exp(np.clip(rate + 2, -3, 8)))
    return np.log1p(found / found.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)


def words(n_rows: int, n_features: int, n_topics: int = 6, seed: int = 0) -> sp.csr_array:
    """Return zeros and ones: which words are in a text, each of one topic with words of its own."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(n_topics, size=n_rows)
    share = np.full((n_topics, n_features), 0.004)
    own = rng.permutation(n_features)[: n_topics * 60].reshape(n_topics, 60)
    share[np.arange(n_topics)[:, None], own] = 0.25
    return sp.csr_array((rng.random((n_rows, n_features)) < share[topic]).astype(np.float32))


def whitened(n_rows: int, n_features: int, n_active: int = 5, seed: int = 0) -> np.ndarray:
    """Return mixtures of a few of many causes, no direction with more variance than another."""
    rng = np.random.default_rng(seed)
    causes = rng.exponential(size=(n_rows, n_features))
    causes *= rng.random(causes.shape) < n_active / n_features
    mixed = causes @ rng.normal(size=(n_features, n_features))
    return PCA(whiten=True, random_state=0).fit_transform(mixed).astype(np.float32)


def spectra(n_rows: int, n_features: int, n_peaks: int = 8, seed: int = 0) -> np.ndarray:
    """Return curves of peaks at common places, of random height, a little shifted, with noise."""
    rng = np.random.default_rng(seed)
    place, width = rng.uniform(0.05, 0.95, n_peaks), rng.uniform(0.005, 0.04, n_peaks)
    height = rng.gamma(2.0, size=(n_rows, n_peaks))
    centre = place + 0.003 * rng.normal(size=height.shape)
    x = np.linspace(0, 1, n_features)
    peaks = np.exp(-0.5 * ((x - centre[..., None]) / width[:, None]) ** 2)
    curves = np.einsum("np,npd->nd", height, peaks)
    return (curves + 0.05 * rng.normal(size=curves.shape)).astype(np.float32)


def blobs(n_rows: int, shape: tuple[int, ...], width: float, seed: int = 0) -> np.ndarray:
    """Return flattened grids of smooth noise of unit variance, with a tenth as much rough noise."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n_rows, *shape))
    for row in rows:
        row[...] = gaussian_filter(rng.normal(size=shape), width, mode="wrap")
    rows = rows.reshape(n_rows, -1)
    rows /= rows.std()
    return (rows + np.sqrt(0.1) * rng.normal(size=rows.shape)).astype(np.float32)


def unlabelled(make: Callable, *shape) -> Callable[[], Data]:
    return lambda: (make(*shape), None)


DATA: dict[str, Callable[[], Data]] = {
    **{
        f"{n_rows} x {n_features}": unlabelled(low_rank, n_rows, n_features)
        for n_features in (5000, 20000)
        for n_rows in (100, 200, 250, 300, 600)
    },
    "counts 200 x 4000": unlabelled(counts, 200, 4000),
    "words 600 x 3000": unlabelled(words, 600, 3000),
    "whitened 2000 x 384": unlabelled(whitened, 2000, 384),
    "spectra 80 x 4000": unlabelled(spectra, 80, 4000),
    "voxels 60 x 20000": unlabelled(blobs, 60, (20, 25, 40), 4.0),
    "pictures 40 x 10000": unlabelled(blobs, 40, (100, 100), 10.0),
    "classes 250 x 5000": partial(shifted_classes, 250, 5000),
}
