"""The k largest of each row and the n-th largest of many are those of a plain sort."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sksae.engine.largest import (
    BLOCK,
    BLOCKS_PER_WANTED,
    Counted,
    just_below,
    k_largest,
    largest_of,
    nth_largest,
)


def rows(draw, n_columns):
    n_rows = draw(st.integers(1, 5))
    # Few different numbers, so that many are equal.
    values = st.integers(-3, 3) | st.floats(-1e3, 1e3, width=32)
    return draw(hnp.arrays(np.float32, (n_rows, n_columns), elements=values))


@st.composite
def problems(draw):
    """Draw rows, few and many columns to each wanted number, and how many are wanted."""
    k = draw(st.integers(1, 4))
    n_columns = draw(st.integers(k, 12) | st.integers(k, 3 * k * BLOCK * BLOCKS_PER_WANTED))
    return rows(draw, n_columns), k


@settings(max_examples=150)
@given(problem=problems())
def test_the_largest_are_those_of_a_sort(problem):
    X, k = problem
    found = k_largest(torch.from_numpy(X), k)
    np.testing.assert_array_equal(found.values, -np.sort(-X, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(X, found.columns.numpy(), 1), found.values)
    assert all(len(set(columns)) == k for columns in found.columns.tolist())


@settings(max_examples=50)
@given(problem=problems())
def test_a_row_chooses_the_same_in_any_company(problem):
    X, k = problem
    together = k_largest(torch.from_numpy(X), k)
    for at, row in enumerate(X):
        alone = k_largest(torch.from_numpy(row[None].copy()), k)
        np.testing.assert_array_equal(alone.columns[0], together.columns[at])


@pytest.mark.parametrize("n_columns", [5, 400])
def test_a_row_with_nan_says_so(n_columns):
    X = torch.zeros(2, n_columns)
    X[1, 3:] = torch.nan
    found = k_largest(X, 4)
    assert not found.values[0].isnan().any()
    assert found.values[1].isnan().any()


@settings(max_examples=100)
@given(
    X=hnp.arrays(np.float32, st.integers(0, 60), elements=st.integers(-3, 9)),
    n=st.integers(1, 70),
    guess=st.floats(0, 20),
)
@example(X=np.zeros(9, np.float32), n=1, guess=5e-324)
def test_the_nth_largest_positive_number_does_not_depend_on_the_guess(X, n, guess):
    halves = [torch.from_numpy(X[:7]), torch.from_numpy(X[7:])]
    looked = []

    def above(bound):
        looked.append(bound)
        return [Counted(half[half > bound]) for half in halves]

    positive = -np.sort(-X[X > 0])
    expected = float(positive[n - 1]) if n <= len(positive) else 0.0
    assert nth_largest(lambda bound: largest_of(above(bound), n), n, guess) == expected
    assert len(looked) < 12


@settings(max_examples=100)
@given(
    X=hnp.arrays(np.float32, st.integers(0, 40), elements=st.integers(-3, 9)),
    seed=st.integers(0, 99),
    n=st.integers(1, 70),
    guess=st.floats(0, 20),
)
def test_a_weight_counts_as_so_many_equal_numbers(X, seed, n, guess):
    count = np.random.default_rng(seed).integers(1, 4, len(X))

    def weighted(bound):
        above = bound < X
        return [Counted(torch.from_numpy(X[above]), torch.from_numpy(count[above]).float())]

    def repeated(bound):
        rows = np.repeat(X, count)
        return [Counted(torch.from_numpy(rows[rows > bound]))]

    of_weighted = nth_largest(lambda bound: largest_of(weighted(bound), float(n)), float(n), guess)
    assert of_weighted == nth_largest(lambda bound: largest_of(repeated(bound), n), n, guess)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_just_below_leaves_room_for_rounding_alone(dtype):
    eps = float(np.finfo(dtype).eps)
    assert 0.3 * (1 - 100 * eps) < just_below(0.3, eps) < 0.3 * (1 - 8 * eps)
    assert just_below(0.0, eps) == 0.0
