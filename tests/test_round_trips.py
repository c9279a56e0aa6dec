"""Models of each kind, saved and loaded in each way, say the same of rows in each container."""

import copy
import pickle
from functools import cache

import joblib
import numpy as np
import pytest
from registered import EXACT, SPARSITIES
from scipy.sparse import csr_array

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base.persistence import checksums
from sksae.export import slim

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*has no effect"),
]

X = np.where(np.random.default_rng(0).random((40, 6)) < 0.2, 0.0, np.linspace(0.1, 1.0, 6))
X *= np.random.default_rng(1).random((40, 6))
Y = np.arange(40) % 3
METHODS = ("transform", "predict", "predict_proba", "score_samples")
ROWS = (X, X.astype(np.float32), np.asfortranarray(X), csr_array(X), X[::2, ::-1][:, ::-1])
TRUSTED = [
    "sksae.transformer.SparseAutoencoderTransformer",
    "sksae.stacked.StackedSparseAutoencoder",
    "sksae.classifier.SparseAutoencoderClassifier",
    "sksae.regressor.SparseAutoencoderRegressor",
]


def sae(n_components=5, **parameters):
    given = {"max_iter": 2, "batch_size": 20, "random_state": 0}
    return SparseAutoencoderTransformer(n_components, **(given | parameters))


MODELS = {
    **{str(code): sae(sparsity=code, rho=2 if code in EXACT else 0.3) for code in SPARSITIES},
    "deep": sae(hidden_layer_sizes=(6,), tied_weights=True),
    "float64": sae(dtype="float64", solver="lbfgs"),
    "beta auto": sae(sparsity="l1", rho=0.3, beta="auto"),
    "stack": StackedSparseAutoencoder([sae(), sae(3)], max_iter=2, random_state=0),
    "classifier": SparseAutoencoderClassifier([sae()], max_iter=2, random_state=0),
    "regressor": SparseAutoencoderRegressor([("one", sae())], max_iter=2, random_state=0),
}


def by_pickle(protocol):
    return lambda model, path: pickle.loads(pickle.dumps(model, protocol=protocol))


def by_joblib(mmap_mode=None, **options):
    def reborn(model, path):
        joblib.dump(model, path, **options)
        return joblib.load(path, mmap_mode=mmap_mode)

    return reborn


def by_skops(model, path):
    skops = pytest.importorskip("skops.io")
    skops.dump(model, path)
    return skops.load(path, trusted=TRUSTED)


WAYS = {
    **{f"pickle {protocol}": by_pickle(protocol) for protocol in range(6)},
    "joblib": by_joblib(),
    "joblib compressed": by_joblib(compress=3),
    "joblib mapped": by_joblib(mmap_mode="r"),
    "skops": by_skops,
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "slim": lambda model, path: pickle.loads(pickle.dumps(slim(model))),
}


@cache
def fitted(name):
    return MODELS[name].fit(X, Y)


@cache
def said(name, at):
    return dict(outputs(fitted(name), ROWS[at]))


def outputs(model, rows):
    for method in METHODS:
        if hasattr(model, method):
            yield method, getattr(model, method)(rows)


def held(model):
    """Return checksums of what a model and its members hold."""
    return [checksums(vars(model)), *map(held, getattr(model, "autoencoders_", []))]


@pytest.mark.each_once
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_holds_and_says_the_same(name, way, tmp_path):
    model = fitted(name)
    before = held(model)
    again = WAYS[way](model, tmp_path / "model")
    assert type(again) is type(model)
    assert held(model) == before
    if way != "slim":
        assert held(again) == before
    for at, rows in enumerate(ROWS):
        found = dict(outputs(again, rows))
        assert found.keys() == said(name, at).keys() != set()
        for method, expected in said(name, at).items():
            np.testing.assert_array_equal(found[method], expected, strict=True)
    # A second time round nothing is lost either.
    assert held(WAYS[way](again, tmp_path / "again")) == held(again)
