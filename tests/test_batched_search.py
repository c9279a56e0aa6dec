"""Searches that train all candidates at once come to what scikit-learn's own come to."""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
)

from sksae import SparseAutoencoderTransformer, fitting
from sksae.metrics import refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV, groups

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GRID = {"rho": [0.05, 0.3], "beta": [0.1, 1.0]}
SMALL_TOLERANCE = {"float64": 1e-6, "float32": 2e-3}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


def make(**params):
    defaults = {
        "n_components": 5,
        "max_iter": 4,
        "batch_size": 16,
        "dtype": "float64",
        "random_state": 0,
        "tol": 1e-3,
    }
    return SparseAutoencoderTransformer(**(defaults | params))


@pytest.fixture
def trainings(monkeypatch):
    """How many networks each call of the engine trained, in a search or in a fit of its own."""
    sizes = {"ahead": [], "alone": []}
    train_plans = fitting.train_plans

    def counting(where):
        def count(plans, *args, **kwargs):
            sizes[where].append(len(plans))
            return train_plans(plans, *args, **kwargs)

        return count

    monkeypatch.setattr(groups, "train_plans", counting("ahead"))
    monkeypatch.setattr(fitting, "train_plans", counting("alone"))
    return sizes


def is_of_time(key):
    return key.endswith("_time")


def assert_same_results(ours, theirs, atol=1e-9):
    """Compare two fitted searches: all of cv_results_ but times, and what was chosen."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for key, value in theirs.cv_results_.items():
        if key.startswith(("split", "mean_t", "std_t")):
            np.testing.assert_allclose(ours.cv_results_[key], value, rtol=0, atol=atol)
        elif key.startswith("param_") and not is_of_time(key):
            assert ours.cv_results_[key].dtype == value.dtype
            assert list(ours.cv_results_[key]) == list(value)
        elif key.startswith("rank"):
            np.testing.assert_array_equal(ours.cv_results_[key], value)
    for name in ("best_index_", "best_params_", "multimetric_", "n_splits_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None)
    for name in ("n_features_in_", "best_estimator_", "best_score_", "feature_names_in_"):
        assert hasattr(ours, name) == hasattr(theirs, name)


def assert_same_network(ours, theirs):
    assert ours.get_params() == theirs.get_params()
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert ours.loss_curve_ == theirs.loss_curve_


def search_both(estimator, grid, X, y=None, fit=None, **options):
    """Return the batched search and scikit-learn's, both fitted."""
    options = {"cv": 3} | options
    fit = fit or {}
    batched = BatchedGridSearchCV(clone(estimator), grid, **options).fit(X, y, **fit)
    options.pop("working_memory", None)
    return batched, GridSearchCV(clone(estimator), grid, **options).fit(X, y, **fit)


# The same results.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scores_are_those_of_grid_search(X, dtype, trainings):
    estimator = make(dtype=dtype, max_iter=20)
    grid = GRID | {"learning_rate": ["auto", 0.003]}
    ours = BatchedGridSearchCV(estimator, grid, cv=3, return_train_score=True).fit(X)
    # Of the refit alone.
    assert trainings == {"ahead": [8, 8, 8], "alone": [1]}
    theirs = GridSearchCV(estimator, grid, cv=3, return_train_score=True).fit(X)
    assert_same_results(ours, theirs, atol=SMALL_TOLERANCE[dtype])
    assert len({round(score, 4) for score in ours.cv_results_["mean_test_score"]}) == 8
    assert_same_network(ours.best_estimator_, theirs.best_estimator_)
    assert ours.score(X) == theirs.score(X)
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))


def test_stopping_rules_are_those_of_each_candidate(X, trainings):
    grid = {"tol": [1e-4, 0.05], "n_iter_no_change": [1, 3], "max_iter": [5, 30]}
    for early_stopping in (False, True):
        estimator = make(rho=0.3, beta=0.1, early_stopping=early_stopping)
        scoring = {"r2": lambda e, X, y=None: e.score(X), "n": lambda e, X, y=None: e.n_iter_}
        ours, theirs = search_both(estimator, grid, X, scoring=scoring, refit="r2")
        assert_same_results(ours, theirs)
        assert len(set(ours.cv_results_["mean_test_n"])) >= 3
    assert trainings["ahead"] == [8] * 6


def test_several_scores_without_targets(X):
    options = {"scoring": sparsity_scorers(), "refit": refit_sparsest(), "return_train_score": True}
    ours, theirs = search_both(make(), GRID, X, **options)
    assert ours.multimetric_
    assert_same_results(ours, theirs)
    assert_same_network(ours.best_estimator_, theirs.best_estimator_)


def test_without_refit(X, trainings):
    ours, theirs = search_both(make(), GRID, X, refit=False)
    assert_same_results(ours, theirs)
    assert not hasattr(ours, "best_estimator_")
    assert sum(trainings["ahead"]) == 12


def test_randomized_search(X):
    distributions = {"rho": loguniform(0.02, 0.5), "n_components": randint(3, 6), "beta": [0.1, 1]}
    for state in (0, 1):
        options = {"n_iter": 6, "cv": 3, "random_state": state}
        ours = BatchedRandomizedSearchCV(make(), distributions, **options).fit(X)
        theirs = RandomizedSearchCV(make(), distributions, **options).fit(X)
        assert_same_results(ours, theirs)
        assert_same_network(ours.best_estimator_, theirs.best_estimator_)


def test_a_list_of_grids_leaves_gaps_in_the_table(X):
    ours, theirs = search_both(make(), [{"rho": [0.1, 0.2]}, {"sparsity": ["l1"]}], X)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert ours.cv_results_["param_rho"].mask.tolist() == [False, False, True]
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-9
    )


# Groups.


def test_what_changes_shapes_makes_groups(X, trainings):
    grid = {"n_components": [4, 6], "hidden_layer_sizes": [(), (5,)], "rho": [0.1, 0.2, 0.3]}
    ours, theirs = search_both(make(), grid, X, cv=2, refit=False)
    assert trainings["ahead"] == [3] * 8
    assert_same_results(ours, theirs)


@pytest.mark.parametrize(
    "values",
    [
        {"sparsity": ["kl", "l1", "l2"]},
        {"sparsity": ["kl"], "activation": ["sigmoid", "tanh"]},
        {"output_activation": ["identity", "sigmoid", "tanh"]},
        {"scale_data": [True, False]},
        {"solver": ["adam", "sgd"]},
        {"solver": ["sgd"], "momentum": [0.5, 0.9]},
        {"batch_size": [10, 16, "auto"]},
        {"shuffle": [True, False]},
        {"dtype": ["float32", "float64"]},
        {"random_state": [0, 1]},
        {"early_stopping": [True], "validation_fraction": [0.1, 0.3]},
        {"early_stopping": [True, False]},
        {"hidden_layer_sizes": [6], "hidden_activation": ["relu", "prelu"]},
    ],
    ids=lambda values: "-".join(values),
)
def test_what_networks_cannot_have_of_their_own_makes_groups(X, values, trainings):
    grid = {"alpha": [1e-4, 1e-2], **values}
    ours, theirs = search_both(make(), grid, X, cv=2, refit=False)
    n_values = max(len(each) for each in values.values())
    assert trainings["ahead"] == [2] * 2 * n_values
    assert_same_results(ours, theirs, atol=1e-4 if "dtype" in values else 1e-9)


def test_rho_as_a_number_of_units_and_as_a_share(X, trainings):
    ours, theirs = search_both(make(), {"rho": [1, 0.2, 2, 0.4]}, X)
    assert trainings["ahead"] == [4, 4, 4]
    assert_same_results(ours, theirs)


@pytest.mark.parametrize("limit", [1e-6, 0.05])
def test_working_memory_cuts_groups_and_changes_no_score(X, limit, trainings):
    whole = BatchedGridSearchCV(make(), GRID, cv=3, refit=False).fit(X)
    assert trainings["ahead"] == [4, 4, 4]
    trainings["ahead"].clear()
    cut = BatchedGridSearchCV(make(), GRID, cv=3, refit=False, working_memory=limit).fit(X)
    assert sum(trainings["ahead"]) == 12
    assert max(trainings["ahead"]) < 4
    assert (max(trainings["ahead"]) == 1) == (limit == 1e-6)
    assert_same_results(cut, whole)


def test_the_working_memory_of_scikit_learn_is_the_default(X, trainings):
    with config_context(working_memory=1e-6):
        BatchedGridSearchCV(make(), GRID, cv=3, refit=False).fit(X)
        assert trainings["ahead"] == [1] * 12
        trainings["ahead"].clear()
        BatchedGridSearchCV(make(), GRID, cv=3, refit=False, working_memory=10).fit(X)
        assert trainings["ahead"] == [4, 4, 4]


def test_a_fit_takes_its_share_of_the_groups_time(X, monkeypatch):
    train = groups.Group.train

    def timed(group):
        fits, _ = train(group)
        return fits, 1000.0 * len(group) * (1 + (group.plans[0].architecture.sizes[1] == 6))

    monkeypatch.setattr(groups.Group, "train", timed)
    grid = {"n_components": [4, 6], "rho": [0.1, 0.2, 0.3]}
    results = BatchedGridSearchCV(make(), grid, cv=2, refit=False).fit(X).cv_results_
    by_size = {4: 1000.0, 6: 2000.0}
    expected = [by_size[params["n_components"]] for params in results["params"]]
    np.testing.assert_allclose(results["mean_fit_time"], expected, atol=60)
    np.testing.assert_allclose(results["std_fit_time"], 0, atol=60)
    assert (results["mean_fit_time"] >= expected).all()


# Candidates that fail.


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("name", "good", "bad", "base"),
    [
        ("learning_rate", [0.01, 0.1], 1e200, {"solver": "sgd"}),
        ("rho", [0.1, 2], -1, {}),
        ("rho", [0.1, 2], 200, {}),
        ("sparsity", ["l1", "kl"], "l3", {}),
        ("validation_fraction", [0.1, 0.2], 0.99, {"early_stopping": True}),
    ],
)
def test_a_candidate_that_fails_leaves_the_others_alone(X, name, good, bad, base, trainings):
    grid, estimator = {name: [good[0], bad, good[1]], "alpha": [0, 1e-3]}, make(**base)
    options = {"cv": 3, "refit": False, "error_score": -7.0, "return_train_score": True}
    with pytest.warns(FitFailedWarning, match="6 fits failed out of a total of 18") as seen:
        ours = BatchedGridSearchCV(estimator, grid, **options).fit(X)
    assert trainings["alone"] == []
    with pytest.warns(FitFailedWarning) as expected:
        theirs = GridSearchCV(estimator, grid, **options).fit(X)
    assert_same_results(ours, theirs)
    failed = np.array([params[name] == bad for params in ours.cv_results_["params"]])
    assert ((ours.cv_results_["mean_test_score"] == -7.0) == failed).all()

    def last_lines(caught):
        of_failures = (str(w.message) for w in caught if w.category is FitFailedWarning)
        return [text.strip().splitlines()[-1] for text in of_failures]

    assert last_lines(seen) == last_lines(expected)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:Some fits failed")
def test_error_score_raise(X):
    grid = {"learning_rate": [0.1, 1e200]}
    search = BatchedGridSearchCV(make(solver="sgd"), grid, error_score="raise")
    with pytest.raises(ValueError, match=r"The loss stopped .* learning_rate=1e\+200"):
        search.fit(X)
    with pytest.raises(ValueError, match="'rho'"):
        search.set_params(param_grid={"rho": [0.1, -1.0]}).fit(X)


def test_all_failing_raises(X):
    for search in (BatchedGridSearchCV, GridSearchCV):
        with pytest.raises(ValueError, match="All the 6 fits failed"):
            search(make(), {"rho": [-1, 200]}, cv=3).fit(X)


# What is not trained side by side.


def test_lbfgs_is_fitted_one_by_one_and_it_is_said(X, capsys, trainings):
    grid = {"solver": ["adam", "lbfgs"], "rho": [0.1, 0.2, 0.3]}
    ours = BatchedGridSearchCV(make(), grid, cv=2, refit=False).fit(X)
    assert capsys.readouterr().out == ""
    assert sorted(trainings["ahead"] + trainings["alone"]) == [1] * 6 + [3, 3]
    assert_same_results(ours, GridSearchCV(make(), grid, cv=2, refit=False).fit(X))
    ours.set_params(verbose=1).fit(X)
    said = capsys.readouterr().out
    assert "6 networks trained side by side in 2 groups" in said
    assert "6 one by one: solver='lbfgs'" in said


def test_verbose_autoencoders_print_every_epoch_once(X, capsys):
    grid = {"rho": [0.1, 0.2]}
    theirs = GridSearchCV(make(verbose=1), grid, cv=2, refit=False).fit(X)
    expected = capsys.readouterr().out
    ours = BatchedGridSearchCV(make(verbose=1), grid, cv=2, refit=False).fit(X)
    assert capsys.readouterr().out == expected
    assert expected.count("loss") == 16
    assert_same_results(ours, theirs)
    ours.set_params(verbose=1).fit(X)
    assert "4 one by one: verbose=1 prints every epoch" in capsys.readouterr().out


class Counter:
    """Counts hooks by task."""

    def __init__(self):
        self.calls = []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context):
        self.calls.append(f"end {context.task_name}")


def test_callbacks_of_the_autoencoder_hear_every_epoch(X, capsys):
    calls, searches = [], []
    for search in (GridSearchCV, BatchedGridSearchCV):
        counter = Counter()
        estimator = make().set_callbacks(counter)
        searches.append(search(estimator, {"rho": [0.1, 0.2]}, cv=2).fit(X))
        calls.append(counter.calls)
    assert calls[0].count("begin epoch") == 5 * 4
    assert calls[1] == calls[0]
    assert_same_results(*reversed(searches))
    searches[1].set_params(verbose=1).fit(X)
    assert "4 one by one: callbacks watch every epoch" in capsys.readouterr().out


def test_why_a_network_is_alone_is_said(X, capsys):
    search = BatchedGridSearchCV(make(), {"rho": [0.1, 0.2]}, cv=2, refit=False, verbose=1)
    search.fit(X)
    assert capsys.readouterr().out.splitlines() == [
        "[BatchedGridSearchCV] 4 networks trained side by side in 2 groups",
        "Fitting 2 folds for each of 2 candidates, totalling 4 fits",
    ]
    clone(search).set_params(working_memory=1e-6).fit(X)
    assert "; 4 one by one: working_memory or n_jobs divides them" in capsys.readouterr().out
    clone(search).set_params(param_grid={"n_components": [3, 4]}).fit(X)
    assert "; 4 one by one: no other shares" in capsys.readouterr().out
    with pytest.warns(FitFailedWarning):
        clone(search).set_params(param_grid={"rho": [0.1, 0.2, 200]}, error_score=0.0).fit(X)
    assert "; 2 one by one: their parameters do not fit the data" in capsys.readouterr().out


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
        from sklearn.utils.metadata_routing import MetadataRequest

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
        (make(sparsity="l1", rho=0.2, tol=1.0), UserWarning),
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
        counter = Counter()
        search(make(), GRID, cv=2).set_callbacks(counter).fit(X)
        calls.append(counter.calls)
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
