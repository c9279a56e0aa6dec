"""Examples run without an argument from any folder, and say what they need before they start."""

import runpy
import subprocess
import sys
import urllib.error
from pathlib import Path
from types import ModuleType

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import _openml, load_digits

import sksae
import sksae.sequence

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# The picture, or page, that each writes.
PICTURES = {
    "anomalies": "anomalies.png",
    "atoms": "atoms.png",
    "attention_lines": "attention_lines.png",
    "dask_array": "dask_array.png",
    "deep_features": "deep_features.png",
    "denoising": "denoising.png",
    "embeddings": "embeddings.png",
    "few_labels": "few_labels.png",
    "fit_on_ray": "fit_on_ray.png",
    "gene_expression": "gene_expression.png",
    "heartbeats": "heartbeats.png",
    "matlab_digits": "matlab_digits.png",
    "one_standard_error": "one_standard_error.png",
    "quickstart": "quickstart_features.png",
    "report": "report.html",
    "self_taught": "self_taught.png",
    "sensor_windows": "sensor_windows.png",
    "sentences_of_documents": "sentences_of_documents.png",
    "sparsities": "sparsities.png",
    "stacked_mnist": "stacked_mnist.png",
    "text_topics": "text_topics.png",
    "torchrun_fit": "torchrun_fit.png",
    "ufldl_edges": "ufldl_edges.png",
}
# What each says first of its data, where these are not digits.
SOURCES = {
    **dict.fromkeys(["atoms", "denoising", "sparsities", "ufldl_edges"], "Images: scikit-learn's"),
    **dict.fromkeys(["embeddings", "report"], "Sentences: 10000 of 5 packages"),
    "gene_expression": "Genes: simulated",
    "heartbeats": "Strips: simulated",
    "sensor_windows": "Signals: simulated",
    "sentences_of_documents": "Documents: ",
    "text_topics": "Documents: ",
}
# Those that may take their data from a file.
OF_MNIST = ["deep_features", "few_labels", "matlab_digits", "self_taught", "stacked_mnist"]
WITH_DATA = sorted([*OF_MNIST, "atoms", "sparsities", "ufldl_edges"])
# What does the same once where else it is done several times.
SHORTER = {"few_labels": ("--draws", "1"), "ufldl_edges": ("--starts", "1")}
BENCHMARKS = ["deep", "epoch", "lbfgs", "search", "supervised"]
HEAVY = ("matplotlib", "sklearn", "sksae", "torch")

pytestmark = [
    pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs examples/, which is not installed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


class BegunError(Exception):
    """The first fit has been reached."""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder to run in, with neither data nor a network nor a screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKSAE_DATA", raising=False)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # Benchmarks set it where nobody has; it is not to reach the tests after this one.
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "no cache"))
    # A new process, of the quickstart, looks for sksae where this one does.
    monkeypatch.setenv("PYTHONPATH", str(Path(sksae.__file__).parents[1]))
    monkeypatch.setattr(_openml, "urlopen", no_network)
    return tmp_path


@pytest.fixture
def data(monkeypatch):
    """The module by which the examples get their data."""
    monkeypatch.syspath_prepend(EXAMPLES)
    import _data

    return _data


def no_network(request):
    raise urllib.error.URLError("no network")


def run(monkeypatch, name, *arguments):
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    monkeypatch.syspath_prepend(path.parent)
    return runpy.run_path(str(path), run_name="__main__")


def refusal(monkeypatch, capsys, name, *arguments):
    """Return the message with which a script ends before it has imported anything heavy."""
    for module in HEAVY:
        monkeypatch.setitem(sys.modules, module, None)  # which makes its import fail
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, name, *arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def mnist_file(folder, n_train=40, n_test=20):
    """Write a small mnist.npz."""
    rng = np.random.default_rng(0)
    X = rng.integers(256, size=(n_train + n_test, 784), dtype=np.uint8)
    y = (np.arange(n_train + n_test) % 10).astype(np.uint8)
    path = folder / "mnist.npz"
    np.savez(path, X_train=X[:n_train], y_train=y[:n_train], X_test=X[n_train:], y_test=y[n_train:])
    return path


# --- running ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_an_example_says_what_data_it_has_and_begins(name, elsewhere, monkeypatch, capsys):
    def begun(self, X, *args, **kwargs):
        raise BegunError(X.shape)

    for kind in [*vars(sksae).values(), *vars(sksae.sequence).values()]:
        if isinstance(kind, type) and issubclass(kind, BaseEstimator):
            monkeypatch.setattr(kind, "fit", begun)
    for search in (
        "sklearn.model_selection.GridSearchCV",
        "sksae.model_selection.BatchedGridSearchCV",
    ):
        monkeypatch.setattr(f"{search}.fit", begun)
    with pytest.raises(BegunError):
        run(monkeypatch, name)
    said = capsys.readouterr()
    assert SOURCES.get(name, "Digits: scikit-learn's") in said.out
    if name in OF_MNIST:
        assert "--data" in said.err
        assert "failed: URLError: <urlopen error no network>" in said.err


# The quickstart, which takes longest, is one of the README's two commands.
@pytest.mark.slow
@pytest.mark.usefixtures("private_ray")
@pytest.mark.parametrize("name", sorted(set(PICTURES) - {"quickstart"}))
def test_an_example_runs_from_any_folder(name, elsewhere, monkeypatch):
    if name == "fit_on_ray":
        pytest.importorskip("ray.train", exc_type=ImportError)
    run(monkeypatch, name, *SHORTER.get(name, ()))
    assert (elsewhere / PICTURES[name]).read_bytes().startswith((b"\x89PNG", b"<!DOCTYPE html>"))


@pytest.mark.slow
def test_the_program_for_torchrun_fits_in_two_processes(elsewhere, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(EXAMPLES / "torchrun_fit.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in ("0 of 2: 898 of 1797", "1 of 2: 899 of 1797"):
        assert f"Process {line} rows" in done.stdout
    assert joblib.load("torchrun_fit.joblib").score(load_digits().data) > 0.8
    assert done.stdout.count("Saved") == 1


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("benchmarks/[!_]*.py")), ids=lambda it: it.stem
)
def test_a_benchmark_tells_its_options(path, elsewhere, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, f"benchmarks/{path.stem}", "--help")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {path.name}")


# --- refusing --------------------------------------------------------------------------------

SCRIPTS = [*WITH_DATA, *(f"benchmarks/{name}" for name in BENCHMARKS)]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("how", ["--data", "SKSAE_DATA"])
def test_a_wrong_folder_is_refused_before_heavy_imports(name, how, elsewhere, monkeypatch, capsys):
    if how == "SKSAE_DATA":
        monkeypatch.setenv("SKSAE_DATA", "nowhere")
    said = refusal(monkeypatch, capsys, name, *(["--data", "nowhere"] if how == "--data" else []))
    assert "there is no nowhere" in said
    assert "Expected" in said
    assert ".npz with" in said


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_folder_without_the_file_is_refused(name, elsewhere, monkeypatch, capsys):
    said = refusal(monkeypatch, capsys, name, "--data", elsewhere)
    assert f".npz in {elsewhere}" in said


@pytest.mark.parametrize("contents", ["other arrays", "no arrays"])
def test_a_file_with_other_contents_is_refused(contents, elsewhere, monkeypatch, capsys):
    path = elsewhere / "mnist.npz"
    if contents == "no arrays":
        path.write_text("X_train")
    else:
        np.savez(path, X_train=np.zeros((2, 784)), y_train=np.zeros(2))
    said = refusal(monkeypatch, capsys, "self_taught", "--data", path)
    assert "X_test" in said.partition("lacks")[2].partition("Expected")[0]


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_picture_that_could_not_be_written_is_refused(name, elsewhere, monkeypatch, capsys):
    said = refusal(monkeypatch, capsys, name, "--output", elsewhere / "nowhere" / "picture.png")
    assert "there is no folder" in said


# --- loading ---------------------------------------------------------------------------------


def test_mnist_of_a_file(data, elsewhere):
    path = mnist_file(elsewhere)
    assert data.MNIST(elsewhere) == data.MNIST(path) == path
    digits = data.mnist_or_digits(path)
    with np.load(path) as file:
        np.testing.assert_allclose(digits.X_train, file["X_train"] / 255, rtol=1e-6)
        np.testing.assert_array_equal(digits.y_test, file["y_test"])
    assert digits.X_train.dtype == np.float32
    assert str(path) in digits.source
    assert digits.epochs(5) == 5


def test_mnist_of_openml_goes_before_scikit_learns_digits(data, elsewhere, monkeypatch, capsys):
    X, y = np.full((10_040, 784), 255), np.full(10_040, "7", dtype=object)
    X[40:] = 0
    asked = {}

    def fetch(name, **how):
        asked[name] = how
        return X, y

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    digits = data.mnist_or_digits(None)
    assert asked["mnist_784"]["as_frame"] is False
    assert digits.X_train.shape == (40, 784)
    assert (digits.X_train == 1).all()
    assert (digits.X_test == 0).all()
    assert set(digits.y_train) == {7}
    assert "OpenML" in digits.source
    assert "--data" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("md5"), TimeoutError("slow")])
def test_whatever_fails_at_openml_scikit_learns_digits_stand_in(
    error, data, elsewhere, monkeypatch, capsys
):
    def fetch(*args, **kwargs):
        raise error

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    digits = data.mnist_or_digits(None)
    assert digits.X_train.shape == (1347, 784)
    assert digits.X_test.shape == (450, 784)
    assert digits.X_train.dtype == np.float32
    assert digits.X_train.min() == 0
    assert 0.9 < digits.X_train.max() <= 1
    assert str(error) in capsys.readouterr().err
    assert not digits.is_mnist
    assert "enlarged" in digits.source


def test_photographs_are_white(data):
    images, source = data.natural_images(None)
    assert images.shape == (2, 213, 320)
    assert "china.jpg" in source
    np.testing.assert_allclose(images.var(axis=(1, 2)), 0.1)
    power = np.abs(np.fft.fft2(images)) ** 2
    f = np.hypot(np.fft.fftfreq(213)[:, None], np.fft.fftfreq(320))
    low, high = (power[:, (f > at) & (f <= at + 0.05)].mean(axis=1) for at in (0.05, 0.15))
    assert (low / high < 3).all()  # of the photographs themselves it is above 10


def test_images_of_a_file(data, elsewhere):
    path = elsewhere / "natural_images_whitened.npz"
    np.savez(path, images=np.ones((3, 20, 30), dtype=np.float32))
    images, source = data.natural_images(data.NATURAL_IMAGES(elsewhere))
    assert images.shape == (3, 20, 30)
    assert images.dtype == np.float64
    assert str(path) in source


DOCSTRING = "Returns {} of many.\n\n>>> code()\nIs said by all."


def test_docstrings_are_texts_that_need_no_download(data):
    import _sentences

    texts, packages = _sentences.package_sentences(200)
    assert len(set(texts)) == len(packages) == 200
    assert all(40 < len(text) < 300 for text in texts)
    assert set(packages) <= {"matplotlib", "numpy", "pandas", "scipy", "sklearn"}
    again, _ = _sentences.package_sentences(200)
    np.testing.assert_array_equal(again, texts)


def test_what_stands_in_many_docstrings_is_no_part_of_a_document(data, monkeypatch):
    import _sentences

    module = ModuleType("numpy.made_up")
    for number in range(5):
        module.__dict__[f"each{number}"] = type("Each", (), {"__doc__": DOCSTRING.format(number)})()
    monkeypatch.setattr(_sentences, "MORE_MODULES", ("numpy.made_up", "absent.altogether"))
    monkeypatch.setattr(_sentences, "import_module", lambda name: module)
    documents, packages = _sentences.package_documents(most_often=3, shortest=2)
    found = [text for text in documents if "many" in text or "said" in text]
    assert found == [f"Returns {number} of many." for number in range(5)]
    assert set(packages) == {"numpy"}


SENTENCES = """Returns {} of many numbers that a user has given.

Parameters
----------
number : int, default=0
    Is said by all of these docstrings. How many
    there are of {} is said to the reader here.

>>> code()
"""


def test_documents_are_their_sentences_in_order(data, monkeypatch):
    import _sentences

    module = ModuleType("numpy.made_up")
    for number in range(5):
        text = SENTENCES.format(number, number)
        module.__dict__[f"each{number}"] = type("Each", (), {"__doc__": text})()
    monkeypatch.setattr(_sentences, "MORE_MODULES", ("numpy.made_up", "absent.altogether"))
    monkeypatch.setattr(_sentences, "import_module", lambda name: module)
    found, documents, packages = _sentences.sentences_of_documents(9, most_often=3, fewest=2)
    pairs = [
        [
            f"Returns {number} of many numbers that a user has given.",
            f"How many there are of {number} is said to the reader here.",
        ]
        for number in range(5)
    ]
    texts = [found[documents == each].tolist() for each in range(len(packages))]
    # The docstring of str, which names of the module have, is a document too.
    assert sorted(text for text in texts if text[-1].endswith("to the reader here.")) == pairs
    assert set(packages) == {"numpy"}
    found, documents, packages = _sentences.sentences_of_documents(2, fewest=2, most=1)
    assert documents.tolist() == [0, 1]
    assert len(found) == len(packages) == 2


def test_sentences_lie_beside_mnist_or_are_left_out(data, elsewhere):
    path = mnist_file(elsewhere)
    assert data.SENTENCES.beside(None) is None
    assert data.SENTENCES.beside(path) is None
    sentences = elsewhere / "sentence_embeddings.npz"
    np.savez(sentences, X=np.ones((2, 3)), y=np.zeros(2), doc=np.zeros(2))
    assert data.SENTENCES.beside(path) == sentences
