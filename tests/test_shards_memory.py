"""Rows in files take little memory: a fit, codes in files, and a score, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

N_FILES, N_ROWS, N_COLUMNS = 8, 12_800, 1000  # 51 MB each, 410 MB together
LIMIT = 150e6

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from sksae import ShardedRows, SparseAutoencoderTransformer

def peak():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])

folder, what = Path(sys.argv[1]), sys.argv[2]
sae = SparseAutoencoderTransformer(16, max_iter=1, random_state=0)
sae.fit(np.random.default_rng(0).random((300, 1000), dtype=np.float32))  # libraries are loaded
before = peak()
X = ShardedRows.open(folder / "*.npy", buffer_bytes=2**25)
if what == "fit":
    sae.fit(X)
elif what == "partial_fit":
    for start in range(0, len(X), 20_000):
        sae.partial_fit(X[start : start + 20_000, ...])
elif what == "map_to":
    X.map_to(folder / "codes", sae.transform)
else:
    sae.score(X)
print(peak() - before)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    rows = np.random.default_rng(0).random((N_ROWS, N_COLUMNS), dtype=np.float32)
    for k in range(N_FILES):
        np.save(folder / f"part-{k}.npy", np.roll(rows, k, axis=1))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads VmHWM, as Linux has it")
@pytest.mark.parametrize("what", ["fit", "partial_fit", "map_to", "score"])
def test_rows_in_files_take_a_part_of_their_size(what, folder):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), what]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < LIMIT
