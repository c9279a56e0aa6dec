"""Files in the layout of SAELens: those that it has written, and ours as it reads them.

tests/saelens_files holds small random models that SAELens 6.54.12 has saved, and what its
``encode`` and ``decode`` make of some rows. Where SAELens itself is installed it reads ours.
"""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer
from sksae.export import from_safetensors, to_safetensors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FILES = Path(__file__).parent / "saelens_files"
THEIRS = sorted(path.name for path in FILES.iterdir() if path.is_dir())
OURS = {
    "topk": {"sparsity": "topk", "rho": 4},
    "topk with prefixes": {"sparsity": "topk", "rho": 4, "prefixes": [0.25, 0.5]},
    "batchtopk": {"sparsity": "batchtopk", "rho": 4},
    "batchtopk with prefixes": {"sparsity": "batchtopk", "rho": 4, "prefixes": [8]},
    "jumprelu": {"sparsity": "jumprelu", "rho": 4},
    "gated": {"sparsity": "gated", "rho": 4, "beta": "auto"},
    "l1": {"sparsity": "l1"},
    "unscaled": {"sparsity": "topk", "rho": 4, "scale_data": False},
    "tied": {"sparsity": "topk", "rho": 4, "tied_weights": True},
}
each_of_ours = pytest.mark.parametrize("name", OURS)


@pytest.fixture(scope="module")
def X():
    # Far from zero, as embeddings are that no one has centred.
    return load_digits().data[:300] + 100.0


@pytest.fixture(scope="module")
def models(X):
    common = {"n_components": 24, "max_iter": 15, "random_state": 0}
    return {
        name: SparseAutoencoderTransformer(**common, **params).fit(X)
        for name, params in OURS.items()
    }


def assert_same_codes(got, expected):
    """Two ways to the same codes round otherwise: a unit may be active in one of them alone."""
    scale = abs(expected).max()
    is_off = abs(got - expected) > 1e-5 * scale
    assert is_off.mean() <= 1e-3
    assert abs(got[~is_off] - expected[~is_off]).max(initial=0.0) <= 1e-5 * scale


@pytest.mark.parametrize("name", THEIRS)
def test_theirs_give_their_codes_and_rows(name):
    recorded = np.load(FILES / "expected.npz")
    model = from_safetensors(FILES / name)
    codes = model.transform(recorded["X"])
    np.testing.assert_allclose(codes, recorded[f"{name} codes"], rtol=1e-5, atol=1e-5)
    rows = model.inverse_transform(recorded[f"{name} codes"])
    np.testing.assert_allclose(rows, recorded[f"{name} rows"], rtol=1e-5, atol=1e-5)
    assert type(model) is SparseAutoencoderTransformer
    expected = {"standard": "l1", "gated": "gated"}.get(name, name.partition("-")[0])
    assert model.sparsity == expected


@each_of_ours
def test_there_and_back(models, X, name, tmp_path):
    model = models[name]
    loaded = from_safetensors(to_safetensors(model, tmp_path / "new" / "folder"))
    assert_same_codes(loaded.transform(X), model.transform(X))
    codes = model.transform(X)
    np.testing.assert_allclose(
        loaded.inverse_transform(codes), model.inverse_transform(codes), rtol=1e-5
    )
    np.testing.assert_allclose(loaded.components_, model.components_, rtol=1e-5, atol=1e-6)
    assert loaded.score(X) == pytest.approx(model.score(X), abs=1e-4)
    assert loaded.sparsity == model.sparsity
    clone(loaded).set_params(max_iter=1).fit(X)


@each_of_ours
def test_files_are_the_formula_of_saelens(models, X, name, tmp_path):
    folder = to_safetensors(models[name], tmp_path)
    arrays, config = read(folder)
    assert_same_codes(encode(arrays, config, X), models[name].transform(X))


def read(folder):
    from safetensors.numpy import load_file

    config = json.loads((folder / "cfg.json").read_text())
    return load_file(folder / "sae_weights.safetensors"), config


def encode(arrays, config, X):
    """What SAELens' classes compute, in float64."""
    wide = {name: each.astype(np.float64) for name, each in arrays.items()}
    rows = (X - wide["b_dec"] * config["apply_b_dec_to_input"]) @ wide["W_enc"]
    if config["architecture"] == "gated":
        magnitudes = rows * np.exp(wide["r_mag"]) + wide["b_mag"]
        return (rows + wide["b_gate"] > 0) * np.maximum(magnitudes, 0)
    pre = rows + wide["b_enc"]
    if config["architecture"] == "jumprelu":
        return np.maximum(pre, 0) * (pre > wide["threshold"])
    if config["architecture"] == "topk":
        kept = (-pre).argsort(axis=1).argsort(axis=1) < config["k"]
        return np.maximum(pre, 0) * kept
    return np.maximum(pre, 0)


@each_of_ours
def test_saelens_encodes_as_we_do(models, X, name, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    import torch

    model = models[name]
    sae = sae_lens.SAE.load_from_disk(str(to_safetensors(model, tmp_path)))
    with torch.no_grad():
        codes = sae.encode(torch.from_numpy(X.astype(np.float32)))
        rows = sae.decode(codes)
    assert_same_codes(codes.numpy(), model.transform(X))
    np.testing.assert_allclose(
        rows.numpy(), model.inverse_transform(codes.numpy()), rtol=1e-5, atol=1e-4
    )


def test_double_precision_stays(X, tmp_path):
    model = SparseAutoencoderTransformer(
        24, sparsity="jumprelu", rho=4, dtype="float64", max_iter=5, random_state=0
    ).fit(X)
    loaded = from_safetensors(to_safetensors(model, tmp_path))
    assert loaded.coefs_[0].dtype == np.float64
    np.testing.assert_allclose(loaded.transform(X), model.transform(X), rtol=1e-9, atol=1e-10)


def test_half_precision_is_read(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(FILES / "topk", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "sae_weights.safetensors"
    save_file({name: each.bfloat16() for name, each in load_file(path).items()}, path)
    assert load_file(path)["W_enc"].dtype == torch.bfloat16
    assert from_safetensors(tmp_path).coefs_[0].dtype == np.float32


def test_what_was_not_saved_is_said(X, tmp_path, models):
    loaded = from_safetensors(to_safetensors(models["topk"], tmp_path))
    assert np.isnan(loaded.loss_)
    assert np.isnan([loaded.active_share_, loaded.largest_activation_]).all()
    with pytest.raises(ValueError, match="without what training goes on from"):
        loaded.partial_fit(X)
    with pytest.raises(ValueError, match="Fit it anew, with warm_start=False"):
        loaded.set_params(warm_start=True).fit(X)


@each_of_ours
def test_what_is_loaded_is_read_otherwise_as_before(models, X, name, tmp_path):
    loaded = from_safetensors(to_safetensors(models[name], tmp_path))
    for algorithm in ("refit", "omp"):
        codes = []
        for model in (models[name], loaded):
            other = copy.deepcopy(model).set_params(transform_algorithm=algorithm)
            if name in ("l1", "gated") and algorithm == "omp":
                other.set_params(transform_n_active=3)
            codes.append(other.transform(X))
        assert_same_codes(codes[1], codes[0])


def test_models_of_others_do_not_say_how_many_units_are_active():
    loaded = from_safetensors(FILES / "jumprelu").set_params(transform_algorithm="omp")
    with pytest.raises(ValueError, match="set transform_n_active"):
        loaded.transform(np.ones((2, 5)))


def test_files_hold_what_transform_gives(models, X, tmp_path):
    model = copy.deepcopy(models["topk"]).set_params(transform_n_active=2)
    loaded = from_safetensors(to_safetensors(model, tmp_path))
    assert_same_codes(loaded.transform(X), model.transform(X))
    with pytest.raises(ValueError, match="set transform_algorithm='encode'"):
        to_safetensors(model.set_params(transform_algorithm="omp"), tmp_path)


def test_all_units_may_be_active(tmp_path):
    folder = damaged("topk", tmp_path / "theirs", {"k": 12})
    loaded = from_safetensors(folder)
    again = from_safetensors(to_safetensors(loaded, tmp_path / "ours"))
    rows = np.load(FILES / "expected.npz")["X"]
    assert_same_codes(again.transform(rows), loaded.transform(rows))


def test_files_are_replaced(models, X, tmp_path):
    for name in ("l1", "gated"):
        to_safetensors(models[name], tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "cfg.json",
            "sae_weights.safetensors",
        ]
    assert from_safetensors(tmp_path).sparsity == "gated"


# What makes no sense.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sparsity": "kl"}, "no model like sparsity='kl'"),
        ({"sparsity": "l1", "activation": "tanh"}, "activation='tanh'"),
        ({"sparsity": "topk", "hidden_layer_sizes": (10,)}, "has 4 layers"),
        ({"sparsity": "topk", "output_activation": "tanh"}, "output_activation='tanh'"),
    ],
)
def test_what_saelens_has_not(X, params, message, tmp_path):
    model = SparseAutoencoderTransformer(8, rho=2, max_iter=2, random_state=0, **params).fit(X)
    with pytest.raises(ValueError, match=message):
        to_safetensors(model, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_only_single_autoencoders_that_are_fitted(models, tmp_path):
    with pytest.raises(TypeError, match="got Pipeline: of a pipeline"):
        to_safetensors(make_pipeline(models["topk"]), tmp_path)
    with pytest.raises(NotFittedError):
        to_safetensors(clone(models["topk"]), tmp_path)


def damaged(folder, tmp_path, config=None, arrays=None):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(FILES / folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    path = tmp_path / "sae_weights.safetensors"
    kept = load_file(path) | (arrays or {})
    save_file({name: each for name, each in kept.items() if each is not None}, path)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "config", "arrays", "message"),
    [
        ("topk", {"architecture": "temporal"}, {}, "architecture='temporal' is not known"),
        ("topk", {"architecture": None}, {}, "architecture=None"),
        ("topk", {"normalize_activations": "layer_norm"}, {}, "fold it into them"),
        ("topk", {"reshape_activations": "hook_z"}, {}, "reshape_activations='hook_z'"),
        ("topk", {"k": 0}, {}, "k=0 must be a number of units"),
        ("topk", {"k": 13}, {}, "k=13"),
        ("topk", {"d_in": "five"}, {}, "d_in and d_sae"),
        ("topk", {"d_in": 6}, {}, r"W_enc must have shape \(6, 12\), got \(5, 12\)"),
        ("topk", {}, {"b_enc": None}, "b_enc missing"),
        ("jumprelu", {}, {"threshold": None}, "threshold missing"),
        ("topk", {}, {"threshold": np.zeros(12, np.float32)}, "threshold not known"),
        ("gated", {}, {"r_mag": np.zeros(11, np.float32)}, r"r_mag must have shape \(12,\)"),
        ("topk", {}, {"b_dec": np.full(5, np.nan, np.float32)}, "b_dec holds numbers that are"),
        ("topk", {"metadata": {"sksae_scale": -1.0}}, {}, "sksae_scale=-1.0"),
        ("topk", {"metadata": {"sksae_scale": True}}, {}, "sksae_scale=True"),
        ("topk", {"metadata": "x"}, {}, "metadata='x' must be a mapping"),
        ("topk", {"metadata": {"sksae_prefixes": 5}}, {}, "sksae_prefixes=5"),
        ("topk", {"metadata": {"sksae_prefixes": [3, 99]}}, {}, "sksae_prefixes="),
        ("jumprelu", {"metadata": {"sksae_n_active": "3"}}, {}, "sksae_n_active='3'"),
    ],
)
def test_files_that_make_no_sense(folder, config, arrays, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        from_safetensors(damaged(folder, tmp_path, config, arrays))


def test_a_file_is_no_folder(models, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("")
    with pytest.raises(NotADirectoryError, match=r"folder must name a folder, got the file"):
        to_safetensors(models["topk"], path)
    with pytest.raises(NotADirectoryError, match=r"folder must name a folder, got the file"):
        from_safetensors(path)
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        from_safetensors(tmp_path / "nowhere")


def test_files_that_are_not_there_or_no_such_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no sae_weights\.safetensors"):
        from_safetensors(tmp_path)
    shutil.copytree(FILES / "topk", tmp_path, dirs_exist_ok=True)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(ValueError, match=r"cfg\.json is no JSON"):
        from_safetensors(tmp_path)
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a mapping"):
        from_safetensors(tmp_path)
    shutil.copy(FILES / "topk" / "cfg.json", tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is damaged"):
        from_safetensors(tmp_path)


def test_a_classifier_goes_on_in_pieces_upon_a_dictionary_from_a_file(tmp_path):
    X, y = load_digits(return_X_y=True)
    sae = SparseAutoencoderTransformer(16, sparsity="topk", rho=4, max_iter=2, random_state=0)
    loaded = from_safetensors(to_safetensors(sae.fit(X), tmp_path))
    model = SparseAutoencoderClassifier([FrozenEstimator(loaded)], random_state=0)
    model.partial_fit(X[:900], y[:900], classes=np.arange(10))
    before = model.predict_proba(X)
    model.partial_fit(X[900:], y[900:])
    assert not np.array_equal(model.predict_proba(X), before)
    assert model.score(X, y) > 0.3
    np.testing.assert_array_equal(model.autoencoders_[0].mean_, loaded.mean_)
