"""What is said of rows before training: columns that dominate, values far off, unscaled norms."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderTransformer, StackedSparseAutoencoder
from sksae.model.scaling import BOUNDED_NORM
from sksae.process.warning import fitting_member
from sksae.training import diagnostics, moments
from sksae.training.diagnostics import dominant_columns, far_values
from sksae.training.moments import find_scaling

DIGITS = load_digits().data
WINE = StandardScaler().fit_transform(load_wine().data)


def make(**params):
    return SparseAutoencoderTransformer(**({"n_components": 5, "random_state": 0} | params))


def said(fit, *args, **kwargs):
    """Return the UserWarnings themselves, not of a subclass, that a fit gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args, **kwargs)
    return [str(each.message) for each in caught if each.category is UserWarning]


def with_value(value, *, row=5, column=3, X=WINE):
    X = X.copy()
    X[row, column] = value
    return X


def with_scale(factor, column=3, X=WINE):
    X = X.copy()
    X[:, column] *= factor
    return X


def far(X, index=None, **params):
    found = find_scaling(X, index, None, scale_data=True, output_activation="identity")
    return far_values(X, index, found.centre, found.columns, **params)


# Columns that hold nearly all of the variance.


@pytest.mark.parametrize(
    ("variance", "columns"),
    [
        ([1.0], []),
        ([5.0, 0.0, 0.0], []),
        ([0.0, 0.0], []),
        ([np.inf, 1.0], []),
        # Of two columns, the larger one has most of the variance soon.
        ([50.0, 1.0], []),
        ([200.0, 1.0], [0]),
        ([1.0] * 20, []),
        ([1.0] * 19 + [19 * 18.0], []),
        ([1.0] * 19 + [19 * 20.0], [19]),
        # Two or three of many may dominate together, but not of few.
        ([1.0] * 28 + [2000.0, 1000.0], [28, 29]),
        ([1.0] * 8 + [2000.0, 1000.0], []),
        ([1.0] * 40 + [3000.0, 2000.0, 1000.0], [40, 41, 42]),
        ([1.0] * 90 + [1000.0] * 10, []),
    ],
)
def test_a_column_or_a_few_that_dominate(variance, columns):
    assert dominant_columns(np.array(variance)) == columns


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.csr_matrix])
def test_a_column_that_dominates_is_named(kind, dtype):
    (text,) = said(make(max_iter=1).fit, kind(with_scale(1e4).astype(dtype)))
    assert text.startswith("SparseAutoencoderTransformer: column 3 of X holds 99.9 % of the var")
    scaler = "(StandardScaler)" if kind is np.asarray else "(StandardScaler(with_mean=False))"
    assert scaler in text


def test_columns_are_named_as_the_user_names_them():
    X = load_breast_cancer(as_frame=True).data
    (text,) = said(make(max_iter=1).fit, X)
    assert "columns 'worst area' and 'mean area' of X hold 99.1 % of the variance" in text
    assert not said(make(max_iter=1).fit, StandardScaler().fit_transform(X))


def test_rows_that_do_not_count_are_not_judged():
    X, weight = with_value(1e6), np.ones(len(WINE))
    assert len(said(make(max_iter=1).fit, X)) == 1
    weight[5] = 0.0
    assert not said(make(max_iter=1).fit, X, sample_weight=weight)


# Values far from all others of their column.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("value", [-9999.0, 1e20])
def test_a_placeholder_is_named_with_its_column(value, kind, dtype):
    X = with_value(value).astype(dtype)
    (text,) = said(make(max_iter=1).fit, kind(X))
    low, high = np.sort(X[:, 3])[[2, -3]]
    assert f": {value:g} in column 3, where nearly all others are {low:.4g} to {high:.4g}." in text
    assert f"SimpleImputer(missing_values={value:g})" in text
    assert "StandardScaler" not in text


def test_several_columns_with_placeholders_are_one_warning():
    X = pd.DataFrame(WINE.copy(), columns=load_wine().feature_names)
    X.iloc[[3, 8], 0], X.iloc[4, 1:6] = -9999.0, 8888.0
    (text,) = said(make(max_iter=1).fit, X)
    assert re.search(r"-9999 in column 'alcohol', .*; 8888 in column 'malic_acid', ", text)
    assert text.count(" in column ") == 3
    assert "(and 3 more columns)" in text


@pytest.mark.parametrize(("factor", "n_found"), [(900.0, 0), (1100.0, 1)])
def test_far_is_a_thousand_times_the_range_of_the_others(factor, n_found):
    column = np.linspace(-1.0, 1.0, 1001)
    spread = column[990] - column[10]
    X = np.column_stack([np.append(column, factor * spread), np.linspace(-1e6, 1e6, 1002)])
    assert [each.column for each in far(X)] == [0] * n_found
    # Far less is enough where the column dominates by it.
    assert len(far(X, dominant=[0])) == 1


@pytest.mark.parametrize(
    ("values", "n_found"),
    [
        ([1.0] * 30, 0),
        ([1.0] * 30 + [900.0], 0),
        ([1.0] * 30 + [-9999.0], 1),
        ([2.0, 3.0] * 15 + [-9999.0], 1),
        ([2.0, 3.0] * 15 + [255.0], 0),
        # Too few to be judged by.
        ([1.0] * 5 + [-9999.0], 0),
        ([-9999.0], 0),
    ],
)
def test_a_column_of_zeros_is_judged_by_what_else_it_holds(values, n_found):
    X = np.zeros((4000, 3))
    X[: len(values), 1] = values
    X[:, 2] = np.linspace(-1e9, 1e9, 4000)
    assert len(far(X)) == len(far(sp.csr_array(X))) == n_found


def test_a_constant_with_rounding_is_not_far_from_itself():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    X[:, 0] = 1e6
    X[7, 0] += 1e-4
    assert not far(X)


def test_rows_are_sampled_but_extremes_are_of_all(monkeypatch):
    X = np.random.default_rng(0).normal(size=(50_000, 4))
    X[12_345, 2] = -9999.0
    read = []

    def noting(X, rows, columns, take=diagnostics._taken):
        read.append((len(rows), len(columns)))
        return take(X, rows, columns)

    monkeypatch.setattr(diagnostics, "_taken", noting)
    assert [(each.column, each.value) for each in far(X)] == [(2, -9999.0)]
    (n_rows, n_columns) = read[0]
    assert n_rows == diagnostics.SAMPLE_ROWS
    assert n_columns < 4
    # Of a wide X only the most suspicious columns, however many are.
    monkeypatch.setattr(diagnostics, "SAMPLE_ENTRIES", 2 * diagnostics.SAMPLE_ROWS)
    rng = np.random.default_rng(1)
    spikes = rng.normal(size=(50_000, 6)) * (rng.random((50_000, 6)) < 0.02)
    spikes[12_345, 4] = 1e9
    assert [each.column for each in far(np.hstack([spikes, X[:, :1]]), dominant=[4])] == [4]
    assert read[-1][1] == 2


def test_a_memory_map_is_read_in_the_pass_that_scales_it(tmp_path, monkeypatch):
    path = tmp_path / "rows.npy"
    np.save(path, with_value(-9999.0, row=100))
    mapped = np.load(path, mmap_mode="r")
    monkeypatch.setattr(moments, "CHUNK_ENTRIES", 13 * 16)
    (text,) = said(make(max_iter=1).fit, mapped)
    assert "-9999 in column 3" in text


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_what_is_known_of_columns(form, weighted, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_ENTRIES", 13 * 16)
    weight = np.arange(len(WINE)) % 3.0 if weighted else None
    index = np.flatnonzero(weight) if weighted else None
    found = find_scaling(form(WINE), index, weight, scale_data=False, output_activation="identity")
    rows, counts = (WINE[index], weight[index]) if weighted else (WINE, None)
    np.testing.assert_array_equal(found.columns.lowest, rows.min(axis=0))
    np.testing.assert_array_equal(found.columns.highest, rows.max(axis=0))
    mean = np.average(rows, axis=0, weights=counts)
    variance = np.average((rows - mean) ** 2, axis=0, weights=counts)
    np.testing.assert_allclose(found.columns.variance, variance, rtol=1e-10)


# Unscaled rows.


@pytest.mark.parametrize(
    ("factor", "params", "advice"),
    [
        (1.0, {}, ["use scale_data=True", "multiply X by 0.031"]),
        (1e-4, {}, ["use scale_data=True", "multiply X by 3.1e+02"]),
        (1.0, {"output_activation": "relu"}, ["multiply X by 0.031"]),
        (1.0, {"output_activation": "tanh"}, ["use scale_data=True"]),
        (1.0, {"solver": "lbfgs", "alpha": 1e-4}, ["use scale_data=True", "multiply X by 0.031"]),
    ],
)
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.filterwarnings("ignore:.*X holds values from")
def test_unscaled_rows_of_another_norm(form, factor, params, advice):
    X = form(DIGITS[:200] * factor)
    texts = said(make(scale_data=False, max_iter=1, **params).fit, X)
    (text,) = [each for each in texts if "scale_data=False" in each]
    assert f"for {BOUNDED_NORM:.3g}: {', or '.join([*advice, 'set all three'])}." in text


def test_unscaled_rows_of_the_norm_of_the_defaults_or_with_others_are_fine():
    assert not said(make(scale_data=False, max_iter=1).fit, DIGITS[:200] / 16.0)
    own = {"alpha": 1e-3, "beta": 100.0, "learning_rate": 1e-3}
    assert not said(make(scale_data=False, max_iter=1, **own).fit, DIGITS[:200])
    own = {"alpha": 1e-3, "sparsity": None, "solver": "lbfgs"}
    assert not said(make(scale_data=False, max_iter=1, **own).fit, DIGITS[:200])
    assert not said(make(scale_data=False, max_iter=1).fit, np.ones((20, 3)))


# Whom it is said to, and when.


@pytest.mark.parametrize("params", [{}, {"sparsity": "l1"}, {"early_stopping": True}])
def test_tables_as_they_should_be_are_not_remarked_on(params):
    rng = np.random.default_rng(0)
    tables = {
        "digits": DIGITS,
        "scaled wine": WINE,
        "one-hot": np.eye(7)[rng.integers(0, 7, 300)],
        "0/1": sp.csr_array((rng.random((500, 60)) < 0.02).astype(float)),
        "counts": sp.csr_array(rng.poisson(rng.lognormal(-2.0, 1.5, 60), (500, 60)).astype(float)),
        "skewed": rng.lognormal(0.0, 1.0, (500, 8)),
        "one column": WINE[:, :1],
        "two columns": WINE[:, :2] * [1.0, 5.0],
    }
    for name, X in tables.items():
        assert not said(make(max_iter=1, **params).fit, X), name
    assert not said(make(max_iter=1).fit, with_scale(1e4)[:9])


def test_it_is_said_where_the_scaling_is_found():
    X = with_scale(1e4)
    model = make(max_iter=1, warm_start=True)
    assert len(said(model.fit, X)) == 1
    assert not said(model.fit, X)
    model = make()
    assert len(said(model.partial_fit, X)) == 1
    assert not said(model.partial_fit, X)


def test_the_first_member_of_a_stack_is_told_of_the_columns_of_the_stack():
    X = load_wine(as_frame=True).data
    stack = StackedSparseAutoencoder([make(max_iter=1), make(max_iter=1)], max_iter=1)
    (text,) = said(stack.fit, X)
    assert text.startswith("StackedSparseAutoencoder, member 'sae0': column 'proline' of X holds")


def test_a_member_is_not_told_of_codes_that_are_not_the_users():
    X, member = with_scale(1e4), make(max_iter=1)
    for on_codes, n_said in ((False, 1), (True, 0)):
        with fitting_member(member, StackedSparseAutoencoder([]), "b", on_codes=on_codes):
            assert len(said(member.fit, X)) == n_said
    unscaled = make(max_iter=1, scale_data=False)
    with fitting_member(unscaled, StackedSparseAutoencoder([]), "b", on_codes=True):
        (text,) = said(unscaled.fit, X)
    assert "StackedSparseAutoencoder, member 'b': With scale_data=False" in text
    assert "use scale_data=True, or set all three" in text


# What a scaler leaves.


def judged(X):
    """Return what is said of the columns of X."""
    found = find_scaling(X, None, None, scale_data=True, output_activation="identity")
    return diagnostics.message_on_columns(X, None, found)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_rare_events_are_none_the_more_suspicious_for_being_scaled(container):
    rng = np.random.default_rng(0)
    rows = (rng.random((3000, 6)) < [0.3, 0.3, 0.3, 0.3, 0.3, 0.0]) * 1.0
    rows[7, 5] = 1.0
    for X in (rows, StandardScaler().fit_transform(rows)):
        assert judged(container(X)) is None
    digits = StandardScaler().fit_transform(load_digits().data)
    assert judged(container(digits)) is None


def test_a_placeholder_in_a_column_of_zeros_is_found_scaled_or_not():
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((3000, 4)) < 0.008, rng.random((3000, 4)), 0.0)
    rows[:, 0] = rng.random(3000)
    rows[3, 2] = -9999.0
    for X in (rows, StandardScaler().fit_transform(rows)):
        assert "in column 2, where nearly all others are" in judged(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9999999.0, "9999999"),
        (-99999999.0, None),
        (9.969209968386869e36, None),
        (1e20, "1e+20"),
        (2147483647.0, None),
    ],
)
def test_what_is_said_of_a_placeholder_replaces_it(value, text, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 5)).astype(dtype) + 20
    X[::200, 1] = value
    said = judged(X)
    named = re.search(r"missing_values=([^)]+)\)", said).group(1)
    assert text is None or named == text
    replaced = SimpleImputer(missing_values=float(named)).fit_transform(X)
    assert judged(replaced.astype(dtype)) is None
