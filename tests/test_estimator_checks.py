"""scikit-learn's own checks, for every sparsity x solver, in both precisions."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from registered import SPARSITIES, WITH_BETA, each_sparsity
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.utils import estimator_checks, get_tags

from sksae import SparseAutoencoderTransformer

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]

NAME = "SparseAutoencoderTransformer"
# What is checked does not depend on how far training gets.
QUICK = {"n_components": 4, "max_iter": 2}
DEFAULT = SparseAutoencoderTransformer()
MATRIX = {
    f"{sparsity}-{solver}-{dtype}": SparseAutoencoderTransformer(
        sparsity=sparsity, solver=solver, dtype=dtype, **QUICK
    )
    for sparsity, solver, dtype in product(
        SPARSITIES, ("adam", "sgd", "lbfgs"), ("float32", "float64")
    )
}
MATRIX |= {
    f"{sparsity}-{solver}-auto": SparseAutoencoderTransformer(
        sparsity=sparsity, solver=solver, beta="auto", **QUICK
    )
    for sparsity, solver in product(WITH_BETA, ("adam", "sgd", "lbfgs"))
}
MATRIX |= {
    f"tied-{solver}": SparseAutoencoderTransformer(tied_weights=True, solver=solver, **QUICK)
    for solver in ("adam", "lbfgs")
}
NOISY = {
    f"{noise}-{solver}": SparseAutoencoderTransformer(noise=noise, solver=solver, **QUICK)
    for noise, solver in (("gaussian", "adam"), ("masking", "sgd"), ("gaussian", "lbfgs"))
}

# They compare trainings with weights and with repeated rows at 1e-7. By default these are other
# trainings, as more rows make other minibatches; and where every step sees all rows, rounding in
# float32 and L-BFGS's line search cannot hold 1e-7. They are run below where they must pass, and
# the others have tests of their own there. The README says so to users.
WEIGHT_EQUIVALENCE = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}
# Skips itself unless scipy was imported with SCIPY_ARRAY_API=1: it gets a process of its own.
ARRAY_API = "check_array_api_input"

NOT_YIELDED = [
    "check_dataframe_column_names_consistency",
    "check_estimators_partial_fit_n_features",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]

each_of_matrix = pytest.mark.parametrize("estimator", MATRIX.values(), ids=MATRIX)


def name_of(check):
    return check.func.__name__


def yielded(estimators):
    """Parametrize with what parametrize_with_checks yields, less what is run apart."""
    apart = WEIGHT_EQUIVALENCE | {ARRAY_API}
    return pytest.mark.parametrize(
        ("estimator", "check"),
        [
            pytest.param(instance, check, id=f"{label}-{name_of(check)}")
            for label, estimator in estimators.items()
            for instance, check in estimator_checks.estimator_checks_generator(estimator)
            if name_of(check) not in apart
        ],
    )


@yielded({"default": DEFAULT} | MATRIX | NOISY)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "estimator",
    [DEFAULT, *MATRIX.values(), *NOISY.values()],
    ids=["default", *MATRIX, *NOISY],
)
def test_checks_run_apart_are_the_known_three(estimator):
    names = [name_of(check) for _, check in estimator_checks.estimator_checks_generator(estimator)]
    for name in (*WEIGHT_EQUIVALENCE, ARRAY_API):
        assert names.count(name) == 1


@pytest.mark.parametrize("check", NOT_YIELDED)
@pytest.mark.parametrize("estimator", (MATRIX | NOISY).values(), ids=MATRIX | NOISY)
def test_check_not_yielded_to_a_transformer(estimator, check):
    getattr(estimator_checks, check)(NAME, clone(estimator))


@pytest.mark.parametrize("check", sorted(WEIGHT_EQUIVALENCE))
@each_sparsity
def test_weights_equal_repetitions_with_adam_in_float64_over_a_whole_training(sparsity, check):
    # By default repeated rows, which are more, would go into larger batches. All rows are one step:
    # of 800, which are default, rounding grows to 5e-7 in one unit of "l2".
    estimator = SparseAutoencoderTransformer(
        sparsity=sparsity, dtype="float64", batch_size=256, max_iter=200
    )
    getattr(estimator_checks, check)(NAME, estimator)


@each_of_matrix
def test_weights_of_sparse_rows_train_to_the_loss_of_repetitions(estimator):
    rng = np.random.default_rng(0)
    X, weight = rng.random((40, 4)), rng.integers(0, 4, 40)
    # L-BFGS is only comparable where it has converged, which float32 does where J is not too flat.
    max_iter = 3000 if estimator.solver == "lbfgs" else 30
    weighted = clone(estimator).set_params(
        n_components=2,
        alpha=0.01,
        max_iter=max_iter,
        tol=1e-7,
        batch_size=256,
        random_state=0,
    )
    if estimator.sparsity in WITH_BETA:
        weighted.set_params(beta=0.03)
    repeated = clone(weighted).fit(csr_array(X.repeat(weight, axis=0)))
    weighted.fit(csr_array(X), sample_weight=weight)
    assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-4)


def test_sparse_input_is_tagged():
    assert get_tags(DEFAULT).input_tags.sparse


ARRAY_API_SCRIPT = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from test_estimator_checks import ARRAY_API, MATRIX, name_of

for estimator in MATRIX.values():
    for instance, check in estimator_checks_generator(estimator):
        if name_of(check) == ARRAY_API:
            check(instance)
"""


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
