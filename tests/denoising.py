"""What tests of denoising share."""

import numpy as np
import pytest
import torch
from batched import make

from sksae.engine.batches import Batch
from sksae.engine.noise import Corruption
from sksae.model.settings import Noise

CODES = [("kl", "sigmoid"), ("kl", "tanh"), ("l1", "relu"), ("l2", "prelu"), (None, "relu")]
NOISES = {"gaussian": Noise("gaussian", 0.7), "masking": Noise("masking", 0.4)}
STEADY = {"learning_rate_schedule": "constant", "tol": 0.0, "n_iter_no_change": 1000}

each_code = pytest.mark.parametrize(("sparsity", "activation"), CODES)
each_kind = pytest.mark.parametrize("kind", NOISES)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
each_scaling = pytest.mark.parametrize("scale_data", [True, False], ids=["scaled", "unscaled"])
each_weighting = pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])


def make_rows():
    """Return rows of three factors and a little noise, none of them centred."""
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.random((3, 8)) / 3 + 0.1 * rng.random((60, 8))


def noisy(kind="gaussian", level=0.4, **params):
    """Return a denoising autoencoder that is trained fast."""
    return make(noise=kind, noise_level=level, **params)


def bits(model):
    """Return everything that training has computed, as bytes."""
    arrays = [*model.coefs_, *model.intercepts_, model.mean_activation_, model.loss_]
    arrays += [np.array(model.loss_curve_)]
    return b"".join(np.asarray(array).tobytes() for array in arrays)


def corruption_of(kind, n_features=4, seed=5, dtype=torch.float64, blank=None):
    """Return what corrupts batches, as in the first epoch."""
    blank = np.zeros(n_features) if blank is None else blank
    corruption = Corruption(NOISES[kind], seed, torch.as_tensor(blank, dtype=dtype))
    corruption.begin(0)
    return corruption


def corrupted(corruption, rows):
    """Return rows of a batch as they are shown."""
    tensor = torch.as_tensor(rows)[None]
    return corruption(Batch(tensor, tensor, None)).rows[0].numpy()
