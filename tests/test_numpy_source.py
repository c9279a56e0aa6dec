"""What a module of numpy says is what the model says, without torch or sksae."""

import os
import subprocess
import sys

import numpy as np
import pytest
from exported import MODELS, X, fitted, rows_of, sae, y
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sksae import SparseAutoencoderClassifier
from sksae.engine.activations import ACTIVATIONS
from sksae.export import to_numpy_source
from sksae.export.numpy_source import FORMULAS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

METHODS = ("transform", "predict", "predict_proba")


def imported(path, monkeypatch):
    """Return the module at a path."""
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return __import__(path.stem)


@pytest.mark.filterwarnings("ignore:.*transform_n_active", "ignore:.*With scale_data=False")
@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_the_model_says(name, tmp_path, monkeypatch):
    rows, model = rows_of(name), fitted(name)
    module = imported(to_numpy_source(model, tmp_path / "model.py"), monkeypatch)
    for method in METHODS:
        assert hasattr(module, method) == hasattr(model, method)
        if hasattr(model, method):
            found, expected = getattr(module, method)(rows), getattr(model, method)(rows)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    if hasattr(model, "inverse_transform"):
        codes = model.transform(rows)
        np.testing.assert_allclose(
            module.inverse_transform(codes),
            model.inverse_transform(codes),
            rtol=1e-12,
            atol=1e-12 * np.abs(rows).max(),
        )
    else:
        assert not hasattr(module, "inverse_transform")


def test_it_needs_numpy_alone_and_says_what_it_is(tmp_path):
    labels = np.array(["zero", "one"], dtype=object)[y % 2]
    model = SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0).fit(X, labels)
    path = to_numpy_source(model, tmp_path / "model.py")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import sys, numpy as np, model\n"
        "assert not {'torch', 'sksae', 'sklearn'} & {*sys.modules}\n"
        "assert 'Classifier, 64 features and 20 units, in numpy.' in model.__doc__\n"
        "print(*model.predict(np.load('X.npy')))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [*model.predict(X)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["X.npy", "model.npz", "model.py"]
    assert len(path.read_text().splitlines()) < 60


def test_rows_of_extreme_size_do_not_warn(tmp_path, monkeypatch):
    module = imported(to_numpy_source(sae().fit(X), tmp_path / "model.py"), monkeypatch)
    with np.errstate(all="raise", under="ignore"):
        codes = module.transform(np.array([[1e6] * 64, [-1e6] * 64]))
    assert ((codes >= 0) & (codes <= 1)).all()


def test_a_file_that_was_there_stays_if_another_cannot_be_written(tmp_path, monkeypatch):
    model = sae().fit(X)
    path = to_numpy_source(model, tmp_path / "model.py")
    before = path.read_text(), path.with_suffix(".npz").read_bytes()

    written, fsync = [], os.fsync

    def full_at_the_second(file):
        written.append(file)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    model.set_params(n_components=5).fit(X)
    with pytest.raises(OSError, match="No space left"):
        to_numpy_source(model, path)
    assert before == (path.read_text(), path.with_suffix(".npz").read_bytes())
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("name", ["model.txt", "my model.py", "2.py", "model", "class.py"])
def test_a_path_that_is_no_module_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"end in .py and be a name that Python can import"):
        to_numpy_source(sae().fit(X), tmp_path / name)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["numpy.py", "io.py", "random.py"])
def test_a_module_does_not_take_the_name_of_another(name, tmp_path):
    with pytest.raises(ValueError, match=f"there is another module of the name {name[:-3]!r}"):
        to_numpy_source(sae().fit(X), tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_what_it_cannot_be_made_of_is_named(tmp_path):
    path = tmp_path / "model.py"
    for other in (PCA().fit(X), make_pipeline(sae()).fit(X)):
        with pytest.raises(TypeError, match="of a pipeline or search give the model in it"):
            to_numpy_source(other, path)
    with pytest.raises(NotFittedError):
        to_numpy_source(sae(), path)
    model = sae(sparsity="topk", rho=4, transform_algorithm="omp").fit(X)
    with pytest.raises(ValueError, match="transform_algorithm='omp' looks for the codes"):
        to_numpy_source(model, path)
    with pytest.raises(FileNotFoundError, match="make the folder"):
        to_numpy_source(sae().fit(X), tmp_path / "nowhere" / "model.py")
    assert not [*tmp_path.iterdir()]


def test_labels_that_need_a_pickle_are_refused(tmp_path):
    model = SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0).fit(X, y % 2)
    model.classes_ = np.array([None, "one"], dtype=object)
    with pytest.raises(ValueError, match=r"classes must be numbers, booleans or strings.*got None"):
        to_numpy_source(model, tmp_path / "model.py")
    assert not [*tmp_path.iterdir()]


def test_there_is_a_formula_for_each_activation():
    assert set(FORMULAS) == set(ACTIVATIONS)
