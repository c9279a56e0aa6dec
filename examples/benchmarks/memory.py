"""How much anonymous memory fit takes on a memory-mapped X of 2 GB (Linux only).

Each fit has a fresh process. RssAnon counts what the process allocated and not the pages of the
mapped file, which the kernel may drop at any time. The baseline is taken once torch and the
package are imported.
"""

import multiprocessing
import shutil
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _harness import at_most, mnist_or_synthetic, option_parser, quiet, report, sample, set_threads

STATUS = Path("/proc/self/status")
INTERVAL = 0.003  # seconds between two samples
N_COMPONENTS = 196
PASSES = {"adam": 1, "lbfgs": 3}
TARGET = 300  # MB


def anonymous_bytes() -> int:
    """Return the anonymous resident memory of this process."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"{STATUS} has no line RssAnon")


def measure_fit(solver: str, path: Path, threads: int | None) -> dict[str, float]:
    """Fit on the mapped file; return the rise in MB. Runs in a process of its own."""
    import torch  # noqa: F401  the claim counts from here

    from sksae import SparseAutoencoderTransformer

    set_threads(threads)
    quiet()
    X = np.load(path, mmap_mode="r")
    model = SparseAutoencoderTransformer(
        N_COMPONENTS, solver=solver, max_iter=PASSES[solver], device="cpu", random_state=0
    )
    baseline = anonymous_bytes()
    samples = sample(anonymous_bytes, lambda: model.fit(X), INTERVAL)
    rise = max(samples) - baseline
    return {"baseline": baseline / 1e6, "rise": rise / 1e6, "samples": len(samples)}


def in_fresh_process(function, *args):
    """Return function(*args), called in a new interpreter that has nothing of this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(function, *args).result()


def write_rows(path: Path, rows, n_bytes: float) -> tuple[int, int]:
    """Write `rows`, over and over, to a .npy file of about `n_bytes`; return its shape."""
    shape = int(n_bytes) // rows[0].nbytes, rows.shape[1]
    X = np.lib.format.open_memmap(path, mode="w+", dtype=rows.dtype, shape=shape)
    for start in range(0, len(X), len(rows)):
        block = X[start : start + len(rows)]
        block[:] = rows[: len(block)]
    X.flush()
    return shape


def main() -> None:
    parser = option_parser(__doc__, repeats=3)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of X, default 2")
    parser.add_argument("--temporary", type=Path, help="folder for the file, default the system's")
    options = parser.parse_args()
    if not STATUS.exists():
        sys.exit(f"This benchmark reads RssAnon from {STATUS}, which only Linux has.")
    n_bytes = 1e9 * options.gigabytes
    with tempfile.TemporaryDirectory(dir=options.temporary) as folder:
        if shutil.disk_usage(folder).free < 1.05 * n_bytes:
            sys.exit(f"{folder} has no room for {options.gigabytes:g} GB: try --temporary.")
        path = Path(folder) / "X.npy"
        shape = write_rows(path, mnist_or_synthetic(options.data, 10_000), n_bytes)
        found = {solver: [] for solver in PASSES}
        for _ in range(options.repeats):
            for solver, results in found.items():
                results.append(in_fresh_process(measure_fit, solver, path, options.threads))
    rows = []
    for solver, results in found.items():
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        rows.append(
            {
                "solver": solver,
                "passes": PASSES[solver],
                "before fit, MB": middle["baseline"],
                "rise, MB": middle["rise"],
                "samples": int(middle["samples"]),
                **at_most(middle["rise"], TARGET),
            }
        )
    notes = [f"X: {shape[0]} x {shape[1]} float32, {options.gigabytes:g} GB on disk, read-only."]
    report("Anonymous memory of fit on a mapped file", rows, notes, options.json)


if __name__ == "__main__":
    main()
