"""How an array lies in memory makes no difference: backwards, in steps, between other fields."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.model_selection import BatchedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.random((40, 6))
y = (X[:, 0] > 0.5).astype(int)
weight = rng.random(40)


def in_records(array):
    """Return an array as a field of packed records, whose strides are no whole entries."""
    records = np.zeros(len(array), dtype=[("a", "u1"), ("c", array.dtype, array.shape[1:])])
    records["c"] = array
    return records["c"]


def in_cells(array):
    """Return an array each of whose entries lies behind a byte."""
    cells = np.zeros(array.shape, dtype=[("a", "u1"), ("c", array.dtype)])
    cells["c"] = array
    return cells["c"]


def off_by_a_byte(array):
    """Return an array that begins at an odd address."""
    moved = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


LAYOUTS = {
    "backwards": lambda array: array[::-1].copy()[::-1],
    "columns backwards": lambda array: np.fliplr(np.fliplr(array).copy()),
    "both, in columns": lambda array: np.asfortranarray(array[::-1, ::-1])[::-1, ::-1],
    "every other, backwards": lambda array: np.repeat(array[::-1], 2, axis=0)[::-2],
    "every other column": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "in columns": np.asfortranarray,
    "in records": in_records,
    "in cells": in_cells,
    "off by a byte": off_by_a_byte,
    "big-endian, backwards": lambda array: (
        array[::-1].astype(array.dtype.newbyteorder(">"))[::-1].astype(array.dtype)
    ),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
SHORT = {"max_iter": 3, "random_state": 0}


def sae(**params):
    return SparseAutoencoderTransformer(4, **(SHORT | params))


DECODERS = {
    "transformer": sae,
    "deep": lambda: sae(hidden_layer_sizes=(5,)),
    "stack": lambda: StackedSparseAutoencoder([sae(), sae()], **SHORT),
    "pipeline": lambda: make_pipeline(StandardScaler(), sae()),
    "search": lambda: GridSearchCV(sae(), {"rho": [0.1]}, cv=2),
    "batched search": lambda: BatchedGridSearchCV(sae(), {"rho": [0.1]}, cv=2),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_are_decoded_however_they_lie(name, dtype):
    rows = X.astype(dtype)
    model = DECODERS[name]().fit(rows)
    codes = model.transform(rows)
    expected = model.inverse_transform(codes)
    for layout, lay in LAYOUTS.items():
        laid = lay(codes)
        np.testing.assert_array_equal(laid, codes)
        for given, wanted in ((laid, expected), (lay(codes[:1]), expected[:1])):
            decoded = model.inverse_transform(given)
            np.testing.assert_allclose(decoded, wanted, rtol=1e-5, atol=1e-6, err_msg=layout)


ENCODERS = {
    "transformer": sae,
    "sgd": lambda: sae(solver="sgd"),
    "lbfgs": lambda: sae(solver="lbfgs"),
    "stack": DECODERS["stack"],
    "classifier": lambda: SparseAutoencoderClassifier([sae()], **SHORT),
    "regressor": lambda: SparseAutoencoderRegressor([sae()], **SHORT),
}


def as_column(lay, vector):
    return lay(vector[:, np.newaxis])[:, 0]


@pytest.mark.each_once
@each_layout
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_targets_and_weights_may_lie_as_they_like(name, layout, dtype):
    rows = X.astype(dtype)
    laid = layout(rows), as_column(layout, y), as_column(layout, weight)
    model, same = ENCODERS[name](), ENCODERS[name]()
    model.fit(rows, y, sample_weight=weight)
    same.fit(laid[0], laid[1], sample_weight=laid[2])
    if hasattr(model, "partial_fit"):
        model.partial_fit(rows, y, sample_weight=weight)
        same.partial_fit(laid[0], laid[1], sample_weight=laid[2])
    near = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(same.transform(laid[0]), model.transform(rows), **near)
    score = same.score(laid[0], laid[1], sample_weight=laid[2])
    assert score == pytest.approx(model.score(rows, y, sample_weight=weight), rel=1e-4)
    for method in ("score_samples", "predict"):
        if hasattr(model, method):
            result, expected = getattr(same, method)(laid[0]), getattr(model, method)(rows)
            np.testing.assert_allclose(result, expected, **near)
