"""A fit that was interrupted goes on from its checkpoint to the same bits."""

import pickle
import warnings

import numpy as np
import pytest
from recorded_cases import CASES, PLAIN, ROWS, TARGETS, WEIGHT, sae, stack, whole
from registered import COUNTED, TRAININGS
from same_fits import assert_same
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sksae import Checkpoint
from sksae.base import checkpoint as module
from sksae.model.codes import CODES
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


def test_a_line_says_that_a_fit_is_resumed(path, capsys):
    sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    sae().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    assert capsys.readouterr().out == ""
    sae(verbose=1).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    assert capsys.readouterr().out.startswith(f"Resumed from {str(path)!r}\n")


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
