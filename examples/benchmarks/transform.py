"""transform of 100000 x 784 float32 rows, and of one row, against the bare product and sigmoid.

Bare is torch's product, all rows at once, and its sigmoid in place. One row, as a server has it, is
also held against PCA.transform of one row to as many components.
"""

import statistics
import time

from _harness import (
    at_most,
    interleave,
    median_ratio,
    mnist_or_synthetic,
    option_parser,
    quiet,
    report,
    set_threads,
)

N_SAMPLES, N_COMPONENTS = 100_000, 196
N_CALLS = 300  # of one row, a repeat
N_FITTED = 2000  # rows that the models are fitted to: their weights' values do not matter here
TARGET = 0.65  # of the bare product and sigmoid, for many rows
BARE, BY_PCA = "bare product and sigmoid", "PCA.transform"


def fitted(X, scale_data: bool):
    from sksae import SparseAutoencoderTransformer

    return SparseAutoencoderTransformer(
        N_COMPONENTS, scale_data=scale_data, max_iter=1, device="cpu", random_state=0
    ).fit(X[:N_FITTED])


def fitted_pca(X):
    from sklearn.decomposition import PCA

    return PCA(N_COMPONENTS, random_state=0).fit(X[:N_FITTED])


def bare(model, X):
    """Return a function that does no more than a sigmoid layer must."""
    import torch

    rows = torch.from_numpy(X)
    W = torch.tensor(model.coefs_[0], dtype=torch.float32)
    b = torch.tensor(model.intercepts_[0], dtype=torch.float32)
    return lambda: torch.sigmoid_(torch.addmm(b, rows, W))


def median_call(run) -> float:
    """Return the median milliseconds of one call over many, after a first one."""
    run()
    times = []
    for _ in range(N_CALLS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def without_result(run):
    """Return a run that drops its output: keeping them all would grow the process each round."""

    def call(_) -> None:
        run()

    return call


def rows_of(times, n_rows: int, to_ms: float, reference: str, target: float, ours) -> list[dict]:
    """Return the rows of the report for all alternatives; ours are held against the reference."""
    rows = []
    for name, taken in times.items():
        ratio = median_ratio(taken, times[reference])
        row = {
            "alternative": name,
            "rows": n_rows,
            "ms": to_ms * statistics.median(taken),
            "times bare": median_ratio(taken, times[BARE]),
            "times PCA": median_ratio(taken, times[BY_PCA]),
        }
        if name in ours:
            verdict = at_most(ratio, target)
            row |= verdict | {"target": f"{verdict['target']} x {reference.split()[0]}"}
        rows.append(row)
    return rows


def main() -> None:
    options = option_parser(__doc__, repeats=9).parse_args()
    set_threads(options.threads)
    quiet()
    X = mnist_or_synthetic(options.data, N_SAMPLES)
    models = {f"transform, scale_data={flag}": fitted(X, flag) for flag in (True, False)}
    any_model = next(iter(models.values()))
    pca = fitted_pca(X)

    def calls(rows):
        return {
            **{name: lambda model=model: model.transform(rows) for name, model in models.items()},
            BARE: bare(any_model, rows),
            BY_PCA: lambda: pca.transform(rows),
        }

    many, _ = interleave(
        {name: without_result(run) for name, run in calls(X).items()}, options.repeats
    )
    _, single = interleave(
        {name: lambda _, run=run: median_call(run) for name, run in calls(X[:1].copy()).items()},
        options.repeats,
    )
    rows = [
        *rows_of(many, N_SAMPLES, 1e3, BARE, TARGET, models),
        *rows_of(single, 1, 1.0, BY_PCA, 1.0, models),
    ]
    notes = [f"float32, {X.shape[1]} features to {N_COMPONENTS} sigmoid units."]
    report("transform against the bare product and sigmoid", rows, notes, options.json)


if __name__ == "__main__":
    main()
