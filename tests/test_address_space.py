"""Where a process may take no more memory: a MemoryError that says what to do, and no crash."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shortened import TASKS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS limits memory on Linux")

HERE = Path(__file__).parent


def ends_of(names, limits, n_threads):
    """Return how tasks end in a process of their own, by name and limit in MB."""
    done = subprocess.run(
        [sys.executable, HERE / "shortened.py", ",".join(names), ",".join(map(str, limits))],
        env=os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": str(n_threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{done.returncode} after {done.stdout[-300:]}{done.stderr[-3000:]}"
    )
    lines = [line.split("|", 2) for line in done.stdout.splitlines()]
    for name, limit, end in lines:
        # Of a member it begins with the member's name.
        is_known = end == "worked" or re.match(r"MemoryError: .*Out of memory", end)
        assert is_known, f"{name} with {limit} MB: {end} {done.stderr[-3000:]}"
    return {(name, int(limit)): end for name, limit, end in lines}


def test_a_limit_is_an_error_that_says_what_to_do():
    names = ["fit", "transform", "transform by omp"]
    ends = ends_of(names, [30], n_threads=1)
    assert "n_components" in ends["fit", 30]
    assert "153 MiB were asked for at once. Give fewer rows" in ends["transform", 30]
    # What needs a few rows at a time has room.
    assert ends["transform by omp", 30] == "worked"


@pytest.mark.slow
@pytest.mark.skipif("SKSAE_FUZZ" not in os.environ, reason="takes minutes: by choice, SKSAE_FUZZ=1")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_so_it_is_for_all_that_estimators_do(n_threads):
    ends = ends_of([], [3, 20, 50, 100, 300, 1_000], n_threads)
    assert {name for name, _ in ends} == set(TASKS)
    assert sum(end == "worked" for end in ends.values()) > len(TASKS)
    assert sum(end != "worked" for end in ends.values()) > len(TASKS)
