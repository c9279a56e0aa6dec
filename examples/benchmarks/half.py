"""The same fits with products in float32 and in bfloat16: seconds, J, and accuracy behind.

MNIST and sentence embeddings are judged by a LogisticRegression on the codes of rows not seen,
patches by J alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _harness import (
    MNIST,
    NATURAL_IMAGES,
    SENTENCES,
    at_most,
    find_data,
    interleave,
    median_ratio,
    mnist_or_digits,
    natural_patches,
    option_parser,
    quiet,
    report,
    say,
    set_threads,
)

PRECISIONS = ("float32", "bfloat16")
TIME = 0.65  # of float32, at the most, where it pays


class Case(NamedTuple):
    """Rows, with labels and rows not seen where there are any, and how to train on them."""

    name: str
    X: np.ndarray
    y: np.ndarray | None
    X_test: np.ndarray | None
    y_test: np.ndarray | None
    params: dict[str, int]


def digits(path) -> Case:
    data = mnist_or_digits(path)
    train, test = slice(20_000), slice(10_000)
    return Case(
        "MNIST 784-196",
        data.X_train[train],
        data.y_train[train],
        data.X_test[test],
        data.y_test[test],
        {"n_components": 196, "batch_size": 256, "max_iter": 10},
    )


def patches(path) -> Case:
    X = natural_patches(path).astype(np.float32)
    params = {"n_components": 25, "batch_size": 256, "max_iter": 20}
    return Case("patches 64-25", X, None, None, None, params)


def sentences(path) -> Case:
    """Return embeddings, of which the last documents are not shown."""
    with np.load(path) as file:
        X, y, document = file["X"].astype(np.float32), file["y"], file["doc"]
    order = np.random.RandomState(0).permutation(document.max() + 1)
    is_test = order[document] % 8 == 0
    rng = np.random.RandomState(0)
    train, test = (rng.permutation(np.flatnonzero(which)) for which in (~is_test, is_test))
    train, test = train[:10_240], test[:5_000]
    params = {"n_components": 3072, "batch_size": 1024, "max_iter": 10}
    return Case("embeddings 384-3072", X[train], y[train], X[test], y[test], params)


def fits(case: Case) -> dict[str, Callable[[int], object]]:
    """Return what fits in either precision, given a seed."""
    from sksae import SparseAutoencoderTransformer

    def fit(dtype: str) -> Callable[[int], object]:
        return lambda seed: SparseAutoencoderTransformer(
            **case.params, n_iter_no_change=case.params["max_iter"], dtype=dtype, random_state=seed
        ).fit(case.X)

    return {dtype: fit(dtype) for dtype in PRECISIONS}


def accuracy(case: Case, model) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    classifier.fit(model.transform(case.X), case.y)
    return classifier.score(model.transform(case.X_test), case.y_test)


def compare(case: Case, repeats: int) -> list[dict[str, object]]:
    """Return a row for each precision."""
    say(case.name)
    seconds, models = interleave(fits(case), repeats)
    losses = {dtype: [model.loss_ for model in found] for dtype, found in models.items()}
    scores = {}
    if case.y is not None:
        for dtype, found in models.items():
            scores[dtype] = float(np.mean([accuracy(case, model) for model in found]))
    rows: list[dict[str, object]] = []
    for dtype in PRECISIONS:
        row: dict[str, object] = {"data": case.name, "dtype": dtype}
        row["seconds"] = float(np.median(seconds[dtype]))
        row["J"] = float(np.median(losses[dtype]))
        row["accuracy"] = scores.get(dtype)
        rows.append(row)
    ratio = median_ratio(seconds["bfloat16"], seconds["float32"])
    rows[-1]["time"] = ratio
    rows[-1]["J by that of float32"] = median_ratio(losses["bfloat16"], losses["float32"])
    if case.name.startswith("embeddings"):
        rows[-1] |= at_most(ratio, TIME)
    return rows


def main() -> None:
    parser = option_parser(__doc__, repeats=3)
    parser.add_argument("--cases", nargs="+", choices=("mnist", "patches", "sentences"))
    options = parser.parse_args()
    quiet()
    set_threads(options.threads)
    chosen = options.cases or ("mnist", "patches", "sentences")
    rows, notes = [], []
    if "mnist" in chosen:
        rows += compare(digits(find_data(options.data, MNIST)), options.repeats)
    if "patches" in chosen:
        rows += compare(patches(find_data(options.data, NATURAL_IMAGES)), options.repeats)
    if "sentences" in chosen:
        path = find_data(options.data, SENTENCES)
        if path is None:
            notes.append("No embeddings: name the folder of sentence_embeddings.npz by --data.")
        else:
            rows += compare(sentences(path), options.repeats)
    from sksae.engine.products import describe

    notes.append(f"Products in float32: {describe()}; in bfloat16: torch's.")
    report("Half precision", rows, notes, options.json)


if __name__ == "__main__":
    main()
