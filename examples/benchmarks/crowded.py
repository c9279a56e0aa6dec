"""One, two, three and four processes at once, each fitting: what company costs beside its share.

On c cores the share of each of n processes is n/c times the time of one that is alone, and never
less than that time. A fit that uses all cores when it is alone, and is s times as fast by it,
cannot do with less than s times its share in company: s is given beside. Processes are as a user
starts them, with the environment that this script was given; they begin at a sign, and the one that
is alone is another one in each round. sksae is loaded after torch and before it, as it can
choose how torch's threads wait in the latter case only.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from _alternatives import SKORCH, has_skorch
from _crowd import SKSAE_FIRST, TORCH_FIRST, WORKLOADS
from _harness import REST, as_text, at_most, option_parser, report, restore_wait_policy, say

from sksae.versions import usable_cores

CROWDS = (2, 3, 4)
TARGET = 1.6
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHILD = Path(__file__).with_name("_crowd.py")


@contextmanager
def process(workload: str, alternative: str, file: Path, threads: int | None) -> Iterator:
    """Start a process that waits for its sign, and end it afterwards."""
    environment = dict(os.environ)
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    child = subprocess.Popen(
        [sys.executable, str(CHILD), workload, alternative, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environment,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def answer(child) -> str:
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"A process ended before its time: {child.args}")
    return line


def fit_at_once(children: Sequence, seed: int) -> list[float]:
    """Let all begin, and return the seconds that each took."""
    time.sleep(REST)
    for child in children:
        child.stdin.write(f"{seed}\n")
    return [float(answer(child)) for child in children]


def measure(workload: str, alternative: str, file: Path, threads: int | None, repeats: int) -> dict:
    """Return the row of one alternative."""
    alone, by_one_thread = [], []
    ratios: dict[int, list[float]] = {n: [] for n in CROWDS}
    with ExitStack() as stack:
        start = [(threads, max(CROWDS)), (1, 1)]
        children = [
            stack.enter_context(process(workload, alternative, file, n_threads))
            for n_threads, n_processes in start
            for _ in range(n_processes)
        ]
        for child in children:
            answer(child)
        *crowd, single = children
        for child in children:  # a first fit is slower
            fit_at_once([child], 0)
        for round_ in range(repeats):
            turn = crowd[round_ % len(crowd) :] + crowd[: round_ % len(crowd)]
            by_one_thread += fit_at_once([single], round_)
            (seconds,) = fit_at_once(turn[:1], round_)
            alone.append(seconds)
            for n in CROWDS:
                share = max(1, n / usable_cores()) * seconds
                ratios[n] += [taken / share for taken in fit_at_once(turn[:n], round_)]
    row = {
        "fit": workload,
        "alternative": alternative,
        "alone, s": statistics.median(alone),
        "one thread, s": statistics.median(by_one_thread),
        "least": max(1.0, statistics.median(by_one_thread) / statistics.median(alone)),
        **{f"{n} at once": statistics.median(taken) for n, taken in ratios.items()},
    }
    if alternative in (TORCH_FIRST, SKSAE_FIRST):
        row |= at_most(max(row[f"{n} at once"] for n in CROWDS), TARGET)
    return row


def main() -> None:
    parser = option_parser(__doc__, repeats=5)
    parser.add_argument("--fits", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--alternatives", nargs="+", choices=WORKLOADS["64-64"].fits, help="default: all"
    )
    options = parser.parse_args()
    restore_wait_policy()
    notes = [
        "n at once: seconds of each over its share, n/cores of the seconds alone (1 at least).",
        "least: seconds of one thread alone over seconds alone, below which no company can come.",
    ]
    if not has_skorch():
        notes.append("skorch is not installed: its rows are missing.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.fits:
            work, file = WORKLOADS[name], Path(folder) / "rows.npy"
            np.save(file, work.rows(options.data, work.n_rows))
            notes.append(f"{name}: {work.n_rows} rows, {work.setting}.")
            for alternative in options.alternatives or work.fits:
                if alternative in work.fits and (alternative != SKORCH or has_skorch()):
                    row = measure(name, alternative, file, options.threads, options.repeats)
                    say(", ".join(as_text(value) for value in row.values()))  # it takes minutes
                    rows.append(row)
    report("Fits in several processes at once", rows, notes, options.json)


if __name__ == "__main__":
    main()
