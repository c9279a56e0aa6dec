"""One process with one thread, two with one each, and one with two: what a fit by several gains.

Each process has its own half of the rows, and `batch_size` is that of both together, so that all
take the same steps. Processes wait for a sign and take turns with those of the other kinds. On a
busy machine two that wait for each other lose more than one alone. Therefore the processor's time
is compared too, of the process that takes most: what there is to gain where nobody else works. What
an all-reduce of a gradient takes over gloo is measured by itself.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import numpy as np
from _harness import (
    REST,
    SENTENCES,
    as_text,
    at_least,
    find_data,
    mnist_or_synthetic,
    option_parser,
    patches_or_synthetic,
    quiet,
    report,
    restore_wait_policy,
    say,
    synthetic,
)

from sksae import SparseAutoencoderTransformer

TARGET = 1.7
KINDS = {
    "1 process, 1 thread": (1, 1),
    "2 processes, 1 thread": (2, 1),
    "1 process, 2 threads": (1, 2),
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FITS = {
    "784-1024 kl": {"n_components": 1024, "batch_size": 256, "max_iter": 6},
    "784-1024 kl, batch 1024": {"n_components": 1024, "batch_size": 1024, "max_iter": 6},
    "784-1024 kl, batch 4096": {"n_components": 1024, "batch_size": 4096, "max_iter": 6},
    "784-1024 topk": {
        "n_components": 1024,
        "batch_size": 1024,
        "max_iter": 2,
        "sparsity": "topk",
        "rho": 32,
    },
    "384-3072 topk": {
        "n_components": 3072,
        "batch_size": 1024,
        "max_iter": 2,
        "sparsity": "topk",
        "rho": 32,
    },
    "64-25 kl": {"n_components": 25, "batch_size": 256, "max_iter": 20},
    "64-25 lbfgs": {"n_components": 25, "solver": "lbfgs", "max_iter": 60},
}
# Entries of an all-reduce: all weights and biases of a dictionary.
REDUCED = {"784-1024": (784, 1024), "384-3072": (384, 3072), "384-16384": (384, 16384)}


def rows_of(fit: str, data: Path | None) -> np.ndarray:
    """Return the rows of a fit."""
    n_features = int(fit.partition("-")[0])
    if n_features == 784:
        return mnist_or_synthetic(data, 10_000)
    if n_features == 64:
        return patches_or_synthetic(data, 10_000)
    path = find_data(data, SENTENCES)
    if path is None:
        return synthetic(10_000, n_features)
    with np.load(path) as file:
        return file["X"][:10_000].astype(np.float32)


def work(rank: int, size: int, folder: Path) -> None:
    """Be one of the processes: fit what each line of the input names, and print what came of it."""
    import torch.distributed as dist

    quiet()
    store = dist.FileStore(str(folder / f"store {size} {os.environ[THREADS[0]]}"), size)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(minutes=5)
    )
    print("ready", flush=True)
    for line in sys.stdin:
        name, seed = json.loads(line)
        if name in REDUCED:
            seconds, processor, loss = reduced(*REDUCED[name]), 0.0, None
        else:
            X = np.load(folder / f"{name}.npy")[rank::size]
            model = SparseAutoencoderTransformer(
                tol=0.0, random_state=seed, data_parallel=True, **FITS[name]
            )
            dist.barrier()
            begin, begin_of_processor = time.perf_counter(), time.process_time()
            model.fit(X)
            seconds, loss = time.perf_counter() - begin, model.loss_
            processor = time.process_time() - begin_of_processor
        print(json.dumps([seconds, processor, loss]), flush=True)


def reduced(n_features: int, n_components: int) -> float:
    """Return how long the sum of one gradient over all processes takes."""
    import torch
    import torch.distributed as dist

    gradient = torch.ones(2 * n_features * n_components + n_features + 2 * n_components)
    seconds = []
    for _ in range(12):
        dist.barrier()
        begin = time.perf_counter()
        dist.all_reduce(gradient)
        seconds.append(time.perf_counter() - begin)
        gradient.fill_(1.0)
    return statistics.median(seconds)


def answer(child: subprocess.Popen) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"A process ended before its time: {child.args}")
    return line


def ask(children: list[subprocess.Popen], name: str, seed: int) -> tuple[float, float, float]:
    """Let processes do something together; return most seconds, most of the processor's, and J."""
    time.sleep(REST)
    for child in children:
        assert child.stdin is not None
        child.stdin.write(json.dumps([name, seed]) + "\n")
        child.stdin.flush()
    found = [json.loads(answer(child)) for child in children]
    seconds, processor, losses = zip(*found, strict=True)
    return max(seconds), max(processor), losses[0]


def start(stack: ExitStack, size: int, n_threads: int, folder: Path) -> list[subprocess.Popen]:
    """Start processes that wait for a sign, and end them afterwards."""
    environment = os.environ | dict.fromkeys(THREADS, str(n_threads))
    children = []
    for rank in range(size):
        child = subprocess.Popen(
            [sys.executable, __file__, "--rank", str(rank), "--size", str(size), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        stack.callback(child.wait)
        stack.callback(child.kill)
        children.append(child)
    for child in children:
        answer(child)
    return children


def main() -> None:
    parser = option_parser(__doc__, repeats=5)
    parser.add_argument("--fits", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--rank", type=int, help="of a process that this script starts")
    parser.add_argument("--size", type=int, help="likewise")
    parser.add_argument("folder", nargs="?", type=Path, help="likewise")
    options = parser.parse_args()
    if options.rank is not None:
        work(options.rank, options.size, options.folder)
        return
    restore_wait_policy()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        kinds = {kind: start(stack, *each, folder) for kind, each in KINDS.items()}
        for fit in options.fits:
            np.save(folder / f"{fit}.npy", rows_of(fit, options.data))
            taken: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in kinds}
            for round_ in range(options.repeats + 1):
                for kind, children in kinds.items():
                    taken[kind].append(ask(children, fit, round_))
            # A first fit is slower.
            medians = {
                kind: [statistics.median(each) for each in zip(*found[1:], strict=True)]
                for kind, found in taken.items()
            }
            alone, two, threads = (medians[kind] for kind in KINDS)
            gain = alone[0] / two[0]
            row = {
                "fit": fit,
                **{f"{kind}, s": found[0] for kind, found in medians.items()},
                "gain of 2 processes": gain,
                "by processor time": alone[1] / two[1],
                "gain of 2 threads": alone[0] / threads[0],
                "J of 2 over J of 1": two[2] / alone[2],
                **(at_least(gain, TARGET) if fit.startswith("784-1024") else {}),
            }
            say(", ".join(as_text(value) for value in row.values()))
            rows.append(row)
        notes = ["10000 rows; 2 to 20 epochs or 60 iterations; medians of rounds in turn."]
        two = list(KINDS)[1]
        for name, sizes in REDUCED.items():
            entries = 2 * sizes[0] * sizes[1] + sizes[0] + 2 * sizes[1]
            seconds_of = statistics.median(ask(kinds[two], name, 0)[0] for _ in range(3))
            size = f"{4 * entries / 1e6:.1f} MB a step"
            notes.append(f"all-reduce at {name}: {size}, {1e3 * seconds_of:.1f} ms")
    report("Fits in several processes", rows, notes, options.json)


if __name__ == "__main__":
    main()
