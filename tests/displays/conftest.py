"""Rows and estimators of all tests of displays; no figure is left open by any of them."""

import pytest
from sklearn.datasets import load_digits

from sksae import SparseAutoencoderTransformer


@pytest.fixture(autouse=True)
def _no_figures():
    yield
    pytest.importorskip("matplotlib.pyplot").close("all")


@pytest.fixture(scope="module")
def X():
    return load_digits().data[:300]


@pytest.fixture(scope="module")
def y():
    return load_digits().target[:300]


@pytest.fixture(scope="module")
def sae(X):
    return SparseAutoencoderTransformer(20, max_iter=10, random_state=0).fit(X)
