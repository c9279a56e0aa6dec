"""Rows in files take little memory: a fit, codes in files, and a score, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

N_FILES, N_ROWS, N_COLUMNS = 8, 12_800, 1000  # 51 MB each, 410 MB together
LIMIT = 150e6
N_ROWS_OF_PARQUET = 25_600  # 102 MB, one row group

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
if sys.argv[3].endswith("parquet"):
    import pyarrow.parquet
before = peak()
X = ShardedRows.open(folder / sys.argv[3], buffer_bytes=2**25)
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
    assert bytes_of(folder, what, "*.npy") < LIMIT


def bytes_of(folder, what, files):
    """Return what some work on rows in files takes at most, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), what, files]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads VmHWM, as Linux has it")
def test_a_row_group_is_in_memory_once(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = np.random.default_rng(0).random((N_ROWS_OF_PARQUET, N_COLUMNS), dtype=np.float32)
    table = pa.table({f"f{j}": rows[:, j] for j in range(N_COLUMNS)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=N_ROWS_OF_PARQUET)
    # Read by pyarrow as a whole it takes about six times as much.
    assert bytes_of(tmp_path, "fit", "*.parquet") < 1.3 * rows.nbytes + LIMIT
