"""transform of 100000 x 784 float32 rows, and of one row, against the bare product and sigmoid."""

import statistics
import time

import torch
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
MANY_TARGET, ONE_TARGET = 1.3, 0.4
BARE = "bare product and sigmoid"


def fitted(X, scale_data: bool):
    """Return a model that is quickly trained: its weights' values do not matter here."""
    from sksae import SparseAutoencoderTransformer

    return SparseAutoencoderTransformer(
        N_COMPONENTS, scale_data=scale_data, max_iter=1, device="cpu", random_state=0
    ).fit(X[:2000])


def bare(model, X):
    """Return a function that does no more than a sigmoid layer must: the floor."""
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


def main() -> None:
    options = option_parser(__doc__, repeats=9).parse_args()
    set_threads(options.threads)
    quiet()
    X = mnist_or_synthetic(options.data, N_SAMPLES)
    models = {f"transform, scale_data={flag}": fitted(X, flag) for flag in (True, False)}
    one = X[:1].copy()
    any_model = next(iter(models.values()))

    def calls(rows):
        return {
            **{name: lambda model=model: model.transform(rows) for name, model in models.items()},
            BARE: bare(any_model, rows),
        }

    many, _ = interleave(
        {name: without_result(run) for name, run in calls(X).items()}, options.repeats
    )
    _, single = interleave(
        {name: lambda _, run=run: median_call(run) for name, run in calls(one).items()},
        options.repeats,
    )
    rows = []
    for name in many:
        ratio = median_ratio(many[name], many[BARE])
        verdict = {} if name == BARE else at_most(ratio, MANY_TARGET)
        ms = 1e3 * statistics.median(many[name])
        rows.append(
            {"alternative": name, "rows": N_SAMPLES, "ms": ms, "times bare": ratio, **verdict}
        )
    for name in single:
        ms = statistics.median(single[name])
        verdict = {} if name == BARE else at_most(ms, ONE_TARGET)
        if verdict:
            verdict["target"] += " ms"
        ratio = median_ratio(single[name], single[BARE])
        rows.append({"alternative": name, "rows": 1, "ms": ms, "times bare": ratio, **verdict})
    notes = [f"float32, {X.shape[1]} features to {N_COMPONENTS} sigmoid units."]
    report("transform against the bare product and sigmoid", rows, notes, options.json)


if __name__ == "__main__":
    main()
