"""What pursuit at transform is worth: codes by the encoder, refitted, and by matching pursuit.

Dictionaries learn from embeddings of sentences, of which a fifth of the documents is held out (see
topk.py). Each is read with every ``transform_algorithm``, which changes no dictionary. Columns:

FVU
    Squared residuals of held-out rows over their squared deviations from the training mean.
active, negative
    Mean number of active units of these rows, and the share of entries that are below 0.
accuracy, +-
    Of LogisticRegression on the code, and its standard error; sentences of one document count as
    one draw in it.
ms a row
    That `transform` of the held-out rows takes, float32: the median of --repeats.

The notes say how far matching pursuit is from scikit-learn's on a few rows in float64, and how long
both take; scikit-learn has one way with the Gram matrix of all atoms, and one without.

    python pursuit.py --threads 2
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from _harness import SENTENCES, option_parser, positive_int, quiet, report, set_threads
from _topk_data import Rows, sentences
from _topk_figures import accuracy, share_left
from sklearn.linear_model import orthogonal_mp, orthogonal_mp_gram

from sksae import SparseAutoencoderTransformer

CODES = {
    "topk": {"sparsity": "topk"},
    "topk, one budget": {"sparsity": "topk", "budgets": None},
    "batchtopk": {"sparsity": "batchtopk"},
}
ALGORITHMS = ("encode", "refit", "omp")
SEED = 0


def parse_options() -> argparse.Namespace:
    parser = option_parser(__doc__, repeats=3, data=SENTENCES)
    parser.add_argument("--rows", type=positive_int, default=10_000, help="to learn from")
    parser.add_argument("--width", type=positive_int, default=3072)
    parser.add_argument("--active", type=positive_int, default=32)
    parser.add_argument("--epochs", type=positive_int, default=20)
    parser.add_argument(
        "--codes", nargs="+", choices=[*CODES], metavar="NAME", default=[*CODES], help="default all"
    )
    parser.add_argument("--compared", type=positive_int, default=20, help="rows for scikit-learn")
    return parser.parse_args()


def some(rows: Rows, n_rows: int) -> Rows:
    """Return the same with so many training rows, drawn at random."""
    n_rows = min(n_rows, len(rows.X_train))
    which = np.random.default_rng(SEED).choice(len(rows.X_train), n_rows, replace=False)
    labels = None if rows.y_train is None else rows.y_train[which]
    return replace(rows, X_train=rows.X_train[which], y_train=labels)


def learnt(name: str, rows: Rows, options: argparse.Namespace) -> SparseAutoencoderTransformer:
    return SparseAutoencoderTransformer(
        options.width,
        rho=options.active,
        max_iter=options.epochs,
        sparse_output=True,
        random_state=SEED,
        **CODES[name],
    ).fit(rows.X_train)


def figures_of(model: SparseAutoencoderTransformer, rows: Rows, repeats: int) -> dict[str, object]:
    """Return what codes as a model is set to find them are worth."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        test = model.transform(rows.X_test)
        seconds.append(time.perf_counter() - start)
    return {
        "FVU": share_left(rows, model.inverse_transform(test)),
        "active": test.nnz / test.shape[0],
        "negative": float((test.data < 0).mean()),
        **accuracy(sp.csr_array(model.transform(rows.X_train)), sp.csr_array(test), rows),
        "ms a row": 1e3 * statistics.median(seconds) / len(rows.X_test),
    }


def beside_scikit_learn(model: SparseAutoencoderTransformer, X: np.ndarray, n_active: int) -> str:
    """Return how matching pursuit of sksae compares with that of scikit-learn, in words."""
    X = X.astype(np.float64)
    atoms = model.coefs_[-1].astype(np.float64)
    targets = (X - model.mean_) / model.scale_ - model.intercepts_[-1]
    gram = atoms @ atoms.T
    ways = {
        "sksae": lambda: model.transform(X).toarray(),
        "with a Gram matrix": lambda: (
            orthogonal_mp_gram(gram, atoms @ targets.T, n_nonzero_coefs=n_active).T
        ),
        "without": lambda: orthogonal_mp(atoms.T, targets.T, n_nonzero_coefs=n_active).T,
    }
    found, ms = {}, {}
    for name, way in ways.items():
        start = time.perf_counter()
        found[name] = way()
        ms[name] = 1e3 * (time.perf_counter() - start) / len(X)
    ours, theirs, _ = found.values()
    gap = np.abs(ours - theirs).max()
    times = ", ".join(f"{name} {each:.1f}" for name, each in ms.items())
    return f"omp of {len(X)} rows in float64, ms a row: {times}; largest difference {gap:.1e}."


def main() -> None:
    options = parse_options()
    if options.data is None:
        sys.exit(f"Neither --data nor SKSAE_DATA names a folder. {SENTENCES.expected}")
    set_threads(options.threads)
    quiet()
    rows = some(sentences(options.data)[0], options.rows)
    counts = f"{len(rows.X_train)} rows to learn from, {len(rows.X_test)} held out"
    notes = [f"{counts}; {options.active} of {options.width} units, {options.epochs} epochs."]
    table: list[dict[str, object]] = []
    for name in options.codes:
        model = learnt(name, rows, options)
        for algorithm in ALGORITHMS:
            model.set_params(transform_algorithm=algorithm)
            figures = figures_of(model, rows, options.repeats)
            table.append({"code": name, "transform_algorithm": algorithm, **figures})
        if name == options.codes[0]:
            compared = rows.X_test[: options.compared]
            notes.append(beside_scikit_learn(model, compared, options.active))
    table.append({"code": "raw rows", **accuracy(rows.X_train, rows.X_test, rows)})
    report("Pursuit at transform", table, notes, options.json)


if __name__ == "__main__":
    main()
