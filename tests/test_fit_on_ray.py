"""Fits on workers of Ray: the same bits, the same model, and what is left when one fails."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import gettempdir
from threading import Thread

import numpy as np
import pytest
from data_parallel import digest_of, make_rows, run, sae
from ray_workers import KINDS, NAMES, Fails, data_of, frame
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

import sksae
from sksae import Checkpoint, ShardedRows, SparseAutoencoderClassifier
from sksae.distributed import fit_on_ray
from sksae.distributed.cluster import check_room
from sksae.distributed.columns import ReadAs, matrix_of
from sksae.distributed.shares import opened

ROOT = Path(sksae.__file__).parents[1]
SHORT = {"timeout": 10.0, "start_timeout": 30.0}
# An end that Ray notices takes as long as it looks again and ends its workers.
SOON = 45.0

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def workers(private_ray_of_module):
    """A Ray of this file's own, of two cores; its workers find what is tested and these tests."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.train", exc_type=ImportError)
    path = [str(ROOT), str(Path(__file__).parent)]
    private_ray_of_module.setenv("PYTHONPATH", os.pathsep.join(path))
    private_ray_of_module.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """Checksums of the same fits in two processes of torch.distributed, without Ray."""
    found = run([f"ray_workers/{kind}" for kind in KINDS], 2, tmp_path_factory.mktemp("meet"))
    return {kind: found[0][f"ray_workers/{kind}"] for kind in KINDS}


# What Ray and its Datasets keep as long as they run.
OF_RAY = {"DashboardAgent", "RuntimeEnvAgent", "_AutoscalingCoordinatorActor", "_StatsActor"}


def names_of_processes():
    """Return what processes of Ray are busy with, of those that do something for us."""
    lines = [
        (path / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*")
        if (path / "cmdline").exists()
    ]
    names = {line.removeprefix("ray::") for line in lines if line.startswith("ray::")}
    return {name for name in names if "IDLE" not in name} - OF_RAY


# With Ray.


@pytest.mark.slow
def test_one_worker_finds_the_bits_of_a_plain_fit_and_what_is_said_reaches_the_caller(
    workers, capsys, tmp_path
):
    X = frame()
    model = sae(verbose=1, shuffle=True)
    plain = sae(verbose=1, shuffle=True)
    with warnings.catch_warnings(record=True) as expected:
        warnings.simplefilter("always")
        plain.fit(X)
    lines = capsys.readouterr().out
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = fit_on_ray(model, X, num_workers=1, **SHORT)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert digest_of(found) == digest_of(plain)
    assert found.get_params() == model.get_params()
    assert list(found.feature_names_in_) == NAMES
    ours = [each for each in warned if each.category is ConvergenceWarning]
    assert [str(each.message) for each in ours] == [str(each.message) for each in expected]
    assert ours[0].filename == __file__

    def without_times(text):
        return re.sub(r"(at most )?[\d.]+ s( left)?", "", text)

    assert without_times(capsys.readouterr().out) == without_times(lines)
    # Elsewhere neither Ray nor torch.distributed is asked for.
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(found))
    program = (
        "import pickle, sys; sys.modules['ray'] = None; "
        f"model = pickle.load(open({str(tmp_path / 'model.pickle')!r}, 'rb')); "
        "print(model.transform([[1.0] * 10]).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "(1, 12)\n", done.stderr


@pytest.mark.slow
def test_two_workers_find_the_bits_of_two_processes(workers, by_hand):
    model, X, rest = data_of("regressor")
    found = fit_on_ray(model, X, **rest, num_workers=2, **SHORT)
    assert digest_of(found) == by_hand["regressor"]
    assert not found.data_parallel


@pytest.mark.slow
def test_columns_of_a_dataset_are_features_with_their_names_and_a_target(workers, by_hand):
    import ray.data

    model, X, rest = data_of("classifier")
    table = X.assign(label=rest["y"])
    dataset = ray.data.from_pandas(table).repartition(5)
    found = fit_on_ray(model, dataset, target="label", num_workers=2, **SHORT)
    assert digest_of(found) == by_hand["classifier"]
    assert list(found.feature_names_in_) == NAMES


@pytest.mark.slow
def test_a_column_of_vectors_is_a_matrix(workers, by_hand):
    import ray.data

    model, X, _ = data_of("stack")
    dataset = ray.data.from_items([{"id": k, "vector": row} for k, row in enumerate(X)])
    found = fit_on_ray(model, dataset, columns="vector", num_workers=2, **SHORT)
    assert digest_of(found) == by_hand["stack"]


@pytest.mark.slow
def test_files_of_parquet_are_opened_by_workers_and_their_target_too(
    workers, by_hand, tmp_path, monkeypatch
):
    pytest.importorskip("pyarrow")
    model, X, rest = data_of("classifier")
    table = X.assign(label=rest["y"])
    for k, rows in enumerate(np.array_split(np.arange(len(X)), 3)):
        table.iloc[rows].to_parquet(tmp_path / f"{k}.parquet")
    monkeypatch.chdir(tmp_path)
    found = fit_on_ray(model, "*.parquet", target="label", num_workers=2, **SHORT)
    assert digest_of(found) == by_hand["classifier without names"]


@pytest.mark.slow
def test_sharded_rows_are_shared(workers, by_hand, tmp_path):
    model, X, _ = data_of("transformer")
    for k, rows in enumerate(np.array_split(X, 3)):
        np.save(tmp_path / f"{k}.npy", rows)
    found = fit_on_ray(model, ShardedRows.open(tmp_path), num_workers=2, **SHORT)
    assert digest_of(found) == by_hand["transformer"]


@pytest.mark.slow
def test_when_the_first_worker_is_killed_the_call_ends_and_names_it(workers):
    model = sae().set_callbacks(Fails("kill", 0))
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="Rank 0 of 2 workers died") as raised:
        fit_on_ray(model, make_rows(), num_workers=2, **SHORT)
    assert time.monotonic() - begin < SOON
    assert type(raised.value.__cause__).__module__.startswith("ray.")


@pytest.mark.slow
def test_when_a_worker_raises_the_call_ends_and_says_why(workers):
    model = sae().set_callbacks(Fails("raise", 1))
    said = "failed on rank 1 of 2 workers: FloatingPointError: the callback has had enough"
    with pytest.raises(RuntimeError, match=said):
        fit_on_ray(model, make_rows(), num_workers=2, timeout=300.0)


@pytest.mark.slow
def test_bad_rows_are_a_value_error_that_is_not_tried_again(workers):
    X = make_rows()
    X[-1, 3] = np.nan
    with pytest.raises(ValueError, match="On rank 1 of 2 workers: Input X contains NaN") as raised:
        fit_on_ray(sae(), X, num_workers=2, max_failures=3, timeout=300.0)
    assert raised.value.__cause__ is None  # Ray has not heard of it, and so has not tried again
    assert "check_array" in raised.value.__notes__[0]


@pytest.mark.slow
def test_when_a_worker_hangs_the_call_ends_after_the_timeout(workers):
    model = sae().set_callbacks(Fails("hang", 1))
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"Rank 1 .*could not be reached in time"):
        fit_on_ray(model, make_rows(), num_workers=2, **SHORT)
    assert time.monotonic() - begin < SHORT["timeout"] + SOON


@pytest.mark.slow
@pytest.mark.usefixtures("default_interrupts")
def test_ctrl_c_ends_the_workers_and_is_raised(workers, tmp_path):
    begun = tmp_path / "begun"

    def press():
        while not begun.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=press, daemon=True).start()
    model = sae(max_iter=10**6).set_callbacks(Fails("go on", 0, begun))
    with pytest.raises(KeyboardInterrupt):
        fit_on_ray(model, make_rows(), num_workers=2, max_failures=2)
    assert not names_of_processes() & {"TrainController.run", "RayTrainWorker"}


@pytest.mark.slow
def test_a_killed_fit_goes_on_in_new_workers_to_the_same_bits(workers, by_hand, tmp_path):
    keeping = Checkpoint(tmp_path / "fit.checkpoint", every=1, resume=True)
    model, X, _ = data_of("transformer")
    model.set_callbacks(keeping, Fails("kill", 1, tmp_path / "killed"))
    found = fit_on_ray(model, X, num_workers=2, max_failures=1, **SHORT)
    assert (tmp_path / "killed").exists()
    assert digest_of(found) == by_hand["transformer"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
def test_a_fit_that_has_failed_goes_on_in_another_number_of_workers(
    size, workers, tmp_path, capsys
):
    X = make_rows()
    keeping = Checkpoint(tmp_path / "fit.checkpoint", every=1, resume=True)
    model = sae(max_iter=8).set_callbacks(keeping, Fails("kill", 1))
    with pytest.raises(RuntimeError, match=r"Rank 1 of 2 workers died.*max_failures"):
        fit_on_ray(model, X, num_workers=2, **SHORT)
    model = sae(max_iter=8, verbose=1).set_callbacks(keeping)
    half = {"CPU": 0.5}
    found = fit_on_ray(model, X, num_workers=size, resources_per_worker=half, **SHORT)
    assert found.n_iter_ == 8
    assert "Resumed from" in capsys.readouterr().out
    plain = sae(max_iter=8).fit(X)
    # The first epochs took rows in another order.
    assert found.loss_ == pytest.approx(plain.loss_, rel=0.01)


@pytest.mark.slow
def test_more_workers_than_there_is_room_for_are_not_waited_for_long(workers):
    said = r"num_workers=64 asks for 64 CPU, 1 CPU for each worker.* has 2 CPU"
    with (
        pytest.warns(UserWarning, match=said),
        pytest.raises(RuntimeError, match=said),
    ):
        fit_on_ray(sae(), make_rows(), num_workers=64, start_timeout=2.0)


@pytest.mark.slow
def test_on_a_machine_alone_they_are_not_waited_for_at_all(workers, monkeypatch):
    monkeypatch.setattr("ray.util.placement_group", None)  # nobody asks for room
    with pytest.raises(RuntimeError, match=r"asks for 64 CPU.*this machine has 2 CPU: use fewer"):
        check_room({"CPU": 1}, 64, 60.0, is_own=True)


@pytest.mark.slow
def test_nothing_is_left_behind(workers):
    # What other tests of this file have left would still be here.
    end = time.monotonic() + 20.0
    while names_of_processes() and time.monotonic() < end:
        time.sleep(0.2)
    assert not names_of_processes()
    assert workers.available_resources().get("CPU") == 2.0
    assert not (Path.home() / "ray_results").exists()
    assert not list(Path(gettempdir()).glob("sksae-ray-*"))


# Without.


def test_who_has_no_ray_is_told_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'fit_on_ray needs ray: pip install "sksae\[ray\]"'):
        fit_on_ray(sae(), make_rows(), num_workers=2)


@pytest.mark.parametrize(
    ("error", "said", "given"),
    [
        (TypeError, "not Pipeline: .* fit what stands before", {"estimator": "pipe"}),
        (TypeError, "must be an estimator, got ndarray", {"estimator": make_rows()}),
        (TypeError, "must be an instance, got the class", {"estimator": type(sae())}),
        (ValueError, "needs targets: give y", {"estimator": SparseAutoencoderClassifier()}),
        (TypeError, "of a column is target='label'", {"y": "label"}),
        (ValueError, "num_workers == 0, must be >= 1", {"num_workers": 0}),
        (TypeError, "num_workers must be an instance of", {"num_workers": 2.0}),
        (TypeError, "num_workers must be an int", {"num_workers": True}),
        (ValueError, "max_failures == -1, must be >= 0", {"max_failures": -1}),
        (ValueError, "timeout == 0, must be >= 1", {"timeout": 0}),
        (TypeError, "use_gpu must be a bool", {"use_gpu": "yes"}),
        (TypeError, "must be a dict such as", {"resources_per_worker": 4}),
        (ValueError, "give use_gpu=True", {"resources_per_worker": {"GPU": 1}}),
        (ValueError, "must reserve something", {"resources_per_worker": {"CPU": 0}}),
        (TypeError, "columns must be names", {"columns": [0, 1]}),
        (TypeError, "target must be the name", {"target": 3}),
        (ValueError, "y and target", {"target": "a", "y": np.ones(480)}),
    ],
)
def test_arguments_are_checked_before_ray_is_asked_for(error, said, given, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    given = {"estimator": sae(), "data": make_rows(), "num_workers": 2} | given
    if isinstance(given["estimator"], str):
        given["estimator"] = make_pipeline(StandardScaler(), sae())
    with pytest.raises(error, match=said):
        fit_on_ray(**given)


def test_data_that_cannot_be_divided_are_named_before_ray_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    np.save(tmp_path / "b.npy", np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"b.npy.* has 4 columns"):
        fit_on_ray(sae(), tmp_path, num_workers=2)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fit_on_ray(sae(), tmp_path / "nowhere.npy", num_workers=2)
    with pytest.raises(ValueError, match=r"at most the number of rows, 3, got 4"):
        fit_on_ray(sae(), tmp_path / "a.npy", num_workers=4)
    with pytest.raises(ValueError, match=r"a.npy' is none: give y"):
        fit_on_ray(sae(), tmp_path / "a.npy", target="label", num_workers=2)
    with pytest.raises(ValueError, match="not for data of type ndarray: select columns"):
        fit_on_ray(sae(), make_rows(), columns=["a"], num_workers=2)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit_on_ray(sae(), make_rows(), sample_weight=np.ones(3), num_workers=2)
    with pytest.raises(ValueError, match=r"got ndarray of shape \(480,\)"):
        fit_on_ray(sae(), make_rows()[:, 0], num_workers=2)
    with pytest.raises(ValueError, match=r"rows and columns, .* got dict of shape \(\)"):
        fit_on_ray(sae(), {"a": [1.0, 2.0]}, num_workers=2)


def test_a_file_of_parquet_without_the_target_is_named(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "label": [0, 1]}), tmp_path / "1.parquet")
    parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "class": [0, 1]}), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2.parquet' has no column 'label'; it has a, class"):
        fit_on_ray(sae(), tmp_path, target="label", num_workers=2)


def test_the_index_of_pandas_in_a_file_of_parquet_is_no_feature(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    index = pd.Index([5.0, 3.0], name="row")
    table = pd.DataFrame({"a": [1.0, 2.0], "label": [0, 1]}, index=index)
    table.to_parquet(tmp_path / "1.parquet")

    def read(columns=None, target="label"):
        return opened(tmp_path, None, None, ReadAs(columns, target), 2)[:].tolist()

    assert read() == [[1.0], [2.0]]
    assert read(["a", "row"]) == [[1.0, 5.0], [2.0, 3.0]]
    assert read(["a"], target="row") == [[1.0], [2.0]]


def test_columns_that_are_not_there_or_have_two_uses_are_named():
    with pytest.raises(ValueError, match="no column 'c'; they have a, b"):
        ReadAs(["a", "c"]).check(["a", "b"])
    with pytest.raises(ValueError, match="Column 'a' is named more than once"):
        ReadAs(["a"], target="a").check(["a", "b"])
    with pytest.raises(ValueError, match="no columns besides a"):
        ReadAs(target="a").check(["a"])


def test_a_column_of_lists_is_a_matrix_and_what_holds_no_numbers_is_named():
    lists = np.empty(2, dtype=object)
    lists[:] = [[1.0, 2.0], [3.0, 4.0]]
    np.testing.assert_array_equal(matrix_of([{"v": lists}], ["v"]), [[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match="'v' holds vectors: make it the only one"):
        matrix_of([{"v": lists, "a": np.ones(2)}], ["a", "v"])
    with pytest.raises(ValueError, match="'a' holds no numbers"):
        matrix_of([{"a": np.array(["x", "y"])}], ["a"])
    lists[:] = [[1.0, 2.0], [3.0]]
    with pytest.raises(ValueError, match="'v' holds vectors of several lengths"):
        matrix_of([{"v": lists}], ["v"])
