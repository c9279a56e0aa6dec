"""A Checkpoint of a fit in several processes: the first one writes, all go on."""

import data_parallel_kept
import pytest
from data_parallel import run


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(data_parallel_kept.FOLDER, str(folder))
        cases = [f"data_parallel_kept/resumed {kind}" for kind in ("kl", "l1 auto", "classifier")]
        cases.append("data_parallel_kept/begun")
        return run(cases, 2, tmp_path_factory.mktemp("two")), folder


@pytest.mark.parametrize("kind", ["kl", "l1 auto", "classifier"])
def test_a_fit_goes_on_to_the_same_bits(found, kind):
    results, _ = found
    for whole, resumed, _ in (each[f"data_parallel_kept/resumed {kind}"] for each in results):
        assert whole == resumed
        assert whole == results[0][f"data_parallel_kept/resumed {kind}"][0]


@pytest.mark.slow
def test_every_kind_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setenv(data_parallel_kept.FOLDER, str(tmp_path))
    cases = [f"data_parallel_kept/{name}" for name in data_parallel_kept.CASES if "resumed" in name]
    (tmp_path / "meet").mkdir()
    for results in run(cases, 2, tmp_path / "meet"):
        for case in cases:
            whole, resumed, _ = results[case]
            assert whole == resumed, case


@pytest.mark.slow
def test_another_number_of_processes_goes_on_soundly(found, tmp_path, monkeypatch):
    _, folder = found
    monkeypatch.setenv(data_parallel_kept.FOLDER, str(folder))
    cases = ["data_parallel_kept/other rows", "data_parallel_kept/ended"]
    results = run(cases, 3, tmp_path)
    assert "checksum of X" in results[0][cases[0]]
    assert all("checksum of X" in each[cases[0]] for each in results)
    digests = {each[cases[1]][0] for each in results}
    assert len(digests) == 1
    _, curve, loss = results[0][cases[1]]
    assert len(curve) == data_parallel_kept.EPOCHS
    assert curve[-1] < curve[3]
    assert loss == pytest.approx(curve[-1], rel=0.02)
