"""Files that are made to do harm: they run no code and take no memory where we read them.

pickle and joblib are not meant: their files are programs, as SECURITY.md says.
"""

import io
import json
import pickle
import runpy
import struct
import zipfile
from hashlib import sha256

import numpy as np
import pytest
from limiting import memory_limit

from sksae import SparseAutoencoderTransformer
from sksae.export import from_safetensors, to_numpy_source, to_safetensors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).random((40, 6))
# What reading a small file may ask for.
LITTLE = 2**26


@pytest.fixture(scope="module")
def model():
    return SparseAutoencoderTransformer(
        5, sparsity="topk", rho=2, max_iter=2, batch_size=20, random_state=0
    ).fit(X)


@pytest.fixture
def folder(model, tmp_path):
    pytest.importorskip("safetensors")
    found = to_safetensors(model, tmp_path / "folder")
    from_safetensors(found)  # What is imported for it counts as memory.
    return found


class Trap:
    """What runs code where it is loaded: it notes that it did."""

    sprung = False

    def __getstate__(self):
        return {"of": "no use"}

    def __setstate__(self, state):
        Trap.sprung = True


class Program:
    """What asks pickle to run code."""

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


@pytest.fixture(autouse=True)
def no_trap_is_sprung():
    Trap.sprung = False
    yield
    assert not Trap.sprung


# --- skops -----------------------------------------------------------------------------------

OURS = "sksae.transformer.SparseAutoencoderTransformer"


def with_schema(content, change):
    """Return a file of skops whose schema is changed in place."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            entry = old.read(name)
            if name == "schema.json":
                schema = json.loads(entry)
                change(schema)
                entry = json.dumps(schema).encode()
            new.writestr(name, entry)
    return written.getvalue()


def test_skops_loads_no_class_that_is_not_trusted(model):
    skops = pytest.importorskip("skops.io")
    model.note = Trap()
    try:
        content = skops.dumps(model)
    finally:
        del model.note
    assert sorted(skops.get_untrusted_types(data=content)) == [OURS, f"{__name__}.Trap"]
    with pytest.raises(TypeError, match=r"Untrusted types found in the file: \['\w+\.Trap'\]"):
        skops.loads(content, trusted=[OURS])
    with pytest.raises(TypeError, match=r"Untrusted types .*SparseAutoencoderTransformer"):
        skops.loads(skops.dumps(model))


@pytest.mark.parametrize("node", ["ObjectNode", "FunctionNode", "TypeNode"])
def test_skops_calls_nothing_that_a_schema_names(model, node):
    skops = pytest.importorskip("skops.io")

    def change(schema):
        rho = schema["content"]["content"]["rho"]
        rho.update(__class__="setattr", __module__=__name__, __loader__=node, content=dict(rho))

    content = with_schema(skops.dumps(model), change)
    with pytest.raises(TypeError, match=r"Untrusted types found in the file: .*\.setattr"):
        skops.loads(content, trusted=[OURS])


def test_skops_reads_no_pickle_in_an_array(model):
    skops = pytest.importorskip("skops.io")
    array, written = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([Program()], dtype=object), allow_pickle=True)
    good = io.BytesIO(skops.dumps(model))
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            new.writestr(name, array.getvalue() if name.endswith(".npy") else old.read(name))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        skops.loads(written.getvalue(), trusted=[OURS])


# --- safetensors -----------------------------------------------------------------------------


def weights(header, n_bytes=480, length=None):
    """Return a file of weights with any header, and so many bytes of numbers."""
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(said) if length is None else length) + said + bytes(n_bytes)


def tensor(*offsets, shape=(5,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE_WEIGHTS = {
    "no header": b"\x00" * 7,
    "header of eight exabytes": weights({}, length=2**63),
    "header of a terabyte": weights({}, length=2**40),
    "header longer than the file": weights({}, length=2**20),
    "header of 99 MB that is not there": weights({}, length=99_000_000),
    "header that is no JSON": weights(b"\xff\xfe{]"),
    "header that is a list": weights([1, 2]),
    "header nested deeply": weights(b"[" * 100_000),
    "offsets that overlap": weights({"b_enc": tensor(0, 20), "b_dec": tensor(10, 30)}, 30),
    "offsets beyond the file": weights({"b_enc": tensor(0, 2**50, shape=(2**48,))}),
    "offsets backwards": weights({"b_enc": tensor(20, 0)}),
    "offsets below zero": weights({"b_enc": tensor(-20, 0)}, 20),
    "a hole": weights({"b_enc": tensor(0, 20), "b_dec": tensor(40, 60)}, 60),
    "bytes left over": weights({"b_enc": tensor(0, 20)}, 2000),
    "a shape whose size overflows": weights({"b_enc": tensor(0, 0, shape=(2**62, 4))}, 0),
    "a shape of zeros and giants": weights({"W_enc": tensor(0, 0, shape=(0, 2**62))}, 0),
    "a dtype that is not there": weights({"b_enc": tensor(0, 20, dtype="PICKLE")}, 20),
    "numbers that are whole": weights({"b_enc": tensor(0, 20, dtype="I32")}, 20),
    "numbers that are complex": weights({"b_enc": tensor(0, 40, dtype="C64")}, 40),
    "a pickle": pickle.dumps(Program()),
    "a pickle of torch": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_hostile_weights_are_refused(folder, name):
    (folder / "sae_weights.safetensors").write_bytes(HOSTILE_WEIGHTS[name])
    with memory_limit(LITTLE), pytest.raises(ValueError, match="weights"):
        from_safetensors(folder)


HOSTILE_CONFIGS = {
    "a list as architecture": ({"architecture": ["topk"]}, "architecture="),
    "a mapping as architecture": ({"architecture": {"topk": 1}}, "architecture="),
    "a path as architecture": ({"architecture": "../../etc/passwd"}, "architecture="),
    "sizes that are yes": ({"d_in": True, "d_sae": True}, "d_in and d_sae must be numbers"),
    "a size as text": ({"d_in": "6"}, "d_in and d_sae must be numbers"),
    "a giant size": ({"d_sae": 10**30}, "must have shape"),
    "a size below zero": ({"d_in": -6}, "d_in and d_sae must be numbers"),
    "k as text": ({"k": "2"}, "k='2' must be a number of units"),
    "k as a list": ({"k": [2]}, "must be a number of units"),
    "a giant k": ({"k": 10**100}, "must be a number of units"),
    "a switch as text": ({"apply_b_dec_to_input": "false"}, "must be true or false"),
    "a switch as a number": ({"rescale_acts_by_decoder_norm": 1}, "must be true or false"),
    "metadata as a list": ({"metadata": ["sksae_scale"]}, "must be a mapping"),
    "a giant scale": ({"metadata": {"sksae_scale": 10**400}}, "sksae_scale="),
    "a scale that overflows": ({"metadata": {"sksae_scale": 1e300}}, "too large: with sksae_scale"),
    "no scale": ({"metadata": {"sksae_scale": float("nan")}}, "sksae_scale=nan"),
    "prefixes of lists": ({"metadata": {"sksae_prefixes": [[5]]}}, "sksae_prefixes="),
    "a mapping as normalization": ({"normalize_activations": {}}, "normalize_activations="),
}


@pytest.mark.parametrize("name", HOSTILE_CONFIGS)
@pytest.mark.parametrize("is_ours", [True, False])
def test_hostile_configs_are_refused(folder, name, is_ours):
    from safetensors.numpy import load_file, save_file

    changed, said = HOSTILE_CONFIGS[name]
    config = folder / "cfg.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changed))
    path = folder / "sae_weights.safetensors"
    if is_ours:
        said = "not what to_safetensors wrote"
    else:
        save_file(load_file(path), path)  # Without the checksum, as of another program.
    with memory_limit(LITTLE), pytest.raises(ValueError, match=said):
        from_safetensors(folder)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "\ud800".encode("utf-8", "surrogatepass"), "1" * 5000, "1"],
    ids=["lists in lists", "mappings in mappings", "no UTF-8", "a giant number", "a number"],
)
def test_configs_that_are_none_are_refused(folder, text):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "cfg.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"cfg\.json (is no JSON|must hold a mapping)"):
        from_safetensors(folder)


def test_what_is_no_file_is_not_opened(folder):
    import os

    path = folder / "cfg.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no cfg\.json"):
        from_safetensors(folder)
    path.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)  # It would wait for ever.
        with pytest.raises(FileNotFoundError, match=r"holds no cfg\.json"):
            from_safetensors(folder)


def test_rows_of_zeros_that_are_to_be_divided_by_their_norm(folder):
    from safetensors.numpy import load_file, save_file

    path, config = folder / "sae_weights.safetensors", folder / "cfg.json"
    arrays = load_file(path)
    arrays["W_dec"][2] = 0.0
    save_file(arrays, path)
    given = json.loads(config.read_text()) | {"rescale_acts_by_decoder_norm": True}
    config.write_text(json.dumps(given))
    with pytest.raises(ValueError, match="W_dec has rows of zeros"):
        from_safetensors(folder)


def test_files_that_saelens_saves_anew_and_changes_of_what_is_not_read(folder):
    from safetensors.torch import load_file, save_file

    config, path = folder / "cfg.json", folder / "sae_weights.safetensors"
    expected, coef = from_safetensors(folder).transform(X), from_safetensors(folder).coefs_[0]
    given = json.loads(config.read_text())
    given["device"] = "cuda"
    given["metadata"] |= {"hook_name": "blocks.3.hook_resid_pre", "model_name": "gpt2"}
    config.write_text(json.dumps(given))
    np.testing.assert_array_equal(from_safetensors(folder).transform(X), expected)
    # Their weights have no checksum: that of ours does not stand in the config.
    changed = {name: 2 * each for name, each in load_file(path).items()}
    for header in (None, {"format": "pt"}):
        save_file(changed, path, metadata=header)
        found = from_safetensors(folder)
        np.testing.assert_array_equal(found.coefs_[0], 2 * coef)
    # Ours always have one: a header in which it has another name is damaged.
    save_file(changed, path, metadata={"sksae_checkrum": "0" * 16})
    with pytest.raises(ValueError, match="not what to_safetensors wrote"):
        from_safetensors(folder)


# --- modules of numpy ------------------------------------------------------------------------


def test_arrays_with_a_pickle_are_not_loaded(model, tmp_path):
    path = to_numpy_source(model, tmp_path / "model.py")
    arrays, source = path.with_suffix(".npz"), path.read_text()
    before = sha256(arrays.read_bytes()).hexdigest()
    np.savez(arrays, coef_1=np.array([Program()], dtype=object))
    with pytest.raises(ValueError, match="is damaged, or of another model"):
        runpy.run_path(str(path))
    # Not even where the module says that it is whole.
    path.write_text(source.replace(before, sha256(arrays.read_bytes()).hexdigest()))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        runpy.run_path(str(path))
