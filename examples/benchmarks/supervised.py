"""Classifier and regressor with their defaults beside scikit-learn's, on rows not seen in training.

MNIST: 10000 and 60000 training pictures, two autoencoders of 200 units, against MLPClassifier with
as many. Small tables: one autoencoder of 100 units, against MLPClassifier or MLPRegressor with as
many and against a linear model, on a quarter of the rows that was held out. With --fine-tuning also
what noise, dropout and decay are worth, of the same pre-trained members. Seconds are of the
processor.
"""

from _harness import MNIST, option_parser

parser = option_parser(__doc__, repeats=5, data=MNIST)
parser.add_argument("--fine-tuning", action="store_true", help="also noise, dropout, decay")
parser.add_argument("--mnist", type=int, nargs="*", default=[10_000], help="training pictures")
parser.add_argument("--no-tables", action="store_true", help="MNIST alone")

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _harness import Digits, at_least, mnist_or_digits, noted, quiet, report, set_threads
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_friedman1,
)
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor

OURS = "sksae"
PENALTIES = np.logspace(-2, 6, 9)
# Accuracy that the defaults shall have on MNIST.
MNIST_TARGETS = {10_000: 0.968, 60_000: 0.985}
FINE_TUNING: dict[str, dict[str, Any]] = {
    "noise .3": {"noise": "gaussian", "noise_level": 0.3},
    "noise 1": {"noise": "gaussian", "noise_level": 1.0},
    "masking .3": {"noise": "masking", "noise_level": 0.3},
    "dropout .2": {"dropout": 0.2},
    "decay all": {"decay": "all"},
    "decay all, alpha 1e-3": {"decay": "all", "alpha": 1e-3},
}

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Task:
    """Rows with targets, and who learns them.

    Attributes
    ----------
    draw : callable
        From a seed to X_train, X_test, y_train, y_test.
    models : dict of callable
        From a seed to an unfitted estimator; ours first.
    """

    draw: Callable[[int], Rows]
    models: dict[str, Callable[[int], Any]]


def split(X: np.ndarray, y: np.ndarray, seed: int, *, classes: bool) -> Rows:
    return train_test_split(X, y, random_state=seed, stratify=y if classes else None)


def wide_table(n_rows: int = 250, n_features: int = 5000, rank: int = 5) -> tuple:
    """Return rows of few causes and as much noise, and their causes."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(n_rows, rank))
    X = causes @ rng.normal(size=(rank, n_features)) + rng.normal(size=(n_rows, n_features))
    return X.astype(np.float32), causes, 0.3 * rng.normal(size=n_rows)


def classifiers() -> dict[str, Callable[[int], Any]]:
    return {
        OURS: lambda seed: SparseAutoencoderClassifier(random_state=seed),
        "MLPClassifier": lambda seed: MLPClassifier((100,), random_state=seed),
        "LogisticRegression": lambda seed: LogisticRegression(max_iter=1000),
    }


def regressors() -> dict[str, Callable[[int], Any]]:
    return {
        OURS: lambda seed: SparseAutoencoderRegressor(random_state=seed),
        "MLPRegressor": lambda seed: MLPRegressor(hidden_layer_sizes=(100,), random_state=seed),
        "Ridge": lambda seed: Ridge(),
        "RidgeCV": lambda seed: RidgeCV(PENALTIES),
    }


def standardised(models: dict[str, Callable[[int], Any]]) -> dict[str, Callable[[int], Any]]:
    """Return the models behind a StandardScaler."""

    def behind(make: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda seed: make_pipeline(StandardScaler(), make(seed))

    return {name: behind(make) for name, make in models.items()}


def small_tasks() -> Iterator[tuple[str, Task]]:
    """Yield tables that scikit-learn has or that are made here, by name."""
    loaders = {
        "breast_cancer": load_breast_cancer,
        "wine": load_wine,
        "iris": load_iris,
        "digits": load_digits,
    }
    for name, load in loaders.items():
        X, y = load(return_X_y=True)
        models = classifiers() if name == "digits" else standardised(classifiers())
        yield name, Task(lambda seed, X=X, y=y: split(X, y, seed, classes=True), models)
    X, causes, noise = wide_table()
    curved = causes[:, 0] + causes[:, 1] ** 2 + noise
    labels = (curved > np.median(curved)).astype(int)
    yield (
        "wide, two classes",
        Task(lambda seed: split(X, labels, seed, classes=True), classifiers()),
    )
    numbers, target = load_diabetes(return_X_y=True)
    yield (
        "diabetes",
        Task(lambda seed: split(numbers, target, seed, classes=False), standardised(regressors())),
    )
    for n_rows in (200, 1000):
        given = make_friedman1(4 * n_rows // 3, noise=1.0, random_state=0)
        yield (
            f"Friedman, {n_rows} rows",
            Task(
                lambda seed, given=given: split(*given, seed, classes=False),
                standardised(regressors()),
            ),
        )
    linear = causes[:, 0] + 0.5 * causes[:, 1] + noise
    for name, wanted in (("wide, linear", linear), ("wide, curved", curved)):
        yield (
            name,
            Task(lambda seed, wanted=wanted: split(X, wanted, seed, classes=False), regressors()),
        )


def mnist_task(digits: Digits, n_rows: int) -> Task:
    X, y = digits.X_train[:n_rows], digits.y_train[:n_rows]
    two = {
        OURS: lambda seed: SparseAutoencoderClassifier([200, 200], random_state=seed),
        "MLPClassifier": lambda seed: MLPClassifier((200, 200), random_state=seed),
    }
    return Task(lambda seed: (X, digits.X_test, y, digits.y_test), two)


def measured(model, rows: Rows) -> tuple[float, float]:
    """Return score and seconds of one fit."""
    X_train, X_test, y_train, y_test = rows
    start = time.process_time()
    model.fit(X_train, y_train)
    seconds = time.process_time() - start
    return model.score(X_test, y_test), seconds


def fine_tuned(model, rows: Rows) -> dict[str, tuple[float, float]]:
    """Return score and seconds of each way to fine-tune the members of a fitted model."""
    X_train, X_test, y_train, y_test = rows
    if hasattr(model, "steps"):
        *_, (_, last) = model.steps
        before = model[:-1]
        X_train, X_test = before.transform(X_train), before.transform(X_test)
        model = last
    # As pre-training left them: fine-tuned members are no place to start from.
    frozen = clone(model).set_params(freeze=len(model.autoencoders_)).fit(X_train, y_train)
    given = {"autoencoders": frozen.autoencoders_, "pretrain": False}
    return {
        f"  {name}": measured(
            clone(model).set_params(**given, **params), (X_train, X_test, y_train, y_test)
        )
        for name, params in FINE_TUNING.items()
    }


def rows_of(name: str, task: Task, seeds: range, *, with_fine_tuning: bool) -> list[dict]:
    """Return a row for each model: the mean score, and its difference to ours on the same rows."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in seeds:
        rows = task.draw(seed)
        for model_name, make in task.models.items():
            model = make(seed)
            found.setdefault(model_name, []).append(measured(model, rows))
            if with_fine_tuning and model_name == OURS:
                for variant, result in fine_tuned(model, rows).items():
                    found.setdefault(variant, []).append(result)
    ours = np.array([score for score, _ in found[OURS]])
    table = []
    for model_name, results in found.items():
        scores = np.array([score for score, _ in results])
        row = {
            "data": name,
            "model": model_name,
            "score": float(scores.mean()),
            "seconds": statistics.median(taken for _, taken in results),
        }
        if model_name != OURS:
            difference = scores - ours
            row["less ours"] = float(difference.mean())
            if len(seeds) > 1:
                row["+-"] = float(difference.std(ddof=1) / np.sqrt(len(seeds)))
        table.append(row)
    return table


def main():
    set_threads(options.threads)
    quiet()
    more = {"with_fine_tuning": options.fine_tuning}
    table = []
    if not options.no_tables:
        for name, task in small_tasks():
            table += rows_of(name, task, range(options.repeats), **more)
    notes = []
    if options.mnist:
        digits = mnist_or_digits(options.data)
        notes.append(noted(digits))
    for n_rows in options.mnist:
        seeds = range(max(1, options.repeats // 2))
        found = rows_of(f"MNIST, {n_rows}", mnist_task(digits, n_rows), seeds, **more)
        if n_rows in MNIST_TARGETS:
            found[0] |= at_least(found[0]["score"], MNIST_TARGETS[n_rows])
        table += found
    report("Classifier and regressor", table, notes, options.json)


if __name__ == "__main__":
    main()
