"""Denoising autoencoders side by side, in a search too."""

import numpy as np
import pytest
from batched import assert_same_results, make, search_both
from denoising import each_kind, each_minibatch_solver, make_rows, noisy
from plans import plan_of

from sksae.training.fit import train_plans

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*solver=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*X holds values from"),
]


@pytest.fixture(scope="module")
def X():
    return make_rows()


@each_kind
@each_minibatch_solver
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_networks_side_by_side_are_shown_what_each_is_alone(X, sparsity, solver, kind):
    settings = [{"beta": 0.5}, {"beta": 0.1, "max_iter": 3}, {"beta": 0.2, "learning_rate": 0.02}]
    estimators = [noisy(kind, sparsity=sparsity, solver=solver, **own) for own in settings]
    plans = [plan_of(estimator, X, None) for estimator in estimators]
    for plan, trained in zip(plans, train_plans(plans, X, None), strict=True):
        (alone,) = train_plans([plan], X, None)
        np.testing.assert_allclose(trained.flat, alone.flat, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trained.loss_curve, alone.loss_curve, rtol=1e-9)


def test_a_search_over_noise_gives_scikit_learns_results(X, trainings):
    grid = [
        {"noise": ["gaussian", "masking"], "noise_level": [0.1, 0.5], "rho": [0.1, 0.2]},
        {"noise": [None], "rho": [0.1, 0.2]},
    ]
    ours, theirs = search_both(make(), grid, X)
    assert_same_results(ours, theirs)
    assert len(set(ours.cv_results_["mean_test_score"])) == 10
    # In each of three folds those of one noise and level go together, and are the whole group.
    assert trainings["ahead"] == [2] * 15


def test_masks_of_zeros_and_of_means_are_not_mixed(X, trainings):
    one, other = (plan_of(noisy("masking", scale_data=way), X, None) for way in (True, False))
    assert one.config.common != other.config.common
    grid = {"scale_data": [True, False], "noise": ["masking"], "alpha": [1e-4, 1e-2]}
    ours, theirs = search_both(make(), grid, X + 1.0)
    assert_same_results(ours, theirs)
    assert trainings["ahead"] == [2] * 6
