"""A model is numpy and plain Python: it goes to disk, to other processes and to other machines."""

import copy
import json
import os
import pickle
import pickletools
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from sksae import SparseAutoencoderTransformer

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
each_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((40, 6))


@pytest.fixture(scope="module")
def fitted(X):
    """Return the function that fits a model of that name."""

    def fit(name, rows=X):
        params = {"n_components": 3, "batch_size": 10, "max_iter": 4, "random_state": 0}
        return SparseAutoencoderTransformer(**(params | MODELS[name])).fit(rows)

    return fit


def is_plain(value):
    """Tell whether a value is made of numbers, text, numpy arrays and containers of them only."""
    if type(value) is np.ndarray:
        return value.dtype.kind in "fiub" or all(type(item) is str for item in value.ravel())
    if type(value) in (list, tuple):
        return all(is_plain(item) for item in value)
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    return type(value) in (int, float, str, bool, type(None))


# What is in a model.


@pytest.mark.parametrize("method", ["fit", "partial_fit", "warm start"])
@each_model
def test_all_that_a_model_holds_is_numpy_and_plain_python(X, fitted, name, method):
    model = fitted(name)
    if method == "warm start":
        model.set_params(warm_start=True).fit(X)
    elif method == "partial_fit":
        if not hasattr(model, "partial_fit") or model.early_stopping:
            return
        model.partial_fit(X)
    given = model.get_params()
    held = {key: value for key, value in vars(model).items() if key not in given}
    assert {key for key, value in held.items() if not is_plain(value)} == set()


def test_kinds_of_fitted_attributes(fitted):
    model = fitted("early stopping")
    for name in ("coefs_", "intercepts_", "slopes_", "loss_curve_", "validation_score_curve_"):
        assert type(getattr(model, name)) is list
    for name in ("mean_", "mean_activation_", "components_"):
        assert type(getattr(model, name)) is np.ndarray
    assert type(model.loss_) is type(model.scale_) is float
    assert type(model.n_iter_) is type(model.n_steps_) is type(model.n_features_in_) is int
    assert {type(loss) for loss in (*model.loss_curve_, *model.validation_score_curve_)} == {float}
    assert model.mean_.dtype == model.mean_activation_.dtype == np.float64


@each_model
def test_a_pickle_names_nothing_of_torch(fitted, name):
    words = {str(arg) for _, arg, _ in pickletools.genops(pickle.dumps(fitted(name)))}
    assert not [word for word in words if "torch" in word]
    assert not [word for word in words if word.startswith("sksae.engine")]


@each_model
def test_arrays_are_not_larger_than_what_they_show(fitted, name):
    # A view of a buffer would be pickled as a copy, but keeps the buffer alive until then.
    model = fitted(name)
    for array in (*model.coefs_, *model.intercepts_, model.mean_, model.mean_activation_):
        owner = array if array.base is None else array.base
        assert owner.nbytes <= 2 * sum(coef.nbytes for coef in model.coefs_) + 1000


# To disk and back.


@pytest.mark.parametrize(
    "reborn",
    [
        lambda model, path: pickle.loads(pickle.dumps(model)),
        lambda model, path: joblib.load(joblib.dump(model, path)[0]),
        lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
        lambda model, path: joblib.load(joblib.dump(model, path, compress=3)[0]),
        lambda model, path: copy.deepcopy(model),
        lambda model, path: copy.copy(model),
    ],
    ids=["pickle", "joblib", "joblib mmap", "joblib compressed", "deepcopy", "copy"],
)
@each_model
def test_a_model_comes_back_the_same(X, fitted, tmp_path, name, reborn):
    model = fitted(name)
    again = reborn(model, tmp_path / "model.joblib")
    for rows in (X, X.astype(np.float32), csr_array(X)):
        codes = model.transform(rows)
        np.testing.assert_array_equal(again.transform(rows), codes)
    np.testing.assert_array_equal(again.inverse_transform(codes), model.inverse_transform(codes))
    assert again.score(X) == model.score(X)
    assert again.get_params() == model.get_params()
    if not model.hidden_layer_sizes:
        np.testing.assert_array_equal(again.components_, model.components_)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("name", ["default", "float64", "sgd", "deep prelu", "tied", "noise"])
def test_training_goes_on_after_loading_as_it_would_have(X, fitted, tmp_path, name, mmap_mode):
    model = fitted(name)
    path = tmp_path / "model.joblib"
    joblib.dump(model, path)
    again = joblib.load(path, mmap_mode=mmap_mode)
    np.testing.assert_array_equal(
        again.partial_fit(X).transform(X), model.partial_fit(X).transform(X)
    )
    for one in (again, model):
        one.set_params(warm_start=True)
    np.testing.assert_array_equal(again.fit(X).transform(X), model.fit(X).transform(X))


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
@pytest.mark.parametrize("name", ["default", "float64", "sgd", "deep prelu", "tied", "noise"])
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
with open(f"{folder}/models.pickle", "rb") as file:
    models = pickle.load(file)
told = {
    name: [repr(model), model.loss_, float(model.coefs_[0].sum()), model.mean_activation_.tolist()]
    for name, model in models.items()
}
for model in models.values():
    model.get_feature_names_out()
assert "torch" not in sys.modules
if torch_allowed:
    X = np.load(f"{folder}/X.npy")
    np.savez(f"{folder}/codes.npz", **{name: model.transform(X) for name, model in models.items()})
json.dump(told, sys.stdout)
"""


@pytest.mark.parametrize("torch_allowed", [True, False], ids=["torch", "no torch"])
def test_a_new_process_loads_without_torch_and_computes_the_same_bits(
    X, fitted, tmp_path, torch_allowed
):
    models = {name: fitted(name) for name in MODELS}
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
        assert told[name][1] == model.loss_
        assert told[name][3] == model.mean_activation_.tolist()
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
    other.__setstate__(state)
    with pytest.raises(ValueError, match=rf"layout {layout}, here 1.*fit it again"):
        other.transform(np.zeros((2, 5)))
