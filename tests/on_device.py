"""What tests on a CUDA device share: which device it is, rows, models, and how they agree.

`SKSAE_TEST_DEVICE` names another device than "cuda".
"""

import os

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

from sksae import SparseAutoencoderTransformer

DEVICE = os.environ.get("SKSAE_TEST_DEVICE", "cuda")
IS_CUDA = DEVICE.startswith("cuda")
ON_DEVICE = [
    pytest.mark.skipif(
        IS_CUDA and not torch.cuda.is_available(), reason="torch sees no CUDA device here"
    ),
    # Without a GPU they say again what the tests of each subject say.
    *([] if IS_CUDA else [pytest.mark.slow]),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*Memory ended"),
]
needs_cuda = pytest.mark.skipif(not IS_CUDA, reason="needs the memory of a GPU")

rng = np.random.default_rng(0)
X = rng.random((300, 12)) * (rng.random((300, 12)) > 0.3)
WEIGHT = rng.random(300)
LABELS = (X[:, 0] > X[:, 1]).astype(int)
# A line search at the edge of a decision makes more of rounding than a step of adam does.
OF_LBFGS = 1e-5


def make(**params):
    defaults = {
        "n_components": 8,
        "batch_size": 64,
        "max_iter": 6,
        "random_state": 0,
        "dtype": "float64",
        "device": DEVICE,
    }
    return SparseAutoencoderTransformer(**(defaults | params))


def members(**params):
    return [make(**params), make(n_components=5, **params)]


def tolerance(name):
    return OF_LBFGS if "lbfgs" in name else 1e-6


def learnt(model):
    """Return what an autoencoder has learnt, and how its training went."""
    return [*model.coefs_, *model.intercepts_, model.loss_curve_, model.active_share_]


def made_of(model, rows):
    """Return what a fitted model makes of rows."""
    codes = model.transform(rows)
    return [
        codes,
        model.inverse_transform(codes),
        model.score_samples(rows),
        model.score(rows, sample_weight=WEIGHT),
    ]


def assert_close(found, expected, rtol):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if sp.issparse(ours):
            ours, theirs = ours.toarray(), theirs.toarray()
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale)


def on_cpu(model, *data, **weights):
    """Return the same, fitted on the CPU."""
    return clone(model).set_params(device="cpu").fit(*data, **weights)
