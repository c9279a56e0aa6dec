"""Rows that are sequences: pooled codes of tokens, attention, and what is simple, side by side.

Each extractor is fitted to the tokens of training rows, without labels. The same linear classifier
is behind all of them: ridge regression, whose penalty is chosen on the training rows. Rows are
split anew for each seed, seven tenths of them for training, and each extractor has that seed too.
Seconds are of the processor.
"""

from pathlib import Path

from _harness import SENTENCES, option_parser

parser = option_parser(__doc__, repeats=5, data=SENTENCES)
parser.add_argument("--aeon", type=Path, help="wheel of aeon, or the folder of the package")
parser.add_argument("--sets", nargs="*", default=[], help="parts of names; all by default")
parser.add_argument("--extractors", nargs="*", default=[], help="parts of names; all by default")

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _harness import quiet, report, set_threads
from _sequence_data import Sequences, sequences
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.sequence import SparseAttentionEncoder, TokenCodes

PENALTIES = np.logspace(-2, 5, 15)
SIMPLE, POOLED, ATTENTION = "simple", "pooled codes", "attention"


@dataclass(frozen=True)
class Extractor:
    """From rows to features.

    Attributes
    ----------
    kind : str
    fit : callable
        Given a set, the numbers of its training rows and a seed, returns features of all rows; None
        where the set has none.
    """

    kind: str
    fit: Callable[[Sequences, np.ndarray, int], np.ndarray | None]


def statistics_of(tokens: np.ndarray) -> np.ndarray:
    """Return mean, deviation, least and largest of each feature over the tokens of rows."""
    how = (np.nanmean, np.nanstd, np.nanmin, np.nanmax)
    return np.hstack([function(tokens, axis=1) for function in how])


def pooled(n_segments: int = 1, **params) -> Extractor:
    """Return pooled codes of an autoencoder with these parameters."""

    def fit(data: Sequences, train: np.ndarray, seed: int) -> np.ndarray:
        model = TokenCodes(
            SparseAutoencoderTransformer(**params),
            token_width=data.token_width,
            n_segments=min(n_segments, data.tokens.shape[1]),
            random_state=seed,
        )
        return model.fit(data.X[train]).transform(data.X)

    return Extractor(POOLED, fit)


def attention(density: float, **params) -> Extractor:
    """Return features of an encoder by attention of that density."""

    def fit(data: Sequences, train: np.ndarray, seed: int) -> np.ndarray:
        model = SparseAttentionEncoder(
            token_width=data.token_width,
            attention_density=density,
            random_state=seed,
            **params,
        )
        return model.fit(data.X[train]).transform(data.X)

    return Extractor(ATTENTION, fit)


UNTRAINED = {"max_iter": 1, "learning_rate": 1e-12}
EXTRACTORS = {
    "raw rows": Extractor(SIMPLE, lambda data, train, seed: data.raw),
    "mean of tokens": Extractor(SIMPLE, lambda data, train, seed: np.nanmean(data.tokens, axis=1)),
    "mean, std, min, max": Extractor(SIMPLE, lambda data, train, seed: statistics_of(data.tokens)),
    "kl, 100 units": pooled(),
    "kl, 4 segments": pooled(n_segments=4),
    "l1, 100 units": pooled(sparsity="l1"),
    "l1, 4 segments": pooled(n_segments=4, sparsity="l1"),
    "topk, 512 units, 8 active": pooled(n_components=512, sparsity="topk", rho=8),
    "topk, 4 segments": pooled(n_segments=4, n_components=512, sparsity="topk", rho=8),
    "full attention": attention(1.0),
    "sparse attention": attention(0.25),
    "sparse attention, untrained": attention(0.25, **UNTRAINED),
}


def accuracy(features: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Return the accuracy of the linear classifier on rows that it has not seen."""
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    return float(model.fit(features[train], y[train]).score(features[test], y[test]))


def measured(
    data: Sequences, extractors: dict[str, Extractor], seeds: range
) -> dict[str, list[tuple[float, float]]]:
    """Return accuracies and seconds of each extractor, by seed."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in extractors}
    for seed in seeds:
        numbers = np.arange(len(data.y))
        train, test = train_test_split(numbers, test_size=0.3, random_state=seed, stratify=data.y)
        for name, extractor in extractors.items():
            start = time.process_time()
            features = extractor.fit(data, train, seed)
            seconds = time.process_time() - start
            if features is not None:
                found[name].append((accuracy(features, data.y, train, test), seconds))
    return {name: results for name, results in found.items() if results}


def table_of(data: Sequences, extractors: dict[str, Extractor], seeds: range) -> list[dict]:
    """Return a row for each extractor: accuracy, and how far it is from the best simple one."""
    found = measured(data, extractors, seeds)
    scores = {name: np.array([score for score, _ in found[name]]) for name in found}
    simple = [name for name in found if extractors[name].kind == SIMPLE]
    best = max(simple, key=lambda name: scores[name].mean(), default=None)
    rows = []
    for name, results in found.items():
        row = {
            "data": data.name,
            "features": name,
            "accuracy": float(scores[name].mean()),
            "+-": standard_error(scores[name]),
            "seconds": statistics.median(seconds for _, seconds in results),
        }
        if best is not None and name not in simple:
            ahead = scores[name] - scores[best]
            row |= {"ahead of simple": float(ahead.mean()), "+- ": standard_error(ahead)}
        rows.append(row)
    return rows


def standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def main():
    set_threads(options.threads)
    quiet()
    # Of lines of NaN alone, which are left out.
    warnings.filterwarnings("ignore", message="Mean of empty slice")
    chosen = {
        name: each
        for name, each in EXTRACTORS.items()
        if not options.extractors or any(part in name for part in options.extractors)
    }
    table = []
    for data in sequences(options.data, options.aeon, options.sets):
        table += table_of(data, chosen, range(options.repeats))
    note = (
        "Ahead of simple: than the best simple features of the set, with the standard error of the "
        "difference over seeds."
    )
    report("Rows that are sequences", table, [note], options.json)


if __name__ == "__main__":
    main()
