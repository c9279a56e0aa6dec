"""Tensors are made where they are to be, whatever device torch makes them on by default."""

import ast
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import sksae
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FACTORIES = {
    *("arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace"),
    *("logspace", "normal", "ones", "rand", "randint", "randn", "randperm", "scalar_tensor"),
    *("tensor", "zeros", "Generator"),
}
SOURCES = sorted(Path(sksae.__file__).parent.rglob("*.py"))

rng = np.random.default_rng(0)
X = rng.random((60, 6)) * (rng.random((60, 6)) > 0.3)
WEIGHT = rng.random(60)
LABELS = (X[:, 0] > X[:, 1]).astype(int)

TRANSFORMERS = {
    "kl": {},
    "l1": {"sparsity": "l1"},
    "l2": {"sparsity": "l2"},
    "none": {"sparsity": None},
    "tanh": {"activation": "tanh"},
    "prelu": {"sparsity": "l1", "activation": "prelu"},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "lbfgs l1": {"solver": "lbfgs", "sparsity": "l1"},
    "auto kl": {"beta": "auto"},
    "auto l1": {"beta": "auto", "sparsity": "l1", "max_iter": 12},
    "auto l2": {"beta": "auto", "sparsity": "l2"},
    "auto lbfgs": {"beta": "auto", "solver": "lbfgs"},
    "auto l1 lbfgs": {"beta": "auto", "sparsity": "l1", "solver": "lbfgs"},
    "gaussian": {"noise": "gaussian"},
    "masking": {"noise": "masking"},
    "masking lbfgs": {"noise": "masking", "solver": "lbfgs"},
    "tied": {"tied_weights": True},
    "deep": {"hidden_layer_sizes": (5,)},
    "deep tied prelu": {
        "hidden_layer_sizes": (5,),
        "hidden_activation": "prelu",
        "tied_weights": True,
    },
    "sigmoid": {"output_activation": "sigmoid"},
    "unscaled": {"scale_data": False},
    "float64": {"dtype": "float64"},
    "early stopping": {"early_stopping": True},
    "early stopping lbfgs": {"early_stopping": True, "solver": "lbfgs"},
}


def make(**params):
    defaults = {"n_components": 4, "batch_size": 16, "max_iter": 4, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def members(**params):
    return [make(**params), make(n_components=3, **params)]


def results_of(model, rows):
    """Return what a fitted autoencoder or stack gives of rows."""
    codes = model.transform(rows)
    back = model.inverse_transform(codes)
    return [codes, back, model.score_samples(rows), model.score(rows, sample_weight=WEIGHT)]


def transformer(params, rows=X, weight=None):
    model = make(**params).fit(rows, sample_weight=weight)
    return [*model.coefs_, *model.intercepts_, model.loss_curve_, *results_of(model, rows)]


def in_pieces(**params):
    model = make(**params)
    for weight in (None, WEIGHT, None):
        model.partial_fit(X, sample_weight=weight)
    return [*model.coefs_, model.loss_, *results_of(model, X)]


def warmly(**params):
    model = make(warm_start=True, **params)
    return [model.fit(X).fit(X).loss_curve_, *model.coefs_]


def stack(**params):
    model = StackedSparseAutoencoder(members(), max_iter=4, random_state=0, **params).fit(X)
    return results_of(model, X)


def classifier(**params):
    model = SparseAutoencoderClassifier(members(), max_iter=4, random_state=0, **params)
    model.fit(X, LABELS, sample_weight=WEIGHT)
    found = [model.transform(X), model.predict_proba(X)]
    if not params.get("early_stopping") and params.get("solver") != "lbfgs":
        found.append(model.partial_fit(X, LABELS).predict_proba(X))
    return found


def regressor(**params):
    model = SparseAutoencoderRegressor(members(), max_iter=4, random_state=0, **params)
    return [model.fit(X, X[:, :2]).predict(X)]


def search(**params):
    grid = {"rho": [0.1, 0.3], "learning_rate": [0.01, 0.02], "max_iter": [2, 4]}
    found = BatchedGridSearchCV(make(**params), grid, cv=2).fit(X)
    return [found.cv_results_["mean_test_score"], *found.best_estimator_.coefs_]


CASES = (
    {name: (transformer, {"params": params}) for name, params in TRANSFORMERS.items()}
    | {
        "CSR": (transformer, {"params": {}, "rows": sp.csr_array(X)}),
        "CSR lbfgs": (transformer, {"params": {"solver": "lbfgs"}, "rows": sp.csr_array(X)}),
        "float32 rows": (transformer, {"params": {}, "rows": X.astype(np.float32)}),
        "weights": (transformer, {"params": {}, "weight": WEIGHT}),
        "weights lbfgs": (transformer, {"params": {"solver": "lbfgs"}, "weight": WEIGHT}),
        "weights auto": (transformer, {"params": {"beta": "auto"}, "weight": WEIGHT}),
        "pieces": (in_pieces, {}),
        "pieces sgd auto": (in_pieces, {"solver": "sgd", "sparsity": "l1", "beta": "auto"}),
        "warm": (warmly, {}),
        "warm auto": (warmly, {"beta": "auto", "sparsity": "l1", "early_stopping": True}),
        "warm lbfgs": (warmly, {"solver": "lbfgs"}),
        "stack": (stack, {}),
        "stack lbfgs": (stack, {"solver": "lbfgs"}),
        "classifier": (classifier, {"dropout": 0.2, "noise": "gaussian"}),
        "classifier lbfgs": (classifier, {"solver": "lbfgs"}),
        "classifier early stopping": (classifier, {"early_stopping": True}),
        "regressor": (regressor, {}),
        "regressor frozen": (regressor, {"freeze": 1}),
        "search": (search, {}),
        "search auto": (search, {"beta": "auto", "sparsity": "l1"}),
        "search early stopping": (search, {"early_stopping": True}),
        "search lbfgs": (search, {"solver": "lbfgs"}),
    }
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_whatever_makes_a_tensor_names_its_device(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES:
            names = [keyword.arg for keyword in node.keywords]
            assert "device" in names, f"{source.name}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("case", CASES)
def test_the_default_device_and_dtype_of_torch_make_no_difference(case):
    what, params = CASES[case]
    expected = what(**params)
    with torch.device("meta"):
        on_another = what(**params)
    torch.set_default_dtype(torch.float64)
    try:
        in_double = what(**params)
    finally:
        torch.set_default_dtype(torch.float32)
    for found in (on_another, in_double):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
