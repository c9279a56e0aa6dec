"""Sparse rows, tables, pipelines and cross-validation, of stack, classifier and regressor."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from stacking import pair
from supervising import TARGETS, X, each_extent, each_kind, each_solver, make, output

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.each_once
@each_solver
@each_extent
def test_sparse_rows_give_what_dense_ones_do(kind, extent, solver):
    rows = X * (X > 0.5)
    params = {"solver": solver, "dtype": "float64", **extent}
    dense = make(kind, pair(dtype="float64"), **params).fit(rows, TARGETS[kind])
    sparse = make(kind, pair(dtype="float64"), **params).fit(csr_array(rows), TARGETS[kind])
    # L-BFGS on top may end an iteration apart.
    tolerance = (1e-9, 1e-12) if kind == "stack" else (1e-6, 1e-8)
    for given in (rows, csr_array(rows)):
        np.testing.assert_allclose(output(sparse, given), output(dense, rows), *tolerance)
        score = sparse.score(given, TARGETS[kind])
        assert score == pytest.approx(dense.score(rows, TARGETS[kind]))


@each_kind
def test_sparse_rows_give_in_a_pass_what_dense_ones_do(kind):
    rows = X * (X > 0.5)
    dense, sparse = (
        make(kind, pair(dtype="float64"), dtype="float64").partial_fit(given, TARGETS[kind])
        for given in (rows, csr_array(rows))
    )
    np.testing.assert_allclose(output(sparse, rows), output(dense, rows), rtol=1e-8, atol=1e-10)


@each_kind
def test_in_a_pipeline_and_cross_validation(kind):
    pipe = make_pipeline(MinMaxScaler(), make(kind, max_iter=30))
    scores = cross_val_score(pipe, X, TARGETS[kind], cv=3)
    assert np.isfinite(scores).all()
    name = type(pipe[-1]).__name__.lower()
    pipe.set_params(**{f"{name}__sae0__n_components": 7}).fit(X, TARGETS[kind])
    assert pipe[-1].autoencoders_[0].n_components == 7


@each_kind
def test_names_of_columns_are_kept(kind):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    model = make(kind).fit(frame, pandas.Series(TARGETS[kind]))
    assert list(model.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("fedcba")])
