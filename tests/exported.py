"""Fitted models of every sort, which all exports must say the same of."""

from functools import cache

from sklearn.datasets import load_digits

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

X, y = (array[:200] for array in load_digits(return_X_y=True))


def sae(n_components=20, **parameters):
    return SparseAutoencoderTransformer(n_components, max_iter=4, random_state=0, **parameters)


MODELS = {
    "kl": sae(),
    "tanh": sae(activation="tanh"),
    "l1": sae(sparsity="l1"),
    "l2 prelu": sae(sparsity="l2", activation="prelu"),
    "topk": sae(sparsity="topk", rho=4),
    "topk read at two": sae(sparsity="topk", rho=4, transform_n_active=2),
    "prefixes": sae(sparsity="topk", rho=4, prefixes=(5, 20)),
    "batchtopk": sae(sparsity="batchtopk", rho=4),
    "jumprelu": sae(sparsity="jumprelu", rho=4),
    "gated": sae(sparsity="gated", beta="auto"),
    "nothing": sae(sparsity=None, activation="identity"),
    "deep": sae(hidden_layer_sizes=(30,), hidden_activation="prelu", tied_weights=True),
    "tied": sae(tied_weights=True),
    "sigmoid output": sae(output_activation="sigmoid"),
    "unscaled": sae(scale_data=False, dtype="float64"),
    "cross entropy": sae(loss="cross_entropy"),
    "lbfgs": sae(solver="lbfgs"),
    "stack": StackedSparseAutoencoder([sae(), sae(12)], max_iter=2, random_state=0),
    "tied stack": StackedSparseAutoencoder(
        [sae(tied_weights=True), sae(12, tied_weights=True)], max_iter=2, random_state=0
    ),
    "greedy": StackedSparseAutoencoder(
        [sae(sparsity="topk", rho=4, transform_n_active=3), sae(12)], finetune=False, random_state=0
    ),
    "classifier": SparseAutoencoderClassifier([sae(), sae(12)], max_iter=2, random_state=0),
    "regressor": SparseAutoencoderRegressor([sae()], max_iter=2, random_state=0),
}
# Those that have no decoder.
TARGETED = ("classifier", "regressor")


def rows_of(name):
    return X / 16 if name == "cross entropy" else X


@cache
def fitted(name):
    """Return a model of the table, fitted once: tests do not change it."""
    return MODELS[name].fit(rows_of(name), y)
