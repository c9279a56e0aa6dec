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
from sksae.engine import parts, threads
from sksae.engine.exact import passes
from sksae.engine.inference import layers, pursuit
from sksae.engine.network import Workspace
from sksae.engine.portions import Portions
from sksae.engine.products import Operand
from sksae.model_selection import BatchedGridSearchCV

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Memory ended|.*Memory ended"),
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
    "gated": {"sparsity": "gated", "rho": 0.3},
    "gated auto": {"sparsity": "gated", "rho": 0.3, "beta": "auto"},
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


@contextmanager
def room_for(n_rows):
    """Let memory end where more rows are processed at once; yield how often it has.

    It ends where buffers are made for them, or later: in what is computed with the buffers.
    """
    ended = []

    def limited(function, rows_of, is_late=False):
        def maybe(*args, **kwargs):
            found = function(*args, **kwargs) if is_late else None
            if rows_of(*args) > n_rows:
                ended.append(rows_of(*args))
                raise torch.OutOfMemoryError(CUDA)
            return found if is_late else function(*args, **kwargs)

        return maybe

    with pytest.MonkeyPatch.context() as patch:
        yield ended, lambda where, name, rows_of, **late: patch.setattr(
            where, name, limited(getattr(where, name), rows_of, **late)
        )


# Where memory ends: what is patched, and how many rows its arguments are.
PLACES = {
    "buffers": [
        (Workspace, "__init__", lambda self, parameters, n_rows, *_: n_rows),
        (passes.Passage, "__init__", lambda self, parameters, n_rows, *_: n_rows),
        (layers.Layers, "run", lambda self, rows, *_: 0 if rows is None else len(rows)),
    ],
    "late": [
        (parts, "backward", lambda workspace, *_: workspace.row_weights.shape[1]),
        ("sksae.engine.full_batch", "backward", lambda workspace, *_: workspace.row_weights.shape[1]),
        ("sksae.engine.validation_scorers", "forward", lambda workspace, rows: rows.tensor.shape[1]),
        (passes.Passage, "decode", lambda self, *_: self.pre.shape[1]),
        ("sksae.engine.exact.parts", "k_largest", lambda rows, k: len(rows)),
        (layers.Layers, "activate", lambda self, layer, pre: len(pre)),
    ],
}


@contextmanager
def short_of_memory(n_rows, place):
    """Let memory end at a place where more rows are processed at once."""
    with room_for(n_rows) as (ended, limit):
        for where, name, rows_of in PLACES[place]:
            if isinstance(where, str):
                import importlib

                where = importlib.import_module(where)
            limit(where, name, rows_of)
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
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_fit_in_parts_is_that_in_one_piece(name, place, weight):
    expected = fitted(TRANSFORMERS[name], X, weight)
    with short_of_memory(5, place) as ended:
        found = fitted(TRANSFORMERS[name], X, weight)
    assert ended
    assert_same(found, expected)
