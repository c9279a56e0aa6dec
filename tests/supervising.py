"""What tests of classifier and regressor together share, and of stack with them."""

import numpy as np
import pytest
from stacking import assert_same, make_rows, pair, sae

from sksae import SparseAutoencoderClassifier, SparseAutoencoderRegressor, StackedSparseAutoencoder

X = make_rows()
NUMBERS = 3.0 * X[:, 0] - X[:, 1] ** 2
TARGETS = {
    "stack": NUMBERS,  # of which it takes no notice
    "labels": np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.6])),
    "numbers": NUMBERS,
}
KINDS = {"labels": SparseAutoencoderClassifier, "numbers": SparseAutoencoderRegressor}
WITH_STACK = {"stack": StackedSparseAutoencoder} | KINDS
TOPS = {"labels": "softmax", "numbers": "linear-layer"}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_kind_and_stack = pytest.mark.parametrize("kind", WITH_STACK)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def make(kind, members=None, **params):
    """Return a stack, classifier or regressor that is trained fast."""
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return WITH_STACK[kind](pair() if members is None else members, **(defaults | params))


def output(model, rows):
    """Return scores of classes, predictions, or codes of a stack."""
    methods = ("decision_function", "predict", "transform")
    return next(getattr(model, name) for name in methods if hasattr(model, name))(rows)


def assert_same_model(one, other):
    """Assert that two models hold the same bits."""
    assert_same(one.autoencoders_, other.autoencoders_)
    for name in ("coef_", "intercept_"):
        np.testing.assert_array_equal(getattr(one, name, None), getattr(other, name, None))


def last_layer(model):
    """Return weights of the layer on top, or of the last encoder of a stack."""
    return model.coef_ if hasattr(model, "coef_") else model.autoencoders_[-1].coefs_[0]


def members_only(kind):
    """Return the parameters with which members are trained but not fine-tuned."""
    return {"finetune": False} if kind == "stack" else {"freeze": 2}


TUNED = [
    pytest.param("stack", {}, id="stack"),
    *(
        pytest.param(kind, {"freeze": freeze}, id=f"{kind}-freeze={freeze}")
        for kind in KINDS
        for freeze in (None, 1, 2)
    ),
]
each_tuned = pytest.mark.parametrize(("kind", "extent"), TUNED)
each_extent = pytest.mark.parametrize(
    ("kind", "extent"), [pytest.param("stack", {"finetune": False}, id="stack-greedy"), *TUNED]
)


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
