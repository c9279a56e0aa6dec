"""Rows that are sequences: pooled codes of tokens, attention, and what is simple, side by side.

Each encoder is fitted to the tokens of training rows, without labels; its codes are pooled over the
whole row and by its quarters. The same linear classifier is behind all features: ridge regression,
whose penalty is chosen by leaving out one training row after another. That error also chooses among
the pooled codes, as a user would who has a few candidates. Rows are split anew for each seed, seven
tenths of them for training, and each encoder has that seed too. Seconds are of the processor.
"""

from pathlib import Path

from _harness import SENTENCES, option_parser

parser = option_parser(__doc__, repeats=5, data=SENTENCES)
parser.add_argument("--aeon", type=Path, help="wheel of aeon, or the folder of the package")
parser.add_argument("--sets", nargs="*", default=[], help="parts of names; all by default")
parser.add_argument("--features", nargs="*", default=[], help="parts of names; all by default")

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from _harness import quiet, report, say, set_threads
from _sequence_data import Sequences, sequences
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer
from sksae.sequence import SparseAttentionEncoder, TokenCodes

PENALTIES = np.logspace(-2, 5, 15)
SEGMENTS = (1, 4)
POOLED, CHOSEN = "pooled", "chosen among pooled"
TUNED_RAW, TUNED_POOLED = "fine-tuned on raw rows", "fine-tuned on the chosen"
# Behind names of features that are pooled by quarters of a row.
QUARTERS = ", in quarters"
# What is compared, seed by seed, besides the best simple features.
PAIRS = {
    f"sparse attention{ending}": {
        f"sparse attention, untrained{ending}": "ahead of untrained",
        f"full attention{ending}": "ahead of full",
    }
    for ending in ("", QUARTERS)
}
# Attention trains for so many epochs; more of them cost time and gained nothing on digits.
N_EPOCHS = 50
UNTRAINED = {"max_iter": 1, "learning_rate": 1e-12}


def statistics_of(data: Sequences) -> np.ndarray:
    """Return mean, deviation, least and largest of each feature over the tokens of rows."""
    how = (np.nanmean, np.nanstd, np.nanmin, np.nanmax)
    return np.hstack([function(data.tokens, axis=1) for function in how])


SIMPLE: dict[str, Callable[[Sequences], np.ndarray | None]] = {
    "raw rows": lambda data: data.raw,
    "mean of tokens": lambda data: np.nanmean(data.tokens, axis=1),
    "mean, std, min, max": statistics_of,
}
Encoder = TokenCodes | SparseAttentionEncoder


def pooled(**params) -> Callable[[int, int], Encoder]:
    """Return what makes pooled codes of an autoencoder, given width of tokens and a seed."""
    return lambda width, seed: TokenCodes(
        SparseAutoencoderTransformer(**params), token_width=width, random_state=seed
    )


def attention(density: float, **params) -> Callable[[int, int], Encoder]:
    """Return what makes an encoder of 400 units by attention of that density; see `pooled`."""
    params = {"max_iter": N_EPOCHS, "tol": 1e-3} | params
    return lambda width, seed: SparseAttentionEncoder(
        400, token_width=width, attention_density=density, random_state=seed, **params
    )


ENCODERS: dict[str, Callable[[int, int], Encoder]] = {
    f"{POOLED} kl, 100 units": pooled(),
    f"{POOLED} kl, 400 units": pooled(n_components=400),
    f"{POOLED} l1, 400 units": pooled(n_components=400, sparsity="l1"),
    f"{POOLED} topk, 8 of 512 units": pooled(n_components=512, sparsity="topk", rho=8),
    "full attention": attention(1.0),
    "sparse attention": attention(0.25),
    "sparse attention, untrained": attention(0.25, **UNTRAINED),
}


class Result(NamedTuple):
    """What some features are worth.

    Attributes
    ----------
    accuracy : float
        Of a classifier on rows that it has not seen.
    seconds : float
        To learn the features, and to make them of all rows.
    left_out : float
        Minus the mean squared error of training rows that are left out, one after another.
    """

    accuracy: float
    seconds: float
    left_out: float


def features_of(
    data: Sequences, train: np.ndarray, seed: int, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Yield names of features, features of all rows, and the seconds that they took.

    Parameters
    ----------
    data : Sequences
    train : ndarray of int
        Rows to learn from.
    seed : int
    wanted : callable
        Returns of a name whether its features are.
    """
    for name, make in SIMPLE.items():
        start = time.process_time()
        features = make(data) if wanted(name) else None
        if features is not None:
            yield name, features, time.process_time() - start
    for name, make_encoder in ENCODERS.items():
        if not wanted(name):
            continue
        start = time.process_time()
        encoder = make_encoder(data.token_width, seed).fit(data.X[train])
        seconds = time.process_time() - start
        for n_segments in SEGMENTS:
            start = time.process_time()
            encoder.set_params(n_segments=min(n_segments, encoder.length_))
            features = encoder.transform(data.X)
            ending = QUARTERS if n_segments > 1 else ""
            yield name + ending, features, seconds + time.process_time() - start


def result_of(
    features: np.ndarray, seconds: float, data: Sequences, train: np.ndarray, test: np.ndarray
) -> Result:
    """Return what features of all rows are worth to a ridge classifier."""
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    model.fit(features[train], data.y[train])
    return Result(model.score(features[test], data.y[test]), seconds, model[-1].best_score_)


def fine_tuned(
    features: np.ndarray, data: Sequences, train: np.ndarray, test: np.ndarray, seed: int
) -> Result:
    """Return what features are worth to a sparse autoencoder that is fine-tuned with labels."""
    start = time.process_time()
    model = make_pipeline(StandardScaler(), SparseAutoencoderClassifier(random_state=seed))
    accuracy = model.fit(features[train], data.y[train]).score(features[test], data.y[test])
    return Result(accuracy, time.process_time() - start, np.nan)


def results_of(data: Sequences, seed: int, wanted: Callable[[str], bool]) -> dict[str, Result]:
    """Return what all features of a set are worth, on one split of its rows."""
    numbers = np.arange(len(data.y))
    train, test = train_test_split(numbers, test_size=0.3, random_state=seed, stratify=data.y)
    found: dict[str, Result] = {}
    of_pooled: dict[str, np.ndarray] = {}
    for name, features, seconds in features_of(data, train, seed, wanted):
        found[name] = result_of(features, seconds, data, train, test)
        if name.startswith(POOLED):
            of_pooled[name] = features
    if of_pooled:
        best = max(of_pooled, key=lambda name: found[name].left_out)
        found[CHOSEN] = found[best]._replace(seconds=sum(found[name].seconds for name in of_pooled))
        if wanted(TUNED_POOLED):
            found[TUNED_POOLED] = fine_tuned(of_pooled[best], data, train, test, seed)
    if data.raw is not None and wanted(TUNED_RAW):
        found[TUNED_RAW] = fine_tuned(data.raw, data, train, test, seed)
    return found


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of one value of each seed, and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), float(error)


def table_of(data: Sequences, by_seed: list[dict[str, Result]]) -> list[dict]:
    """Return a row for each kind of features: accuracy, and how far from the best simple one."""
    accuracies = {
        name: np.array([found[name].accuracy for found in by_seed]) for name in by_seed[0]
    }
    simple = [name for name in accuracies if name in SIMPLE]
    best = max(simple, key=lambda name: accuracies[name].mean(), default=None)
    rows = []
    for name, values in accuracies.items():
        mean, error = mean_and_error(values)
        row = {"data": data.name, "features": name, "accuracy": mean, "+-": error}
        row["seconds"] = statistics.median(found[name].seconds for found in by_seed)
        if best is not None and name not in simple:
            row["ahead of simple"], row["+- "] = mean_and_error(values - accuracies[best])
        for other, column in PAIRS.get(name, {}).items():
            if other in accuracies:
                row[column], row[f"+- of {column}"] = mean_and_error(values - accuracies[other])
        rows.append(row)
    return rows


def verdicts(table: list[dict]) -> list[str]:
    """Return what the study comes to over all sets, in words."""
    said = []
    for name, column in [(CHOSEN, "ahead of simple")] + [
        (name, column) for name, columns in PAIRS.items() for column in columns.values()
    ]:
        error = "+- " if column == "ahead of simple" else f"+- of {column}"
        rows = [row for row in table if row["features"] == name and column in row]
        ahead = [row["data"] for row in rows if row[column] > row[error]]
        behind = [row["data"] for row in rows if row[column] < -row[error]]
        if rows:
            said.append(
                f"{name}, {column}: by more than a standard error on {len(ahead)} of "
                f"{len(rows)} sets, behind by more than one on {len(behind)} "
                f"({', '.join(behind) or 'none'})."
            )
    return said


def main():
    set_threads(options.threads)
    quiet()
    # Of lines of NaN alone, which are left out.
    warnings.filterwarnings("ignore", message="Mean of empty slice")

    def wanted(name: str) -> bool:
        return not options.features or any(part in name for part in options.features)

    table = []
    for data in sequences(options.data, options.aeon, options.sets):
        say(f"{data.name}: {len(data.y)} rows of {data.tokens.shape[1]} tokens")
        table += table_of(data, [results_of(data, seed, wanted) for seed in range(options.repeats)])
    note = (
        "Ahead: with the standard error of the difference over seeds; of simple, than the best "
        "simple features of the set, which are chosen with hindsight."
    )
    report("Rows that are sequences", table, [note, *verdicts(table)], options.json)


if __name__ == "__main__":
    main()
