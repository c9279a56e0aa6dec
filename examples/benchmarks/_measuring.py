"""One extractor measured on one data set for one seed, and a folder that remembers it."""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _extractors import OURS, PEERS, sparse_autoencoder
from _harness import version
from _labelled import DataSet, Split
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

REPOSITORY = Path(__file__).resolve().parents[2]
# To be raised when something here, in _labelled or in _extractors changes what is measured: what
# was kept before is then measured again.
PROTOCOL = 3
MAX_ITER = 1000  # of the classifier
# With the penalty of LogisticRegression's default; and with a strong one, for a column apart.
PENALTIES = {"accuracy": 1.0, "accuracy, C=0.01": 0.01}
PACKAGES = ("scikit-learn", "numpy", "scipy", "torch")

Figures = dict[str, float | None]
Picture = tuple[int, int, int]  # rows, columns, channels


# --- one measurement -------------------------------------------------------------------------


def make_extractor(name: str, parameters: Mapping[str, Any], split: Split, k: int, seed: int):
    """Return an unfitted extractor for the training rows of a split."""
    if name == OURS:
        return sparse_autoencoder(k, seed, **parameters)
    return PEERS[name](k, split.X_train.shape[1], seed)


def measure(extractor, split: Split, picture: Picture | None) -> Figures:
    """Return what one extractor gives on one split; None where it has no such thing.

    Seconds are of the processor, for learning and for both codes: waiting for other work on the
    machine is not in them.
    """
    from sksae.metrics import explained_variance

    start = time.process_time()
    train = extractor.fit(split.X_train).transform(split.X_train)
    test = extractor.transform(split.X_test)
    figures: Figures = {"seconds": time.process_time() - start}
    figures |= {name: accuracy(train, test, split, C) for name, C in PENALTIES.items()}
    figures |= figures_of_codes(train, test)
    figures["R^2"] = None
    if hasattr(extractor, "inverse_transform") and train is not split.X_train:
        rebuilt = extractor.inverse_transform(test)
        figures["R^2"] = explained_variance(split.X_test, rebuilt)
    figures |= figures_of_atoms(getattr(extractor, "components_", None), picture)
    centred = split.X_train - split.X_train.mean(axis=0)
    figures["roughness of rows"] = None if picture is None else roughness(centred, picture)
    if getattr(extractor, "sparsity", None) == "kl":
        share = extractor.rho if extractor.rho < 1 else extractor.rho / extractor.n_components
        ratios = extractor.mean_activation_ / share
        figures["mean activation / rho"] = float(ratios.mean())
        figures["units near rho"] = float(np.mean((ratios >= 0.5) & (ratios <= 2.0)))
    return figures


def figures_of_codes(train: np.ndarray, test: np.ndarray) -> Figures:
    """Return how sparse the codes of test rows are, and how the units serve the training rows."""
    from sksae.metrics import dead_fraction, hoyer_sparsity, treves_rolls_sparseness

    share = treves_rolls_sparseness(np.abs(test))
    return {
        "Hoyer": float(np.median(hoyer_sparsity(test))),
        "zero rows": float(np.mean(~test.any(axis=1))),
        "effective units": float(np.median(share) * test.shape[1]),
        "largest activation": float(test.max()),
        "dead units": dead_fraction(train),
        "mean activation": float(train.mean()) if train.min() >= 0 else None,
    }


def figures_of_atoms(atoms: np.ndarray | None, picture: Picture | None) -> Figures:
    """Return how alike the atoms that are not 0 are, and how rough; None where there are none."""
    figures: Figures = {"largest cosine": None, "roughness": None}
    if atoms is None:
        return figures
    atoms = atoms[np.abs(atoms).max(axis=1) > 1e-6 * np.abs(atoms).max()]
    directions = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -1.0)
    figures["largest cosine"] = float(np.median(cosines.max(axis=1)))
    if picture is not None:
        figures["roughness"] = roughness(atoms, picture)
    return figures


def roughness(rows: np.ndarray, picture: Picture) -> float:
    """Return the median of the squared differences of neighbours over the squared norm."""
    pictures = rows.reshape(-1, *picture).astype(np.float64)
    squares = sum((np.diff(pictures, axis=axis) ** 2).sum(axis=(1, 2, 3)) for axis in (1, 2))
    norms = (pictures**2).sum(axis=(1, 2, 3))
    return float(np.median(squares[norms > 0] / norms[norms > 0]))


def accuracy(train, test, split: Split, C: float) -> float | None:
    """Return the share of test rows that a linear classifier on the codes gets right."""
    if split.y_train is None:
        return None
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=MAX_ITER))
    return float(classifier.fit(train, split.y_train).score(test, split.y_test))


def warm_up() -> None:
    """Have torch loaded and its threads started before the first fit is timed."""
    sparse_autoencoder(2, 0, max_iter=1).fit(np.eye(4))


def averaged(figures: Sequence[Figures]) -> Figures:
    """Return the means over folds."""
    result: Figures = {}
    for name in figures[0]:
        values = [value for each in figures if (value := each[name]) is not None]
        result[name] = statistics.fmean(values) if values else None
    return result


# --- the cache -------------------------------------------------------------------------------


def fingerprint(name: str) -> dict[str, str]:
    """Return what a measurement depends on besides data, parameters and seed."""
    versions = {package: version(package) for package in PACKAGES}
    if name == OURS:
        versions["sksae"] = digest(REPOSITORY / "sksae", "**/*.py")
    return versions | {"protocol": str(PROTOCOL)}


def digest(folder: Path, pattern: str) -> str:
    """Return a hash of the text of some files."""
    text = b"".join(path.read_bytes() for path in sorted(folder.glob(pattern)))
    return hashlib.sha256(text).hexdigest()[:12]


def recall(folder: Path | None, key: Mapping[str, Any], work: Callable[[], Figures]) -> Figures:
    """Return what is kept under the key, or what the work gives, keeping it."""
    if folder is None:
        return work()
    text = json.dumps(key, sort_keys=True)
    name = f"{key['data']}-{key['extractor']}-{key['seed']}".replace(" ", "").replace(",", "-")
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["figures"]
    figures = work()
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, "figures": figures}, indent=1), encoding="utf-8")
    return figures


def figures_of(
    name: str, parameters: Mapping[str, Any], data: DataSet, seed: int, folder: Path | None
) -> Figures:
    """Return the figures of one extractor on one data set for one seed."""

    def work() -> Figures:
        return averaged(
            [
                measure(
                    make_extractor(name, parameters, split, data.n_components, seed),
                    split,
                    data.picture,
                )
                for split in data.splits(seed)
            ]
        )

    key = {
        "data": data.name,
        "extractor": name,
        "parameters": dict(parameters),
        "n_components": data.n_components,
        "seed": seed,
        "versions": fingerprint(name),
    }
    return recall(folder, key, work)
