"""What the learning rate is worth to sparsity="topk", by data, width, active units and steps.

Each fit is at a multiple of the rate that "auto" stands for. Printed is the share of the variance
of rows not seen that is not rebuilt (FVU, the less the better), with the share of units that no
training row keeps where there are any.
"""

import sys
from statistics import fmean
from typing import NamedTuple

import numpy as np
from _harness import option_parser, quiet, report, set_threads
from _labelled import Split, data_sets

from sksae import SparseAutoencoderTransformer
from sksae.training.defaults import resolve_learning_rate

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


class Case(NamedTuple):
    """A data set, and how a fit to it is shaped."""

    data: str
    n_components: int
    n_active: int
    max_iter: int | str = "auto"
    batch_size: int | str = "auto"


CASES = (
    Case("digits", 100, 5),
    Case("breast_cancer", 60, 4),
    Case("wine", 40, 3),
    Case("mnist", 256, 16, 20),
    Case("mnist", 1024, 16, 20),
    Case("patches", 256, 8, 40),
    Case("embeddings", 768, 32, 10),
    Case("embeddings", 768, 8, 10),
    Case("embeddings", 768, 32, 60),
    Case("embeddings", 3072, 32, 10),
    Case("embeddings", 3072, 32, 10, 1024),
    Case("genes", 64, 6),
)


def measure(case: Case, split: Split, factor: float, seed: int) -> dict[str, float]:
    """Return what a fit at some times the rate by default comes to."""
    X_train, X_test = split.X_train, split.X_test
    usual = resolve_learning_rate("auto", "adam", "topk", X_train.shape[1], True)
    model = SparseAutoencoderTransformer(
        case.n_components,
        sparsity="topk",
        rho=case.n_active,
        learning_rate=factor * usual,
        max_iter=case.max_iter,
        batch_size=case.batch_size,
        random_state=seed,
    ).fit(X_train)
    error = np.square(X_test - model.inverse_transform(model.transform(X_test))).sum()
    is_active = (model.transform(X_train) > 0).any(axis=0)
    return {
        "FVU": float(error / np.square(X_test - X_train.mean(axis=0)).sum()),
        "dead": float(1.0 - is_active.mean()),
        "steps": float(model.n_steps_),
    }


def row_of(case: Case, split: Split, n_seeds: int) -> dict[str, object]:
    """Return a row of the table: the means over seeds of one case at all rates."""
    row: dict[str, object] = {
        "data": f"{case.data}, {split.X_train.shape[1]} features",
        "h": case.n_components,
        "k": case.n_active,
    }
    for factor in FACTORS:
        found = [measure(case, split, factor, seed) for seed in range(n_seeds)]
        fvu, dead, steps = (fmean(each[name] for each in found) for name in found[0])
        row[f"x {factor:g}"] = f"{fvu:.4f}" + (f" ({dead:.1%} dead)" if dead else "")
        if factor == 1.0:
            row["steps"] = round(steps)
    return row


def main() -> None:
    parser = option_parser(__doc__, repeats=1)
    parser.add_argument("--sets", nargs="+", help="data sets; default all that there is data for")
    options = parser.parse_args()
    set_threads(options.threads)
    quiet()
    available = data_sets(options.data)
    rows = []
    for case in CASES:
        if case.data in available and case.data in (options.sets or available):
            split = next(iter(available[case.data].splits(0)))
            rows.append(row_of(case, split, options.repeats))
            print(rows[-1], file=sys.stderr, flush=True)
    report("FVU by the learning rate, in times the default", rows, [], options.json)


if __name__ == "__main__":
    main()
