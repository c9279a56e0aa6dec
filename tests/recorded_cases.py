"""What record_outputs.py fits: small data, and a table of ways to use all public estimators."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.metrics import sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV

# Rows and targets.


def make_rows(n_rows, n_features, n_factors=4, seed=0):
    """Return rows of a few positive factors and a little noise."""
    rng = np.random.default_rng(seed)
    factors = rng.random((n_rows, n_factors)) ** 3
    noise = 0.1 * rng.random((n_rows, n_features))
    return factors @ rng.random((n_factors, n_features)) + noise


PLAIN = make_rows(120, 16)
ROWS = {
    "plain": PLAIN,
    "float32": PLAIN.astype(np.float32),
    "columns first": np.asfortranarray(PLAIN),
    "csr": csr_array(np.where(PLAIN > 0.5, PLAIN, 0.0)),
    "probabilities": PLAIN / PLAIN.max(),
    "csr of probabilities": csr_array(np.where(PLAIN > 0.5, PLAIN, 0.0) / PLAIN.max()),
    "small": make_rows(60, 8, seed=1),
    "large": make_rows(300, 64, n_factors=12, seed=2),
    "far off": 1e6 + 1e3 * PLAIN,
    "one constant column": np.hstack([PLAIN, np.ones((120, 1))]),
    "one huge column": PLAIN * np.r_[1e3, np.ones(15)],
    "with a nan": np.where(PLAIN.max() == PLAIN, np.nan, PLAIN),
}
WEIGHT = np.tile([0.0, 0.5, 1.0, 2.5], 75)
NUMBERS = 3.0 * PLAIN[:, 0] - PLAIN[:, 1] ** 2
CLASSES = np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.6]))
EVERY_THIRD = np.arange(120) % 3 == 0
TARGETS = {
    None: None,
    "two classes": CLASSES > 0,
    "classes": CLASSES,
    "strings": np.array(["a", "b", "c"])[CLASSES],
    "classes, some missing": np.where(EVERY_THIRD, -1, CLASSES),
    "numbers": NUMBERS,
    "two outputs": np.column_stack([NUMBERS, 100.0 + PLAIN[:, 2]]),
    "numbers, some missing": np.where(EVERY_THIRD, np.nan, NUMBERS),
}


# Estimators.


def sae(n_components=12, **params):
    """Return an autoencoder that trains in no time."""
    few = {"max_iter": 8, "batch_size": 20, "random_state": 0}
    return SparseAutoencoderTransformer(n_components, **(few | params))


def supervised(estimator):
    """Return the function that makes such an estimator of two autoencoders."""

    def make(autoencoders=None, **params):
        members = [sae(8), sae(5)] if autoencoders is None else autoencoders
        few = {"max_iter": 6, "batch_size": 20, "random_state": 0}
        return estimator(members, **(few | params))

    return make


stack = supervised(StackedSparseAutoencoder)
classifier = supervised(SparseAutoencoderClassifier)
regressor = supervised(SparseAutoencoderRegressor)


def fitted_members():
    first = sae(8).fit(PLAIN)
    return [first, sae(5, random_state=1).fit(first.transform(PLAIN))]


def of_fitted(make):
    """Return the function that makes the same of autoencoders that are fitted already."""
    return lambda **params: make(fitted_members(), pretrain=False, **params)


def of_frozen(make):
    return lambda **params: make([FrozenEstimator(fitted_members()[0]), sae(5)], **params)


def pipeline(**params):
    tree = DecisionTreeClassifier(random_state=0)
    return Pipeline([("scale", StandardScaler()), ("sae", sae(**params)), ("tree", tree)])


def stack_from_pipeline():
    return StackedSparseAutoencoder.from_pipeline(make_pipeline(sae(8), sae(5)).fit(PLAIN))


# Ways to train.


def whole(model, X, y, **weight):
    return model.fit(X, y, **weight)


def twice(model, X, y, **weight):
    """For ``warm_start``."""
    return model.fit(X, y, **weight).fit(X, y, **weight)


def in_pieces(model, X, y, sample_weight=None):
    for piece in [*np.array_split(np.arange(X.shape[0]), 3)] * 2:
        weight = {} if sample_weight is None else {"sample_weight": sample_weight[piece]}
        model.partial_fit(X[piece], None if y is None else y[piece], **weight)
    return model


def and_on_from_disk(model, X, y, **weight):
    model = pickle.loads(pickle.dumps(model.fit(X, y, **weight)))
    return in_pieces(model, X, y, **weight)


def with_other_beta(model, X, y, **weight):
    return model.fit(X, y, **weight).set_params(beta=0.5).fit(X, y, **weight)


class Diary:
    """A callback that writes down all it is told, and ends a training after some epochs."""

    max_propagation_depth = None

    def __init__(self, stop_after=1000):
        self.lines, self.n_epochs, self.stop_after = [], 0, stop_after

    def setup(self, estimator, context):
        self.lines.append(f"setup {type(estimator).__name__}")

    def teardown(self, estimator, context):
        self.lines.append(f"teardown {type(estimator).__name__}")

    def on_fit_task_begin(self, estimator, context):
        self.lines.append(f"begin {self._path(context)}")

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        path = self._path(context)
        self.lines.append(f"end {path}")
        if fitted_estimator is None or not path.endswith("epoch"):
            return False
        target = () if y is None else (y,)
        self.lines.append(f"score {fitted_estimator.score(X, *target)!r}")
        self.n_epochs += 1
        return self.n_epochs >= self.stop_after

    @staticmethod
    def _path(context):
        names = []
        while context is not None:
            names.append(str(context.source_task_name or context.task_name))
            context = context.parent
        return "/".join(reversed(names))


# The table.


@dataclass(frozen=True)
class Case:
    """An estimator, what it is trained on, and how."""

    make: Callable[..., BaseEstimator]
    params: dict[str, Any]
    rows: str = "plain"
    target: str | None = None
    weighted: bool = False
    train: Callable[..., BaseEstimator] = whole
    stop_after: int | None = None


def case(
    make, *, rows="plain", target=None, weighted=False, train=whole, stop_after=None, **params
):
    return Case(make, params, rows, target, weighted, train, stop_after)


SPARSITIES = ("kl", "l1", "l2", None)
COUNTED = ("topk", "batchtopk", "jumprelu", "gated")
SOLVERS = ("adam", "sgd", "lbfgs")
DEPTHS = ((), (10,), (14, 10))
BY_PARTS = ("adam", "sgd")
DEEP_PRELU = {"hidden_layer_sizes": (10,), "hidden_activation": "prelu"}
AUTO = {"beta": "auto", "rho": 0.2, "max_iter": 60}
HELD_OUT = {"early_stopping": True, "validation_fraction": 0.25}
MANY = {"n_components": 512, "batch_size": 300}
AS_IT_IS = {"scale_data": False}
PROBABILITIES = {"rows": "probabilities", "loss": "cross_entropy"}
GRID = {"beta": [0.3, 3.0], "rho": [0.1, 0.2], "max_iter": [5, 8]}
STEP_GRID = {"sae__beta": [0.3, 3.0], "sae__n_components": [6, 12], "tree__max_depth": [2, 4]}
SCORED = {"scoring": sparsity_scorers(threshold=0.1, relative=True), "refit": False}

CASES = {
    **{
        f"{sparsity}, {solver}, hidden layers {depth}": case(
            sae, sparsity=sparsity, solver=solver, hidden_layer_sizes=depth
        )
        for sparsity, solver, depth in product(SPARSITIES, SOLVERS, DEPTHS)
    },
    # Activations.
    "kl, tanh": case(sae, activation="tanh"),
    "kl, tanh, lbfgs": case(sae, activation="tanh", solver="lbfgs"),
    "l1, prelu": case(sae, sparsity="l1", activation="prelu"),
    "l2, identity": case(sae, sparsity="l2", activation="identity"),
    "none, prelu, lbfgs": case(sae, sparsity=None, activation="prelu", solver="lbfgs"),
    "output sigmoid": case(sae, output_activation="sigmoid"),
    "output tanh": case(sae, output_activation="tanh"),
    "output relu": case(sae, output_activation="relu", **AS_IT_IS),
    "output prelu, lbfgs": case(sae, output_activation="prelu", solver="lbfgs"),
    # Rows as probabilities.
    **{
        f"cross entropy, {sparsity}, {solver}": case(
            sae, sparsity=sparsity, solver=solver, **PROBABILITIES
        )
        for sparsity, solver in product(SPARSITIES, SOLVERS)
    },
    **{
        f"cross entropy, {sparsity}": case(sae, sparsity=sparsity, rho=3, **PROBABILITIES)
        for sparsity in COUNTED
    },
    "cross entropy, deep, tied": case(sae, tied_weights=True, **DEEP_PRELU, **PROBABILITIES),
    "cross entropy, beta auto": case(sae, **AUTO, **PROBABILITIES),
    "cross entropy, weights": case(sae, weighted=True, **AS_IT_IS, **PROBABILITIES),
    "cross entropy, early stopping": case(sae, **HELD_OUT, **PROBABILITIES),
    "cross entropy, masking": case(sae, noise="masking", **PROBABILITIES),
    "cross entropy, in pieces": case(sae, train=in_pieces, **PROBABILITIES),
    "cross entropy, csr": case(sae, **(PROBABILITIES | {"rows": "csr of probabilities"})),
    "cross entropy, stack": case(
        stack,
        rows="probabilities",
        autoencoders=[sae(9, loss="cross_entropy"), sae(5, loss="cross_entropy")],
    ),
    "cross entropy, classifier": case(
        classifier,
        rows="probabilities",
        target="classes",
        autoencoders=[sae(9, loss="cross_entropy"), sae(5)],
    ),
    "hidden prelu": case(sae, **DEEP_PRELU),
    "hidden sigmoid": case(sae, hidden_layer_sizes=(10,), hidden_activation="sigmoid"),
    "hidden tanh": case(sae, hidden_layer_sizes=(10,), hidden_activation="tanh"),
    # So many active units, as sparse matrices and read at other numbers of them.
    **{
        f"{sparsity}, {solver}, sparse output": case(
            sae, sparsity=sparsity, rho=3, solver=solver, sparse_output=True
        )
        for sparsity, solver in product(COUNTED, BY_PARTS)
    },
    "topk, deep, tied": case(sae, sparsity="topk", rho=3, tied_weights=True, **DEEP_PRELU),
    "topk, read at one unit": case(sae, sparsity="topk", rho=3, transform_n_active=1),
    "topk, prefixes": case(sae, sparsity="topk", rho=3, prefixes=(0.25, 0.5)),
    "batchtopk, prefixes": case(sae, sparsity="batchtopk", rho=3, prefixes=(2, 4)),
    "l1, sparse output": case(sae, sparsity="l1", sparse_output=True),
    # Coefficients in the place of activations.
    "topk, refit": case(sae, sparsity="topk", rho=3, transform_algorithm="refit"),
    "batchtopk, refit": case(sae, sparsity="batchtopk", rho=3, transform_algorithm="refit"),
    "topk, omp": case(sae, sparsity="topk", rho=3, transform_algorithm="omp"),
    "kl, omp": case(sae, transform_algorithm="omp", transform_n_active=2, sparse_output=True),
    # Defaults, and numbers that differ from them.
    "all defaults": case(SparseAutoencoderTransformer, rows="small", random_state=0),
    "defaults of l1": case(sae, sparsity="l1", max_iter="auto", batch_size="auto"),
    "defaults of lbfgs": case(sae, solver="lbfgs", max_iter="auto"),
    "no seed": case(sae, random_state=None),
    "rho counts units": case(sae, rho=2),
    "alpha and beta": case(sae, alpha=0.1, beta=0.5),
    "no penalties": case(sae, alpha=0.0, beta=0.0),
    "constant rate": case(sae, learning_rate=0.01, learning_rate_schedule="constant"),
    "settled": case(sae, max_iter=200, tol=0.05, n_iter_no_change=3),
    "momentum": case(sae, solver="sgd", momentum=0.5),
    "not shuffled": case(sae, shuffle=False, batch_size=50),
    "verbose": case(sae, verbose=2, max_iter=3),
    # So large that two threads share a step.
    "more units": case(sae, rows="large", max_iter=3, **MANY),
    "more units, lbfgs": case(sae, rows="large", max_iter=4, solver="lbfgs", **MANY),
    "more units, l1, noise": case(
        sae, rows="large", max_iter=3, sparsity="l1", noise="masking", tied_weights=True, **MANY
    ),
    # Tied weights and noise.
    "tied": case(sae, tied_weights=True),
    "tied, lbfgs": case(sae, tied_weights=True, solver="lbfgs"),
    "tied, deep": case(sae, tied_weights=True, **DEEP_PRELU),
    "gaussian noise": case(sae, noise="gaussian"),
    "gaussian noise, sgd, l1": case(sae, noise="gaussian", solver="sgd", sparsity="l1"),
    "gaussian noise, lbfgs": case(sae, noise="gaussian", noise_level=0.5, solver="lbfgs"),
    "masking": case(sae, noise="masking"),
    "masking, tied, deep": case(sae, noise="masking", tied_weights=True, **DEEP_PRELU),
    "masking, unscaled": case(sae, noise="masking", **AS_IT_IS),
    # Rows and weights.
    "weights": case(sae, weighted=True),
    "weights, l1, sgd": case(sae, weighted=True, sparsity="l1", solver="sgd"),
    "weights, lbfgs": case(sae, weighted=True, solver="lbfgs"),
    "weights, early stopping": case(sae, weighted=True, **HELD_OUT),
    "csr": case(sae, rows="csr"),
    "csr, l1, lbfgs": case(sae, rows="csr", sparsity="l1", solver="lbfgs"),
    "csr, masking, weights": case(sae, rows="csr", noise="masking", weighted=True),
    "float32 rows": case(sae, rows="float32"),
    "float32 rows, unscaled": case(sae, rows="float32", **AS_IT_IS),
    "columns first": case(sae, rows="columns first"),
    "unscaled": case(sae, **AS_IT_IS),
    "far off": case(sae, rows="far off"),
    "one constant column": case(sae, rows="one constant column"),
    "one huge column": case(sae, rows="one huge column"),
    # Precision.
    "float64": case(sae, dtype="float64"),
    "float64, lbfgs, deep": case(sae, dtype="float64", solver="lbfgs", **DEEP_PRELU),
    "float64, l1, sgd": case(sae, dtype="float64", sparsity="l1", solver="sgd"),
    "bfloat16": case(sae, dtype="bfloat16"),
    "bfloat16, large": case(sae, dtype="bfloat16", n_components=64, rows="large"),
    # beta="auto" and early stopping.
    "beta auto": case(sae, **AUTO),
    "beta auto, sgd": case(sae, solver="sgd", **AUTO),
    "beta auto, lbfgs": case(sae, solver="lbfgs", **AUTO),
    "beta auto, l1": case(sae, sparsity="l1", **AUTO),
    "beta auto, l1, lbfgs": case(sae, sparsity="l1", solver="lbfgs", **AUTO),
    "beta auto, l1, units revived": case(
        sae, sparsity="l1", n_components=40, beta="auto", rho=0.03, max_iter=80
    ),
    "beta auto, l2": case(sae, sparsity="l2", **AUTO),
    "beta auto, early stopping": case(sae, **AUTO, **HELD_OUT),
    "early stopping": case(sae, **HELD_OUT),
    "early stopping, l1, sgd": case(sae, sparsity="l1", solver="sgd", **HELD_OUT),
    "early stopping, lbfgs": case(sae, solver="lbfgs", max_iter=40, **HELD_OUT),
    # Trained on.
    "warm start": case(sae, warm_start=True, train=twice),
    "warm start, lbfgs": case(sae, warm_start=True, solver="lbfgs", train=twice),
    "warm start, noise": case(sae, warm_start=True, noise="gaussian", train=twice),
    "warm start, another beta": case(sae, warm_start=True, train=with_other_beta),
    "warm start, beta auto": case(sae, warm_start=True, train=twice, **AUTO),
    **{
        f"in pieces, {sparsity}, {solver}": case(
            sae, sparsity=sparsity, solver=solver, train=in_pieces
        )
        for sparsity, solver in product(SPARSITIES, BY_PARTS)
    },
    "in pieces, weights": case(sae, weighted=True, train=in_pieces),
    "in pieces, csr": case(sae, rows="csr", train=in_pieces),
    "on from disk": case(sae, train=and_on_from_disk),
    "on from disk, beta auto": case(sae, train=and_on_from_disk, **AUTO),
    # Callbacks.
    "callback": case(sae, stop_after=1000),
    "callback, lbfgs": case(sae, solver="lbfgs", stop_after=1000),
    "callback ends it": case(sae, stop_after=3),
    "callback, stack": case(stack, stop_after=1000),
    "callback, classifier": case(classifier, target="classes", stop_after=1000),
    "callback, regressor": case(regressor, target="numbers", stop_after=1000),
    # Stacks.
    **{f"stack, {solver}": case(stack, solver=solver) for solver in SOLVERS},
    "stack, all defaults": case(StackedSparseAutoencoder, rows="small", random_state=0),
    "stack, not fine-tuned": case(stack, finetune=False),
    "stack, deep": case(stack, autoencoders=[sae(9, **DEEP_PRELU), sae(5)]),
    "stack, tied": case(stack, autoencoders=[sae(9, tied_weights=True), sae(5)]),
    "stack, l1": case(stack, autoencoders=[sae(9), sae(5, sparsity="l1")]),
    "stack, topk, sparse output": case(
        stack,
        autoencoders=[
            sae(9, sparsity="topk", rho=3, transform_n_active=2),
            sae(6, sparsity="topk", rho=2, sparse_output=True),
        ],
    ),
    "stack, weights": case(stack, weighted=True),
    "stack, csr": case(stack, rows="csr"),
    "stack, early stopping": case(stack, **HELD_OUT),
    "stack, verbose": case(stack, verbose=2),
    "stack of fitted": case(of_fitted(stack)),
    "stack with one frozen": case(of_frozen(stack)),
    "stack from a pipeline": case(stack_from_pipeline),
    # Classifiers.
    **{
        f"classifier, {solver}": case(classifier, target="classes", solver=solver)
        for solver in SOLVERS
    },
    "classifier, all defaults": case(
        SparseAutoencoderClassifier, target="classes", random_state=0, max_iter=10
    ),
    "classifier, two classes": case(classifier, target="two classes"),
    "classifier, strings": case(classifier, target="strings"),
    "classifier, dropout": case(classifier, target="classes", dropout=0.3),
    "classifier, noise": case(classifier, target="classes", noise="gaussian"),
    "classifier, masks above a frozen layer": case(
        classifier, target="classes", noise="masking", freeze=1
    ),
    "classifier, one layer frozen": case(classifier, target="classes", freeze=1),
    "classifier, all layers frozen": case(classifier, target="classes", freeze=2),
    "classifier, unlabeled": case(classifier, target="classes, some missing", unlabeled=-1),
    "classifier, balanced": case(classifier, target="classes", class_weight="balanced"),
    "classifier, all weights decay": case(classifier, target="classes", decay="all", alpha=0.01),
    "classifier, weights": case(classifier, target="classes", weighted=True),
    "classifier, csr": case(classifier, target="classes", rows="csr"),
    "classifier, early stopping": case(classifier, target="classes", **HELD_OUT),
    "classifier, float64": case(classifier, target="classes", dtype="float64"),
    "classifier, verbose": case(classifier, target="classes", verbose=2),
    "classifier, in pieces": case(classifier, target="classes", train=in_pieces),
    "classifier, on from disk": case(classifier, target="classes", train=and_on_from_disk),
    "classifier of fitted": case(of_fitted(classifier), target="classes"),
    "classifier with one frozen": case(of_frozen(classifier), target="classes"),
    # Regressors.
    **{
        f"regressor, {solver}": case(regressor, target="numbers", solver=solver)
        for solver in SOLVERS
    },
    "regressor, all defaults": case(
        SparseAutoencoderRegressor, target="numbers", random_state=0, max_iter=10
    ),
    "regressor, two outputs": case(regressor, target="two outputs"),
    "regressor, dropout": case(regressor, target="numbers", dropout=0.3),
    "regressor, noise": case(regressor, target="numbers", noise="gaussian"),
    "regressor, one layer frozen": case(regressor, target="numbers", freeze=1),
    "regressor, all layers frozen": case(regressor, target="numbers", freeze=2),
    "regressor, unlabeled": case(regressor, target="numbers, some missing", unlabeled=np.nan),
    "regressor, alpha": case(regressor, target="numbers", decay="all", alpha=0.01),
    "regressor, weights": case(regressor, target="numbers", weighted=True),
    "regressor, early stopping": case(regressor, target="numbers", **HELD_OUT),
    "regressor, in pieces": case(regressor, target="two outputs", train=in_pieces),
    "regressor, on from disk": case(regressor, target="numbers", train=and_on_from_disk),
    "regressor of fitted": case(of_fitted(regressor), target="numbers"),
    # Pipelines and searches.
    "pipeline": case(pipeline, target="classes"),
    "search": case(GridSearchCV, estimator=sae(), param_grid=GRID, cv=3),
    "batched search": case(BatchedGridSearchCV, estimator=sae(), param_grid=GRID, cv=3),
    "batched search, two processes": case(
        BatchedGridSearchCV, estimator=sae(), param_grid=GRID, cv=3, n_jobs=2
    ),
    "batched search, l1": case(
        BatchedGridSearchCV,
        estimator=sae(sparsity="l1", solver="sgd", tied_weights=True),
        param_grid={"beta": [0.01, 0.1], "alpha": [1e-3, 1e-2]},
        cv=3,
    ),
    "batched search, beta auto, noise": case(
        BatchedGridSearchCV,
        estimator=sae(noise="masking", **(AUTO | HELD_OUT)),
        param_grid={"rho": [0.1, 0.2], "learning_rate": [0.01, 0.03]},
        cv=3,
    ),
    "batched search, scores of sparsity": case(
        BatchedGridSearchCV,
        estimator=sae(),
        param_grid=GRID,
        cv=3,
        return_train_score=True,
        **SCORED,
    ),
    "batched search, pipeline": case(
        BatchedGridSearchCV, target="classes", estimator=pipeline(), param_grid=STEP_GRID, cv=3
    ),
    "batched search, classifier": case(
        BatchedGridSearchCV,
        target="classes",
        estimator=classifier(),
        param_grid={"sae0__rho": [0.1, 0.2], "alpha": [1e-4, 1e-2]},
        cv=3,
    ),
    "batched randomized search": case(
        BatchedRandomizedSearchCV,
        rows="csr",
        estimator=sae(),
        param_distributions=GRID,
        n_iter=5,
        cv=3,
        random_state=0,
    ),
    "rows scaled to [0, 1]": case(
        lambda **params: make_pipeline(MinMaxScaler(), sae(**params)), output_activation="sigmoid"
    ),
    # Errors.
    "a nan": case(sae, rows="with a nan"),
    "rho that is none": case(sae, rho=1.5),
    "diverging": case(sae, solver="sgd", learning_rate=1e30, max_iter=50),
    "kl of relu": case(sae, activation="relu"),
    "no probabilities": case(sae, loss="cross_entropy"),
    "no target": case(classifier),
}
