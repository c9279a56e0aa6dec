"""Searches that train all candidates at once come to what scikit-learn's own come to."""

import re
import threading
import time

import numpy as np
import pytest
import torch
from batched import Listener, assert_same_network, assert_same_results, make, search_both
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
)

from sksae.engine import threads
from sksae.engine.threads import Crew
from sksae.metrics import refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV, groups
from sksae.training.moments import find_scaling

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


GRID = {"rho": [0.05, 0.3], "beta": [0.1, 1.0]}
SMALL_TOLERANCE = {"float64": 1e-6, "float32": 2e-3}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.random((60, 8))


@pytest.mark.parametrize("grid", [{"rho": [0.1, 0.2]}, {"data_parallel": [False, True]}])
def test_fits_of_several_processes_are_refused(X, grid):
    estimator = make(data_parallel="rho" in grid)
    with pytest.raises(ValueError, match="data_parallel=True fits one model in several processes"):
        BatchedGridSearchCV(estimator, grid).fit(X)


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
        {"batch_size": [10, 20, "auto"]},
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

    def timed(group, monitor=None):
        fits, _ = train(group, monitor)
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
    theirs = GridSearchCV(make(verbose=2), grid, cv=2, refit=False).fit(X)
    expected = re.sub(r"\S+ s", "", capsys.readouterr().out)
    ours = BatchedGridSearchCV(make(verbose=2), grid, cv=2, refit=False).fit(X)
    assert re.sub(r"\S+ s", "", capsys.readouterr().out) == expected
    assert expected.count("loss") == 16
    assert_same_results(ours, theirs)
    ours.set_params(verbose=1).fit(X)
    assert "4 one by one: verbose=2 prints epochs" in capsys.readouterr().out


def test_callbacks_of_the_autoencoder_hear_every_epoch(X, capsys):
    calls, searches = [], []
    for search in (GridSearchCV, BatchedGridSearchCV):
        listener = Listener()
        estimator = make().set_callbacks(listener)
        searches.append(search(estimator, {"rho": [0.1, 0.2]}, cv=2).fit(X))
        calls.append(listener.calls)
    assert calls[0].count("begin epoch") == 5 * 4
    assert calls[1] == calls[0]
    assert_same_results(*reversed(searches))
    searches[1].set_params(verbose=1).fit(X)
    assert "4 one by one: callbacks watch every epoch" in capsys.readouterr().out


def test_why_a_network_is_alone_is_said(X, capsys, monkeypatch):
    monkeypatch.setattr(threads, "n_cores", lambda: 1)
    search = BatchedGridSearchCV(make(), {"rho": [0.1, 0.2]}, cv=2, refit=False, verbose=1)
    search.fit(X)
    assert capsys.readouterr().out.splitlines() == [
        "[BatchedGridSearchCV] 4 networks trained side by side in 2 groups",
        "Fitting 2 folds for each of 2 candidates, totalling 4 fits",
    ]
    clone(search).set_params(working_memory=1e-6).fit(X)
    assert (
        "; 4 one by one: working_memory or the number of cores divides them"
        in capsys.readouterr().out
    )
    clone(search).set_params(param_grid={"n_components": [3, 4]}).fit(X)
    assert "; 4 one by one: no other shares" in capsys.readouterr().out
    with pytest.warns(FitFailedWarning):
        clone(search).set_params(param_grid={"rho": [0.1, 0.2, 200]}, error_score=0.0).fit(X)
    assert "; 2 one by one: their parameters do not fit the data" in capsys.readouterr().out


# Cores


def test_each_core_trains_groups_of_its_own(X, trainings, monkeypatch):
    alone = BatchedGridSearchCV(make(), GRID, cv=3).fit(X)
    assert trainings["ahead"] == [4, 4, 4]
    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    trainings["ahead"].clear()
    together = BatchedGridSearchCV(make(), GRID, cv=3).fit(X)
    # The third would leave one of two cores idle in the end.
    assert trainings["ahead"] == [4, 4, 2, 2]
    assert_same_results(together, alone)
    trainings["ahead"].clear()
    BatchedGridSearchCV(make(), GRID, cv=4).fit(X)
    assert trainings["ahead"] == [4] * 4


def test_what_takes_longest_is_trained_first(X, trainings):
    grid = [{"rho": [0.1]}, {"rho": [0.1, 0.2], "max_iter": [3]}, {"rho": [0.1], "max_iter": [9]}]
    grid = [values | {"beta": [0.1, 1.0], "random_state": [k]} for k, values in enumerate(grid)]
    BatchedGridSearchCV(make(), grid, cv=[(list(range(40)), list(range(40, 60)))], refit=False).fit(
        X
    )
    assert trainings["ahead"] == [2, 4, 2]


def test_rows_are_described_once_for_all_candidates(X, monkeypatch):
    found = []

    def counting(X, index, weight, **how):
        found.append((X.shape, how))
        return find_scaling(X, index, weight, **how)

    monkeypatch.setattr(groups, "find_scaling", counting)
    grid = GRID | {"n_components": [3, 5]}
    BatchedGridSearchCV(make(), grid, cv=3, refit=False).fit(X)
    assert len(found) == 3
    grid = GRID | {"output_activation": ["identity", "tanh"]}
    BatchedGridSearchCV(make(early_stopping=True), grid, cv=3, refit=False).fit(X)
    assert len(found) == 3 + 3 * 2


def test_one_core_for_a_thread_is_no_others_business():
    cores = torch.get_num_threads()
    inside = threading.Event()
    leave = threading.Event()
    seen = []

    def train():
        with Crew(1):
            seen.append(torch.get_num_threads())
            inside.set()
            leave.wait(10)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=train)
    thread.start()
    assert inside.wait(10)
    assert torch.get_num_threads() == cores
    leave.set()
    thread.join()
    assert seen == [1, cores]
    assert torch.get_num_threads() == cores


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_ends_one_group_ends_all(X, error, monkeypatch):
    """Long trainings in other threads would keep the search from ending."""
    epochs = []

    def train_plans(plans, X, sample_weight, monitor):
        if plans[0].penalties.rho < 0.15:
            raise error
        while not monitor.epoch_ends(None):
            epochs.append(1)
            time.sleep(0.001)
        return []

    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    monkeypatch.setattr(groups, "train_plans", train_plans)
    with pytest.raises(error):
        BatchedGridSearchCV(make(), {"rho": [0.1, 0.2]}, cv=3).fit(X)
    assert len(epochs) < 5000
