"""A slim copy answers as the model does, is a third as large, and cannot go on with training."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.attributes import OF_TRAINING
from sksae.export import slim

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = (array[:300] for array in load_digits(return_X_y=True))


def sae(**parameters):
    return SparseAutoencoderTransformer(40, max_iter=3, random_state=0, **parameters)


MODELS = {
    "kl": sae(),
    "topk": sae(sparsity="topk", rho=4),
    "l1 auto": sae(sparsity="l1", rho=0.2, beta="auto"),
    "stack": StackedSparseAutoencoder([sae(), sae()], max_iter=2, random_state=0),
    "greedy": StackedSparseAutoencoder([sae(), sae()], finetune=False, random_state=0),
    "classifier": SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0),
    "regressor": SparseAutoencoderRegressor([sae()], max_iter=2, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), sae()),
    "search": GridSearchCV(sae(), {"rho": [0.05, 0.2]}, cv=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_answers_and_public_attributes_are_the_same(name):
    model = MODELS[name].fit(X, y)
    before = pickle.dumps(model)
    copy = slim(model)
    assert pickle.dumps(model) == before
    for method in ("transform", "predict", "score_samples"):
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(copy, method)(X), getattr(model, method)(X))
    for attribute, value in vars(model).items():
        if isinstance(value, np.ndarray) and not attribute.startswith("_"):
            np.testing.assert_array_equal(getattr(copy, attribute), value)
    assert len(pickle.dumps(copy)) <= len(before)
    # What is loaded is as slim, and so is a slim copy of a slim copy.
    again = pickle.loads(pickle.dumps(copy))
    assert len(pickle.dumps(again)) == len(pickle.dumps(copy)) == len(pickle.dumps(slim(copy)))


def test_most_of_the_file_was_the_solvers():
    model = SparseAutoencoderTransformer(256, max_iter=3, random_state=0).fit(X)
    weights = sum(array.nbytes for array in model.coefs_)
    assert len(pickle.dumps(model)) > 3 * weights
    assert len(pickle.dumps(slim(model))) < 1.2 * weights


@pytest.mark.parametrize(
    ("solver", "times"), [("adam", 3), ("sgd", 2), pytest.param("lbfgs", 1, marks=pytest.mark.slow)]
)
def test_how_much_larger_a_file_is_is_the_solvers_business(solver, times):
    # docs/guide/saving.md says so.
    model = SparseAutoencoderTransformer(256, solver=solver, max_iter=2, random_state=0).fit(X)
    weights = sum(array.nbytes for array in model.coefs_)
    assert times < len(pickle.dumps(model)) / weights < times + 0.2


def test_members_are_slim_too():
    model = slim(MODELS["greedy"].fit(X))
    for member in model.autoencoders_:
        for name, value in OF_TRAINING.items():
            assert getattr(member, name) == value


def test_nothing_goes_on_from_it():
    for model in (sae(), SparseAutoencoderClassifier([sae()], random_state=0)):
        small = slim(model.fit(X, y))
        with pytest.raises(ValueError, match="made slim"):
            small.partial_fit(X, y)
        # Fitted anew it is as ever.
        small.fit(X, y)
        small.partial_fit(X, y)
    small = slim(sae(warm_start=True).fit(X))
    with pytest.raises(ValueError, match="warm_start"):
        small.fit(X)
    small.set_params(warm_start=False).fit(X)


def test_what_is_a_member_twice_is_one_in_the_copy():
    member = sae().fit(X)
    copy = slim(make_pipeline(FrozenEstimator(member), FrozenEstimator(PCA(5).fit(X))).set_params())
    assert isinstance(copy[0].estimator, SparseAutoencoderTransformer)
    both = slim([member, member])
    assert both[0] is both[1]


@pytest.mark.parametrize("other", [PCA(2).fit(X), make_pipeline(PCA(2)).fit(X), "model.joblib"])
def test_what_has_no_autoencoder_is_refused(other):
    with pytest.raises(TypeError, match="slim needs a fitted sparse autoencoder"):
        slim(other)


@pytest.mark.parametrize("model", [sae(), make_pipeline(sae()), StackedSparseAutoencoder([sae()])])
def test_what_is_not_fitted_is_told_to_be_fitted(model):
    with pytest.raises(NotFittedError, match=f"This {type(model).__name__} .* fit it first"):
        slim(model)


def test_what_cannot_be_pickled_is_named():
    model = make_pipeline(StandardScaler(), sae()).fit(X)
    model.note = lambda: None
    with pytest.raises(TypeError, match=r"this Pipeline cannot be pickled.*lambda"):
        slim(model)
