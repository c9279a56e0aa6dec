"""What of a fitted estimator is checked when it is loaded; callbacks of a user are not in a file.

tests/test_corruptions.py damages files, and tests/test_hostile_files.py has some that do harm.
"""

import pickle
import threading
from functools import cache

import joblib
import numpy as np
import pytest
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.persistence import CHECKSUMS, VERSION

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = (array[:200] for array in load_digits(return_X_y=True))


def sae(**parameters):
    return SparseAutoencoderTransformer(20, max_iter=2, random_state=0, **parameters)


@cache
def fitted():
    return sae().fit(X)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state["coefs_"][0].__setitem__((0, 0), 7.0),
        lambda state: state.update(rho=0.06),
        lambda state: state.update(mean_=state["mean_"][:-1]),
        lambda state: state.update(coefs_=state["coefs_"][::-1]),
        lambda state: state.update(_activations=("relu", "identity")),
        lambda state: state.pop("intercepts_"),
        lambda state: state.update(scale_=float(state["scale_"]) * 2),
    ],
)
def test_whatever_is_changed_is_noticed(damage):
    state = pickle.loads(pickle.dumps(fitted())).__getstate__()
    damage(state)
    with pytest.raises(ValueError, match="The file of this SparseAutoencoderTransformer is damag"):
        SparseAutoencoderTransformer.__new__(SparseAutoencoderTransformer).__setstate__(state)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ((CHECKSUMS, VERSION), "saved by an early version of sksae"),
        ((VERSION,), "saved by an early version of sksae"),
        ((CHECKSUMS,), "is damaged"),
    ],
)
def test_a_file_that_does_not_say_what_it_holds_is_refused(lost, said):
    state = fitted().__getstate__()
    for name in lost:
        del state[name]
    with pytest.raises(ValueError, match=said):
        SparseAutoencoderTransformer.__new__(SparseAutoencoderTransformer).__setstate__(state)


def test_a_mapped_file_is_checked_by_shapes_only(tmp_path):
    joblib.dump(fitted(), tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert isinstance(mapped.coefs_[0], np.memmap)
    np.testing.assert_array_equal(mapped.transform(X), fitted().transform(X))
    # Saved anew it is as any other.
    again = pickle.loads(pickle.dumps(mapped))
    np.testing.assert_array_equal(again.coefs_[0], mapped.coefs_[0])
    state = mapped.__getstate__()
    state["mean_"] = state["mean_"][:-1]
    with pytest.raises(ValueError, match="damaged"):
        SparseAutoencoderTransformer.__new__(SparseAutoencoderTransformer).__setstate__(state)


def test_attributes_may_be_changed_before_saving():
    model = sae().fit(X)
    model.set_params(device="cpu").coefs_[0][0, 0] = 1.0
    assert pickle.loads(pickle.dumps(model)).coefs_[0][0, 0] == 1.0


# --- callbacks -------------------------------------------------------------------------------


class Locked:
    """A callback that cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, **more): ...


class Counting(Locked):
    """One that can, and counts epochs in a file, as workers have memories of their own."""

    def __init__(self, path):
        self.path = path

    def on_fit_task_end(self, estimator, context, **more):
        with open(self.path, "a") as file:
            file.write("x")


@pytest.mark.parametrize("kind", ["transformer", "stack", "classifier"])
def test_a_fitted_model_is_saved_without_the_callbacks_of_its_user(kind):
    model = {
        "transformer": sae(),
        "stack": StackedSparseAutoencoder([sae()], max_iter=2),
        "classifier": SparseAutoencoderClassifier([sae()], max_iter=2),
    }[kind]
    bar = ProgressBar()
    model.set_callbacks(Locked(), bar)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(model)
    model.fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert [type(each) for each in loaded._skl_callbacks] == [ProgressBar]
    assert len(model._skl_callbacks) == 2
    model.set_callbacks(Locked())
    assert not hasattr(pickle.loads(pickle.dumps(model)), "_skl_callbacks")


def test_an_unfitted_one_takes_them_to_the_workers_of_a_search(tmp_path):
    counting = Counting(tmp_path / "epochs")
    GridSearchCV(sae().set_callbacks(counting), {"rho": [0.1, 0.2]}, cv=2, n_jobs=2).fit(X)
    assert len((tmp_path / "epochs").read_text()) > 5
