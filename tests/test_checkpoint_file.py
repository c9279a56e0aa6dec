"""The file of a checkpoint is whole or told to be damaged, whatever happens to it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded_cases import PLAIN, sae
from same_fits import assert_same

from sksae import Checkpoint
from sksae.base import checkpoint as module
from sksae.process import files
from sksae.process.files import draft_of
from sksae.training.checkpoint_file import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


def test_what_a_killed_process_left_is_removed(path):
    old, new, other = draft_of(path), draft_of(path), draft_of(path.with_name("another"))
    for draft in (old, new, other):
        draft.write_bytes(b"half of it")
    for draft in (old, other):
        os.utime(draft, (0, 0))
    sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    assert sorted(path.parent.iterdir()) == sorted([path, new, other])


def test_a_folder_that_is_removed_during_training_is_told(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(module, "remove_old_drafts", lambda path: folder.rmdir())
    with pytest.raises(FileNotFoundError, match=r"could not be written \(No such file .*\)\.$"):
        sae().set_callbacks(Checkpoint(folder / "a")).fit(PLAIN)


def test_a_folder_that_is_not_there_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("sksae.engine.training.train", None)
    with pytest.raises(FileNotFoundError, match="path must lie in a folder that exists"):
        sae().set_callbacks(Checkpoint(tmp_path / "none" / "a")).fit(PLAIN)
    with pytest.raises(IsADirectoryError, match="path must name a file"):
        sae().set_callbacks(Checkpoint(tmp_path)).fit(PLAIN)


def test_a_read_only_folder_is_told_before_training(path, monkeypatch):
    monkeypatch.setattr("sksae.engine.training.train", None)
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="path must lie in a folder that can be written to"):
        sae().set_callbacks(Checkpoint(path)).fit(PLAIN)


def test_a_full_disk_leaves_the_last_checkpoint(path, monkeypatch):
    n_left = 3

    def fsync(descriptor):
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    model = sae().set_callbacks(Checkpoint(path, every=2))
    with pytest.raises(OSError, match=r"could not be written \(No space left on device\)"):
        model.fit(PLAIN)
    assert not hasattr(model, "coefs_")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    monkeypatch.undo()
    assert read_checkpoint(path).state["0.standing.n_epochs"] == 2
    assert_same(sae().fit(PLAIN), sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN))


FULL_DISK = """
import resource, signal, sys
import numpy as np
from sksae import Checkpoint, SparseAutoencoderTransformer

X = np.random.default_rng(0).normal(size=(200, 50))
sae = SparseAutoencoderTransformer(20, max_iter=4, random_state=0)
sae.set_callbacks(Checkpoint(sys.argv[1], every=1)).fit(X)
whole = open(sys.argv[1], "rb").read()
# No file may grow larger than that, as on a disk without room.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, len(whole) // 2))
try:
    sae.fit(X + 1.0)
except OSError as error:
    assert "could not be written (File too large)" in str(error), error
    assert open(sys.argv[1], "rb").read() == whole
    print("kept")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
def test_a_real_limit_of_the_disk_leaves_the_last_checkpoint(path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=False
    )
    assert run.stdout == "kept\n", run.stderr
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def damaged(whole, kind, rng):
    """Return a file that is damaged somewhere."""
    data = bytearray(whole)
    if kind == "truncated":
        return bytes(data[: rng.integers(len(data))])
    if kind == "a bit flipped":
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    elif kind == "overwritten":
        at, length = rng.integers(len(data)), rng.integers(1, 64)
        data[at : at + length] = rng.bytes(length)
    else:
        return rng.bytes(rng.integers(400))
    return bytes(data)


@pytest.mark.parametrize("kind", ["truncated", "a bit flipped", "overwritten", "noise"])
def test_a_damaged_file_is_told_or_is_the_same(kind, path):
    fit = sae(n_components=3).set_callbacks(Checkpoint(path, every=3))
    fit.fit(PLAIN)
    intact, whole = read_checkpoint(path), path.read_bytes()
    rng = np.random.default_rng(0)
    n_told = 0
    for _ in range(50):
        path.write_bytes(damaged(whole, kind, rng))
        message, contents = "", intact
        try:
            contents = read_checkpoint(path)
        except ValueError as error:
            message = str(error)
        n_told += "is damaged, or no checkpoint" in message
        # Else it is of bytes that nobody reads: of a date, say.
        assert bool(message) == ("is damaged, or no checkpoint" in message)
        assert contents.fit == intact.fit
        assert contents.random_state == intact.random_state
        assert contents.state.keys() == intact.state.keys()
        for name, array in intact.state.items():
            np.testing.assert_array_equal(contents.state[name], array)
    assert n_told >= 40


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_it_goes_on(tmp_path):
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("kill_and_resume.py"), tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("killed 5"), run.stdout


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04."])
def test_what_is_no_checkpoint_is_told(content, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged, or no checkpoint: take another copy"):
        sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    assert path.read_bytes() == content


def test_a_file_with_objects_runs_no_code(path):
    class Hostile:
        def __reduce__(self):
            return os.remove, (str(path),)

    with path.open("wb") as file:
        np.savez(file, checkpoint=np.array([Hostile()], dtype=object))
    with pytest.raises(ValueError, match="is damaged, or no checkpoint"):
        sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    assert path.exists()


def test_another_format_names_the_version_that_reads_it(path, monkeypatch):
    monkeypatch.setattr("sksae.training.checkpoint_file.FORMAT", 0)
    monkeypatch.setattr("sksae.training.checkpoint_file.__version__", "0.0.9")
    sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"written by sksae 0\.0\.9, .*\(format 0, here 1\)"):
        sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)


def test_a_checkpoint_costs_no_torch(path):
    sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    code = (
        "import sys; from pathlib import Path; "
        "from sksae.training.checkpoint_file import read_checkpoint; "
        f"read_checkpoint(Path({str(path)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
