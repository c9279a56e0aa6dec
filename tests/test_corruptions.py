"""Of 200 corruptions of a file, by each way of saving, none loads as another model.

Either the loader refuses the file, or the model is the same in all that it holds: the damage was
where nothing is. In a memory map entries of arrays are not read, so that they alone may differ.
"""

import io
import pickle
import runpy
import shutil
import warnings
import zipfile
from functools import cache

import joblib
import numpy as np
import pytest
from limiting import memory_limit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.persistence import checksums
from sksae.export import from_safetensors, to_numpy_source, to_safetensors

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # numpy prints what goes wrong when it frees an array of a damaged dtype.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N_CORRUPTIONS = 200
X = np.random.default_rng(0).random((40, 6))
Y = np.arange(40) % 3


def sae(n_components=5, **parameters):
    return SparseAutoencoderTransformer(
        n_components, max_iter=2, batch_size=20, random_state=0, **parameters
    )


@cache
def fitted(name):
    return {
        "kl": sae(),
        "topk": sae(sparsity="topk", rho=2),
        "batchtopk": sae(sparsity="batchtopk", rho=2),
        "stack": StackedSparseAutoencoder([sae(), sae(3)], max_iter=2, random_state=0),
        "classifier": SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0),
        "regressor": SparseAutoencoderRegressor([sae()], max_iter=2, random_state=0),
    }[name].fit(X, Y)


# --- ways to damage bytes --------------------------------------------------------------------


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def cut_at_an_end(content, rng):
    n_left = int(rng.integers(1, 40))
    return content[:n_left] if rng.random() < 0.5 else content[:-n_left]


def with_flipped_bits(content, rng):
    damaged = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 4)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def with_swapped_bytes(content, rng):
    damaged, at = bytearray(content), int(rng.integers(len(content) - 8))
    apart = int(rng.choice([1, 4]))
    damaged[at : at + apart], damaged[at + apart : at + 2 * apart] = (
        damaged[at + apart : at + 2 * apart],
        damaged[at : at + apart],
    )
    return bytes(damaged)


def with_a_block_of_zeros(content, rng):
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 64))
    return (content[:at] + bytes(size) + content[at + size :])[: len(content)]


def without_a_block(content, rng):
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 64))
    return content[:at] + content[at + size :]


def with_a_block_twice(content, rng):
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 64))
    return content[: at + size] + content[at:]


DAMAGES = (
    truncated,
    cut_at_an_end,
    with_flipped_bits,
    with_flipped_bits,
    with_flipped_bits,
    with_swapped_bytes,
    with_a_block_of_zeros,
    without_a_block,
    with_a_block_twice,
)


def corruptions(content, seed=0):
    """Yield other contents than the one given, the first one empty."""
    rng = np.random.default_rng(seed)
    yield b""
    for number in range(N_CORRUPTIONS - 1):
        damaged = content
        while damaged == content:
            damaged = DAMAGES[number % len(DAMAGES)](content, rng)
        yield damaged


def said_by(model):
    """Return what tells two models apart: their kind and checksums of all that they hold."""
    members = [said_by(each) for each in getattr(model, "autoencoders_", [])]
    return type(model), checksums(vars(model)), members


def check(content, load, said, errors=Exception, at_least=150):
    """Check that what loads of all corruptions says the same, and that not much of it does.

    Parameters
    ----------
    content : bytes
        As it was saved.
    load : callable
        Takes bytes, and returns what they say.
    said : object
        What it must be.
    errors : type
        What may be raised.
    at_least : int
        So many must be refused.
    """
    n_refused = 0
    for damaged in corruptions(content):
        try:
            # One flipped bit makes pickle ask for all memory that there is.
            with warnings.catch_warnings(), memory_limit(2**28):
                warnings.simplefilter("ignore")
                found = load(damaged)
        except errors:
            n_refused += 1
        else:
            assert found == said
    assert n_refused >= at_least


# --- what sksae leaves to others' loaders ----------------------------------------------------


KINDS = ["kl", "topk", "stack", "classifier", "regressor"]


@pytest.mark.parametrize("name", KINDS)
def test_pickle(name):
    content = pickle.dumps(fitted(name))
    check(content, lambda damaged: said_by(pickle.loads(damaged)), said_by(fitted(name)))


@pytest.mark.parametrize("name", KINDS)
def test_joblib(name):
    check_joblib(name)


@pytest.mark.parametrize("compress", ["zlib", "gzip", "bz2", "xz"])
def test_compressed_joblib(compress):
    check_joblib("kl", compress=compress)


def check_joblib(name, **options):
    written = io.BytesIO()
    joblib.dump(fitted(name), written, **options)
    check(
        written.getvalue(),
        lambda damaged: said_by(joblib.load(io.BytesIO(damaged))),
        said_by(fitted(name)),
    )


def test_mapped_joblib(tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(fitted("kl"), path)
    content = path.read_bytes()

    def load(damaged):
        # Not into the same file, of which there may be maps.
        other = tmp_path / f"{len([*tmp_path.iterdir()])}.joblib"
        other.write_bytes(damaged)
        model = joblib.load(other, mmap_mode="r")
        return type(model), checksums(vars(model))[0]

    said = SparseAutoencoderTransformer, checksums(vars(fitted("kl")))[0]
    check(content, load, said, at_least=100)


@pytest.mark.parametrize("way", ["joblib", "skops"])
def test_other_steps_of_a_pipeline_are_whole_too_where_the_file_has_a_checksum(way):
    """Compressed files of joblib, and those of skops, have one of all that is in them."""
    skops = pytest.importorskip("skops.io")
    pipe = make_pipeline(StandardScaler(), sae(), LogisticRegression()).fit(X, Y)
    trusted = ["sksae.transformer.SparseAutoencoderTransformer"]
    written = io.BytesIO()
    if way == "skops":
        skops.dump(pipe, written)
    else:
        joblib.dump(pipe, written, compress=1)

    def load(damaged):
        file = io.BytesIO(damaged)
        found = skops.load(file, trusted=trusted) if way == "skops" else joblib.load(file)
        return said_by_pipeline(found)

    check(written.getvalue(), load, said_by_pipeline(pipe), at_least=100)


def said_by_pipeline(pipe):
    scaler, own, top = (step for _, step in pipe.steps)
    arrays = (scaler.mean_, scaler.scale_, top.coef_, top.intercept_, top.classes_)
    return [*(array.tolist() for array in arrays), said_by(own)]


# --- skops -----------------------------------------------------------------------------------


def loaded_by_skops(content):
    skops = pytest.importorskip("skops.io")
    # Names may be damaged too: only the good one is trusted.
    trusted = ["sksae.transformer.SparseAutoencoderTransformer"]
    return said_by(skops.loads(content, trusted=trusted))


def test_skops():
    skops = pytest.importorskip("skops.io")
    check(skops.dumps(fitted("kl")), loaded_by_skops, said_by(fitted("kl")), at_least=100)


def test_skops_with_other_content_in_a_whole_zip():
    skops = pytest.importorskip("skops.io")
    content, rng = skops.dumps(fitted("topk")), np.random.default_rng(1)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    # As much of the schema as of all arrays.
    names = [name for name in entries if name != "schema.json"]
    said, n_refused = said_by(fitted("topk")), 0
    for number in range(N_CORRUPTIONS):
        name = "schema.json" if number % 2 else names[int(rng.integers(len(names)))]
        damaged = io.BytesIO()
        with zipfile.ZipFile(damaged, "w") as archive:
            for other, entry in entries.items():
                changed = with_flipped_bits(entry, rng) if other == name else entry
                archive.writestr(other, changed)
        try:
            found = loaded_by_skops(damaged.getvalue())
        except Exception:
            n_refused += 1
        else:
            assert found == said
    assert n_refused > 100


# --- our own readers: their errors are ValueErrors -------------------------------------------


@pytest.mark.parametrize("name", ["topk", "batchtopk"])
@pytest.mark.parametrize("file", ["sae_weights.safetensors", "cfg.json"])
def test_safetensors(name, file, tmp_path):
    pytest.importorskip("safetensors")
    path = to_safetensors(fitted(name), tmp_path) / file

    def load(damaged):
        path.write_bytes(damaged)
        return said_by(from_safetensors(tmp_path))

    content = path.read_bytes()
    said = said_by(from_safetensors(tmp_path))
    # Much of a config is not read.
    at_least = 190 if file.endswith("safetensors") else 120
    check(content, load, said, errors=ValueError, at_least=at_least)


def test_safetensors_of_two_models_do_not_go_together(tmp_path):
    pytest.importorskip("safetensors")
    one, other = (to_safetensors(fitted("topk"), tmp_path / name) for name in ("one", "other"))
    to_safetensors(sae(sparsity="topk", rho=3).fit(X), other)
    shutil.copy(one / "cfg.json", other)
    with pytest.raises(ValueError, match=r"not what to_safetensors wrote: .* of another model"):
        from_safetensors(other)


def test_arrays_of_a_module_of_numpy(tmp_path):
    path = to_numpy_source(fitted("topk"), tmp_path / "model.py")
    arrays = path.with_suffix(".npz")

    def load(damaged):
        arrays.write_bytes(damaged)
        return runpy.run_path(str(path))

    check(arrays.read_bytes(), load, None, errors=ValueError, at_least=N_CORRUPTIONS)


def test_arrays_of_another_model_do_not_go_with_a_module_of_numpy(tmp_path):
    one = to_numpy_source(fitted("topk"), tmp_path / "one.py")
    other = to_numpy_source(sae(sparsity="topk", rho=3).fit(X), tmp_path / "other.py")
    shutil.copy(one.with_suffix(".npz"), other.with_suffix(".npz"))
    with pytest.raises(ValueError, match=r"other\.npz is damaged, or of another model"):
        runpy.run_path(str(other))
