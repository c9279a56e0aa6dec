"""Searches that train all candidates at once, in processes and in compositions of all kinds."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batched import (
    assert_same_network,
    assert_same_results,
    make,
    one_and_two_jobs,
    pipe,
    search_both,
    seed_of,
)
from joblib import effective_n_jobs, parallel_config
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import estimator_checks_generator

from sksae import SparseAutoencoderTransformer
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV
from sksae.model_selection.arrays import KnownArrays
from sksae.model_selection.fit_cache import FitCache, FitReached
from sksae.training.fit import train_plans
from sksae.training.plan import make_plan
from sksae.training.precomputed import Fit, use_precomputed_fits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


@pytest.fixture(scope="module")
def y(X):
    return np.where(X[:, 0] > np.median(X[:, 0]), "a", "b")


# Processes and threads.


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [2, -1])
def test_processes_train_and_come_to_the_same(X, n_jobs, trainings):
    grid = {"rho": [0.05, 0.3, 1e-9], "n_components": [4, 5]}
    ours, theirs = search_both(make(), grid, X, n_jobs=n_jobs)
    if effective_n_jobs(n_jobs) > 1:
        assert trainings["ahead"] == []
    assert_same_results(ours, theirs)
    assert_same_network(ours.best_estimator_, theirs.best_estimator_)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_training_that_fails_in_a_process_leaves_the_others_alone(X):
    grid = {"learning_rate": [0.01, 1e200], "alpha": [0, 1e-3]}
    options = {"refit": False, "n_jobs": 2, "error_score": -7.0}
    with pytest.warns(FitFailedWarning, match="6 fits failed"):
        ours, theirs = search_both(make(solver="sgd"), grid, X, **options)
    assert_same_results(ours, theirs)


# Not multiprocessing: it forks a process that has threads, which hangs with any use of them.
@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading"])
def test_workers_find_the_fits(X, y, backend, trainings):
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


@pytest.mark.slow
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
def cache_with_a_fit(X, tmp_path):
    """What is known after one training, and the estimator and source of it."""
    cache = FitCache(tmp_path)
    with cache.collecting() as requests, pytest.raises(FitReached):
        make().fit(X)
    (request,) = requests
    plan = make_plan(request.specification, request.X, None)
    cache.add({request.key: Fit(plan, train_plans([plan], request.X, None)[0])})
    return cache


def test_a_round_trip_to_another_process_serves_the_same_fit(
    X,
    cache_with_a_fit,
    trainings,
):
    sent = pickle.loads(pickle.dumps(cache_with_a_fit))
    assert sent is not cache_with_a_fit
    alone = make().fit(X)
    assert trainings["alone"] == [1]
    for source in (cache_with_a_fit, sent, pickle.loads(pickle.dumps(sent))):
        with use_precomputed_fits(source):
            served = make().fit(X.copy())
        assert_same_network(served, alone)
    assert trainings["alone"] == [1]
    # Other parameters or rows are other fits.
    with use_precomputed_fits(sent):
        make(rho=0.2).fit(X)
        make().fit(X + 1)
        make().fit(X, sample_weight=np.ones(60))
    assert trainings["alone"] == [1] * 4


def test_a_missing_file_serves_nothing(X, cache_with_a_fit, tmp_path, trainings):
    sent = pickle.dumps(cache_with_a_fit)
    (file,) = tmp_path.iterdir()
    file.unlink()
    with use_precomputed_fits(pickle.loads(sent)):
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


@one_and_two_jobs
@pytest.mark.parametrize("name", compositions())
def test_compositions(X, y, name, n_jobs, trainings):
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
    assert "2 one by one: verbose=1 prints epochs" in out
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
    pytest.param(
        estimator,
        check,
        id=f"{number}-{check.func.__name__}",
        marks=pytest.mark.slow if number else (),
    )
    for number, search in enumerate(SEARCHES)
    for estimator, check in estimator_checks_generator(search)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check(estimator, check):
    check(estimator)
