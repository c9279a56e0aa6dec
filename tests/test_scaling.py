"""Rows reach the network as z - mean z, whatever their form, weights and units."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sksae.engine.batches import Rows, centre_rows
from sksae.training import moments
from sksae.training.moments import find_scaling, weighted_moments

FORMS = {"dense": np.asarray, "csr": sp.csr_array}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

values = st.floats(-100, 100, allow_subnormal=False, width=32)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
matrices = hnp.arrays(np.float64, shapes, elements=values)


def moments_by_numpy(X, weight):
    """Return the weighted mean of each column, and the mean over columns of their variances."""
    X = np.asarray(X, np.float64)
    mean = np.average(X, axis=0, weights=weight)
    return mean, np.average((X - mean) ** 2, axis=0, weights=weight).mean()


@st.composite
def weighted_matrices(draw):
    """Draw rows, what of them counts (or None), and their weights (or None)."""
    X = draw(matrices)
    rows = st.integers(0, len(X) - 1)
    index = draw(st.none() | st.lists(rows, min_size=1, unique=True).map(np.array))
    weights = hnp.arrays(np.float64, len(X), elements=st.floats(0.01, 100))
    return X, index, draw(st.none() | weights)


@pytest.mark.each_once
@each_dtype
@each_form
@pytest.mark.parametrize("chunk_entries", [1, 20, 2**19])
@settings(max_examples=30)
@given(drawn=weighted_matrices(), shift=st.sampled_from([0.0, 1e3]))
def test_moments_are_those_of_numpy(form, dtype, chunk_entries, drawn, shift):
    X, index, weight = drawn
    X = (X + shift).astype(dtype)
    which = slice(None) if index is None else index
    expected_mean, expected = moments_by_numpy(X[which], None if weight is None else weight[which])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "CHUNK_ENTRIES", chunk_entries)
        mean, variance = weighted_moments(form(X), index, weight)
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-12, atol=1e-12)
    assert variance == pytest.approx(expected, rel=1e-9, abs=1e-20 + (1e-15 * shift) ** 2)


@each_form
@given(drawn=weighted_matrices(), count=st.data())
def test_integer_weights_have_the_moments_of_repeated_rows(form, drawn, count):
    X, _, _ = drawn
    counts = st.lists(st.integers(0, 4), min_size=len(X), max_size=len(X)).filter(any)
    count = np.array(count.draw(counts))
    mean, variance = weighted_moments(form(X), weight=count.astype(float))
    repeated_mean, repeated = weighted_moments(form(np.repeat(X, count, axis=0)))
    np.testing.assert_allclose(mean, repeated_mean, rtol=1e-12, atol=1e-12)
    assert variance == pytest.approx(repeated, rel=1e-12, abs=1e-20)


@each_form
def test_rows_of_weight_zero_have_no_part_in_the_moments(form):
    X = np.array([[0.0, 1.0, 0.0], [0.1, 0.3, 1e-3], [0.1, 0.3, 1e-3]])
    mean, variance = weighted_moments(form(X), weight=np.array([0.0, 1.0, 2.0]))
    assert variance == 0.0
    np.testing.assert_allclose(mean, X[1], rtol=1e-15)


@each_dtype
@each_form
@settings(max_examples=50)
@given(
    row=hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(-1e6, 1e6, width=32)),
    n_rows=st.integers(1, 60),
    weighted=st.booleans(),
)
def test_constant_columns_have_exactly_no_variance(form, dtype, row, n_rows, weighted):
    X = np.tile((row / 3).astype(dtype), (n_rows, 1))
    weight = np.linspace(0.1, 7.3, n_rows) if weighted else None
    mean, variance = weighted_moments(form(X), weight=weight)
    assert variance == 0.0
    np.testing.assert_allclose(mean, X[0].astype(np.float64), rtol=1e-14, atol=1e-300)


@each_form
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e10, 1e-10, 1e-150])
def test_a_large_constant_matrix_has_exactly_no_variance(form, value):
    X = np.full((5000, 30), value)
    assert weighted_moments(form(X))[1] == 0.0
    assert find_scaling(form(X), None, None, scale_data=True, output_activation="tanh").scale == 1.0


@each_form
def test_a_deviation_far_below_the_mean_is_found(form):
    rng = np.random.default_rng(0)
    X = 1e8 + rng.normal(size=(1000, 5))
    assert weighted_moments(form(X))[1] == pytest.approx(moments_by_numpy(X, None)[1], rel=1e-6)


def test_one_constant_column_does_not_hide_the_others():
    X = np.column_stack([np.full(100, 1e3), np.random.default_rng(0).normal(size=100)])
    assert weighted_moments(X)[1] == pytest.approx(X[:, 1].var() / 2, rel=1e-12)


@given(
    X=matrices.filter(lambda X: X.std(axis=0).max() > 1e-3),
    output=st.sampled_from(["identity", "tanh", "sigmoid"]),
)
def test_scaled_rows_have_one_norm_and_a_mean_that_the_output_can_give(X, output):
    found = find_scaling(X, None, None, scale_data=True, output_activation=output)
    z = found.shift + (X - found.mean) / found.scale
    expected = 36.0 if output == "identity" else min(64, X.shape[1]) * (0.4 / 3) ** 2
    assert z.var(axis=0).sum() == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(z.mean(axis=0), 0.5 if output == "sigmoid" else 0.0, atol=1e-9)
    np.testing.assert_allclose(found.offset, z.mean(axis=0), atol=1e-9)


@pytest.mark.parametrize("output", ["tanh", "sigmoid"])
@pytest.mark.parametrize(("n_features", "deviation"), [(64, 0.4 / 3), (256, 0.4 / 6)])
def test_behind_outputs_with_a_range_patches_of_8x8_keep_uflds_deviation_and_larger_ones_the_norm(
    n_features, deviation, output
):
    X = np.random.default_rng(0).normal(3.0, 5.0, (50, n_features))
    found = find_scaling(X, None, None, scale_data=True, output_activation=output)
    z = (X - found.mean) / found.scale
    assert np.sqrt(z.var(axis=0).mean()) == pytest.approx(deviation, rel=1e-12)


@given(X=matrices)
def test_rows_left_unscaled_are_centred_all_the_same(X):
    found = find_scaling(X, None, None, scale_data=False, output_activation="identity")
    assert (found.scale, found.shift) == (1.0, 0.0)
    np.testing.assert_array_equal(found.mean, 0.0)
    np.testing.assert_allclose(found.centre, X.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.offset, found.centre)


# The rows as the engine reads them


def read(X, which, centre, scale, dtype):
    out = torch.empty(X[which].shape, dtype=dtype)
    centre_rows(X, which, centre, scale, out)
    return out.numpy()


@each_form
@pytest.mark.parametrize("which", [slice(2, 7), np.array([8, 0, 0, 3])], ids=["slice", "index"])
@pytest.mark.parametrize("to", [torch.float32, torch.float64])
@each_dtype
def test_rows_are_centred_and_scaled(dtype, to, which, form):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(10, 6)) * (rng.random((10, 6)) < 0.4)).astype(dtype)
    before = X.copy()
    centre, scale = rng.normal(size=6), 3.7
    expected = (X[which].astype(np.float64) - centre) / scale
    tolerance = 1e-15 if to == torch.float64 else 3e-7
    got = read(form(X), which, centre, scale, to)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(X, before)


@each_form
def test_a_mean_far_above_the_deviation_costs_no_digits(form):
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(500, 6))).astype(np.float32)
    centre = X.mean(axis=0, dtype=np.float64)
    expected = (X.astype(np.float64) - centre) / 0.7
    got = read(form(X), slice(None), centre, 0.7, torch.float32)
    # Within rounding of the result, a ten-thousandth of that of X.
    np.testing.assert_allclose(got, expected, rtol=4e-7, atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("resident", [False, True], ids=["read", "resident"])
@pytest.mark.parametrize("index", [None, np.arange(1, 40, 2)], ids=["all", "some"])
def test_batches_are_the_rows_and_weights_asked_for(index, resident, order):
    rng = np.random.default_rng(0)
    X, weight = np.asarray(rng.normal(size=(40, 5)), order=order), rng.uniform(0.1, 3.0, 40)
    X.flags.writeable = False
    rows = Rows(
        X,
        centre=np.arange(5.0),
        scale=2.0,
        dtype=torch.float64,
        device=torch.device("cpu"),
        index=index,
        sample_weight=weight,
    )
    if resident:
        rows.keep_resident()
    counted = np.arange(40) if index is None else index
    shuffled = rng.permutation(len(counted))
    relative = weight / weight[counted].mean()
    slices = [slice(0, 7), slice(7, 14), slice(14, len(counted))]
    for which, batch in zip(slices, rows.batches(slices, shuffled), strict=True):
        chosen = counted[shuffled[which]]
        np.testing.assert_allclose(batch.rows[0], (X[chosen] - np.arange(5.0)) / 2, rtol=1e-15)
        np.testing.assert_allclose(batch.weight[0, :, 0], relative[chosen], rtol=1e-14)


@given(weight=hnp.arrays(np.float64, 30, elements=st.floats(0.01, 1e3)))
def test_weights_of_a_walk_over_all_rows_have_mean_one(weight):
    rows = Rows(
        np.zeros((30, 2)),
        centre=np.zeros(2),
        scale=1.0,
        dtype=torch.float64,
        device=torch.device("cpu"),
        sample_weight=weight,
    )
    weights = [batch.weight for batch in rows.chunks(2)]
    given = [np.ones(30) if each is None else each.numpy().ravel() for each in weights]
    assert np.concatenate(given).mean() == pytest.approx(1.0, rel=1e-12)
