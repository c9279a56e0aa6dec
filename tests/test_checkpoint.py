"""A fit that was interrupted goes on from its checkpoint to the same bits."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from record_outputs import flattened
from recorded_cases import CASES, PLAIN, ROWS, TARGETS, WEIGHT, classifier, sae, stack, whole
from registered import COUNTED, TRAININGS
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sksae import Checkpoint, SparseAutoencoderTransformer, StackedSparseAutoencoder
from sksae.base import checkpoint as module
from sksae.base.fit_identity import checksum_of
from sksae.model.codes import CODES
from sksae.process import files
from sksae.process.files import draft_of
from sksae.training.checkpoint_file import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Those that are fitted once, by one of our estimators.
NOT_WATCHED = ("search", "pipeline", "rows scaled")
ERRORS = ("a nan", "rho that is none", "kl of relu", "no probabilities", "no target", "diverging")
WATCHED = [
    name
    for name, case in CASES.items()
    if case.train is whole
    and case.stop_after is None
    and name not in ERRORS
    and not any(other in name for other in NOT_WATCHED)
]
FAST = {
    "kl, adam, hidden layers (14, 10)",
    "l1, sgd, hidden layers ()",
    "topk, adam, sparse output",
    "batchtopk, sgd, sparse output",
    "jumprelu, adam, sparse output",
    "gated, adam, sparse output",
    "no seed",
    "tied, deep",
    "gaussian noise, lbfgs",
    "csr, masking, weights",
    "float64, lbfgs, deep",
    "bfloat16",
    "beta auto, lbfgs",
    "beta auto, l1, lbfgs",
    "beta auto, l1, units revived",
    "beta auto, early stopping",
    "early stopping, lbfgs",
    "stack, lbfgs",
    "stack with one frozen",
    "classifier, dropout",
    "classifier, unlabeled",
    "classifier, early stopping",
    "regressor, two outputs",
}


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.fixture
def killed_after(monkeypatch):
    """Return a function that lets the process end after so many more checkpoints."""
    write = module.write_checkpoint

    def killed_after(n_written):
        left = n_written

        def write_or_die(*args):
            nonlocal left
            write(*args)
            left -= 1
            if left <= 0:
                raise Killed

        monkeypatch.setattr(module, "write_checkpoint", write_or_die)

    return killed_after


def outputs(model):
    return dict(flattened(model, ""))


def assert_same(model, other):
    """Assert that all public fitted attributes are the same to the bit."""
    expected, found = outputs(model), outputs(other)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert array.dtype == found[name].dtype, name
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    assert pickle.dumps(model.__getstate__().get("_state")) == pickle.dumps(
        other.__getstate__().get("_state")
    )


def fitted(case, *callbacks):
    """Fit a case anew."""
    X, y = ROWS[case.rows], TARGETS[case.target]
    weight = {"sample_weight": WEIGHT[: X.shape[0]]} if case.weighted else {}
    model = case.make(**case.params)
    if callbacks:
        model.set_callbacks(*callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y, **weight)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in WATCHED],
)
def test_every_way_to_train_goes_on_to_the_same_bits(name, path, killed_after, monkeypatch, capsys):
    case = CASES[name]
    np.random.seed(0)  # noqa: NPY002  the seed of random_state=None
    whole_fit = fitted(case)
    # Several times, at other moments, until it ends.
    for n_written in (1, 2, 4, 7):
        killed_after(n_written)
        try:
            np.random.seed(0 if not path.exists() else n_written)  # noqa: NPY002
            fitted(case, Checkpoint(path, every=1, resume=True))
        except Killed:
            assert path.exists()
    monkeypatch.undo()
    assert_same(whole_fit, fitted(case, Checkpoint(path, every=1, resume=True)))


@pytest.mark.parametrize(("sparsity", "solver"), TRAININGS)
def test_every_code_and_solver_goes_on_from_any_epoch(sparsity, solver, path, killed_after):
    def make():
        rho = {"rho": 3} if sparsity in COUNTED and CODES[sparsity].uses_rho(None) else {}
        return sae(sparsity=sparsity, solver=solver, max_iter=5, **rho)

    expected = make().fit(PLAIN)
    for n_written in range(1, 5):
        killed_after(n_written)
        with pytest.raises(Killed):
            make().set_callbacks(Checkpoint(path, every=1)).fit(PLAIN)
        killed_after(100)
        found = make().set_callbacks(Checkpoint(path, every=1, resume=True)).fit(PLAIN)
        assert_same(expected, found)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_warm_start_goes_on(solver, path, killed_after):
    def made():
        return sae(solver=solver, warm_start=True).fit(PLAIN)

    expected = made().fit(PLAIN)
    killed_after(3)
    with pytest.raises(Killed):
        made().set_callbacks(Checkpoint(path, every=1)).fit(PLAIN)
    killed_after(100)
    assert_same(expected, made().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN))
    with pytest.raises(ValueError, match=r"before \(warm_start, .*\) is nothing here and"):
        sae(solver=solver, warm_start=True).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)


def test_a_warm_start_from_other_weights_is_another_fit(path):
    def made(rows):
        return sae(warm_start=True).fit(rows)

    made(PLAIN).set_callbacks(Checkpoint(path)).fit(PLAIN)
    again = pickle.loads(pickle.dumps(made(PLAIN)))
    again.set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    with pytest.raises(ValueError, match=r"what was learnt before \(warm_start, "):
        made(PLAIN + 1.0).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)


@pytest.mark.parametrize("pretrain", [True, False])
def test_members_that_learnt_something_else_are_another_fit(pretrain, path):
    def fitted_stack(rows):
        member = sae().fit(rows)
        members = [FrozenEstimator(member) if pretrain else member]
        made = StackedSparseAutoencoder(members, pretrain=pretrain, max_iter=3, random_state=0)
        return pickle.loads(pickle.dumps(made)).set_callbacks(Checkpoint(path, resume=True))

    fitted_stack(PLAIN).fit(PLAIN)
    fitted_stack(PLAIN).fit(PLAIN)
    with pytest.raises(ValueError, match="members that are not trained"):
        fitted_stack(PLAIN + 1.0).fit(PLAIN)


def test_a_member_that_is_read_otherwise_is_another_fit(path):
    def make(n_active):
        read = {"sparsity": "topk", "rho": 4, "transform_n_active": n_active}
        return stack([sae(**read), sae(4)]).set_callbacks(Checkpoint(path, resume=True))

    make(None).fit(PLAIN)
    with pytest.raises(ValueError, match="sae0__transform_n_active is 2 here and None in"):
        make(2).fit(PLAIN)


def test_a_generator_goes_on_as_after_a_whole_fit(path):
    draws = np.random.RandomState(0)
    expected = sae(random_state=draws).set_callbacks(Checkpoint(path)).fit(PLAIN)
    after = draws.randint(10**9)
    # One that has gone on meanwhile, as in a notebook: what the fit began with is in the file.
    found = sae(random_state=draws).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    assert_same(expected, found)
    assert draws.randint(10**9) == after
    members = [sae(random_state=np.random.RandomState(1))]
    stack(members).set_callbacks(Checkpoint(path)).fit(PLAIN)
    members = [sae(random_state=np.random.RandomState(2))]
    with pytest.raises(ValueError, match="sae0__random_state is RandomState"):
        stack(members).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)


def test_what_a_callback_trains_is_no_part_of_the_fit(path, killed_after):
    class Trains:
        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "epoch" and context.task_id == 1:
                found.append(sae(3).fit(PLAIN))
            return False

    found = []
    killed_after(3)
    with pytest.raises(Killed):
        sae().set_callbacks(Checkpoint(path, every=2), Trains()).fit(PLAIN)
    assert read_checkpoint(path).state["0.standing.n_epochs"] == 6
    killed_after(100)
    resumed = sae().set_callbacks(Checkpoint(path, resume=True), Trains()).fit(PLAIN)
    assert_same(sae().fit(PLAIN), resumed)
    assert_same(*found)


def test_a_fit_that_had_ended_is_not_made_again(path, monkeypatch):
    expected = stack().set_callbacks(Checkpoint(path)).fit(PLAIN)
    monkeypatch.setattr("sksae.engine.training.train", None)
    resumed = stack().set_callbacks(Checkpoint(path, resume=True), ProgressBar()).fit(PLAIN)
    assert_same(expected, resumed)


def test_a_fit_that_its_user_ended_goes_on(path):
    class Impatient:
        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "epoch" and context.task_id == 4:
                raise KeyboardInterrupt
            return False

    interrupted = sae().set_callbacks(Checkpoint(path, every=2), Impatient())
    with pytest.warns(UserWarning, match="interrupt"):
        interrupted.fit(PLAIN)
    assert interrupted.n_iter_ < 8
    assert_same(sae().fit(PLAIN), sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN))


def test_it_is_written_every_so_many_epochs_and_at_the_end(path, monkeypatch):
    written = []
    write = module.write_checkpoint

    def noted(path, contents, keep):
        write(path, contents, keep)
        written.append(max(contents.state, key=len))

    monkeypatch.setattr(module, "write_checkpoint", noted)
    sae(max_iter=7).set_callbacks(Checkpoint(path, every=3)).fit(PLAIN)
    assert len(written) == 3
    written.clear()
    sae(max_iter=7).set_callbacks(Checkpoint(path, every=100)).fit(PLAIN)
    assert len(written) == 1


def test_so_many_files_are_kept(path):
    sae(max_iter=8, tol=0).set_callbacks(Checkpoint(path, every=2, keep=3)).fit(PLAIN)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "fit.checkpoint",
        "fit.checkpoint.1",
        "fit.checkpoint.2",
    ]
    epochs = [
        int(read_checkpoint(path.with_name(f"{path.name}.{age}")).state["0.standing.n_epochs"])
        for age in (1, 2)
    ]
    assert epochs == [6, 4]
    assert "0.ended.facts" in read_checkpoint(path).state


def test_without_resume_a_fit_begins_anew(path):
    sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    other = sae(n_components=5).set_callbacks(Checkpoint(path)).fit(PLAIN)
    assert other.n_components == 5
    assert_same(sae(n_components=5).fit(PLAIN), other)


def test_where_there_is_no_file_a_fit_to_be_resumed_begins(path):
    assert_same(sae().fit(PLAIN), sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN))
    assert path.exists()


# Other fits.


@pytest.mark.parametrize(
    ("params", "rows", "message"),
    [
        ({"n_components": 11}, PLAIN, "n_components is 11 here and 12 in the checkpoint"),
        ({"rho": 0.3, "beta": 2.0}, PLAIN, "beta is 2.0 here and None in .*; rho is 0.3 here"),
        ({"random_state": 1}, PLAIN, "random_state is 1 here and 0 in the checkpoint"),
        ({"solver": "sgd"}, PLAIN, "solver is 'sgd' here and 'adam'"),
        ({}, PLAIN[:, :9], "the number of features is 9 here and 16"),
        ({}, PLAIN[:100], "the number of rows is 100 here and 120"),
        ({}, PLAIN + 1.0, "the checksum of X, y and sample_weight"),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused(params, rows, message, path):
    sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    before = path.read_bytes()
    model = sae(**params).set_callbacks(Checkpoint(path, resume=True))
    with pytest.raises(ValueError, match=message):
        model.fit(rows)
    assert not hasattr(model, "coefs_")
    assert path.read_bytes() == before


def test_the_checkpoint_of_another_estimator_is_refused(path):
    y = TARGETS["classes"]
    stack().set_callbacks(Checkpoint(path)).fit(PLAIN)
    with pytest.raises(ValueError, match="the estimator is SparseAutoencoderClassifier here and"):
        classifier().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN, y)
    classifier().set_callbacks(Checkpoint(path)).fit(PLAIN, y)
    with pytest.raises(ValueError, match="the checksum of X, y and sample_weight"):
        classifier().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN, y[::-1])
    members = [sae(8), sae(5, sparsity="l1")]
    with pytest.raises(ValueError, match="sae1__sparsity is 'l1' here and 'kl' in"):
        classifier(members).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN, y)


def test_what_training_does_not_go_by_may_differ(path, capsys):
    expected = sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    other = sae(verbose=1, transform_algorithm="omp", transform_n_active=2)
    other.set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    np.testing.assert_array_equal(expected.coefs_[0], other.coefs_[0])


# Where it can be set.


def test_one_is_set_on_the_step_of_a_pipeline(path, killed_after):
    def make(*callbacks):
        step = sae().set_callbacks(*callbacks)
        return make_pipeline(step, LogisticRegression())

    y = TARGETS["classes"]
    expected = make().fit(PLAIN, y)
    killed_after(2)
    with pytest.raises(Killed):
        make(Checkpoint(path, every=2)).fit(PLAIN, y)
    killed_after(100)
    found = make(Checkpoint(path, every=2, resume=True)).fit(PLAIN, y)
    np.testing.assert_array_equal(expected.predict_proba(PLAIN), found.predict_proba(PLAIN))


def test_each_fit_of_a_search_has_a_file_of_its_own(tmp_path, killed_after, monkeypatch):
    def search(**params):
        checkpoint = Checkpoint(tmp_path / "{fit}.npz", every=3, resume=True)
        model = sae(**params).set_callbacks(checkpoint)
        return GridSearchCV(model, {"rho": [0.1, 0.2]}, cv=2, error_score="raise")

    expected = GridSearchCV(sae(), {"rho": [0.1, 0.2]}, cv=2).fit(PLAIN)
    killed_after(8)
    with pytest.raises(Killed):
        search().fit(PLAIN)
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.undo()
    found = search().fit(PLAIN)
    assert len(list(tmp_path.iterdir())) == 5
    assert_same(expected.best_estimator_, found.best_estimator_)
    monkeypatch.setattr("sksae.engine.training.train", None)
    assert search().fit(PLAIN).best_params_ == expected.best_params_


def test_one_path_does_not_serve_several_fits(path):
    model = sae().set_callbacks(Checkpoint(path, resume=True))
    with pytest.raises(ValueError, match=r'is of another fit.*a path with "\{fit\}" in it'):
        GridSearchCV(model, {"rho": [0.1, 0.2]}, cv=2, error_score="raise").fit(PLAIN)


def test_other_estimators_have_none(path):
    search = GridSearchCV(sae(), {"rho": [0.1]}, cv=2)
    search.set_callbacks(Checkpoint(path))
    with pytest.raises(TypeError, match="set it on the step of the pipeline, or on the estimator"):
        search.fit(PLAIN)


def test_an_estimator_has_one(path):
    with pytest.raises(ValueError, match="can have one Checkpoint, got 2"):
        sae().set_callbacks(Checkpoint(path), Checkpoint(path)).fit(PLAIN)


@pytest.mark.parametrize(
    ("error", "message", "params"),
    [
        (ValueError, "every == 0, must be >= 1", {"every": 0}),
        (ValueError, "keep == 0, must be >= 1", {"keep": 0}),
        (TypeError, "every must be an instance of", {"every": 2.5}),
        (TypeError, "resume must be a bool, got 'yes'", {"resume": "yes"}),
    ],
)
def test_parameters_are_checked(error, message, params):
    with pytest.raises(error, match=message):
        Checkpoint("a", **params)
    with pytest.raises(TypeError, match="path must be a str or a path, got 3"):
        Checkpoint(3)


def test_partial_fit_keeps_none(path):
    sae().set_callbacks(Checkpoint(path)).partial_fit(PLAIN)
    assert not path.exists()


def test_it_goes_into_workers_and_stays_with_clones(path):
    model = sae().set_callbacks(Checkpoint(path, every=3))
    (checkpoint,) = pickle.loads(pickle.dumps(model))._skl_callbacks
    assert repr(checkpoint) == f"Checkpoint({str(path)!r}, every=3, keep=1, resume=False)"
    assert clone(model)._skl_callbacks == model._skl_callbacks


def test_sparse_rows_are_known_again(path):
    X = sp.csr_array(PLAIN * (PLAIN > 0.5))
    expected = sae().set_callbacks(Checkpoint(path)).fit(X)
    assert_same(expected, sae().set_callbacks(Checkpoint(path, resume=True)).fit(X.copy()))
    X.data[3] += 1.0
    with pytest.raises(ValueError, match="the checksum of X"):
        sae().set_callbacks(Checkpoint(path, resume=True)).fit(X)


@pytest.mark.parametrize(
    "other",
    [
        np.asfortranarray(PLAIN),
        np.repeat(PLAIN, 2, axis=1)[:, ::2],
        pd.DataFrame(PLAIN),
    ],
    ids=["columns first", "every second column", "DataFrame"],
)
def test_rows_are_known_again_however_they_lie_in_memory(other, path):
    expected = sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    found = sae().set_callbacks(Checkpoint(path, resume=True)).fit(other)
    np.testing.assert_array_equal(expected.coefs_[0], found.coefs_[0])


def test_a_checksum_tells_entries_apart():
    rows = np.arange(12.0).reshape(3, 4)
    same = [rows, np.asfortranarray(rows), sp.csr_array(rows).toarray()]
    assert len({checksum_of(each) for each in same}) == 1
    sparse = sp.csr_array(rows)
    long = sp.csr_matrix((sparse.data, sparse.indices.astype(np.int64), sparse.indptr))
    assert checksum_of(sparse) == checksum_of(long)
    others = [rows.T, rows.reshape(4, 3), rows[:2], rows.astype(np.float32), rows + 1, sparse, None]
    assert len({checksum_of(each) for each in [rows, *others]}) == 1 + len(others)
    assert checksum_of(rows, None) != checksum_of(None, rows)


class Named(SparseAutoencoderTransformer):
    """One of a user's own, with a parameter more."""

    def __init__(self, n_components=12, *, tag=None, max_iter=4, random_state=0):
        super().__init__(n_components, max_iter=max_iter, random_state=random_state)
        self.tag = tag


def test_parameters_of_a_class_of_the_users_own_are_told_apart(path):
    Named(tag={"a": 1, "b": [2]}).set_callbacks(Checkpoint(path)).fit(PLAIN)
    Named(tag={"b": [2], "a": 1}).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    with pytest.raises(ValueError, match=r"tag is \{'a': 1\} here and \{'a': 1, 'b': \[2\]\} in"):
        Named(tag={"a": 1}).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    with pytest.raises(ValueError, match=r"must be something that pickle can write, .* got tag="):
        Named(tag=lambda: None).set_callbacks(Checkpoint(path)).fit(PLAIN)


# Files.


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
