"""What one machine learns in an hour, and on paper what more machines would add.

The seconds of a step are timed through fit alone: the difference of a long and a short fit, over
the difference of their steps. By steps of two sizes they are divided into what each row costs and
what each step costs besides. From these come the rows that are read in an hour (an epoch of a
million rows reads a million). And on paper: n machines have an n-th of the rows of each step, and
all of what it costs besides; they add up their gradients in a ring, for which each sends
2 (n - 1) / n times the gradient in 2 (n - 1) messages. `distributed.py` measures what two processes
gain in truth.
"""

import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from _harness import (
    SENTENCES,
    as_text,
    find_data,
    interleave,
    mnist_or_synthetic,
    option_parser,
    patches_or_synthetic,
    quiet,
    report,
    say,
    set_threads,
)

HOUR = 3600.0
ROWS_OF_ALL = 4096  # of a step of several machines
MACHINES = 8
GIGABITS = (1.0, 10.0, 100.0)  # of a network, per second
LATENCY = 1e-4  # seconds a message


@dataclass(frozen=True)
class Case:
    """A network: how it is trained, with steps of how many rows, and how many rows are read."""

    n_components: int
    sparsity: str
    rho: float
    batch: int
    n_samples: int
    n_features: int


CASES = {
    "64-25 kl": Case(25, "kl", 0.05, 256, 40_960, 64),
    "784-196 kl": Case(196, "kl", 0.05, 256, 20_480, 784),
    "784-1024 kl": Case(1024, "kl", 0.05, 1024, 8192, 784),
    "20000-100 kl, CSR": Case(100, "kl", 0.05, 256, 2048, 20_000),
    "384-1024 topk": Case(1024, "topk", 32, 1024, 20_480, 384),
    "384-3072 topk": Case(3072, "topk", 32, 1024, 16_384, 384),
    "384-16384 topk": Case(16_384, "topk", 32, 1024, 8192, 384),
    "768-16384 topk": Case(16_384, "topk", 32, 1024, 4096, 768),
}


def rows_of(case: Case, data: Path | None) -> np.ndarray | sp.csr_array:
    """Return the rows of a case: real ones where there are some."""
    if case.n_features == 784:
        return mnist_or_synthetic(data, case.n_samples)
    if case.n_features == 64:
        return patches_or_synthetic(data, case.n_samples)
    draws = np.random.default_rng(0)
    if case.n_features > 10_000:  # words: 100 a row
        return sp.random_array(
            (case.n_samples, case.n_features), density=0.005, format="csr", rng=draws, dtype="f4"
        )
    path = find_data(data, SENTENCES) if case.n_features == 384 else None
    if path is None:
        return draws.normal(size=(case.n_samples, case.n_features)).astype(np.float32)
    with np.load(path) as file:
        X = file["X"].astype(np.float32)
    return np.resize(X, (case.n_samples, X.shape[1]))


def fit(case: Case, X, batch: int, n_epochs: int, _: int) -> None:
    from sksae import SparseAutoencoderTransformer

    SparseAutoencoderTransformer(
        case.n_components,
        sparsity=case.sparsity,
        rho=case.rho,
        batch_size=batch,
        max_iter=n_epochs,
        tol=0.0,
        device="cpu",
        random_state=0,
    ).fit(X)


def seconds_of_step(case: Case, X, repeats: int) -> tuple[float, float]:
    """Return what a step costs for each row, and what it costs besides."""
    sizes = (case.batch, case.batch // 4)
    runs = {(size, n): partial(fit, case, X, size, n) for size in sizes for n in (1, 2)}
    seconds, _ = interleave({str(name): run for name, run in runs.items()}, repeats)
    large, small = (
        statistics.median(seconds[str((size, 2))]) - statistics.median(seconds[str((size, 1))])
        for size in sizes
    )
    large, small = (
        each / (case.n_samples // size) for each, size in zip((large, small), sizes, strict=True)
    )
    of_row = (large - small) / (sizes[0] - sizes[1])
    return of_row, max(0.0, large - of_row * sizes[0])


def gain(
    n: float, of_row: float, besides: float, n_bytes: float, gigabits: float, latency: float
) -> float:
    """Return how many times as fast n machines are as one, on paper."""
    exchanged = 2.0 * (1.0 - 1.0 / n) * n_bytes / (gigabits * 1e9 / 8.0)
    one = of_row * ROWS_OF_ALL + besides
    return one / (of_row * ROWS_OF_ALL / n + besides + exchanged + 2.0 * (n - 1.0) * latency)


def measured(name: str, data: Path | None, repeats: int) -> dict[str, object]:
    """Return the row of one case."""
    case = CASES[name]
    of_row, besides = seconds_of_step(case, rows_of(case, data), repeats)
    a_second = 1.0 / (of_row + besides / case.batch)
    n_bytes = 4.0 * (2 * case.n_features * case.n_components + case.n_features + case.n_components)
    row: dict[str, object] = {
        "network": name,
        "batch": case.batch,
        "us a row": 1e6 * of_row,
        "ms a step besides": 1e3 * besides,
        "million rows an hour": HOUR * a_second / 1e6,
        "1e15 of rows x features x units": (
            HOUR * a_second * case.n_features * case.n_components / 1e15
        ),
        "MB a step": n_bytes / 1e6,
    }
    for gigabits in GIGABITS:
        of_all = partial(gain, of_row=of_row, besides=besides, n_bytes=n_bytes, gigabits=gigabits)
        row[f"{MACHINES} at {gigabits:g} Gbit/s"] = of_all(MACHINES, latency=LATENCY)
        row[f"at most at {gigabits:g}"] = of_all(float("1e9"), latency=0.0)
    return row


def main() -> None:
    parser = option_parser(__doc__, repeats=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    set_threads(options.threads)
    quiet()
    rows = []
    for name in options.cases:
        rows.append(measured(name, options.data, options.repeats))
        say(", ".join(as_text(value) for value in rows[-1].values()))
    notes = [
        f"Gains are on paper: of machines like this one, {ROWS_OF_ALL} rows in the steps of all.",
        f"{MACHINES}: with {1e3 * LATENCY:g} ms a message. At most: of any number, and none.",
    ]
    report("What one machine learns in an hour", rows, notes, options.json)


if __name__ == "__main__":
    main()
