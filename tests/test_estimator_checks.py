"""scikit-learn's own checks, for every sparsity x solver, in both precisions."""

from itertools import product

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sksae import SparseAutoencoderTransformer

SPARSITIES = ("kl", "l1", "l2", None)
SOLVERS = ("adam", "sgd", "lbfgs")


@parametrize_with_checks([SparseAutoencoderTransformer()])
def test_default(estimator, check):
    check(estimator)
