"""Searches that train all candidates at once, with steps that write to their rows or to themselves.

scikit-learn takes the rows of a split anew for each candidate, and fits its steps anew.
"""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from batched import assert_same_results, make, one_and_two_jobs, pipe, search_both
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, StandardScaler

from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


@pytest.fixture(scope="module")
def y(X):
    return np.where(X[:, 0] > np.median(X[:, 0]), 1.0, 0.0)


class Multiplier(TransformerMixin, BaseEstimator):
    """Multiplies the rows where they lie, whoever else sees them, and the targets if asked to."""

    def __init__(self, factor=1.0, target_factor=1.0):
        self.factor, self.target_factor = factor, target_factor

    def fit(self, X, y=None):
        if self.target_factor != 1:
            y *= self.target_factor
        self.is_fitted_ = True
        return self

    def transform(self, X):
        if sp.issparse(X):
            X.data *= self.factor
        elif isinstance(X, list):
            for row in X:
                row[:] = [value * self.factor for value in row]
        else:
            X *= self.factor
        return X


class Single(TransformerMixin, BaseEstimator):
    """Cannot be copied once it is fitted."""

    def fit(self, X, y=None):
        self.lines_ = (line for line in "ab")
        return self

    def transform(self, X):
        return 2 * X


class Growing(TransformerMixin, BaseEstimator):
    """Gives other codes at every call of transform."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        self.n_calls_ = 0
        return self

    def transform(self, X):
        self.n_calls_ += 1
        noise = 0.0 if self.random_state is None else self.random_state.normal(size=X.shape)
        return X * self.n_calls_ + 0.1 * noise


def in_place():
    """Return estimators with steps that write to their rows, and grids for them."""
    rho = [0.05, 0.3]
    scale, sae = ("scale", StandardScaler(copy=False)), ("sae", make())
    with_mean = {"scale__with_mean": [True, False], "sae__rho": rho}
    writer = ("write", Multiplier())
    union = FeatureUnion([writer, sae])
    inner = Pipeline([writer, scale, sae])
    return {
        "one setting": (pipe(scale, sae), {"sae__rho": rho}),
        "several settings": (pipe(scale, sae), with_mean),
        "classifiers": (pipe(scale, sae), {"sae__rho": rho, "clf__max_depth": [1, 3]}),
        "without asking": (pipe(writer, sae), {"write__factor": [2.0, 0.5, 3.0], "sae__rho": rho}),
        "behind another": (
            pipe(("min", MinMaxScaler(copy=False)), ("max", StandardScaler()), writer, sae),
            {"write__factor": [2.0, 0.5, 3.0], "min__feature_range": [(0, 1), (1, 2)]},
        ),
        "behind one that returns its rows": (
            pipe(("same", FunctionTransformer()), writer, sae),
            {"write__factor": [2.0, 0.5], "sae__rho": rho},
        ),
        "before one that cannot be told": (
            pipe(("function", FunctionTransformer(lambda X: X)), writer, sae),
            {"write__factor": [2.0, 0.5], "sae__rho": rho},
        ),
        "in a pipeline": (
            pipe(("max", MaxAbsScaler()), ("inner", inner)),
            {"inner__sae__rho": rho, "inner__write__factor": [2.0, 0.5]},
        ),
        "in the first step": (
            pipe(("inner", inner)),
            {"inner__sae__rho": rho, "inner__write__factor": [2.0, 0.5]},
        ),
        "beside": (
            pipe(("max", MaxAbsScaler()), ("union", union)),
            {"union__sae__rho": rho, "union__write__factor": [2.0, 0.5]},
        ),
        "in the last step": (
            Pipeline([("max", MaxAbsScaler()), ("last", pipe(scale, sae))]),
            {"last__sae__rho": rho, "last__scale__with_mean": [True, False]},
        ),
        "in the only step": (
            Pipeline([("last", pipe(writer, sae))]),
            {"last__sae__rho": rho, "last__write__factor": [2.0, 0.5]},
        ),
        "where others have an autoencoder": (
            pipe(("max", MaxAbsScaler()), sae, writer),
            [{"sae__rho": rho}, {"sae": ["passthrough"], "write__factor": [2.0, 0.5]}],
        ),
        "without any autoencoder, shared": (
            pipe(scale, sae, ("behind", StandardScaler())),
            [{"sae__rho": rho}, {"sae": ["passthrough"], "clf__max_depth": [1, 2, 3]}],
        ),
        "two autoencoders": (
            pipe(("one", make(n_components=6, rho=0.3)), writer, sae),
            [{"write__factor": [2.0, 0.5]}, {"sae": ["passthrough"], "write__factor": [2.0]}],
        ),
        "behind": (
            pipe(sae, scale, writer),
            {"sae__rho": rho, "clf__max_depth": [1, 3], "write__factor": [2.0, 0.5]},
        ),
        "the targets too": (
            pipe(("write", Multiplier(2.0)), sae),
            {"write__target_factor": [-1.0, 1.0], "sae__rho": rho, "clf__max_depth": [1, 3]},
        ),
    }


@one_and_two_jobs
@pytest.mark.parametrize("name", in_place())
def test_steps_that_write_to_their_rows_disturb_no_other_candidate(X, y, name, n_jobs):
    estimator, grid = in_place()[name]
    rows, targets = X.copy(), y.copy()
    options = {"n_jobs": n_jobs, "return_train_score": True, "refit": False}
    options["error_score"] = "raise"
    ours, theirs = search_both(estimator, grid, rows, targets, **options)
    assert_same_results(ours, theirs)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(targets, y)


@pytest.mark.parametrize("name", ["one setting", "several settings", "without asking", "behind"])
def test_networks_behind_steps_that_write_are_trained_ahead(X, y, name, trainings):
    estimator, grid = in_place()[name]
    BatchedGridSearchCV(estimator, grid, cv=3, refit=False).fit(X, y)
    assert trainings["alone"] == []


@pytest.mark.filterwarnings("ignore:.*With scale_data=False")
@pytest.mark.parametrize("kind", [pd.DataFrame, sp.csr_array, sp.csc_array, list])
def test_rows_of_all_kinds_are_spared(X, y, kind, trainings):
    def rows():
        return X.tolist() if kind is list else kind(X)

    writer, sae = ("write", Multiplier()), ("sae", make(scale_data=False))
    grid = {"write__factor": [2.0, 0.5], "sae__rho": [0.05, 0.3]}
    given = rows()
    ours, theirs = search_both(pipe(writer, sae), grid, given, y, refit=False)
    assert trainings["ahead"] == [2] * 6
    assert_same_results(ours, theirs)
    np.testing.assert_array_equal(
        given.toarray() if sp.issparse(given) else np.asarray(given), np.asarray(X)
    )


def test_the_refit_writes_as_that_of_grid_search(X, y):
    estimator, grid = in_place()["without asking"]
    written = []
    for kind in (GridSearchCV, BatchedGridSearchCV):
        rows = X.copy()
        kind(clone(estimator), grid, cv=3).fit(rows, y)
        written.append(rows)
    np.testing.assert_array_equal(written[1], written[0])
    assert (written[0] != X).any()


@one_and_two_jobs
def test_the_last_step_may_write_to_rows_of_steps_that_others_have_too(X, n_jobs):
    y = X @ np.arange(8.0)
    steps = [("max", MaxAbsScaler()), ("sae", make()), ("last", Ridge(copy_X=False))]
    grid = [{"sae__rho": [0.05]}, {"sae": ["passthrough"], "last__alpha": [1e-3, 0.1, 10.0]}]
    ours, theirs = search_both(Pipeline(steps), grid, X, y, n_jobs=n_jobs, refit=False)
    assert_same_results(ours, theirs)


@one_and_two_jobs
@pytest.mark.parametrize("is_random", [False, True])
def test_fitted_steps_that_change_change_for_one_candidate(X, y, is_random, n_jobs, trainings):
    state = np.random.RandomState(3) if is_random else None
    estimator = pipe(("grow", Growing(state)), ("sae", make()), ("behind", Growing(state)))
    grid = {"sae__rho": [0.05, 0.3], "clf__max_depth": [1, 3]}
    ours, theirs = search_both(
        estimator, grid, X, y, n_jobs=n_jobs, refit=False, return_train_score=True
    )
    assert_same_results(ours, theirs)
    if n_jobs == 1:
        assert trainings["ahead"] == [2] * 3
    if is_random:
        assert_same_state(state, np.random.RandomState(3))


def assert_same_state(one, other):
    np.testing.assert_equal(one.get_state(legacy=False), other.get_state(legacy=False))


def test_steps_that_draw_from_an_instance_draw_as_in_grid_search(X, y, trainings):
    state = np.random.RandomState(5)
    first = PCA(6, svd_solver="randomized", random_state=state)
    estimator = pipe(("pca", first), ("sae", make(random_state=state)))
    grid = {"pca__n_components": [5, 6], "sae__rho": [0.05, 0.3]}
    before = deepcopy(state)
    ours, theirs = search_both(estimator, grid, X, y, refit=False)
    assert trainings["ahead"] == [2] * 6
    assert_same_results(ours, theirs)
    assert_same_state(state, before)


def test_fitted_steps_that_cannot_be_copied_are_fitted_for_each_candidate(X, y, trainings):
    estimator = pipe(("single", Single()), ("max", MaxAbsScaler()), ("sae", make()))
    ours, theirs = search_both(estimator, {"sae__rho": [0.05, 0.3]}, X, y, refit=False)
    assert trainings["ahead"] == [2] * 3
    assert_same_results(ours, theirs)
