"""Searches that train all candidates at once, with other steps around the autoencoders."""

import pickle
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import estimator_checks_generator
from test_batched_search import (
    assert_same_network,
    assert_same_results,
    make,
    search_both,
    trainings,  # noqa: F401 (a fixture, found by its name)
)

from sksae import SparseAutoencoderTransformer
from sksae.beforehand import Fit, fits_from
from sksae.fitting import train_plans
from sksae.metrics import refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV
from sksae.model_selection.ahead import FitReached, StepMemory, WorkAhead, autoencoders_in
from sksae.model_selection.arrays import KnownArrays
from sksae.planning import make_plan

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


@pytest.fixture(scope="module")
def y(X):
    return np.where(X[:, 0] > np.median(X[:, 0]), "a", "b")


class Scaler(TransformerMixin, BaseEstimator):
    """Scales by a factor, and counts its fits."""

    fits: ClassVar[Counter] = Counter()

    def __init__(self, factor=1.0, name="scaler", warn=False):
        self.factor, self.name, self.warn = factor, name, warn

    def fit(self, X, y=None, sample_weight=None):
        Scaler.fits[self.name, self.factor] += 1
        if self.warn:
            warnings.warn("Scaled blindly.", RuntimeWarning, stacklevel=1)
        self.is_fitted_ = True
        return self

    def transform(self, X):
        return X * self.factor


def seed_of(estimator, X, y=None):
    """Score by the seed of the autoencoder."""
    (autoencoder,) = autoencoders_in(estimator)
    return float(autoencoder._seed)


@pytest.fixture(autouse=True)
def no_fits_yet():
    Scaler.fits.clear()


def pipe(*steps, **options):
    """Return a pipeline of named steps with a classifier behind."""
    return Pipeline([*steps, ("clf", DecisionTreeClassifier(random_state=0))], **options)


# A classifier behind.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_classifier_behind_is_within_three_predictions_a_fold(dtype, trainings):  # noqa: F811
    X, y = load_digits(n_class=5, return_X_y=True)
    X, y = X[:450], y[:450]
    autoencoder = SparseAutoencoderTransformer(20, max_iter=5, dtype=dtype, random_state=0)
    estimator = make_pipeline(MinMaxScaler(), autoencoder, StandardScaler(), LogisticRegression())
    grid = {
        "sparseautoencodertransformer__rho": [0.05, 0.2],
        "sparseautoencodertransformer__beta": [0.1, 1.0],
        "logisticregression__C": [0.1, 1.0],
    }
    ours, theirs = search_both(estimator, grid, X, y)
    assert trainings["ahead"] == [4, 4, 4]  # for two values of C each
    assert len(trainings["alone"]) == 2 + 24
    assert_same_results(ours, theirs, atol=3.01 / 150)
    assert ours.cv_results_["mean_test_score"].max() > 0.8
    assert_same_network(ours.best_estimator_[1], theirs.best_estimator_[1])
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_earlier_steps_are_fitted_once_a_fold_and_setting(X, y, trainings):  # noqa: F811
    estimator = pipe(
        ("first", Scaler(name="first")),
        ("second", Scaler(name="second")),
        ("sae", make()),
        ("behind", Scaler(name="behind")),
    )
    grid = {"second__factor": [0.5, 2.0], "sae__rho": [0.05, 0.3], "clf__max_depth": [2, 3]}
    options = {"cv": 3, "refit": False}
    ours = BatchedGridSearchCV(estimator, grid, **options).fit(X, y)
    assert Scaler.fits == {
        ("first", 1.0): 3,
        ("second", 0.5): 3,
        ("second", 2.0): 3,
        ("behind", 1.0): 3 * 8,
    }
    assert trainings == {"ahead": [2] * 6, "alone": []}
    assert_same_results(ours, GridSearchCV(estimator, grid, **options).fit(X, y))


def test_steps_replaced_by_others(X, y, trainings):  # noqa: F811
    grid = [
        {"pre": ["passthrough", MinMaxScaler(), PCA(4)], "sae__rho": [0.1, 0.2]},
        {"sae": [PCA(2), "passthrough", make(rho=0.3), None]},
    ]
    estimator = pipe(("pre", StandardScaler()), ("sae", make()))
    ours, theirs = search_both(estimator, grid, X, y, refit=False)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-9
    )
    assert sorted(trainings["ahead"]) == [1] * 3 + [2] * 9
    assert len(trainings["alone"]) == 21


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_autoencoder_that_only_the_grid_puts_at_the_end(X, n_jobs, trainings):  # noqa: F811
    estimator = Pipeline([("scale", StandardScaler()), ("last", "passthrough")])
    grid = {"last": [make(rho=0.1, random_state=None), make(rho=0.3, random_state=None)]}
    search = BatchedGridSearchCV(estimator, grid, cv=2, scoring=seed_of, n_jobs=n_jobs, refit=False)
    results = search.fit(X).cv_results_
    # Only fits that were served share a seed.
    assert len({*results["split0_test_score"], *results["split1_test_score"]}) == 1
    assert trainings["alone"] == []


def test_the_autoencoder_may_come_last(X, trainings):  # noqa: F811
    estimator = make_pipeline(StandardScaler(), make())
    grid = {"sparseautoencodertransformer__rho": [0.1, 0.3]}
    options = {"scoring": sparsity_scorers(), "refit": refit_sparsest()}
    ours, theirs = search_both(estimator, grid, X, **options)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2, 2, 2]


# The memory of a pipeline.


def test_a_pipelines_own_memory_is_obeyed(X, y, tmp_path):
    estimator = pipe(
        ("pre", Scaler(2.0)),
        ("sae", make()),
        ("behind", Scaler(3.0, name="behind")),
        memory=joblib.Memory(tmp_path, verbose=0),
    )
    grid = {"sae__rho": [0.1, 0.2], "clf__max_depth": [2, 3]}
    ours = BatchedGridSearchCV(estimator, grid, cv=2).fit(X, y)
    # Two folds and the refit; those behind once for each training.
    assert Scaler.fits == {("scaler", 2.0): 3, ("behind", 3.0): 5}
    assert ours.best_estimator_.memory.location == estimator.memory.location
    assert ours.estimator.memory is estimator.memory
    again = BatchedGridSearchCV(estimator, grid, cv=2).fit(X, y)
    assert Scaler.fits == {("scaler", 2.0): 3, ("behind", 3.0): 5}
    assert_same_results(again, ours)
    assert_same_results(ours, GridSearchCV(estimator, grid, cv=2).fit(X, y))


def test_nothing_is_left_behind(X, y, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for n_jobs in (1, 2):
        estimator = pipe(("pre", StandardScaler()), ("sae", make()))
        search = BatchedGridSearchCV(estimator, {"sae__rho": [0.1, 0.2]}, cv=2, n_jobs=n_jobs)
        search.fit(X, y)
        assert b"StepMemory" not in pickle.dumps(search)
        assert "memory" not in search.best_params_
        assert all("memory" not in key for key in search.cv_results_)
        assert search.best_estimator_.memory is None
        assert not list(tmp_path.glob("sksae-*"))
        for step in search.best_estimator_.named_steps.values():
            assert not isinstance(getattr(step, "memory", None), StepMemory)


def test_a_grid_over_the_memory_itself(X, y, tmp_path):
    estimator = pipe(("pre", StandardScaler()), ("sae", make()))
    grid = {"memory": [None, str(tmp_path)], "sae__rho": [0.1, 0.2]}
    ours, theirs = search_both(estimator, grid, X, y, cv=2)
    assert_same_results(ours, theirs)


# Processes and threads.


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_processes_come_to_the_same(X, n_jobs):
    grid = {"rho": [0.05, 0.3], "n_components": [4, 5]}
    ours, theirs = search_both(make(), grid, X, n_jobs=n_jobs)
    assert_same_results(ours, theirs)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_workers_find_the_fits(X, y, backend, trainings):  # noqa: F811
    estimator = pipe(("pre", PCA(6, svd_solver="randomized")), ("sae", make(random_state=None)))
    grid = {"sae__rho": [0.05, 0.3], "clf__max_depth": [2, 3]}
    scoring = {"seed": seed_of, "loss": loss_of}
    with parallel_config(backend=backend):
        search = BatchedGridSearchCV(estimator, grid, cv=3, n_jobs=2, scoring=scoring, refit=False)
        results = search.fit(X, y).cv_results_
    assert trainings["alone"] == []
    # Only fits that were served share a seed; and with rows of a PCA drawn at random, only they
    # have one loss for both classifiers.
    seeds = [results[f"split{k}_test_seed"] for k in range(3)]
    assert len(np.unique(seeds)) == 1
    for k in range(3):
        losses = results[f"split{k}_test_loss"].reshape(2, 2)
        assert len(np.unique(losses)) == 2


def loss_of(estimator, X, y=None):
    return estimator["sae"].loss_


def test_a_classifier_behind_in_processes(X, y):
    estimator = pipe(("pre", StandardScaler()), ("sae", make()), ("behind", StandardScaler()))
    grid = {"sae__rho": [0.05, -1, 0.3], "sae__n_components": [4, 5]}
    with pytest.warns(FitFailedWarning, match="6 fits failed"):
        ours, theirs = search_both(estimator, grid, X, y, n_jobs=2, error_score=0.25)
    assert_same_results(ours, theirs)
    assert_same_network(ours.best_estimator_["sae"], theirs.best_estimator_["sae"])


SCRIPT = """
import sys
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from sksae import SparseAutoencoderTransformer
from sksae.model_selection import BatchedGridSearchCV

class Own(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.handle_ = lambda X: 2 * X
        self.is_fitted_ = True
        return self
    def transform(self, X):
        return self.handle_(X)

class Unportable(Own):
    def fit(self, X, y=None):
        self.lines_ = (line for line in "ab")
        return super().fit(X)

def double(X):
    return 2 * X

def seed_of(estimator, X, y=None):
    return float(estimator["sae"]._seed)

X = np.random.default_rng(0).random((40, 5))
y = np.arange(40) % 2
sae = SparseAutoencoderTransformer(3, max_iter=2, tol=1.0)
steps = [("own", Own()), ("function", FunctionTransformer(double)),
         ("lambda", FunctionTransformer(lambda X: X + 1)), ("unportable", Unportable()),
         ("sae", sae), ("clf", DecisionTreeClassifier())]
search = BatchedGridSearchCV(Pipeline(steps), {"sae__rho": [0.1, 0.2]}, cv=2, n_jobs=2,
                             scoring=seed_of, error_score="raise")
results = search.fit(X, y).cv_results_
seeds = {*results["split0_test_score"], *results["split1_test_score"]}
assert len(seeds) == 1, seeds
"""


@pytest.mark.slow
def test_steps_of_the_users_own_script_reach_processes():
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def ahead_with_a_fit(X, tmp_path):
    """What is known after one training, and the estimator and source of it."""
    ahead = WorkAhead(tmp_path)
    with ahead.collecting() as requests, pytest.raises(FitReached):
        make().fit(X)
    (request,) = requests
    plan = make_plan(request.estimator, request.X, None)
    ahead.add({request.key: Fit(plan, train_plans([plan], request.X, None)[0])})
    return ahead


def test_a_round_trip_to_another_process_serves_the_same_fit(
    X,
    ahead_with_a_fit,
    trainings,  # noqa: F811
):
    sent = pickle.loads(pickle.dumps(ahead_with_a_fit))
    assert sent is not ahead_with_a_fit
    alone = make().fit(X)
    assert trainings["alone"] == [1]
    for source in (ahead_with_a_fit, sent, pickle.loads(pickle.dumps(sent))):
        with fits_from(source):
            served = make().fit(X.copy())
        assert_same_network(served, alone)
    assert trainings["alone"] == [1]
    # Other parameters or rows are other fits.
    with fits_from(sent):
        make(rho=0.2).fit(X)
        make().fit(X + 1)
        make().fit(X, sample_weight=np.ones(60))
    assert trainings["alone"] == [1] * 4


def test_a_missing_file_serves_nothing(X, ahead_with_a_fit, tmp_path, trainings):  # noqa: F811
    sent = pickle.dumps(ahead_with_a_fit)
    (file,) = tmp_path.iterdir()
    file.unlink()
    with fits_from(pickle.loads(sent)):
        served = make().fit(X)
    assert trainings["alone"] == [1]
    assert_same_network(served, make().fit(X))


def test_arrays_are_told_apart_to_the_bit(X):
    known = KnownArrays()
    assert known.number(None) == 0
    first = known.number(X)
    assert known.number(X.copy()) == known.number(np.asfortranarray(X)) == first
    changed = X.copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], 1)
    others = [changed, X.astype(np.float32), X[:, :-1], X.T, -X, list(X[0]), pd.DataFrame(X)]
    assert [known.find(other) for other in others] == [None] * len(others)
    assert len({known.number(other) for other in others}) == len(others)
    with_nan = np.where(X > 0, X, np.nan)
    assert known.number(with_nan) == known.find(with_nan.copy())
    assert known.find(np.array([0.0])) is None
    assert known.number(np.array([0.0])) != known.number(np.array([-0.0]))
    words = np.array(["a", None, "b"], dtype=object)
    assert known.number(words) == known.find(words.copy())
    frame = pd.DataFrame({"x": X[:, 0], "word": ["a", "b"] * 30})
    assert known.number(frame) == known.find(frame.copy())
    assert known.find(frame.rename(columns={"x": "z"})) is None


# Rows, weights, warnings and what steps print.


def test_rows_with_gaps_before_an_imputer(X, y, trainings):  # noqa: F811
    gaps = np.where(X > 0.9, np.nan, X)
    estimator = pipe(("fill", SimpleImputer()), ("sae", make()))
    grid = {"sae__rho": [0.1, 0.3], "fill__strategy": ["mean", "median"]}
    ours, theirs = search_both(estimator, grid, gaps, y, refit=False)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 6
    assert len(trainings["alone"]) == 12


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_frames_with_words_and_numbers(X, y, n_jobs, trainings):  # noqa: F811
    frame = pd.DataFrame(X[:, :4], columns=list("abcd")).assign(word=np.array(["u", "v", "w"] * 20))
    prepare = ColumnTransformer([("word", OneHotEncoder(), ["word"])], remainder=StandardScaler())
    estimator = pipe(("prepare", prepare), ("sae", make())).set_output(transform="default")
    grid = {"sae__rho": [0.1, 0.3]}
    ours, theirs = search_both(estimator, grid, frame, y, n_jobs=n_jobs)
    assert_same_results(ours, theirs)
    assert list(ours.feature_names_in_) == list(frame.columns)
    assert trainings["ahead"] == ([2] * 3 if n_jobs == 1 else [])


def test_frames_between_steps(X, y, trainings):  # noqa: F811
    estimator = pipe(("scale", StandardScaler()), ("sae", make())).set_output(transform="pandas")
    ours, theirs = search_both(estimator, {"sae__rho": [0.1, 0.3]}, pd.DataFrame(X), y)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 3
    np.testing.assert_array_equal(
        ours.best_estimator_[:-1].get_feature_names_out(),
        theirs.best_estimator_[:-1].get_feature_names_out(),
    )


def test_weights_of_single_steps(X, y, trainings):  # noqa: F811
    estimator = pipe(("scale", Scaler(2.0)), ("sae", make()))
    weight = np.arange(60) % 3.0
    fit = {"sae__sample_weight": weight, "scale__sample_weight": weight}
    ours, theirs = search_both(estimator, {"sae__rho": [0.1, 0.3]}, X, y, fit=fit)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 3
    assert Scaler.fits["scaler", 2.0] == 3 + 1 + 6 + 1
    assert_same_network(ours.best_estimator_["sae"], theirs.best_estimator_["sae"])


def test_warnings_of_earlier_steps_come_as_often_as_one_by_one(X, y):
    estimator = pipe(("pre", Scaler(2.0, warn=True)), ("sae", make(tol=1.0)))
    texts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search(estimator, {"sae__rho": [0.1, 0.3]}, cv=2).fit(X, y)
        texts.append([(str(w.message), w.category, w.filename, w.lineno) for w in caught])
    assert len(texts[0]) == 5
    assert texts[1] == texts[0]


@pytest.mark.filterwarnings("error:Scaled blindly")
def test_a_warning_made_an_error_is_one(X, y):
    estimator = pipe(("pre", Scaler(2.0, warn=True)), ("sae", make()))
    for search in (GridSearchCV, BatchedGridSearchCV):
        with pytest.raises(RuntimeWarning, match="Scaled blindly"):
            search(estimator, {"sae__rho": [0.1]}, cv=2, error_score="raise").fit(X, y)


def test_an_earlier_step_that_fails(X, y):
    estimator = pipe(("pre", PCA(4)), ("sae", make()))
    grid = {"pre__n_components": [3, 100], "sae__rho": [0.1, 0.3]}
    with pytest.warns(FitFailedWarning, match="6 fits failed"):
        ours, theirs = search_both(estimator, grid, X, y, error_score=0.0)
    assert_same_results(ours, theirs)


def test_verbose_pipelines_print_no_more_than_one_by_one(X, y, capsys):
    inner = Pipeline([("scale", Scaler()), ("sae", make())], verbose=True)
    for estimator in (pipe(("inner", inner)), pipe(*inner.steps, verbose=True)):
        printed = []
        for search in (GridSearchCV, BatchedGridSearchCV):
            grid = {f"{'inner__' * (estimator.steps[0][0] == 'inner')}sae__rho": [0.1, 0.3]}
            search(estimator, grid, cv=2).fit(X, y)
            printed.append(
                Counter(line.split(",")[0] for line in capsys.readouterr().out.split("\n"))
            )
        assert any("sae" in line for line in printed[1])
        assert all(printed[1][line] <= printed[0][line] for line in printed[1])


# Other compositions.


def compositions():
    two = [("one", make(n_components=6, rho=0.3)), ("two", make())]
    codes_and_pca = FeatureUnion([("two", make()), ("pca", PCA(2))])
    columns = ColumnTransformer([("two", make(), slice(0, 5))], remainder="passthrough")
    return {
        "two in a row": (pipe(("scale", StandardScaler()), *two), "", [2] * 3 + [1] * 3),
        "with a scaler between": (pipe(two[0], ("scale", StandardScaler()), two[1]), "", None),
        "union": (pipe(("union", codes_and_pca)), "union__", None),
        "columns": (pipe(("columns", columns)), "columns__", None),
        "nested": (pipe(("inner", Pipeline([("s", StandardScaler()), two[1]]))), "inner__", None),
        "behind": (Pipeline([("s", StandardScaler()), ("clf", pipe(two[1]))]), "clf__", None),
        "two in a union": (pipe(("union", FeatureUnion(two))), "union__", None),
        "no pipeline": (FeatureUnion(two), "", None),
    }


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", compositions())
def test_compositions(X, y, name, n_jobs, trainings):  # noqa: F811
    estimator, where, _ = compositions()[name]
    grid = {f"{where}two__rho": [0.1, 0.3], f"{where}two__beta": [0.1, 1.0]}
    options = {"refit": False, "n_jobs": n_jobs}
    if name == "no pipeline":
        options["scoring"] = lambda estimator, X, y=None: estimator.transform(X).mean()
    ours = BatchedGridSearchCV(estimator, grid, cv=3, **options).fit(X, y)
    assert trainings["alone"] == []
    if n_jobs == 1:
        assert sum(trainings["ahead"]) == 12 + 3 * estimator_has_two(estimator)
        assert max(trainings["ahead"]) == 4
    assert_same_results(ours, GridSearchCV(estimator, grid, cv=3, **options).fit(X, y))


def estimator_has_two(estimator):
    parts = estimator.get_params(deep=True).values()
    return sum(isinstance(part, SparseAutoencoderTransformer) for part in parts) == 2


def test_a_verbose_autoencoder_before_a_quiet_one(X, y, capsys):
    estimator = pipe(("one", make(verbose=1)), ("two", make()))
    grid = {"two__rho": [0.1, 0.3]}
    ours = BatchedGridSearchCV(estimator, grid, cv=2, refit=False, verbose=1).fit(X, y)
    out = capsys.readouterr().out
    assert "2 one by one: verbose=1 prints every epoch" in out
    assert_same_results(ours, GridSearchCV(estimator, grid, cv=2, refit=False).fit(X, y))


# An estimator as any other.


def test_a_search_is_an_estimator_as_any_other(X, y):
    estimator = pipe(("pre", StandardScaler()), ("sae", make()))
    search = BatchedGridSearchCV(estimator, {"sae__rho": [0.1, 0.3]}, cv=2, working_memory=5.0)
    assert clone(search).get_params()["working_memory"] == 5.0
    assert "working_memory=5.0" in repr(search)
    search.fit(X, y)
    assert "BatchedGridSearchCV" in estimator_html_repr(search)
    loaded = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(loaded.predict(X), search.predict(X))
    assert_same_results(loaded, search)
    distributions = {"sae__rho": [0.1, 0.3]}
    randomized = BatchedRandomizedSearchCV(estimator, distributions, n_iter=2, cv=2, random_state=3)
    assert clone(randomized).get_params()["random_state"] == 3
    assert repr(randomized).startswith("BatchedRandomizedSearchCV(")


# With a classifier behind: scikit-learn's searches over bare transformers lack the tags that the
# checks ask for.
SMALL = Pipeline(
    [
        ("sae", SparseAutoencoderTransformer(3, max_iter=2, dtype="float64", random_state=0)),
        ("clf", LogisticRegression()),
    ]
)
OPTIONS = {"cv": 2, "error_score": "raise"}
SEARCHES = [
    BatchedGridSearchCV(SMALL, {"sae__rho": [0.2, 0.3]}, **OPTIONS),
    BatchedRandomizedSearchCV(SMALL, {"sae__rho": [0.2, 0.3]}, n_iter=2, random_state=0, **OPTIONS),
]
CHECKS = [
    pytest.param(estimator, check, id=f"{number}-{check.func.__name__}")
    for number, search in enumerate(SEARCHES)
    for estimator, check in estimator_checks_generator(search)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check(estimator, check):
    check(estimator)
