"""How much memory a fit on 4 GB of rows in 40 files takes, and what their order costs (Linux).

Each fit has a fresh process. VmHWM is the most that the process ever had in memory, pages of mapped
files too: what `top` shows. It is read once torch and the package are imported, and after the fit.
Files hold random mixtures of a few patterns, sorted by pattern, so that an order that is not random
enough is seen in R^2.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _harness import at_most, option_parser, quiet, report, set_threads
from memory import STATUS, in_fresh_process

N_FEATURES, N_COMPONENTS, N_FILES, N_PATTERNS = 384, 196, 40, 64
TARGET = 300  # MB
FITS = ("fit in order", "fit in windows")
READS = ("1000 minibatches in windows", "1000 minibatches in any order")
WAYS = (*FITS, "score", "map_to", *READS)


def peak_bytes() -> int:
    """Return the most memory that this process had at any time."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{STATUS} has no line VmHWM")


def write_files(folder: Path, n_bytes: float) -> None:
    """Write files of about `n_bytes` together, each with rows of a few of the patterns."""
    random = np.random.default_rng(0)
    patterns = random.standard_normal((N_PATTERNS, N_FEATURES)).astype(np.float32)
    n_rows = int(n_bytes) // (4 * N_FEATURES * N_FILES)
    for k in range(N_FILES):
        weights = np.abs(random.standard_normal((n_rows, 3))).astype(np.float32)
        own = (np.arange(3) + 2 * k) % N_PATTERNS
        rows = weights @ patterns[own]
        rows += 0.1 * random.standard_normal(rows.shape, dtype=np.float32)
        np.save(folder / f"part-{k}.npy", rows)


def measure(way: str, folder: Path, threads: int | None) -> dict[str, float]:
    """Do one thing on all rows; return the rise in MB and seconds. Runs in a process of its own."""
    import torch  # noqa: F401  the claim counts from here

    from sksae import ShardedRows, SparseAutoencoderTransformer

    set_threads(threads)
    quiet()
    model = SparseAutoencoderTransformer(
        N_COMPONENTS, max_iter=1, shuffle=way != FITS[0], device="cpu", random_state=0
    )
    if way not in FITS:
        # What is measured is its reading: a model of a few rows serves.
        model.fit(np.load(folder / "part-0.npy", mmap_mode="r")[:2000])
    baseline = peak_bytes()
    X = ShardedRows.open(folder / "*.npy")
    score, start = float("nan"), time.perf_counter()
    if way == "map_to":
        X.map_to(folder / "codes", model.transform)
        shutil.rmtree(folder / "codes")
    elif way == "score":
        model.score(X)
    elif way in READS:
        random = np.random.default_rng(0)
        order = X.visiting_order(random) if way == READS[0] else random.permutation(len(X))
        for first in range(0, 256_000, 256):
            X[order[first : first + 256]]
    else:
        model.fit(X)
    seconds, peak = time.perf_counter() - start, peak_bytes()
    if way in FITS:
        # Rows of all files, which are sorted by pattern.
        score = model.score(X[np.linspace(0, len(X) - 1, 4000).astype(int)])
    return {
        "baseline": baseline / 1e6,
        "rise": (peak - baseline) / 1e6,
        "seconds": seconds,
        "score": score,
    }


def main() -> None:
    parser = option_parser(__doc__, repeats=1)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of X, default 4")
    parser.add_argument("--temporary", type=Path, help="folder for the files, default the system's")
    options = parser.parse_args()
    if not STATUS.exists():
        sys.exit(f"This benchmark reads VmHWM from {STATUS}, which only Linux has.")
    n_bytes = 1e9 * options.gigabytes
    rows = []
    with tempfile.TemporaryDirectory(dir=options.temporary) as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 1.6 * n_bytes:
            sys.exit(f"{folder} has no room for {options.gigabytes:g} GB: try --temporary.")
        write_files(folder, n_bytes)
        for way in WAYS:
            results = [
                in_fresh_process(measure, way, folder, options.threads)
                for _ in range(options.repeats)
            ]
            middle = {key: statistics.median(each[key] for each in results) for key in results[0]}
            rows.append(
                {
                    "what": way,
                    "before, MB": middle["baseline"],
                    "rise, MB": middle["rise"],
                    "seconds": middle["seconds"],
                    "R^2": middle["score"],
                    **at_most(middle["rise"], TARGET),
                }
            )
    notes = [
        f"X: {N_FILES} files, {options.gigabytes:g} GB of float32 in all, {N_FEATURES} columns.",
        "A fit is one epoch. seconds count the whole call: checks, moments, training, evaluation.",
        "In any order each minibatch of 256 rows reads from all files, as it would from an array.",
    ]
    report("Peak memory (VmHWM) on rows in many files", rows, notes, options.json)


if __name__ == "__main__":
    main()
