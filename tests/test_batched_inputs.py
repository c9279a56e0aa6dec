"""Searches that train all candidates at once: splits, seeds, weights, rows, errors, company."""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from batched import Listener, assert_same_network, assert_same_results, make, pipe, search_both
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


GRID = {"rho": [0.05, 0.3], "beta": [0.1, 1.0]}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


# Splits, seeds, weights, kinds of rows.


def test_random_splits_are_drawn_once(X, trainings):
    for cv in (KFold(3, shuffle=True), ShuffleSplit(3), KFold(3, shuffle=True, random_state=1)):
        BatchedGridSearchCV(make(), GRID, cv=cv, refit=False).fit(X)
    assert trainings == {"ahead": [4] * 9, "alone": []}
    cv = KFold(3, shuffle=True, random_state=np.random.RandomState(5))
    ours = BatchedGridSearchCV(make(), GRID, cv=cv, refit=False).fit(X)
    cv = KFold(3, shuffle=True, random_state=np.random.RandomState(5))
    assert_same_results(ours, GridSearchCV(make(), GRID, cv=cv, refit=False).fit(X))


def test_splits_of_groups_and_iterables(X, trainings):
    labels = np.arange(60) % 7
    ours, theirs = search_both(make(), GRID, X, cv=GroupKFold(3), fit={"groups": labels})
    assert_same_results(ours, theirs)
    mask = np.arange(60) < 30
    splits = [
        (list(range(40)), list(range(40, 60))),
        (mask, ~mask),
        (np.arange(20, 60), np.arange(20)),
    ]
    ours, theirs = search_both(make(), GRID, X, cv=splits)
    assert_same_results(ours, theirs)
    ours = BatchedGridSearchCV(make(), GRID, cv=iter(splits)).fit(X)
    assert_same_results(ours, theirs)
    assert sorted(trainings["ahead"]) == [4] * 9


class Named:
    """A splitter that takes metadata of a name of its own."""

    def get_n_splits(self, X=None, y=None, **params):
        return 2

    def split(self, X, y=None, *, sessions):
        for session in (0, 1):
            yield np.flatnonzero(sessions != session), np.flatnonzero(sessions == session)

    def get_metadata_routing(self):

        routing = MetadataRequest(owner=self)
        routing.split.add_request(param="sessions", alias=True)
        return routing


def test_splitters_with_metadata_of_their_own(X):
    with config_context(enable_metadata_routing=True):
        fit = {"sessions": np.arange(60) % 2}
        ours, theirs = search_both(make(), GRID, X, cv=Named(), fit=fit)
    assert_same_results(ours, theirs)


@pytest.mark.parametrize("state", [7, np.random.RandomState(7)], ids=["int", "instance"])
def test_seeds_are_those_of_the_estimator(X, state, trainings):
    ours, theirs = search_both(make(random_state=state), GRID, X, refit=False)
    assert trainings["ahead"] == [4, 4, 4]
    assert len(trainings["alone"]) == 12
    assert_same_results(ours, theirs)


def test_without_a_seed_candidates_share_one_of_the_search(X, trainings):
    search = BatchedGridSearchCV(make(random_state=None), GRID, cv=3, refit=False)
    once, again = clone(search).fit(X), clone(search).fit(X)
    assert trainings == {"ahead": [4] * 6, "alone": []}
    scores = [each.cv_results_["mean_test_score"] for each in (once, again)]
    assert (scores[0] != scores[1]).all()


def test_the_global_generator_is_left_alone_where_seeds_are_given(X):
    before = str(np.random.get_state())  # noqa: NPY002
    BatchedGridSearchCV(make(), GRID, cv=3).fit(X)
    assert str(np.random.get_state()) == before  # noqa: NPY002


def test_weights(X, trainings):
    weight = np.arange(60) % 4.0
    ours, theirs = search_both(make(), GRID, X, fit={"sample_weight": weight})
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [4, 4, 4]
    plain = BatchedGridSearchCV(make(), GRID, cv=3).fit(X)
    assert (plain.cv_results_["mean_test_score"] != ours.cv_results_["mean_test_score"]).all()
    with config_context(enable_metadata_routing=True):
        estimator = make().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        ours, theirs = search_both(estimator, GRID, X, fit={"sample_weight": weight})
    assert_same_results(ours, theirs)


def test_a_scorer_without_weights_is_warned_of_as_often(X):
    counts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scored = search(make(), GRID, cv=2, scoring=lambda e, X, y=None: e.score(X))
            scored.fit(X, sample_weight=np.ones(60))
        counts.append(sum("does not support sample_weight" in str(w.message) for w in caught))
    assert counts[0] >= 1
    assert counts[1] == counts[0]


@pytest.mark.parametrize(
    "kind",
    [
        np.float32,
        np.asfortranarray,
        sp.csr_array,
        sp.csr_matrix,
        sp.coo_array,
        lambda X: X.tolist(),
        lambda X: (100 * X).astype(np.int64),
        lambda X: pd.DataFrame(X, columns=[f"x{k}" for k in range(8)]),
    ],
    ids=["float32", "F", "csr_array", "csr_matrix", "coo", "list", "int", "frame"],
)
def test_rows_of_all_kinds(X, kind, trainings):
    rows = kind(np.where(X > 0.3, X, 0.0))
    ours, theirs = search_both(make(), GRID, rows)
    assert trainings["ahead"] == [4, 4, 4]
    assert len(trainings["alone"]) == 1 + 13
    assert_same_results(ours, theirs)
    assert_same_network(ours.best_estimator_, theirs.best_estimator_)
    if isinstance(rows, pd.DataFrame):
        assert list(ours.feature_names_in_) == list(rows.columns)


def test_memory_maps(X, tmp_path, trainings):
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    ours, theirs = search_both(make(), GRID, rows, refit=False)
    assert trainings["ahead"] == [4, 4, 4]
    assert_same_results(ours, theirs)


# Errors.


def test_errors_name_what_is_wrong(X):
    with pytest.raises(ValueError, match=r"SparseAutoencoderTransformers.*PCA\(\).* has none"):
        BatchedGridSearchCV(PCA(), {"n_components": [2, 3]}).fit(X)
    with pytest.raises(ValueError, match="Invalid parameter 'roh'"):
        BatchedGridSearchCV(make(), {"roh": [0.1]}).fit(X)
    for bad in (0, -1.0, "10", [1]):
        with pytest.raises(ValueError, match="'working_memory' parameter of BatchedGridSearchCV"):
            BatchedGridSearchCV(make(), GRID, working_memory=bad).fit(X)
    with pytest.raises(ValueError, match="'working_memory' parameter of BatchedRandomizedSearchCV"):
        BatchedRandomizedSearchCV(make(), GRID, working_memory="a").fit(X)
    with pytest.raises(ValueError, match="'n_jobs' parameter of BatchedGridSearchCV"):
        BatchedGridSearchCV(make(), GRID, n_jobs="many").fit(X)


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"cv": []}, slice(None)),
        ({"param_grid": []}, slice(None)),
        ({"param_grid": {"rho": []}}, slice(None)),
        ({"param_grid": {"rho": 0.1}}, slice(None)),
        ({"cv": 70}, slice(None)),
        ({"n_jobs": 0}, slice(None)),
        ({"scoring": "no such score"}, slice(None)),
        ({"estimator": 5}, slice(None)),
        ({"estimator": Pipeline([])}, slice(None)),
        ({"estimator": pipe(("sae", make())), "param_grid": [5]}, slice(None)),
        ({"error_score": "explode"}, slice(None)),
        ({"cv": 3}, slice(0, 0)),
    ],
    ids=str,
)
def test_errors_of_scikit_learn_stay(X, change, rows):
    messages = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with pytest.raises((ValueError, TypeError)) as caught:
            search(make(), GRID).set_params(**change).fit(X[rows])
        messages.append((type(caught.value), str(caught.value).replace("Batched", "")))
    assert messages[1] == messages[0]


def test_lengths_that_do_not_match_are_an_error(X):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        BatchedGridSearchCV(make(), GRID).fit(X, np.zeros(3))


# Warnings, callbacks, company.


@pytest.mark.parametrize(
    ("estimator", "category"),
    [
        (make(max_iter=2, tol=1e-9, learning_rate_schedule="constant"), ConvergenceWarning),
        (make(sparsity="l1", rho=0.2, tol=1.0, max_iter=8), UserWarning),
    ],
    ids=["convergence", "idle rho"],
)
def test_warnings_come_as_often_as_one_by_one(X, estimator, category):
    texts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search(estimator, {"alpha": [1e-4, 1e-3]}, cv=2).fit(X)
        assert {each.category for each in caught} == {category}
        texts.append([(str(each.message), each.filename) for each in caught])
    assert len(texts[0]) == 5
    assert texts[1] == texts[0]


def test_progress_bars_and_counters_of_the_search(X, capsys):
    for depth in (0, 1, None):
        search = BatchedGridSearchCV(make(), GRID, cv=2).set_callbacks(ProgressBar(depth))
        search.fit(X)
    assert_same_results(search, GridSearchCV(make(), GRID, cv=2).fit(X))
    assert "BatchedGridSearchCV" in capsys.readouterr().out
    calls = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        listener = Listener()
        search(make(), GRID, cv=2).set_callbacks(listener).fit(X)
        calls.append(listener.calls)
    assert calls[1] == calls[0]


def test_a_search_in_a_search(X):
    scores = [
        cross_val_score(search(make(), GRID, cv=2), X, cv=2)
        for search in (GridSearchCV, BatchedGridSearchCV)
    ]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-9)


def test_two_searches_at_once_keep_to_themselves(X):
    data = {"one": X, "two": X[::-1] ** 2}
    begun, found, failed = threading.Barrier(2), {}, []

    def search(name):
        try:
            begun.wait()
            found[name] = [
                BatchedGridSearchCV(make(), GRID, cv=3).fit(data[name]) for _ in range(3)
            ]
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=search, args=(name,)) for name in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for name, rows in data.items():
        theirs = GridSearchCV(make(), GRID, cv=3).fit(rows)
        for ours in found[name]:
            assert_same_results(ours, theirs)
            assert_same_network(ours.best_estimator_, theirs.best_estimator_)
