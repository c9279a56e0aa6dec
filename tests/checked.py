"""Estimators that scikit-learn's own checks are run with, and the checks."""

from itertools import product

import pytest
from registered import SPARSITIES, TRAININGS, WITH_BETA, rho_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import estimator_checks
from stacking import pair, sae

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.model.attention import TOKEN_SPARSITIES
from sksae.sequence import SparseAttentionEncoder, TokenCodes

# Transformers.

# What is checked does not depend on how far training gets.
QUICK = {"n_components": 4, "max_iter": 2}
DEFAULT = SparseAutoencoderTransformer()
MATRIX = {
    f"{sparsity}-{solver}-{dtype}": SparseAutoencoderTransformer(
        sparsity=sparsity, solver=solver, dtype=dtype, rho=rho_of(sparsity, 0.05, 0.6), **QUICK
    )
    for (sparsity, solver), dtype in product(TRAININGS, ("float32", "float64"))
}
MATRIX |= {
    f"{sparsity}-{solver}-auto": SparseAutoencoderTransformer(
        sparsity=sparsity, solver=solver, rho=rho_of(sparsity, 0.05, 0.6), beta="auto", **QUICK
    )
    for sparsity, solver in TRAININGS
    if sparsity in WITH_BETA
}
MATRIX |= {
    "topk-sparse-output": SparseAutoencoderTransformer(
        sparsity="topk", rho=0.6, sparse_output=True, **QUICK
    ),
    "topk-prefixes": SparseAutoencoderTransformer(
        sparsity="topk", rho=0.6, prefixes=[0.5], **QUICK
    ),
    **{
        f"topk-{algorithm}": SparseAutoencoderTransformer(
            sparsity="topk", rho=0.6, transform_algorithm=algorithm, **QUICK
        )
        for algorithm in ("refit", "omp")
    },
    "topk-one-budget": SparseAutoencoderTransformer(
        sparsity="topk", rho=0.6, budgets=None, tied_weights=True, **QUICK
    ),
}
MATRIX |= {
    f"tied-{solver}": SparseAutoencoderTransformer(tied_weights=True, solver=solver, **QUICK)
    for solver in ("adam", "lbfgs")
}
NOISY = {
    f"{noise}-{solver}": SparseAutoencoderTransformer(noise=noise, solver=solver, **QUICK)
    for noise, solver in (("gaussian", "adam"), ("masking", "sgd"), ("gaussian", "lbfgs"))
}

# Stacks, classifiers and regressors.

# Members that are fitted already need rows of the width that they were fitted to, and checks come
# with rows of all widths: these fit what they are then to take as it is.


def with_frozen_members(estimator, X, sample_weight, fit):
    estimator._validate_params()
    given, rows = estimator.autoencoders, X
    taken = []
    try:
        for member in given:
            member = clone(member).set_params(random_state=0)
            taken.append(FrozenEstimator(member.fit(rows, sample_weight=sample_weight)))
            rows = member.transform(rows)
        estimator.autoencoders = taken
        return fit()
    finally:
        estimator.autoencoders = given


class TakesStack(StackedSparseAutoencoder):
    def fit(self, X, y=None, sample_weight=None):
        fit = super().fit
        return with_frozen_members(self, X, sample_weight, lambda: fit(X, y, sample_weight))


class TakesMembers:
    def fit(self, X, y, sample_weight=None):
        fit = super().fit
        return with_frozen_members(self, X, sample_weight, lambda: fit(X, y, sample_weight))

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        more = {"sample_weight": sample_weight}
        if isinstance(self, SparseAutoencoderClassifier):
            more["classes"] = classes
        go_on = super().partial_fit
        if hasattr(self, "autoencoders_"):
            return go_on(X, y, **more)
        return with_frozen_members(self, X, sample_weight, lambda: go_on(X, y, **more))


class TakesClassifier(TakesMembers, SparseAutoencoderClassifier):
    pass


class TakesRegressor(TakesMembers, SparseAutoencoderRegressor):
    pass


# What most checks look at does not depend on how far training gets; classifiers and regressors
# must have learnt something in some.
LAZY = {"max_iter": 2}
LEARNS = {"max_iter": 30}
EAGER = {"max_iter": 80, "learning_rate": 0.01}


def members(**params):
    return pair(batch_size="auto", **(LAZY | params))


def deep(**params):
    return [
        ("edges", sae(8, hidden_layer_sizes=(9,), **params)),
        ("corners", sae(6, **params)),
    ]


def wide(**params):
    return [sae(30, max_iter=10, **params), sae(20, max_iter=10, **params)]


STACKS = {
    "default": StackedSparseAutoencoder(members()),
    "adam-float64": StackedSparseAutoencoder(members(dtype="float64"), dtype="float64", **LAZY),
    "sgd-l1": StackedSparseAutoencoder(members(sparsity="l1"), solver="sgd", **LAZY),
    "lbfgs-none": StackedSparseAutoencoder(members(sparsity=None), solver="lbfgs", **LAZY),
    "greedy": StackedSparseAutoencoder(members(), finetune=False),
    "named-deep": StackedSparseAutoencoder(deep(**LAZY), **LAZY),
    "tied": StackedSparseAutoencoder(members(tied_weights=True), **LAZY),
    "noise": StackedSparseAutoencoder(members(noise="masking"), **LAZY),
    "frozen": TakesStack(members(), pretrain=False, **LAZY),
}
CLASSIFIERS = {
    "default": SparseAutoencoderClassifier(members()),
    "sgd": SparseAutoencoderClassifier(members(), solver="sgd", **LEARNS),
    "lbfgs": SparseAutoencoderClassifier(members(), solver="lbfgs", **LEARNS),
    "balanced": SparseAutoencoderClassifier(members(), class_weight="balanced", **LEARNS),
    "decay": SparseAutoencoderClassifier(members(), decay="all", **LEARNS),
    "frozen layer": SparseAutoencoderClassifier(members(), freeze=1, **LEARNS),
    "all frozen": SparseAutoencoderClassifier(members(), freeze=2),
    "named-deep": SparseAutoencoderClassifier(deep(), freeze=1, **EAGER),
    "tied": SparseAutoencoderClassifier(members(tied_weights=True), **LEARNS),
    "frozen": TakesClassifier(members(), pretrain=False, **LEARNS),
}
REGRESSORS = {
    "default": SparseAutoencoderRegressor(wide()),
    "sgd": SparseAutoencoderRegressor(wide(), solver="sgd", **LEARNS),
    "lbfgs": SparseAutoencoderRegressor(members(), solver="lbfgs", **LEARNS),
    "decay": SparseAutoencoderRegressor(wide(), decay="all", **EAGER),
    "frozen layer": SparseAutoencoderRegressor(wide(), freeze=1, **EAGER),
    "all frozen": SparseAutoencoderRegressor(wide(), freeze=2),
    "named-deep": SparseAutoencoderRegressor(deep(sparsity="l1"), **EAGER),
    "tied": SparseAutoencoderRegressor(wide(tied_weights=True), **EAGER),
    "frozen": TakesRegressor(wide(), pretrain=False, **EAGER),
}
STACKED = {
    f"{kind}-{name}": estimator
    for kind, estimators in (
        ("stack", STACKS),
        ("classifier", CLASSIFIERS),
        ("regressor", REGRESSORS),
    )
    for name, estimator in estimators.items()
}

# Rows of tokens.

TOKENS = {
    "tokens-default": TokenCodes(SparseAutoencoderTransformer(**QUICK)),
    "tokens-topk-sparse-output": TokenCodes(
        SparseAutoencoderTransformer(sparsity="topk", rho=0.6, sparse_output=True, **QUICK)
    ),
    "tokens-stack": TokenCodes(StackedSparseAutoencoder(members(), **LAZY), pooling=["max"]),
    "tokens-none": TokenCodes(),
}
SMALL = {"d_model": 8, "dim_feedforward": 8, "n_heads": 2, **QUICK}
ATTENTION = {
    "attention-default": SparseAttentionEncoder(**SMALL),
    # Checks come with rows of all widths, which only tokens of one feature divide.
    "attention-tokens": SparseAttentionEncoder(token_width=1, **SMALL),
    **{
        f"attention-{sparsity}": SparseAttentionEncoder(
            token_width=1, sparsity=sparsity, rho=rho_of(sparsity, 0.05, 0.6), **SMALL
        )
        for sparsity in TOKEN_SPARSITIES
        if sparsity != "kl"
    },
    "attention-float64": SparseAttentionEncoder(
        token_width=1, dtype="float64", positions="sinusoidal", dropout=0.1, **SMALL
    ),
}
ALL = {"default": DEFAULT} | MATRIX | NOISY | STACKED | TOKENS | ATTENTION
# Each class as it is by default, each code, each solver, and codes that are sparse matrices. The
# others are for a longer run.
FAST_STACKS = {"stack-default", "classifier-default", "regressor-default"}
FAST = FAST_STACKS | {
    "default",
    *(f"{sparsity}-adam-float32" for sparsity in SPARSITIES),
    "kl-sgd-float32",
    "kl-lbfgs-float64",
    "kl-adam-auto",
    "topk-sparse-output",
    "tokens-default",
    "attention-tokens",
}
assert ALL.keys() >= FAST


def marks(label):
    return () if label in FAST else pytest.mark.slow


def by_label(estimators):
    """Return labels and estimators as cases of a test, marked slow but for a few."""
    return [
        pytest.param(estimator, id=label, marks=marks(label))
        for label, estimator in estimators.items()
    ]


# Checks.

# They compare trainings with weights and with repeated rows at 1e-7. By default these are other
# trainings, as more rows make other minibatches; and where every step sees all rows, rounding in
# float32 and L-BFGS's line search cannot hold 1e-7. They are run below where they must pass, and
# the others have tests of their own there. docs/guide/scikit_learn.md says so to users.
WEIGHT_EQUIVALENCE = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}
# Skips itself unless scipy was imported with SCIPY_ARRAY_API=1: it gets a process of its own.
ARRAY_API = "check_array_api_input"
# As that of sparse arrays, which takes longest of all: quick estimators have both in the fast run.
OLD_MATRICES = "check_estimator_sparse_matrix"
# Yielded to no class.
NOT_YIELDED = [
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_param_validation",
]
# They look at names and containers, which are alike in all stacks of a class: one has them.
NOT_YIELDED_TO_A_TRANSFORMER = [
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


def name_of(check):
    return check.func.__name__


def not_yielded(label):
    """Return names of checks that scikit-learn has but does not yield to such an estimator."""
    if label == "default":
        return []
    if label in TOKENS:
        return NOT_YIELDED
    if label in STACKED:
        return NOT_YIELDED + (NOT_YIELDED_TO_A_TRANSFORMER if label in FAST_STACKS else [])
    passes = "check_estimators_partial_fit_n_features"
    return [*NOT_YIELDED, *NOT_YIELDED_TO_A_TRANSFORMER, passes]


def checks():
    """Yield what parametrize_with_checks yields, less what is run apart, and what it leaves out."""
    apart = WEIGHT_EQUIVALENCE | {ARRAY_API}
    for label, estimator in ALL.items():
        found = [
            (name_of(check), instance, check)
            for instance, check in estimator_checks.estimator_checks_generator(estimator)
            if name_of(check) not in apart
        ]
        for name in not_yielded(label):

            def check(instance, name=name):
                getattr(estimator_checks, name)(type(instance).__name__, clone(instance))

            found.append((name, estimator, check))
        for name, instance, check in found:
            takes_long = name == OLD_MATRICES and label in FAST_STACKS | {"default"}
            yield pytest.param(
                instance,
                check,
                id=f"{label}-{name}",
                marks=pytest.mark.slow if takes_long else marks(label),
            )
