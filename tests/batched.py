"""What tests of searches that train all candidates at once share."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from sksae import SparseAutoencoderTransformer
from sksae.model_selection import BatchedGridSearchCV
from sksae.model_selection.autoencoders import autoencoders_in

# Starting processes takes seconds.
one_and_two_jobs = pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])


def make(**params):
    """Return a sparse autoencoder that is trained fast."""
    defaults = {
        "n_components": 5,
        "max_iter": 4,
        "batch_size": 16,
        "dtype": "float64",
        "random_state": 0,
        "tol": 1e-3,
    }
    return SparseAutoencoderTransformer(**(defaults | params))


def assert_same_results(ours, theirs, atol=1e-9):
    """Compare two fitted searches: all of cv_results_ but times, and what was chosen."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for key, value in theirs.cv_results_.items():
        if key.startswith(("split", "mean_t", "std_t")):
            np.testing.assert_allclose(ours.cv_results_[key], value, rtol=0, atol=atol)
        elif key.startswith("param_"):
            assert ours.cv_results_[key].dtype == value.dtype
            assert list(ours.cv_results_[key]) == list(value)
        elif key.startswith("rank"):
            scores = theirs.cv_results_[key.replace("rank", "mean")]
            # Rounding decides between equals.
            differ = abs(scores[:, None] - scores) > 2 * atol
            orders = [np.sign(rank[:, None] - rank) for rank in (ours.cv_results_[key], value)]
            np.testing.assert_array_equal(orders[0][differ], orders[1][differ])
            assert ours.cv_results_[key].dtype == value.dtype
    for name in ("multimetric_", "n_splits_"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("n_features_in_", "best_estimator_", "best_score_", "feature_names_in_"):
        assert hasattr(ours, name) == hasattr(theirs, name)
    assert hasattr(ours, "best_index_") == hasattr(theirs, "best_index_")
    if hasattr(theirs, "best_index_"):
        assert ours.best_params_ == ours.cv_results_["params"][ours.best_index_]
        if hasattr(theirs, "best_score_"):
            assert abs(ours.best_score_ - theirs.best_score_) <= atol
        else:
            assert ours.best_index_ == theirs.best_index_


def assert_same_network(ours, theirs):
    """Compare two fitted autoencoders to the bit."""
    assert ours.get_params() == theirs.get_params()
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert ours.loss_curve_ == theirs.loss_curve_


def search_both(estimator, grid, X, y=None, fit=None, **options):
    """Return the batched search and scikit-learn's, both fitted."""
    options = {"cv": 3} | options
    searches = BatchedGridSearchCV, GridSearchCV
    return [
        search(clone(estimator), grid, **options).fit(X, y, **(fit or {})) for search in searches
    ]


def pipe(*steps, **options):
    """Return a pipeline of named steps with a classifier behind."""
    return Pipeline([*steps, ("clf", DecisionTreeClassifier(random_state=0))], **options)


def seed_of(estimator, X, y=None):
    """Score by the seed of the autoencoder."""
    (autoencoder,) = autoencoders_in(estimator)
    return float(autoencoder._seed)


class Listener:
    """Notes which hooks are called."""

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
