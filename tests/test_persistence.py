"""A model is numpy and plain Python: it goes to disk, to other processes and to other machines."""

import copy
import json
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from stacking import arrays_of, pair, sae
from supervising import WITH_STACK, make, output

from sksae import SparseAutoencoderTransformer, __version__

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MODELS = {
    "default": {},
    "float64": {"dtype": "float64"},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "deep prelu": {"sparsity": None, "activation": "prelu", "hidden_layer_sizes": (5, 4)},
    "sigmoid output": {"output_activation": "sigmoid"},
    "unscaled": {"scale_data": False, "activation": "tanh"},
    "early stopping": {"early_stopping": True, "rho": 1},
    "tied": {"tied_weights": True, "hidden_layer_sizes": (5,)},
    "noise": {"noise": "gaussian", "tied_weights": True},
    "masks": {"noise": "masking", "scale_data": False},
}
# The kind, the members and the parameters.
STACKS = {
    "stack kl": ("stack", pair(), {}),
    "stack prelu": ("stack", pair(sparsity=None, activation="prelu"), {}),
    "stack tied": ("stack", pair(tied_weights=True), {}),
    "stack deep": (
        "stack",
        [sae(5, hidden_layer_sizes=(7,)), sae(4, hidden_layer_sizes=(6,))],
        {},
    ),
    "labels adam": ("labels", pair(), {"solver": "adam"}),
    "labels sgd": ("labels", pair(), {"solver": "sgd"}),
    "numbers adam": ("numbers", pair(), {"solver": "adam"}),
    "numbers sgd": ("numbers", pair(), {"solver": "sgd"}),
}
STOPPED_EARLY = {
    f"{kind} early stopping": (kind, pair(), {"early_stopping": True, "validation_fraction": 0.2})
    for kind in WITH_STACK
}
GOING_ON = ["default", "float64", "sgd", "deep prelu", "tied", "noise"]
GOING_ON_WITH_TARGETS = ["labels adam", "labels sgd", "numbers adam", "numbers sgd"]
REBORN = {
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": lambda model, path: joblib.load(joblib.dump(model, path)[0]),
    "joblib mmap": lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
    "joblib compressed": lambda model, path: joblib.load(joblib.dump(model, path, compress=3)[0]),
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "copy": lambda model, path: copy.copy(model),
}
each_transformer = pytest.mark.parametrize("name", MODELS)
each_model = pytest.mark.parametrize("name", MODELS | STACKS | STOPPED_EARLY)
# Labels and numbers, of which neither transformer nor stack takes notice.
Y = np.arange(40) % 3


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((40, 6))


@pytest.fixture(scope="module")
def fitted(X):
    """Return the function that fits a model of that name."""

    def fit(name):
        if name in MODELS:
            params = {"n_components": 3, "batch_size": 10, "max_iter": 4, "random_state": 0}
            return SparseAutoencoderTransformer(**(params | MODELS[name])).fit(X)
        kind, members, params = (STACKS | STOPPED_EARLY)[name]
        return make(kind, members, **params).fit(X, Y)

    return fit


def members_of(model):
    """Return the autoencoders of a model, of which a transformer is one itself."""
    return getattr(model, "autoencoders_", [model])


def is_plain(value):
    """Tell whether a value is made of numbers, text, numpy arrays and containers of them only.

    A member of a stack is so if all that it has learnt is.
    """
    if type(value) is SparseAutoencoderTransformer:
        return not what_is_not_plain(value)
    if type(value) is np.ndarray:
        return value.dtype.kind in "fiub" or all(type(item) is str for item in value.ravel())
    if type(value) in (list, tuple):
        return all(is_plain(item) for item in value)
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    return type(value) in (int, float, str, bool, type(None))


def what_is_not_plain(model):
    """Return names of what a fitted model holds that is neither numpy nor plain Python."""
    given = model.get_params()
    held = {key: value for key, value in vars(model).items() if key not in given}
    return {key for key, value in held.items() if not is_plain(value)}


# What is in a model.


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "fit") for name in MODELS | STACKS | STOPPED_EARLY),
        *((name, "warm start") for name in MODELS),
        *((name, "partial_fit") for name in MODELS if name not in ("early stopping", "lbfgs")),
        *((name, "partial_fit") for name in GOING_ON_WITH_TARGETS),
    ],
)
def test_all_that_a_model_holds_is_numpy_and_plain_python(X, fitted, name, method):
    model = fitted(name)
    if method == "warm start":
        model.set_params(warm_start=True).fit(X)
    elif method == "partial_fit":
        model.partial_fit(X, Y)
    assert what_is_not_plain(model) == set()


@pytest.mark.parametrize("name", ["early stopping", *STOPPED_EARLY])
def test_kinds_of_fitted_attributes(fitted, name):
    model = fitted(name)
    assert type(model.loss_curve_) is type(model.validation_score_curve_) is list
    assert {type(loss) for loss in (*model.loss_curve_, *model.validation_score_curve_)} == {float}
    assert type(model.loss_) is float
    assert type(model.n_iter_) is type(model.n_steps_) is type(model.n_features_in_) is int
    if hasattr(model, "inverse_transform"):
        assert type(model.mean_activation_) is np.ndarray
        assert model.mean_activation_.dtype == np.float64
    else:
        assert all(type(array) is np.ndarray for array in (model.coef_, *model._state.values()))
    for member in members_of(model):
        for listed in ("coefs_", "intercepts_", "slopes_"):
            assert type(getattr(member, listed)) is list
        assert all(type(array) is np.ndarray for array in arrays_of([member]))
        assert type(member.mean_) is type(member.components_) is np.ndarray
        assert type(member.scale_) is float
        assert member.mean_.dtype == np.float64


@each_model
def test_a_pickle_names_nothing_of_torch(fitted, name):
    pickled = pickle.dumps(fitted(name))
    assert b"torch" not in pickled
    assert b"sksae.engine" not in pickled


@each_transformer
def test_arrays_are_not_larger_than_what_they_show(fitted, name):
    # A view of a buffer would be pickled as a copy, but keeps the buffer alive until then.
    model = fitted(name)
    for array in (*model.coefs_, *model.intercepts_, model.mean_, model.mean_activation_):
        owner = array if array.base is None else array.base
        assert owner.nbytes <= 2 * sum(coef.nbytes for coef in model.coefs_) + 1000


# To disk and back.


def plain_params(model):
    """Return parameters that can be compared, which members of a stack cannot."""
    params = model.get_params()
    return {k: v for k, v in params.items() if not isinstance(v, BaseEstimator | list)}


@pytest.mark.each_once
@pytest.mark.parametrize("reborn", REBORN)
@pytest.mark.parametrize("name", MODELS | STACKS)
def test_a_model_comes_back_the_same(X, fitted, tmp_path, name, reborn):
    model = fitted(name)
    again = REBORN[reborn](model, tmp_path / "model.joblib")
    for rows in (X, X.astype(np.float32), csr_array(X)):
        np.testing.assert_array_equal(output(again, rows), output(model, rows))
        codes = model.transform(rows)
        np.testing.assert_array_equal(again.transform(rows), codes)
    if hasattr(model, "inverse_transform"):
        np.testing.assert_array_equal(
            again.inverse_transform(codes), model.inverse_transform(codes)
        )
    assert again.score(X, Y) == model.score(X, Y)
    assert plain_params(again) == plain_params(model)
    for one, other in zip(members_of(again), members_of(model), strict=True):
        assert one.get_params() == other.get_params()
        if not one.hidden_layer_sizes:
            np.testing.assert_array_equal(one.components_, other.components_)
    if name in STACKS:
        # It can serve as a start, read-only as its arrays may be.
        start = clone(again).set_params(autoencoders=again.autoencoders_, pretrain=False)
        start.fit(X, Y)
    again.fit(X, Y)


@pytest.mark.each_once
@pytest.mark.parametrize("reborn", ["pickle", "joblib", "joblib mmap", "deepcopy"])
@pytest.mark.parametrize("name", GOING_ON + GOING_ON_WITH_TARGETS)
def test_training_goes_on_after_loading_as_it_would_have(X, fitted, tmp_path, name, reborn):
    model = fitted(name)
    again = REBORN[reborn](model, tmp_path / "model.joblib")
    for rows, target in ((X, Y), (X[::-1], Y[::-1])):
        for one in (again, model):
            one.partial_fit(rows, target)
        np.testing.assert_array_equal(output(again, X), output(model, X))
    if name in MODELS:
        for one in (again, model):
            one.set_params(warm_start=True).fit(X)
        np.testing.assert_array_equal(again.transform(X), model.transform(X))


def arrays_in(value):
    """Return every array in a value made of containers."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [array for part in value for array in arrays_in(part)]
    return []


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", GOING_ON)
def test_training_goes_on_without_writing_to_what_was_loaded(X, fitted, name, method):
    model = fitted(name).set_params(warm_start=True)
    # As a memory map would be: a write there ends the process.
    arrays = arrays_in(vars(model))
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        getattr(model, method)(X)
    for array, same in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, same)


def test_a_memory_mapped_model_keeps_its_arrays_on_disk(fitted, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(fitted("default"), path)
    model = joblib.load(path, mmap_mode="r")
    assert all(isinstance(coef, np.memmap) for coef in model.coefs_)
    assert isinstance(model.mean_, np.memmap)


NEW_PROCESS = """
import json, pickle, sys
import numpy as np

folder, torch_allowed = sys.argv[1], json.loads(sys.argv[2])


class NoTorch:
    def find_spec(self, name, *rest):
        if name == "torch" or name.startswith(("torch.", "sksae.engine")):
            raise ImportError(name)


if not torch_allowed:
    sys.meta_path.insert(0, NoTorch())
import sksae
from sksae import SparseAutoencoderTransformer as S

for kind in (
    sksae.StackedSparseAutoencoder,
    sksae.SparseAutoencoderClassifier,
    sksae.SparseAutoencoderRegressor,
):
    model = kind([S(3), S(2)]).set_params(sae0__rho=0.3)
    repr(model)
    assert model.get_params()["sae1__n_components"] == 2
with open(f"{folder}/models.pickle", "rb") as file:
    models = pickle.load(file)
told = {}
for name, model in models.items():
    repr(model)
    model.get_feature_names_out()
    mean = getattr(model, "mean_activation_", None)
    told[name] = [model.loss_, mean if mean is None else mean.tolist()]
assert "torch" not in sys.modules
if torch_allowed:
    X = np.load(f"{folder}/X.npy")
    np.savez(f"{folder}/codes.npz", **{name: model.transform(X) for name, model in models.items()})
json.dump(told, sys.stdout)
"""


@pytest.mark.parametrize(
    "torch_allowed",
    [
        pytest.param(True, id="torch"),
        pytest.param(False, marks=pytest.mark.slow, id="no torch"),
    ],
)
def test_a_new_process_loads_without_torch_and_computes_the_same_bits(
    X, fitted, tmp_path, torch_allowed
):
    models = {name: fitted(name) for name in MODELS | STACKS}
    (tmp_path / "models.pickle").write_bytes(pickle.dumps(models))
    np.save(tmp_path / "X.npy", X)
    done = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, str(tmp_path), json.dumps(torch_allowed)],
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(__file__))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name, model in models.items():
        assert told[name][0] == model.loss_
        if hasattr(model, "inverse_transform"):
            assert told[name][1] == model.mean_activation_.tolist()
    if torch_allowed:
        with np.load(tmp_path / "codes.npz") as codes:
            for name, model in models.items():
                np.testing.assert_array_equal(codes[name], model.transform(X))


# A machine without the device.


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score", "score_samples"])
@pytest.mark.parametrize("container", [np.asarray, csr_array], ids=["dense", "csr"])
def test_a_missing_device_gives_way_to_the_cpu_with_one_warning(
    X, fitted, no_accelerator, container, method, device
):
    model = fitted("deep prelu")
    given = model.transform(X) if method == "inverse_transform" else container(X)
    expected = getattr(model, method)(given)
    model.device = device
    with pytest.warns(UserWarning, match=rf"device='{device}'.*CPU.*device='auto'") as record:
        got = getattr(model, method)(given)
    assert len(record) == 1
    assert record[0].filename == __file__
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_does_not_move_to_the_cpu_by_itself(X, fitted, no_accelerator, method):
    model = fitted("default").set_params(device="cuda", warm_start=True)
    with pytest.raises(ValueError, match="device='cuda'"):
        getattr(model, method)(X)


def test_the_device_stays_what_the_user_said(fitted):
    model = fitted("default")
    assert model.device == "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(device="cpu").transform(np.ones((1, 6)))
    assert model.device == "cpu"


# No release has such layouts; tests/test_golden.py has those of releases.
@pytest.mark.parametrize("layout", [None, 0, 99])
def test_a_model_of_another_layout_is_refused(layout):
    model = SparseAutoencoderTransformer(3, max_iter=2, random_state=0)
    model.fit(np.random.default_rng(0).random((20, 5)))
    state = model.__getstate__()
    if layout is None:
        del state["_layout"]  # as of a file written before there were layouts
    else:
        state["_layout"] = layout
    other = SparseAutoencoderTransformer.__new__(SparseAutoencoderTransformer)
    said = rf"saved by sksae {__version__}, .*layout {layout}, here 5.*no release of sksae reads it"
    with pytest.raises(ValueError, match=said):
        other.__setstate__(state)
    assert not vars(other)
