"""Classifier and regressor go to disk and come back."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from stacking import arrays_of
from supervising import TARGETS, X, each_kind, make, output

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    "reborn",
    [
        lambda model, path: pickle.loads(pickle.dumps(model)),
        lambda model, path: joblib.load(joblib.dump(model, path)[0]),
        lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
        lambda model, path: copy.deepcopy(model),
    ],
    ids=["pickle", "joblib", "joblib mmap", "deepcopy"],
)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_kind
def test_it_comes_back_the_same_and_goes_on_alike(kind, solver, reborn, tmp_path):
    model = make(kind, solver=solver).fit(X, TARGETS[kind])
    again = reborn(model, tmp_path / "model.joblib")
    for rows in (X, X.astype(np.float32), csr_array(X)):
        np.testing.assert_array_equal(output(again, rows), output(model, rows))
    for each in (again, model):
        each.partial_fit(X, TARGETS[kind]).partial_fit(X[::-1], TARGETS[kind][::-1])
    np.testing.assert_array_equal(output(again, X), output(model, X))
    # Its members, read-only as they may be, can serve another.
    make(kind, again.autoencoders_, pretrain=False).fit(X, TARGETS[kind])


@each_kind
def test_arrays_are_numpys(kind):
    model = make(kind, early_stopping=True, validation_fraction=0.2).fit(X, TARGETS[kind])
    for array in (*arrays_of(model.autoencoders_), model.coef_, *model._state.values()):
        assert type(array) is np.ndarray
    assert type(model.loss_) is float
    assert type(model.n_iter_) is type(model.n_steps_) is int
    assert {type(loss) for loss in (*model.loss_curve_, *model.validation_score_curve_)} == {float}
    assert b"torch" not in pickle.dumps(model)
