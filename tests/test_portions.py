"""Where memory ends rows are processed in parts, and what comes out is the same up to rounding."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine import full_batch, minibatch, parts, revival, threads, validation_scorers
from sksae.engine.exact import parts as exact_parts
from sksae.engine.exact import passes
from sksae.engine.inference import layers
from sksae.engine.network import Workspace
from sksae.model_selection import BatchedGridSearchCV

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*Memory ended"),
]

CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB."
rng = np.random.default_rng(0)
X = rng.random((90, 6)) * (rng.random((90, 6)) > 0.3)
WEIGHT = rng.random(90)
LABELS = (X[:, 0] > X[:, 1]).astype(int)

TRANSFORMERS = {
    "kl": {},
    "kl window": {"batch_size": 8},
    "l1": {"sparsity": "l1"},
    "l2": {"sparsity": "l2"},
    "none": {"sparsity": None},
    "tanh": {"activation": "tanh"},
    "prelu": {"sparsity": "l1", "activation": "prelu"},
    "sgd": {"solver": "sgd"},
    "sgd l1": {"solver": "sgd", "sparsity": "l1"},
    "lbfgs": {"solver": "lbfgs"},
    "lbfgs l1": {"solver": "lbfgs", "sparsity": "l1"},
    "lbfgs none": {"solver": "lbfgs", "sparsity": None},
    "auto kl": {"beta": "auto"},
    "auto l1": {"beta": "auto", "sparsity": "l1", "max_iter": 40, "n_components": 12},
    "auto l2": {"beta": "auto", "sparsity": "l2"},
    "auto lbfgs": {"beta": "auto", "solver": "lbfgs"},
    "auto l1 lbfgs": {"beta": "auto", "sparsity": "l1", "solver": "lbfgs"},
    "gaussian": {"noise": "gaussian"},
    "masking lbfgs": {"noise": "masking", "solver": "lbfgs"},
    "tied": {"tied_weights": True},
    "deep tied prelu": {
        "hidden_layer_sizes": (5,),
        "hidden_activation": "prelu",
        "tied_weights": True,
    },
    "sigmoid": {"output_activation": "sigmoid"},
    "early stopping": {"early_stopping": True},
    "early stopping lbfgs": {"early_stopping": True, "solver": "lbfgs"},
    "topk": {"sparsity": "topk", "rho": 2},
    "topk deep": {"sparsity": "topk", "rho": 2, "hidden_layer_sizes": (5,)},
    "topk tied sgd": {"sparsity": "topk", "rho": 2, "tied_weights": True, "solver": "sgd"},
    # Units that die are taught.
    "topk dead": {"sparsity": "topk", "rho": 1, "n_components": 40, "max_iter": 12},
    "prefixes": {"sparsity": "batchtopk", "rho": 2, "prefixes": (3, 6)},
    "batchtopk": {"sparsity": "batchtopk", "rho": 2},
    "batchtopk gaussian": {"sparsity": "batchtopk", "rho": 2, "noise": "gaussian"},
    "batchtopk stopping": {"sparsity": "batchtopk", "rho": 2, "early_stopping": True},
    "jumprelu": {"sparsity": "jumprelu", "rho": 0.3},
    "jumprelu auto": {"sparsity": "jumprelu", "rho": 0.3, "beta": "auto"},
    "gated": {"sparsity": "gated"},
    "gated auto": {"sparsity": "gated", "rho": 0.3, "beta": "auto"},
}

# What others say too.
SLOW = pytest.mark.slow
AGAIN = {
    *("kl window", "l2", "tanh", "sgd l1", "lbfgs none", "auto l2", "auto lbfgs", "tied"),
    *("sigmoid", "batchtopk gaussian", "topk tied sgd", "gated auto", "early stopping"),
}


def make(**params):
    defaults = {
        "n_components": 6,
        "batch_size": 32,
        "max_iter": 4,
        "random_state": 0,
        "dtype": "float64",
    }
    return SparseAutoencoderTransformer(**(defaults | params))


# Where memory ends: a module or class, what is called there, and of how many rows it is.
PLACES = {
    "buffers": [
        (Workspace, "__init__", lambda self, parameters, n_rows, *_: n_rows),
        (passes.Passage, "__init__", lambda self, parameters, n_rows, *_: n_rows),
        (layers.Layers, "run", lambda self, rows, *_: 0 if rows is None else len(rows)),
    ],
    # When much has been computed.
    "late": [
        (parts, "backward", lambda workspace, *_: workspace.row_weights.shape[1]),
        (full_batch, "backward", lambda workspace, *_: workspace.row_weights.shape[1]),
        (validation_scorers, "forward", lambda workspace, rows: rows.tensor.shape[1]),
        (passes.Passage, "decode", lambda self, *_: self.pre.shape[1]),
        (exact_parts, "k_largest", lambda rows, k: len(rows)),
        (layers.Layers, "activate", lambda self, layer, pre: len(pre)),
    ],
    # When the gradient is there and beta is moved.
    "control": [
        (minibatch, "_count", lambda largest, parts: most_rows(parts)),
        (minibatch, "_where_active", lambda parts: most_rows(parts)),
        (minibatch, "_errors", lambda mean_code, parts: most_rows(parts)),
    ],
}


def most_rows(parts):
    return max(part.row_weights.shape[1] for part in parts)


@contextmanager
def short_of_memory(n_rows, place):
    """Let memory end at a place where more rows are processed at once; yield how many they were."""
    ended = []

    def limited(function, rows_of):
        def maybe(*args, **kwargs):
            if rows_of(*args) > n_rows:
                ended.append(rows_of(*args))
                raise torch.OutOfMemoryError(CUDA)
            return function(*args, **kwargs)

        return maybe

    with pytest.MonkeyPatch.context() as patch:
        for where, name, rows_of in PLACES[place]:
            patch.setattr(where, name, limited(getattr(where, name), rows_of))
        yield ended


def results_of(model, rows):
    codes = model.transform(rows)
    back = model.inverse_transform(codes)
    return [codes, back, model.score_samples(rows), model.score(rows, sample_weight=WEIGHT)]


def fitted(params, rows, weight):
    model = make(**params).fit(rows, sample_weight=weight)
    learnt = [*model.coefs_, *model.intercepts_, *getattr(model, "unit_parameters_", {}).values()]
    told = [model.loss_curve_, model.loss_, model.mean_activation_, model.active_share_]
    found = [*learnt, *told, getattr(model, "beta_", None), *results_of(model, rows)]
    return [each for each in found if each is not None]


def assert_same(found, expected, rtol=1e-9):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if sp.issparse(ours):
            ours, theirs = ours.toarray(), theirs.toarray()
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.mark.each_once
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
@pytest.mark.parametrize("place", ["buffers", "late"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW if name in AGAIN else ()) for name in TRANSFORMERS]
)
def test_a_fit_in_parts_is_that_in_one_piece(name, place, weight):
    expected = fitted(TRANSFORMERS[name], X, weight)
    with short_of_memory(5, place) as ended:
        found = fitted(TRANSFORMERS[name], X, weight)
    assert ended
    # Units that come back from the dead go far in a few steps, and rounding with them.
    assert_same(found, expected, rtol=1e-7 if "dead" in name else 1e-9)


@pytest.mark.parametrize("name", ["auto l1", "auto l2"])
def test_memory_may_end_while_beta_is_moved(name):
    params = TRANSFORMERS[name] | {"max_iter": 40}
    expected = fitted(params, X, WEIGHT)
    with short_of_memory(5, "control") as ended:
        found = fitted(params, X, WEIGHT)
    assert ended
    assert_same(found, expected)


@pytest.mark.parametrize("n_units", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_units_begin_anew_by_the_same_rows(n_units, monkeypatch):
    # As in "auto l1", where some do.
    began = []
    revive = revival.revive

    def noted(*args):
        served = revive(*args)
        began.append(served.clone())
        return served

    monkeypatch.setattr(revival, "revive", noted)
    params = {"beta": "auto", "sparsity": "l1", "rho": 0.02, "n_components": 12, "max_iter": 60}
    expected = fitted(params, X, None)
    served, matmul = began.copy(), torch.matmul
    assert any(each.any() for each in served)
    began.clear()

    def limited(left, right):
        if n_units is not None and left.shape[1] > n_units:
            raise torch.OutOfMemoryError(CUDA)
        return matmul(left, right)

    monkeypatch.setattr(torch, "matmul", limited)
    with short_of_memory(5, "buffers"):
        found = fitted(params, X, None)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(began, served, strict=True))
    assert_same(found, expected, rtol=1e-7)


def test_units_that_are_divided_are_told_as_units(monkeypatch):
    matmul = torch.matmul

    def limited(left, right):
        if left.shape[1] == 12:
            raise torch.OutOfMemoryError(CUDA)
        return matmul(left, right)

    monkeypatch.setattr(torch, "matmul", limited)
    params = {"beta": "auto", "sparsity": "l1", "rho": 0.02, "n_components": 12, "max_iter": 60}
    with pytest.warns(UserWarning, match="Memory ended with 12 units at once"):
        make(**params).fit(X)


@pytest.mark.parametrize("rows", [X, sp.csr_array(X), X.astype(np.float32)], ids=type)
@pytest.mark.parametrize("place", ["buffers", "late"])
def test_rows_of_all_kinds_are_processed_in_parts(place, rows):
    def found_by(model):
        return [*model.coefs_, model.transform(rows), *results_of(model, rows)]

    params = {"sparsity": "topk", "rho": 2}
    expected = found_by(make(**params).fit(rows))
    sparse = make(**params, sparse_output=True).fit(rows)
    codes = sparse.transform(rows)
    with short_of_memory(7, place) as ended:
        found = found_by(make(**params).fit(rows))
        codes_in_parts = sparse.transform(rows)
    assert ended
    tolerance = 1e-5 if rows.dtype == np.float32 else 1e-9
    assert_same([*found, codes_in_parts], [*expected, codes], tolerance)


@pytest.mark.parametrize("sparsity", ["kl", "batchtopk"])
def test_pieces_go_on_in_parts(sparsity):
    def in_pieces():
        model = make(sparsity=sparsity, **({} if sparsity == "kl" else {"rho": 2}))
        for weight in (None, WEIGHT, None):
            model.partial_fit(X, sample_weight=weight)
        return [*model.coefs_, model.loss_, *results_of(model, X)]

    expected = in_pieces()
    with short_of_memory(6, "late") as ended:
        found = in_pieces()
    assert ended
    assert_same(found, expected)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["stack", "classifier", "regressor"])
def test_networks_of_several_members_train_in_parts(kind, solver):
    def model():
        members = [make(), make(n_components=3)]
        options = {"max_iter": 4, "random_state": 0, "solver": solver, "dtype": "float64"}
        if kind == "stack":
            return StackedSparseAutoencoder(members, **options).fit(X)
        drops = {"dropout": 0.3} if solver == "adam" else {}
        kinds = {"classifier": SparseAutoencoderClassifier, "regressor": SparseAutoencoderRegressor}
        y = LABELS if kind == "classifier" else X[:, :2]
        return kinds[kind](members, **options, **drops).fit(X, y, sample_weight=WEIGHT)

    def found_by(fitted):
        last = {"stack": "transform", "classifier": "predict_proba", "regressor": "predict"}[kind]
        return [fitted.transform(X), getattr(fitted, last)(X)]

    expected = found_by(model())
    with short_of_memory(7, "late") as ended:
        found = found_by(model())
    assert ended
    # A line search that stands at the edge of a decision makes more of rounding.
    assert_same(found, expected, 1e-9 if solver == "adam" else 1e-6)


@pytest.mark.parametrize("params", [{}, {"sparsity": "topk", "rho": 2}], ids=["kl", "topk"])
def test_a_search_trains_its_networks_in_parts(params):
    grid = {"learning_rate": [0.01, 0.02], "max_iter": [2, 4]}

    def search():
        found = BatchedGridSearchCV(make(**params), grid, cv=2).fit(X)
        return [found.cv_results_["mean_test_score"], *found.best_estimator_.coefs_]

    expected = search()
    with short_of_memory(6, "buffers") as ended:
        found = search()
    assert ended
    assert_same(found, expected)


@pytest.mark.parametrize(
    "params", [{}, {"sparsity": "batchtopk", "rho": 2}], ids=["kl", "batchtopk"]
)
def test_threads_hand_their_rows_over(params, monkeypatch):
    monkeypatch.setattr(threads, "LEAST_WORK", 1.0)
    monkeypatch.setattr(threads, "LEAST_ROWS", 2)
    monkeypatch.setattr(threads, "n_cores", lambda: 3)
    expected = fitted(params, X, WEIGHT)
    with short_of_memory(6, "late") as ended:
        found = fitted(params, X, WEIGHT)
    assert ended
    assert_same(found, expected)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_user_is_told_once_and_what_to_do(solver):
    with short_of_memory(5, "buffers"), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = make(solver=solver, early_stopping=True).fit(X)
        of_fit = [str(each.message) for each in told if "Memory" in str(each.message)]
        told.clear()
        model.transform(X)
        of_transform = [str(each.message) for each in told]
    assert len(of_fit) == 1
    assert of_fit[0].startswith("SparseAutoencoderTransformer: Memory ended with")
    assert "same result up to rounding" in of_fit[0]
    assert "batch_size" in of_fit[0]
    assert of_fit[0].endswith("or another device.")
    (of_transform,) = of_transform
    assert "Memory ended with 90 rows at once" in of_transform
    assert of_transform.endswith("Give fewer rows at a time, or choose another device.")


@pytest.mark.parametrize("place", ["buffers", "late"])
@pytest.mark.parametrize(
    "params", [{}, {"solver": "lbfgs"}, {"sparsity": "topk", "rho": 2}], ids=str
)
def test_where_one_row_is_too_much_there_is_an_error(params, place, recwarn):
    model = make(**params)
    fine = make(**params).fit(X)
    recwarn.clear()
    with short_of_memory(0, place) as ended:
        with pytest.raises(MemoryError, match=r"20 GiB were asked for at once\. .*batch_size"):
            model.fit(X)
        assert ended[-1] == 1
        with pytest.raises(MemoryError, match=r"20 GiB were asked for at once\. Give fewer rows"):
            fine.transform(X)
    assert not hasattr(model, "n_features_in_")
    # Nothing was processed in parts.
    assert not [each for each in recwarn if "Memory" in str(each.message)]
