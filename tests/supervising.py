"""What tests of classifier and regressor together share."""

import numpy as np
import pytest
from stacking import make_rows, pair, sae

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor, StackedSparseAutoencoder

X = make_rows()
NUMBERS = 3.0 * X[:, 0] - X[:, 1] ** 2
TARGETS = {
    "labels": np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.6])),
    "numbers": NUMBERS,
}
KINDS = {"labels": SparseAutoencoderClassifier, "numbers": SparseAutoencoderRegressor}
TOPS = {"labels": "softmax", "numbers": "linear-layer"}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def make(kind, members=None, **params):
    """Return a classifier or regressor that is trained fast."""
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return KINDS[kind](pair() if members is None else members, **(defaults | params))


def output(model, rows):
    """Return scores of classes, or predictions."""
    return getattr(model, "decision_function", model.predict)(rows)


def greedy(members=None, seed=0, weight=None):
    """Return members as pre-training leaves them."""
    stack = StackedSparseAutoencoder(
        pair() if members is None else members, finetune=False, random_state=seed
    )
    return stack.fit(X, sample_weight=weight).autoencoders_


# Members of every sort.
MEMBERS = {
    "kl": pair(),
    "tanh": pair(activation="tanh"),
    "l1": pair(sparsity="l1"),
    "prelu": pair(sparsity=None, activation="prelu"),
    "tied": pair(tied_weights=True),
    "tied square": [sae(4, tied_weights=True)],
    "noise": pair(noise="gaussian"),
    "unscaled": pair(scale_data=False),
    "sigmoid output": pair(output_activation="sigmoid"),
    "deep": [sae(5, hidden_layer_sizes=(7,)), sae(4, hidden_layer_sizes=(6,))],
    "one": [sae(5)],
    "three": [sae(6), sae(5), sae(4)],
}
each_stack = pytest.mark.parametrize("name", MEMBERS)


def target_of(kind, model, weight=None):
    """Return the target as it is trained on: positions of labels, numbers scaled."""
    if kind == "labels":
        return np.searchsorted(model.classes_, TARGETS[kind])[:, None]
    mean = np.average(NUMBERS, weights=weight)
    scale = np.sqrt(np.average((NUMBERS - mean) ** 2, weights=weight))
    return ((NUMBERS - mean) / scale)[:, None]
