"""scikit-learn's own checks of StackedSparseAutoencoder, of classifier and regressor."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import estimator_checks, get_tags
from stacking import pair, sae
from test_estimator_checks import ARRAY_API, WEIGHT_EQUIVALENCE, name_of

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    StackedSparseAutoencoder,
)
from sksae.training import supervised

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]


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
ALL = {
    f"{kind}-{name}": estimator
    for kind, estimators in (
        ("stack", STACKS),
        ("classifier", CLASSIFIERS),
        ("regressor", REGRESSORS),
    )
    for name, estimator in estimators.items()
}
# The others are for a longer run.
FAST = {"stack-lbfgs-none", "classifier-frozen layer", "regressor-lbfgs"}

NOT_YIELDED = [
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_param_validation",
]
# They look at names and containers, which are alike in all configurations of a class: one has them.
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


def marks(label):
    return () if label in FAST else pytest.mark.slow


def checks():
    """Yield what parametrize_with_checks yields, less what is run apart, and what it leaves out."""
    apart = WEIGHT_EQUIVALENCE | {ARRAY_API}
    for label, estimator in ALL.items():
        found = [
            (name_of(check), instance, check)
            for instance, check in estimator_checks.estimator_checks_generator(estimator)
            if name_of(check) not in apart
        ]
        for name in NOT_YIELDED + (NOT_YIELDED_TO_A_TRANSFORMER if label in FAST else []):

            def check(instance, name=name):
                getattr(estimator_checks, name)(type(instance).__name__, clone(instance))

            found.append((name, estimator, check))
        for name, instance, check in found:
            yield pytest.param(instance, check, id=f"{label}-{name}", marks=marks(label))


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ALL.values(), ids=ALL)
def test_checks_run_apart_are_the_known_three(estimator):
    names = [name_of(check) for _, check in estimator_checks.estimator_checks_generator(estimator)]
    for name in (*WEIGHT_EQUIVALENCE, ARRAY_API):
        assert names.count(name) == 1


# The exemption: weights are equivalent to repetitions, where two trainings can agree to 1e-7.


@pytest.mark.parametrize("check", sorted(WEIGHT_EQUIVALENCE))
@pytest.mark.parametrize(
    "estimator",
    [
        STACKS["default"],
        STACKS["greedy"],
        CLASSIFIERS["default"],
        SparseAutoencoderRegressor(members()),
    ],
    ids=["stack", "greedy", "classifier", "regressor"],
)
def test_weights_equal_repetitions_with_adam_in_float64(estimator, check, monkeypatch):
    if isinstance(estimator, SparseAutoencoderRegressor):
        # Two linear layers that are not trained to the end may end an iteration apart.
        monkeypatch.setattr(supervised, "TOP_TOL", 0.0)
    estimator = in_float64(estimator)
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


def in_float64(estimator):
    """Return a clone that trains in float64, and goes through all rows at every step."""
    estimator = clone(estimator).set_params(dtype="float64", batch_size=256)
    for name in estimator.get_params():
        if name.endswith("__dtype"):
            estimator.set_params(**{name: "float64", name.replace("dtype", "batch_size"): 256})
    return estimator


@pytest.mark.parametrize("container", [np.asarray, csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks(name)) for name in ALL if name != "stack-noise"]
)
def test_weights_train_to_the_loss_of_repetitions(name, container):
    rng = np.random.default_rng(0)
    X, weight = rng.random((40, 4)), rng.integers(0, 4, 40)
    y = (X[:, 0] + 0.3 * rng.random(40) > 0.6).astype(int)
    weighted = clone(ALL[name]).set_params(random_state=0)
    if name.startswith("regressor"):
        # Of 20 codes of 40 rows, least squares are too poorly determined to agree.
        weighted.set_params(autoencoders=members(tied_weights=name.endswith("tied")))
    if name in {"classifier-balanced", "classifier-frozen"} or name in {
        f"regressor-{kind}" for kind in ("decay", "frozen", "named-deep", "tied")
    }:
        # Nor does L-BFGS find the same layer on top of codes of two epochs with hardly any decay.
        weighted.set_params(alpha=0.1 if name.endswith("tied") else 0.01)
    weighted = in_float64(weighted)
    repeated = clone(weighted).fit(container(X.repeat(weight, axis=0)), y.repeat(weight))
    weighted.fit(container(X), y, sample_weight=weight)
    if hasattr(weighted, "loss_"):
        assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-6)
    else:
        codes = repeated.transform(X)
        np.testing.assert_allclose(weighted.transform(X), codes, rtol=1e-7)


def test_tags():
    for estimator in ALL.values():
        assert get_tags(estimator).input_tags.sparse
    tags = get_tags(ALL["regressor-default"]).target_tags
    assert tags.multi_output
    assert tags.single_output
    assert not get_tags(ALL["classifier-default"]).target_tags.multi_output
    for name in ("stack-default", "classifier-default", "regressor-default"):
        assert get_tags(ALL[name]).transformer_tags.preserves_dtype == ["float64", "float32"]


ARRAY_API_SCRIPT = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from test_estimator_checks_of_stacks import ALL, ARRAY_API, FAST, name_of

for label in sorted(FAST):
    for instance, check in estimator_checks_generator(ALL[label]):
        if name_of(check) == ARRAY_API:
            check(instance)
"""


@pytest.mark.slow
def test_array_api_check_with_numpy_as_the_namespace():
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.path.dirname(here)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAY_API_SCRIPT],
        env=os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
