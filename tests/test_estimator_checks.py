"""scikit-learn's own checks of all estimators, for every sparsity x solver, in both precisions.

The fast run has all checks for each public class as it is by default and for one configuration of
each code and of each solver (``FAST`` in ``checked.py``); all other configurations are slow.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy
from checked import (
    ALL,
    ARRAY_API,
    ATTENTION,
    CLASSIFIERS,
    FAST,
    FAST_STACKS,
    MATRIX,
    STACKED,
    STACKS,
    WEIGHT_EQUIVALENCE,
    by_label,
    checks,
    marks,
    members,
    name_of,
)
from packaging.version import Version
from registered import WITH_BETA, each_sparsity
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.utils import estimator_checks, get_tags

from sksae import SparseAutoencoderRegressor, SparseAutoencoderTransformer
from sksae.training import supervised

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", by_label(ALL))
def test_checks_run_apart_are_the_known_three(estimator):
    names = [name_of(check) for _, check in estimator_checks.estimator_checks_generator(estimator)]
    for name in (*WEIGHT_EQUIVALENCE, ARRAY_API):
        assert names.count(name) == 1


# The exemption: weights are equivalent to repetitions, where two trainings can agree to 1e-7.


@pytest.mark.each_once
@pytest.mark.parametrize("check", sorted(WEIGHT_EQUIVALENCE))
@each_sparsity
def test_weights_equal_repetitions_with_adam_in_float64_over_a_whole_training(sparsity, check):
    # By default repeated rows, which are more, would go into larger batches. All rows are one step:
    # of 800, which are default, rounding grows to 5e-7 in one unit of "l2".
    # Where nothing is left to learn, rounding decides which entries of a batch come last.
    max_iter = 100 if sparsity == "batchtopk" else 200
    estimator = SparseAutoencoderTransformer(
        sparsity=sparsity, dtype="float64", batch_size=256, max_iter=max_iter
    )
    getattr(estimator_checks, check)("SparseAutoencoderTransformer", estimator)


@pytest.mark.parametrize("estimator", by_label(MATRIX))
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
    # In float32 it is rounding that decides which entries of a batch come last.
    rel = 1e-3 if (estimator.sparsity, estimator.dtype) == ("batchtopk", "float32") else 1e-4
    assert weighted.loss_ == pytest.approx(repeated.loss_, rel=rel)


@pytest.mark.parametrize("check", sorted(WEIGHT_EQUIVALENCE))
@pytest.mark.parametrize(
    "estimator",
    [
        STACKS["default"],
        STACKS["greedy"],
        CLASSIFIERS["default"],
        # The layer on top leaves nothing of its gradient but rounding, of which Adam's first steps
        # are as long as of anything else.
        SparseAutoencoderRegressor(members(), solver="sgd"),
    ],
    ids=["stack", "greedy", "classifier", "regressor"],
)
def test_weights_equal_repetitions_in_stacks_by_minibatches_in_float64(
    estimator, check, monkeypatch
):
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
    "name", [pytest.param(name, marks=marks(name)) for name in STACKED if name != "stack-noise"]
)
def test_weights_train_stacks_to_the_loss_of_repetitions(name, container, monkeypatch):
    if name.startswith("regressor"):
        # Two linear layers that are not trained to the end may end an iteration apart.
        monkeypatch.setattr(supervised, "TOP_TOL", 0.0)
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
import sys
from checked import ALL, ARRAY_API, name_of
from sklearn.utils.estimator_checks import estimator_checks_generator

for label in sys.argv[1:]:
    for instance, check in estimator_checks_generator(ALL[label]):
        if name_of(check) == ARRAY_API:
            check(instance)
"""


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(sorted(FAST & MATRIX.keys()), id="a few transformers"),
        pytest.param(list(MATRIX), id="transformers", marks=pytest.mark.slow),
        pytest.param(sorted(FAST_STACKS), id="stacks", marks=pytest.mark.slow),
        pytest.param(list(ATTENTION), id="attention", marks=pytest.mark.slow),
    ],
)
@pytest.mark.skipif(
    Version(scipy.__version__) < Version("1.14"),
    reason="scikit-learn dispatches from scipy 1.14 on",
)
def test_array_api_check_with_numpy_as_the_namespace(labels):
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.path.dirname(here)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAY_API_SCRIPT, *labels],
        env=os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
