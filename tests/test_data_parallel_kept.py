"""A Checkpoint of a fit in several processes: the first one writes, all go on."""

import shutil

import data_parallel_kept
import pytest
from data_parallel import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What two processes found, and where they have left a file."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(data_parallel_kept.FOLDER, str(folder))
        cases = [each for each in data_parallel_kept.CASES if "resumed" in each]
        cases = [f"data_parallel_kept/{each}" for each in [*cases, "begun"]]
        return run(cases, 2, tmp_path_factory.mktemp("two")), folder


@pytest.mark.parametrize("kind", [*data_parallel_kept.KINDS, "classifier"])
def test_a_fit_goes_on_to_the_same_bits(kept, kind):
    found = [each[f"data_parallel_kept/resumed {kind}"] for each in kept[0]]
    assert len({digest for each in found for digest in each[:2]}) == 1


@pytest.mark.parametrize("size", [1, 3])
def test_another_number_of_processes_goes_on_soundly(size, kept, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    shutil.copytree(kept[1], folder)
    monkeypatch.setenv(data_parallel_kept.FOLDER, str(folder))
    tmp_path = tmp_path / "meet"
    tmp_path.mkdir()
    cases = ["data_parallel_kept/other rows", "data_parallel_kept/ended"]
    found = run(cases, size, tmp_path)
    assert all("checksum of X" in each[cases[0]] for each in found)
    assert len({each[cases[1]][0] for each in found}) == 1
    _, curve, loss = found[0][cases[1]]
    assert len(curve) == data_parallel_kept.EPOCHS
    assert curve[-1] < curve[3]
    assert loss == pytest.approx(curve[-1], rel=0.02)
