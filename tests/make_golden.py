"""Write small fitted models by each way of saving, with what they say, for later versions to read.

    python tests/make_golden.py

It fills the folder tests/golden/layout-N, where N is the layout of fitted attributes
(`sksae.base.attributes.LAYOUT`), and stops if that is there: what a release has written is never
written again, as users have such files. tests/test_golden.py reads all folders. Run it where LAYOUT
is a new one, or for a layout that no release has had yet after deleting its folder.
"""

import json
import pickle
import platform
import sys
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sksae
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.attributes import LAYOUT
from sksae.export import to_numpy_source, to_safetensors

FOLDER = Path(__file__).parent / "golden" / f"layout-{LAYOUT}"
PACKAGES = ("scikit-learn", "numpy", "scipy", "joblib", "skops", "safetensors", "torch")
METHODS = ("transform", "inverse_transform", "predict", "predict_proba")

_rng = np.random.default_rng(0)
X = _rng.random((60, 4)) ** 3 @ _rng.random((4, 6))
X /= X.max()
LABELS = np.array(["low", "middle", "high"])[np.digitize(X[:, 0], [0.1, 0.3])]
NUMBERS = X[:, :2] - X[:, 2:4]


def sae(n_components=5, **parameters):
    given = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return SparseAutoencoderTransformer(n_components, **(given | parameters))


# Each code, kind, solver and precision, and what holds models of ours.
MODELS = {
    "kl": sae(),
    "l1": sae(sparsity="l1"),
    "l2": sae(sparsity="l2", activation="prelu"),
    "topk": sae(sparsity="topk", rho=2),
    "batchtopk": sae(sparsity="batchtopk", rho=2, prefixes=[3]),
    "jumprelu": sae(sparsity="jumprelu", rho=2),
    "gated": sae(sparsity="gated", beta="auto"),
    "nothing": sae(sparsity=None, activation="tanh", scale_data=False),
    "deep": sae(hidden_layer_sizes=(6,), tied_weights=True, early_stopping=True),
    "float64": sae(dtype="float64", loss="cross_entropy"),
    "sgd": sae(solver="sgd", noise="gaussian"),
    "lbfgs": sae(solver="lbfgs", dtype="float64"),
    "beta_auto": sae(sparsity="l1", rho=0.3, beta="auto"),
    "stack": StackedSparseAutoencoder([sae(), sae(3)], max_iter=2, random_state=0),
    "classifier": SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0),
    "regressor": SparseAutoencoderRegressor([("first", sae())], max_iter=2, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), sae(), LogisticRegression()),
    "search": GridSearchCV(sae(), {"rho": [0.1, 0.3]}, cv=2),
}
# All by joblib, and what is another thing for the other ways: the folder is to stay small.
CLASSES = ["kl", "stack", "classifier", "regressor", "pipeline", "search"]
AS_PICKLE = CLASSES
AS_SKOPS = [*CLASSES, "batchtopk", "gated", "deep"]
AS_NUMPY = ["l2", "topk", "batchtopk", "jumprelu", "gated", "deep", "classifier", "regressor"]
AS_SAFETENSORS = ["l1", "topk", "batchtopk", "jumprelu", "gated"]
DEFLATED = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 9}


def public(value, name):
    """Yield name and value of all arrays and plain values that a user can read off a model."""
    if isinstance(value, BaseEstimator):
        is_ours = type(value).__module__.startswith("sksae.")
        parameters = value.get_params(deep=False) if is_ours else {}
        held = parameters | {
            key: each
            for key, each in vars(value).items()
            if not key.startswith("_") and (is_ours or key in ("steps", "best_estimator_"))
        }
        held.pop("autoencoders", None)  # They are not fitted.
        for key, each in held.items():
            yield from public(each, f"{name}/{key}")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from public(each, f"{name}/{key}")
    elif isinstance(value, list | tuple) and not all(isinstance(each, float) for each in value):
        for at, each in enumerate(value):
            yield from public(each, f"{name}/{at}")
    elif isinstance(value, np.generic):
        yield name, value.item()
    elif value is None or isinstance(value, bool | int | float | str | list | tuple | np.ndarray):
        yield name, value
    else:
        raise TypeError(f"{name} is a {type(value).__name__}")


def outputs(model, rows):
    """Yield the name of each method and what it says of rows; a decoder decodes their codes."""
    for method in METHODS:
        if hasattr(model, method):
            given = model.transform(rows) if method == "inverse_transform" else rows
            yield method, getattr(model, method)(given)


def write(folder):
    """Fit all models and write them, with what they say of the first rows of X."""
    import skops.io  # The tests that import this module do without it.

    arrays, plain = {"rows": X[:8]}, {}
    for name, model in MODELS.items():
        model.fit(X, NUMBERS if name == "regressor" else LABELS)
        joblib.dump(model, folder / f"{name}.joblib", compress=("zlib", 9), protocol=4)
        if name in AS_PICKLE:
            (folder / f"{name}.pickle").write_bytes(pickle.dumps(model, protocol=4))
        if name in AS_SKOPS:
            skops.io.dump(model, folder / f"{name}.skops", **DEFLATED)
        if name in AS_NUMPY:
            to_numpy_source(model, folder / f"numpy_{name}.py")
        if name in AS_SAFETENSORS:
            to_safetensors(model, folder / f"safetensors_{name}")
        held = dict(public(model, name))
        arrays |= {key: each for key, each in held.items() if isinstance(each, np.ndarray)}
        plain[name] = {
            key.removeprefix(f"{name}/"): each
            for key, each in held.items()
            if not isinstance(each, np.ndarray)
        }
        arrays |= {f"{name}:{method}": each for method, each in outputs(model, X[:8])}
    np.savez_compressed(folder / "expected.npz", allow_pickle=False, **arrays)
    versions = {each: version(each) for each in PACKAGES}
    versions |= {"sksae": sksae.__version__, "python": platform.python_version()}
    said = {"versions": versions, "values": plain}
    (folder / "expected.json").write_text(
        json.dumps(said, separators=(",", ":"), sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    if FOLDER.exists():
        sys.exit(f"{FOLDER} is there: files of a layout are written once.")
    FOLDER.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(FOLDER)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {size / 1000:.0f} kB")
