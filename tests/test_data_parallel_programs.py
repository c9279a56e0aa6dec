"""Fits in several processes by torchrun, as users start them; and what a killed one leaves."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import data_parallel_faults
import numpy as np
import pytest
from data_parallel import run, start

import sksae

ROOT = Path(sksae.__file__).parents[1]
# As long as torch.distributed would wait, and as long as an end takes that is noticed.
TIMEOUT, SOON = 20.0, 15.0

PAGE = ROOT / "docs" / "guide" / "distributed.md"


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.skipif(not PAGE.exists(), reason="needs docs/, which is not installed")
def test_the_program_of_the_guide_under_torchrun(size, tmp_path):
    program = tmp_path / "program.py"
    block = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    saved = f"np.save(f'{tmp_path}/{{rank}}', np.append(sae.coefs_[0], sae.loss_))"
    told = block[1].replace("sae.fit(X)", f"sae.set_params(verbose=1).fit(X)\n{saved}")
    program.write_text(told)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = ["--standalone", f"--nproc-per-node={size}"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, str(program)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ended by") == 1  # the first tells for all
    assert (tmp_path / "model.joblib").exists()
    first, *others = (np.load(tmp_path / f"{rank}.npy") for rank in range(size))
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_when_one_is_killed_the_others_end(seed, tmp_path, monkeypatch):
    draws, size = random.Random(seed), 2 + seed % 2
    killed, others = seed % size, [rank for rank in range(size) if rank != seed % size]
    monkeypatch.setenv(data_parallel_faults.FOLDER, str(tmp_path))
    (tmp_path / "meet").mkdir()
    workers = start(["data_parallel_faults/endless"], size, tmp_path / "meet")
    try:
        while not all((tmp_path / f"begun {rank}").exists() for rank in range(size)):
            assert all(worker.poll() is None for worker in workers)
            time.sleep(0.01)
        time.sleep(draws.uniform(0.0, 3.0))
        workers[killed].kill()
        begin = time.monotonic()
        for rank in others:
            workers[rank].communicate(timeout=TIMEOUT + SOON)
            assert workers[rank].returncode == 0
            text = (tmp_path / f"ended {rank}").read_text()
            assert text.startswith("ProcessesError")
            assert f"Rank {killed} " in text
        assert time.monotonic() - begin < TIMEOUT + SOON
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.mark.slow
def test_one_that_does_not_call_fit_is_named(tmp_path):
    found = run(["data_parallel_faults/absent"], 3, tmp_path)
    for rank in (0, 2):
        (kind, text, seconds, _), _ = found[rank]["data_parallel_faults/absent"]
        assert kind == "ProcessesError"
        assert text.startswith("Rank 1 did not begin the same fit within 20 s")
        assert TIMEOUT - 1.0 < seconds < TIMEOUT + SOON
    # They meet again at the next fit.
    later = [found[rank]["data_parallel_faults/absent"][1] for rank in range(3)]
    assert [kind for kind, *_ in later] == [""] * 3
    assert len({digest for *_, digest in later}) == 1
