"""What one machine learns in an hour, and on paper what more machines would add.

A step is timed within fits: a callback looks at the clock after each epoch, and the median of the
epochs counts. From it come the rows that are read in an hour (an epoch of a million rows reads a
million). And on paper: n machines share the rows of each step, so each makes a step of an n-th of
them, which is timed too; and they add up their gradients in a ring, for which each sends
2 (n - 1) / n times the gradient in 2 (n - 1) messages. `distributed.py` measures what two processes
gain in truth.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from _harness import (
    SENTENCES,
    as_text,
    find_data,
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
MACHINES = (8, 32)
GIGABITS = (1.0, 10.0, 100.0)  # of a network, per second
LATENCY = 1e-4  # seconds a message
N_EPOCHS, ENOUGH = 9, 3.0  # at most, and when to stop before, in seconds


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
    "64-25 kl": Case(25, "kl", 0.05, 256, 409_600, 64),
    "784-196 kl": Case(196, "kl", 0.05, 256, 40_960, 784),
    "784-1024 kl": Case(1024, "kl", 0.05, 1024, 8192, 784),
    "20000-100 kl, CSR": Case(100, "kl", 0.05, 256, 4096, 20_000),
    "384-1024 topk": Case(1024, "topk", 32, 1024, 20_480, 384),
    "384-3072 topk": Case(3072, "topk", 32, 1024, 16_384, 384),
    "384-16384 topk": Case(16_384, "topk", 32, 1024, 4096, 384),
    "768-16384 topk": Case(16_384, "topk", 32, 1024, 4096, 768),
}


class Clock:
    """A callback that notes when each epoch ends, and stops when it has seen enough."""

    max_propagation_depth = 0

    def __init__(self) -> None:
        self.times: list[float] = []

    def setup(self, estimator, context) -> None:
        pass

    def on_fit_task_begin(self, *args, **kwargs) -> None:
        pass

    def on_fit_task_end(self, *args, **kwargs) -> bool:
        self.times.append(time.perf_counter())
        return len(self.times) > 3 and self.times[-1] - self.times[0] > ENOUGH

    def teardown(self, estimator, context) -> None:
        pass


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


def seconds_of_step(case: Case, X, batch: int) -> float:
    """Return what a step of so many rows takes: the median of epochs."""
    from sksae import SparseAutoencoderTransformer

    clock = Clock()
    SparseAutoencoderTransformer(
        case.n_components,
        sparsity=case.sparsity,
        rho=case.rho,
        batch_size=batch,
        max_iter=N_EPOCHS,
        tol=0.0,
        device="cpu",
        random_state=0,
    ).set_callbacks(clock).fit(X)
    # What ends last is the fit itself.
    epochs = np.diff(clock.times[:-1])
    return float(np.median(epochs)) / (case.n_samples // batch)


def gain(n: int, steps: dict[int, float], n_bytes: float, gigabits: float) -> float:
    """Return how many times as fast n machines are as one, on paper."""
    exchanged = 2.0 * (1.0 - 1.0 / n) * n_bytes / (gigabits * 1e9 / 8.0)
    of_many = steps[ROWS_OF_ALL // n] + exchanged + 2.0 * (n - 1.0) * LATENCY
    return steps[ROWS_OF_ALL] / of_many


def measured(name: str, data: Path | None, repeats: int) -> dict[str, object]:
    """Return the row of one case."""
    case = CASES[name]
    X = rows_of(case, data)
    sizes = sorted({case.batch, ROWS_OF_ALL, *(ROWS_OF_ALL // n for n in MACHINES)})
    rounds = [{size: seconds_of_step(case, X, size) for size in sizes} for _ in range(repeats)]
    steps = {size: statistics.median(each[size] for each in rounds) for size in sizes}
    an_hour = HOUR * case.batch / steps[case.batch]
    n_bytes = 4.0 * (2 * case.n_features * case.n_components + case.n_features + case.n_components)
    return {
        "network": name,
        "batch": case.batch,
        "ms a step": 1e3 * steps[case.batch],
        "million rows an hour": an_hour / 1e6,
        "1e15 of rows x features x units": an_hour * case.n_features * case.n_components / 1e15,
        **{f"ms, {size} rows": 1e3 * steps[size] for size in sizes if size != case.batch},
        "MB a step": n_bytes / 1e6,
        **{
            f"{n} at {gigabits:g} Gbit/s": gain(n, steps, n_bytes, gigabits)
            for n in MACHINES
            for gigabits in GIGABITS
        },
    }


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
        f"Gains are on paper: of machines like this one, {ROWS_OF_ALL} rows in a step of all",
        f"and {1e3 * LATENCY:g} ms a message.",
    ]
    report("What one machine learns in an hour", rows, notes, options.json)


if __name__ == "__main__":
    main()
