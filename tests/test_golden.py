"""Files that released versions have written load in this one and say the same; others are refused.

tests/golden has a folder for each arrangement of fitted attributes, written by make_golden.py, and
the folder "unreadable" with files of arrangements that no release had.
"""

import json
import pickle
import runpy
import warnings
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from make_golden import METHODS, outputs, public
from packaging.specifiers import SpecifierSet
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning

import sksae
from sksae import SparseAutoencoderTransformer
from sksae.base.attributes import LAYOUT, READ_BY
from sksae.base.persistence import CHECKSUMS, VERSION, checksums
from sksae.export import from_safetensors
from sksae.model.codes import CODES

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(GOLDEN.glob("layout-*"))
# What holds a model of ours is read by scikit-learn, which promises that for its own version only.
OF_SKLEARN = ("pipeline", "search")
SEARCHED = ("sklearn.metrics._scorer._PassthroughScorer", "sklearn.model_selection._split.KFold")


def load_skops(path):
    skops = pytest.importorskip("skops.io")
    asked = skops.get_untrusted_types(file=path)
    assert all(name.startswith("sksae.") or name in SEARCHED for name in asked)
    return skops.load(path, trusted=asked)


LOADERS = {
    ".pickle": lambda path: pickle.loads(path.read_bytes()),
    ".joblib": joblib.load,
    ".skops": load_skops,
}


def in_golden(pattern):
    """Mark a test that is to run for each such file or folder of all layouts."""
    found = sorted(path for folder in FOLDERS for path in folder.glob(pattern))
    assert found
    ids = [f"{path.parent.name}-{path.name}" for path in found]
    return pytest.mark.parametrize("path", found, ids=ids)


@cache
def expected(folder):
    """Return what models held and said when they were written: by model, in arrays, versions."""
    said = json.loads((folder / "expected.json").read_text())
    with np.load(folder / "expected.npz", allow_pickle=False) as arrays:
        return said["values"], dict(arrays), said["versions"]


def load(path):
    """Return a model, or skip the test where another scikit-learn does not read its own."""
    by = expected(path.parent)[2]["scikit-learn"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            return LOADERS[path.suffix](path)
    except Exception as error:
        if path.stem in OF_SKLEARN and by != sklearn.__version__:
            pytest.skip(f"scikit-learn {by} wrote it, {sklearn.__version__} says: {error}")
        raise


def as_json(value):
    return json.loads(json.dumps(value))


# --- what was written ------------------------------------------------------------------------


@in_golden("*.pickle")
def test_pickles_hold_and_say_the_same(path):
    assert_same(path)


@in_golden("*.joblib")
def test_files_of_joblib_hold_and_say_the_same(path):
    assert_same(path)


@in_golden("*.skops")
def test_files_of_skops_hold_and_say_the_same(path):
    assert_same(path)


def assert_same(path):
    model, name = load(path), path.stem
    values, arrays, _ = expected(path.parent)
    held = dict(public(model, name))
    wanted = {key: each for key, each in arrays.items() if key.startswith(f"{name}/")}
    wanted |= {f"{name}/{key}": each for key, each in values[name].items()}
    # What this version has besides is new in it.
    assert not wanted.keys() - held.keys()
    for key, value in wanted.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(held[key], value, strict=True, err_msg=key)
        else:
            np.testing.assert_equal(as_json(held[key]), value, err_msg=key)
    said = dict(outputs(model, arrays["rows"]))
    wanted = [method for method in METHODS if f"{name}:{method}" in arrays]
    assert wanted
    assert [*said] == wanted
    for method in wanted:
        assert_close(said[method], arrays[f"{name}:{method}"])


def assert_close(found, wanted):
    if wanted.dtype.kind in "fc":
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["kl", "sgd", "topk", "classifier"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_goes_on_from_them(folder, name):
    model = load(folder / f"{name}.joblib")
    rows = expected(folder)[1]["rows"]
    before, targets = model.loss_curve_[:], np.resize(["low", "middle", "high"], len(rows))
    twin = clone(model)
    model.partial_fit(rows, targets)
    assert model.loss_curve_[: len(before)] == before
    assert len(model.loss_curve_) == len(before) + 1
    assert np.isfinite(model.transform(rows)).all()
    twin.fit(rows, targets)


@in_golden("safetensors_*")
def test_dictionaries_in_safetensors_say_the_same(path):
    pytest.importorskip("safetensors")
    name, arrays = path.name.partition("_")[2], expected(path.parent)[1]
    model = from_safetensors(path)
    assert model.sparsity == name
    rows, codes = arrays["rows"], arrays[f"{name}:transform"]
    # The scaling is part of weights in float32 there, which rounds otherwise.
    np.testing.assert_allclose(model.transform(rows), codes, rtol=1e-5, atol=1e-5)
    decoded = arrays[f"{name}:inverse_transform"]
    np.testing.assert_allclose(model.inverse_transform(codes), decoded, rtol=1e-5, atol=1e-5)


@in_golden("numpy_*.py")
def test_modules_of_numpy_say_the_same(path):
    name, arrays = path.stem.partition("_")[2], expected(path.parent)[1]
    module = runpy.run_path(str(path))
    for method in METHODS:
        assert (method in module) == (f"{name}:{method}" in arrays)
        if method in module:
            given = arrays[f"{name}:transform"] if method == "inverse_transform" else arrays["rows"]
            assert_close(module[method](given), arrays[f"{name}:{method}"])


def test_this_version_has_written_files_of_each_kind():
    values, _, versions = expected(GOLDEN / f"layout-{LAYOUT}")
    assert {value["sparsity"] for value in values.values() if "sparsity" in value} == {*CODES}
    solvers = {value.get("solver") for value in values.values()}
    assert {"adam", "sgd", "lbfgs"} <= solvers
    assert versions["sksae"] in SpecifierSet(READ_BY[LAYOUT])


# --- what cannot be read ---------------------------------------------------------------------


def test_each_layout_that_is_read_has_files_and_the_table_has_it():
    read = [layout for layout, by in READ_BY.items() if sksae.__version__ in SpecifierSet(by)]
    assert LAYOUT in read
    assert [f"layout-{layout}" for layout in sorted(read)] == [folder.name for folder in FOLDERS]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("unreadable/*")), ids=lambda path: path.stem)
def test_what_no_release_wrote_is_refused_by_its_layout(path):
    layout = path.stem.partition("-")[2]
    said = rf"by an early version of sksae.*\(layout {layout}, here {LAYOUT}\).*no release of sksae"
    with pytest.raises(ValueError, match=said):
        pickle.loads(path.read_bytes())


@cache
def state_of_a_model():
    model = load(GOLDEN / f"layout-{LAYOUT}" / "kl.joblib")
    return model.__getstate__()


def reborn(**changed):
    """Return a model of a state of which some entries are others, and its checksum that of them."""
    state = state_of_a_model() | changed
    state = {key: value for key, value in state.items() if value is not Ellipsis}
    del state[CHECKSUMS]
    version = state.pop(VERSION, None)
    other = SparseAutoencoderTransformer.__new__(SparseAutoencoderTransformer)
    other.__setstate__(state | {CHECKSUMS: checksums(state), VERSION: version})
    return other


def test_an_arrangement_of_another_release_says_which_release_reads_it(monkeypatch):
    monkeypatch.setitem(READ_BY, 4, ">=0.0.3,<0.1")
    with pytest.raises(
        ValueError, match=r"by sksae 0\.0\.5,.*'sksae>=0\.0\.3,<0\.1' reads it\. Lo"
    ):
        reborn(_layout=4, **{VERSION: "0.0.5"})


@pytest.mark.parametrize("version", ["0.2.0", "0.11", "1.0rc1"])
def test_an_arrangement_of_a_later_release_says_that_this_one_reads_it(version):
    said = rf"by sksae {version},.*layout 6, here 5.*pip install 'sksae>={version}' reads it"
    with pytest.raises(ValueError, match=said):
        reborn(_layout=6, **{VERSION: version})


def test_a_parameter_of_a_later_release_is_not_left_out_in_silence():
    said = r"by sksae 9\.1 with n_moons, which sksae .* does not know: pip install 'sksae>=9\.1'"
    with pytest.raises(ValueError, match=said):
        reborn(n_moons=2, **{VERSION: "9.1"})
    # A later one that has no new parameters is read, and so is what users have added themselves.
    assert reborn(**{VERSION: "9.1"}).rho == 0.05
    assert reborn(n_moons=2).n_moons == 2
    assert reborn(n_moons=2, **{VERSION: "0.0.9"}).n_moons == 2


def test_a_parameter_that_an_earlier_release_did_not_have_is_what_it_is_by_default():
    model = reborn(transform_algorithm=..., loss=..., **{VERSION: "0.0.9"})
    assert model.transform_algorithm == "encode"
    assert model.get_params()["loss"] == "squared_error"
    rows = np.ones((2, 6))
    np.testing.assert_array_equal(model.transform(rows), reborn().transform(rows))
