"""Searches that train all candidates at once, with other steps around the autoencoders."""

import pickle
import warnings
from collections import Counter
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
import pytest
from batched import (
    Listener,
    assert_same_network,
    assert_same_results,
    make,
    one_and_two_jobs,
    pipe,
    search_both,
    seed_of,
)
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)

from sksae import SparseAutoencoderTransformer
from sksae.metrics import refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV
from sksae.model_selection.dry_run import sharing
from sksae.model_selection.step_memory import StepMemory
from sksae.model_selection.steps import SharedSteps, StepFit

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


@pytest.fixture(autouse=True)
def no_fits_yet():
    Scaler.fits.clear()


# A classifier behind.


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_a_classifier_behind_is_within_three_predictions_a_fold(dtype, trainings):
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


@pytest.mark.parametrize("verbose", [False, True])
def test_earlier_steps_are_fitted_once_a_fold_and_setting(X, y, verbose, trainings):
    estimator = pipe(
        ("first", Scaler(name="first")),
        ("second", Scaler(name="second")),
        ("sae", make()),
        ("behind", Scaler(name="behind")),
        verbose=verbose,
    )
    grid = {"second__factor": [0.5, 2.0], "sae__rho": [0.05, 0.3], "clf__max_depth": [2, 3]}
    options = {"cv": 3, "refit": False}
    ours = BatchedGridSearchCV(estimator, grid, **options).fit(X, y)
    assert Scaler.fits == {
        ("first", 1.0): 3,
        ("second", 0.5): 3,
        ("second", 2.0): 3,
        # Two candidates share it, unless each is to print it.
        ("behind", 1.0): 3 * (8 if verbose else 4),
    }
    assert trainings == {"ahead": [2] * 6, "alone": []}
    assert_same_results(ours, GridSearchCV(estimator, grid, **options).fit(X, y))


def test_steps_replaced_by_others(X, y, trainings):
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


@one_and_two_jobs
def test_an_autoencoder_that_only_the_grid_puts_at_the_end(X, n_jobs, trainings):
    estimator = Pipeline([("scale", StandardScaler()), ("last", "passthrough")])
    grid = {"last": [make(rho=0.1, random_state=None), make(rho=0.3, random_state=None)]}
    search = BatchedGridSearchCV(estimator, grid, cv=2, scoring=seed_of, n_jobs=n_jobs, refit=False)
    results = search.fit(X).cv_results_
    # Only fits that were served share a seed.
    assert len({*results["split0_test_score"], *results["split1_test_score"]}) == 1
    assert trainings["alone"] == []


def test_the_autoencoder_may_come_last(X, trainings):
    estimator = make_pipeline(StandardScaler(), make())
    grid = {"sparseautoencodertransformer__rho": [0.1, 0.3]}
    options = {"scoring": sparsity_scorers(), "refit": refit_sparsest()}
    ours, theirs = search_both(estimator, grid, X, **options)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2, 2, 2]


# Steps behind, shared by candidates that differ in their last step only.


def behind_twice():
    """Return a pipeline with two steps behind the autoencoder, and a grid of four candidates."""
    steps = [("sae", make()), ("one", Scaler(2.0)), ("two", Scaler(3.0))]
    return pipe(*steps), {"sae__rho": [0.1, 0.3], "clf__max_depth": [2, 3]}


def n_fits(factor):
    return Scaler.fits["scaler", factor]


def test_steps_behind_are_fitted_once_for_all_that_share_them(X, y, monkeypatch):
    transform, transformed = SparseAutoencoderTransformer.transform, []

    def counting(self, X):
        transformed.append(len(X))
        return transform(self, X)

    monkeypatch.setattr(SparseAutoencoderTransformer, "transform", counting)
    estimator, grid = behind_twice()
    ours, theirs = search_both(estimator, grid, X, y, refit=False)
    assert (n_fits(2.0), n_fits(3.0)) == (6 + 12, 6 + 12)
    # Training rows once for two candidates, test rows for each; then one by one.
    assert Counter(transformed) == {40: 6 + 12, 20: 12 + 12}
    assert_same_results(ours, theirs)


@one_and_two_jobs
def test_candidates_that_share_steps_cannot_spoil_them_for_each_other(X, n_jobs):
    y = X @ np.arange(8.0)
    steps = [("sae", make()), ("scale", StandardScaler(copy=False)), ("last", Ridge(copy_X=False))]
    grid = {"last__alpha": [1e-3, 0.1, 10.0], "sae__rho": [0.1, 0.3]}
    ours, theirs = search_both(Pipeline(steps), grid, X, y, n_jobs=n_jobs, return_train_score=True)
    assert_same_results(ours, theirs)
    assert_same_network(ours.best_estimator_["sae"], theirs.best_estimator_["sae"])


@pytest.mark.parametrize(
    "change",
    [
        {"working_memory": 1e-3},
        {"listens": "search"},
        {"listens": "autoencoder"},
        {"step": FunctionTransformer(lambda X: X)},
        {"memory": True},
    ],
    ids=["no room", "a search that listens", "an autoencoder that listens", "a function", "memory"],
)
def test_what_is_not_shared_is_fitted_for_each(X, y, change, tmp_path):
    estimator, grid = behind_twice()
    estimator.set_params(one=change.get("step", estimator["one"]))
    calls = []
    for kind in (GridSearchCV, BatchedGridSearchCV):
        Scaler.fits.clear()
        listener = Listener()
        copy, search = clone(estimator), kind(estimator, grid, cv=2, refit=False)
        if change.get("listens") == "autoencoder":
            copy["sae"].set_callbacks(listener)
        if "memory" in change:
            copy.set_params(memory=str(tmp_path / kind.__name__))
        search.set_params(estimator=copy)
        if change.get("listens") == "search":
            search.set_callbacks(listener)
        if kind is BatchedGridSearchCV and "working_memory" in change:
            search.set_params(working_memory=change["working_memory"])
        search.fit(X, y)
        calls.append((n_fits(3.0), listener.calls))
    assert calls[1] == calls[0]
    assert calls[0][0] == (4 if "memory" in change else 8)


def test_warnings_of_shared_steps_come_for_each_candidate(X, y):
    steps = [("sae", make(max_iter=2, tol=1e-9)), ("behind", Scaler(2.0, warn=True))]
    counts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search(pipe(*steps), {"clf__max_depth": [2, 3]}, cv=2, refit=False).fit(X, y)
        counts.append(Counter((str(w.message), w.category, w.filename) for w in caught))
    assert sum(counts[0].values()) == 2 * 4
    assert counts[1] == counts[0]


def test_shared_steps_are_kept_as_long_as_there_is_room(X, tmp_path):
    shared = SharedSteps(tmp_path, 1.5 * X.nbytes)
    fit = StepFit(X, Scaler(2.0), [("Beware.", UserWarning, "file", 1)])
    assert shared.find(("a", 1)) is None
    shared.keep(("a", 1), StepFit(X, (line for line in "ab"), []))  # cannot go to a file
    assert not list(tmp_path.iterdir())
    for key in (("a", 1), ("a", 2)):
        shared.keep(key, fit)
    assert shared.find(("a", 2)) is None
    found = shared.find(("a", 1))
    np.testing.assert_array_equal(found.rows, X)
    assert (found.transformer.factor, found.warned) == (2.0, fit.warned)
    found.rows[:] = 0.0
    np.testing.assert_array_equal(shared.find(("a", 1)).rows, X)
    n_files = len(list(tmp_path.iterdir()))
    for rows in (pd.DataFrame(X), csr_array(np.ones((1000, 50))), [lambda: None]):
        shared.keep(("b", 1), StepFit(rows, Scaler(2.0), []))
    # No room for these, or no way to a file; and no drafts are left of them.
    assert len(list(tmp_path.iterdir())) == n_files
    elsewhere = SharedSteps(tmp_path / "not there", 1e9)
    elsewhere.keep(("a", 1), fit)
    assert elsewhere.find(("a", 1)) is None


class OwnWay(Pipeline):
    """Fits its steps in a way of its own, as imbalanced-learn's does."""


class Unpicklable:
    def __reduce__(self):
        raise ValueError("ctypes objects containing pointers cannot be pickled")


def test_steps_of_which_nobody_knows_how_they_are_fitted_are_not_shared():
    def candidates(kind, factor=2.0):
        steps = [("pre", Scaler(factor)), ("c", LogisticRegression())]
        return [kind(clone_of) for clone_of in (steps, steps)]

    assert sharing(candidates(Pipeline)) == [True, True]
    assert sharing(candidates(OwnWay)) == [False, False]
    assert sharing(candidates(Pipeline, Unpicklable())) == [False, False]


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


@one_and_two_jobs
def test_nothing_is_left_behind(X, y, n_jobs, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
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


# Rows, weights, warnings and what steps print.


@pytest.mark.parametrize("behind", [True, False])
def test_a_union_with_jobs_of_its_own(X, y, behind, trainings):
    # In workers nobody knows what was trained before.
    def search(n_jobs):
        union = FeatureUnion([("sae", make()), ("pca", PCA(2))], n_jobs=n_jobs)
        prefix = "union__" if behind else ""
        return BatchedGridSearchCV(
            pipe(("union", union)) if behind else union,
            {f"{prefix}sae__rho": [0.1, 0.2], f"{prefix}n_jobs": [n_jobs]},
            scoring=None if behind else sparsity_scorers(),
            cv=2,
            refit=False,
        ).fit(X, y)

    ours = search(2)
    assert trainings == {"ahead": [2, 2], "alone": []}
    assert list(ours.cv_results_[f"param_{'union__' if behind else ''}n_jobs"]) == [2, 2]
    theirs = search(None)
    scores = [key for key in theirs.cv_results_ if key.startswith("split")]
    for key in scores:
        np.testing.assert_array_equal(ours.cv_results_[key], theirs.cv_results_[key])


def test_rows_with_gaps_before_an_imputer(X, y, trainings):
    gaps = np.where(X > 0.9, np.nan, X)
    estimator = pipe(("fill", SimpleImputer()), ("sae", make()))
    grid = {"sae__rho": [0.1, 0.3], "fill__strategy": ["mean", "median"]}
    ours, theirs = search_both(estimator, grid, gaps, y, refit=False)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 6
    assert len(trainings["alone"]) == 12


@one_and_two_jobs
def test_frames_with_words_and_numbers(X, y, n_jobs, trainings):
    frame = pd.DataFrame(X[:, :4], columns=list("abcd")).assign(word=np.array(["u", "v", "w"] * 20))
    prepare = ColumnTransformer([("word", OneHotEncoder(), ["word"])], remainder=StandardScaler())
    estimator = pipe(("prepare", prepare), ("sae", make())).set_output(transform="default")
    grid = {"sae__rho": [0.1, 0.3]}
    ours, theirs = search_both(estimator, grid, frame, y, n_jobs=n_jobs)
    assert_same_results(ours, theirs)
    assert list(ours.feature_names_in_) == list(frame.columns)
    if n_jobs == 1:
        assert trainings["ahead"] == [2] * 3


def test_frames_between_steps(X, y, trainings):
    estimator = pipe(("scale", StandardScaler()), ("sae", make())).set_output(transform="pandas")
    ours, theirs = search_both(estimator, {"sae__rho": [0.1, 0.3]}, pd.DataFrame(X), y)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 3
    np.testing.assert_array_equal(
        ours.best_estimator_[:-1].get_feature_names_out(),
        theirs.best_estimator_[:-1].get_feature_names_out(),
    )


def test_weights_of_single_steps(X, y, trainings):
    estimator = pipe(("scale", Scaler(2.0)), ("sae", make()))
    weight = np.arange(60) % 3.0
    fit = {"sae__sample_weight": weight, "scale__sample_weight": weight}
    ours, theirs = search_both(estimator, {"sae__rho": [0.1, 0.3]}, X, y, fit=fit)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 3
    assert Scaler.fits["scaler", 2.0] == 3 + 1 + 6 + 1
    assert_same_network(ours.best_estimator_["sae"], theirs.best_estimator_["sae"])


def test_warnings_of_earlier_steps_come_as_often_as_one_by_one(X, y):
    estimator = pipe(("pre", Scaler(2.0, warn=True)), ("sae", make(tol=1.0, max_iter=8)))
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


def test_what_a_verbose_search_prints_is_scikit_learns(X, y, capsys):
    estimator = pipe(("pre", StandardScaler()), ("sae", make()))
    printed = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        search(estimator, {"sae__rho": [0.1, 0.3]}, cv=2, refit=False, verbose=3).fit(X, y)
        lines = capsys.readouterr().out.splitlines()
        printed.append([line.split("total time")[0] for line in lines])
    assert printed[1][0].startswith("[BatchedGridSearchCV]")
    assert printed[1][1:] == printed[0]
    assert len(printed[0]) == 5


def test_callbacks_of_earlier_steps_hear_of_every_fit(X, y):
    calls = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        listener = Listener()
        inner = Pipeline([("scale", StandardScaler())]).set_callbacks(listener)
        estimator = pipe(("inner", inner), ("sae", make()))
        search(estimator, {"sae__rho": [0.1, 0.3]}, cv=2).fit(X, y)
        calls.append(listener.calls)
    assert calls[0].count("setup") == 5
    assert calls[1] == calls[0]
