"""How long it takes to look at what was learnt: the table of units, the report, top rows.

10000 rows: MNIST with 200 units, and embeddings of sentences with 3072 (made-up rows where there is
no file). Training is not counted. Memory is what the process takes at most beyond what it had.

    python inspection.py --threads 2
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _harness import (
    SENTENCES,
    at_most,
    find_data,
    mnist_or_synthetic,
    option_parser,
    quiet,
    report,
    sample,
    set_threads,
    synthetic,
)

N_ROWS = 10_000
SECONDS, MEGABYTES = 20.0, 10.0  # of the report on 200 units


def resident() -> int:
    """Return the memory that the process has, in bytes; Linux only, else 0."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    except OSError:
        return 0
    return int(pages) * 4096


def models(options):
    """Yield fitted models with their rows and how a report shows these."""
    from sksae import SparseAutoencoderTransformer

    X = mnist_or_synthetic(options.data, N_ROWS)
    sae = SparseAutoencoderTransformer(200, max_iter=10, random_state=0).fit(X)
    yield "MNIST, 200 units", sae, X, {"image_shape": (28, 28)}
    path = find_data(None, SENTENCES)
    X = synthetic(N_ROWS, 384) if path is None else np.load(path)["X"][:N_ROWS].astype(np.float32)
    wide = SparseAutoencoderTransformer(3072, sparsity="topk", rho=32, max_iter=3, random_state=0)
    yield "embeddings, 3072 units", wide.fit(X), X, {}


def measured(run, repeats: int) -> tuple[float, float]:
    """Return the median of the seconds that something takes, and the most memory, in MB."""
    taken, before = [], resident()

    def all_runs() -> None:
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)

    most = max([before, *sample(resident, all_runs, 0.02)])
    return statistics.median(taken), (most - before) / 1e6


def main() -> None:
    from sksae.inspection import feature_table, top_samples
    from sksae.inspection import report as write_report

    options = option_parser(__doc__, repeats=3).parse_args()
    set_threads(options.threads)
    quiet()
    y = np.arange(N_ROWS) % 10
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for name, model, X, how in models(options):
            tasks = {
                "top_samples": lambda model=model, X=X: top_samples(model, X, 0),
                "feature_table": lambda model=model, X=X: feature_table(model, X, y),
                "report": lambda model=model, X=X, how=how: write_report(
                    model, X, y, path=path, **how
                ),
            }
            for task, run in tasks.items():
                seconds, memory = measured(run, options.repeats)
                row = {"model": name, "task": task, "s": seconds, "MB of memory": memory}
                if task == "report":
                    row["MB of file"] = path.stat().st_size / 1e6
                    if "200 units" in name:
                        row |= at_most(seconds, SECONDS)
                rows.append(row)
    notes = [f"{N_ROWS} rows, ten classes; the file of 200 units: at most {MEGABYTES:g} MB."]
    report("looking at what was learnt", rows, notes, options.json)


if __name__ == "__main__":
    main()
