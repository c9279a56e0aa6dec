"""By how much a target differs where a unit is active: choice on one half, tests on the other."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.datasets import load_diabetes

from sksae.inspection.subject import Block
from sksae.inspection.table.halves import choosing_half
from sksae.inspection.table.intervals import difference_of_shares, fisher
from sksae.inspection.table.separation import Correlations, separation_of
from sksae.inspection.table.targets import check_targets


def active_rows(rng, n_samples, shares):
    return rng.random((n_samples, len(shares))) < shares


def as_columns(active):
    return sp.csc_array(active.astype(np.float64))


def halves_of(targets, seed):
    return choosing_half(targets.columns.shape[0], np.random.RandomState(seed), targets.codes)


# Halves.


@pytest.mark.parametrize("n_samples", [1, 2, 7, 100])
def test_halves_are_disjoint_and_of_one_size(n_samples):
    first = choosing_half(n_samples, np.random.RandomState(0))
    assert first.sum() == (n_samples + 1) // 2
    other = choosing_half(n_samples, np.random.RandomState(1))
    assert n_samples < 7 or (first != other).any()


def test_halves_have_each_class_alike():
    classes = np.random.default_rng(0).choice(4, 501, p=[0.7, 0.2, 0.08, 0.02])
    first = choosing_half(501, np.random.RandomState(0), classes)
    counts = [np.bincount(classes[half], minlength=4) for half in (first, ~first)]
    assert np.abs(counts[0] - counts[1]).max() <= 1


# Numbers.


def test_means_are_compared_as_scipy_does():
    rng = np.random.default_rng(0)
    active = active_rows(rng, 300, [0.01, 0.15, 0.5, 0.85])
    y = 1e4 + 20.0 * active[:, 2] + rng.gamma(2.0, 30.0, 300) * (1.0 + active[:, 1])
    targets = check_targets(y, 300)
    first = halves_of(targets, 3)
    found = separation_of(targets, as_columns(active), first)
    for unit in range(1, 4):
        a, values = active[~first, unit], y[~first]
        test = stats.ttest_ind(values[a], values[~a], equal_var=False)
        ends = test.confidence_interval(0.95)
        np.testing.assert_allclose(found.difference[unit], values[a].mean() - values[~a].mean())
        np.testing.assert_allclose(
            [found.low[unit], found.high[unit]], [ends.low, ends.high], rtol=1e-8
        )
        np.testing.assert_allclose(found.p_value[unit], test.pvalue, rtol=1e-8)
    tested = np.isfinite(found.p_value)
    np.testing.assert_allclose(
        found.p_adjusted[tested], stats.false_discovery_control(found.p_value[tested])
    )


def test_of_units_with_few_rows_in_a_half_nothing_is_said():
    y = np.random.default_rng(0).normal(size=60)
    active = np.zeros((60, 5), dtype=bool)
    targets = check_targets(y, 60)
    first = halves_of(targets, 0)
    active[np.flatnonzero(~first)[:9], 1] = True
    active[np.flatnonzero(~first)[:10], 2] = True
    active[:, 3] = True
    active[first, 4] = True
    found = separation_of(targets, as_columns(active), first)
    assert np.isfinite(found.p_value).tolist() == [False, False, True, False, False]
    assert found.column.tolist() == [-1, -1, 0, -1, -1]
    for each in found[1:]:
        assert np.isfinite(each).tolist() == [False, False, True, False, False]
    assert found.p_adjusted[2] == found.p_value[2]


def test_a_target_that_does_not_vary_says_nothing():
    active = active_rows(np.random.default_rng(0), 90, [0.5, 0.4])
    targets = check_targets(np.full(90, 0.1), 90)
    found = separation_of(targets, as_columns(active), halves_of(targets, 0))
    np.testing.assert_allclose(found.difference, 0.0, atol=1e-12)
    assert np.isnan(found.p_value).all()
    assert np.isnan(found.p_adjusted).all()


# Classes.


def test_intervals_of_shares_are_those_that_newcombe_printed():
    # Table II of the paper, method 10: (a) to (e), (g).
    found = difference_of_shares(
        np.array([56.0, 9, 6, 5, 0, 10]),
        np.array([70.0, 10, 7, 56, 10, 10]),
        np.array([48.0, 3, 2, 0, 0, 0]),
        np.array([80.0, 10, 7, 29, 20, 10]),
    )
    printed = [
        (0.0524, 0.3339),
        (0.1705, 0.8090),
        (0.0582, 0.8062),
        (-0.0381, 0.1926),
        (-0.1611, 0.2775),
        (0.6075, 1.0000),
    ]
    np.testing.assert_allclose(np.transpose([found.low, found.high]), printed, atol=6e-5)


def test_p_values_of_shares_are_those_of_fisher():
    rng = np.random.default_rng(0)
    n, m = rng.integers(1, 40, (2, 60)).astype(float)
    x, z = np.round(n * rng.random(60)), np.round(m * rng.random(60))
    expected = [
        stats.fisher_exact([[a, b - a], [c, d - c]]).pvalue
        for a, b, c, d in zip(x, n, z, m, strict=True)
    ]
    np.testing.assert_allclose(fisher(x, n, z, m), expected, rtol=1e-9)


def test_the_class_is_chosen_on_one_half_and_measured_on_the_other():
    rng = np.random.default_rng(0)
    y = rng.choice(list("abc"), 400)
    active = active_rows(rng, 400, [0.2, 0.3, 0.1, 0.4])
    active[:, 0] |= y == "b"
    active[:, 1] &= y != "c"
    targets = check_targets(y, 400)
    first = halves_of(targets, 0)
    found = separation_of(targets, as_columns(active), first)
    names = targets.classes
    for unit in range(4):
        of_first = active[first, unit]
        differences = [
            (y[first][of_first] == name).mean() - (y[first][~of_first] == name).mean()
            for name in names
        ]
        column = int(np.abs(differences).argmax())
        assert found.column[unit] == column
        a, is_class = active[~first, unit], y[~first] == names[column]
        difference = is_class[a].mean() - is_class[~a].mean()
        np.testing.assert_allclose(found.difference[unit], difference)
        table = [[(is_class & group).sum(), (~is_class & group).sum()] for group in (a, ~a)]
        np.testing.assert_allclose(found.p_value[unit], stats.fisher_exact(table).pvalue)
    assert names[found.column[:2]].tolist() == ["b", "c"]
    assert found.difference[0] > 0.3 > -0.2 > found.difference[1]


def test_of_two_classes_it_is_the_second():
    y = np.array([True, False] * 50)
    active = as_columns(active_rows(np.random.default_rng(0), 100, [0.5, 0.4]))
    targets = check_targets(y, 100)
    assert targets.classes.tolist() == [False, True]
    assert separation_of(targets, active, halves_of(targets, 0)).column.tolist() == [1, 1]


# What intervals and p-values promise.


@pytest.mark.parametrize("kind", ["numbers", "two", "many"])
def test_what_units_have_to_do_with_chance_is_rarely_found(kind):
    shares = np.linspace(0.05, 0.6, 20)
    any_found, below, covered = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        active = active_rows(rng, 240, shares)
        y = {
            "numbers": lambda rng: rng.normal(size=240),
            "two": lambda rng: rng.random(240) < 0.3,
            "many": lambda rng: rng.integers(0, 8, 240),
        }[kind](rng)
        targets = check_targets(y, 240)
        found = separation_of(targets, as_columns(active), halves_of(targets, seed))
        known = np.isfinite(found.p_value)
        any_found.append((found.p_adjusted[known] < 0.05).any())
        below.extend(found.p_value[known] < 0.05)
        covered.extend((found.low[known] <= 0.0) & (found.high[known] >= 0.0))
    # Each discovery is a false one here, so that one in 20 tables may have some: of 200 tables 10,
    # with a standard error of 3. Fisher's test and Newcombe's interval are on the safe side.
    assert np.mean(any_found) < 0.1
    assert np.mean(below) < 0.06
    assert 0.94 < np.mean(covered) < 0.96 if kind == "numbers" else np.mean(covered) > 0.94


def test_intervals_cover_a_true_difference():
    covered = {"numbers": [], "two": []}
    shares = np.array([0.15, 0.25, 0.5])
    for seed in range(200):
        rng = np.random.default_rng(seed)
        active = active_rows(rng, 300, shares)
        noise = rng.normal(size=(300, 1)) * (1.0 + active)
        for unit in range(3):
            y = 2.0 * active[:, unit] + noise[:, unit]
            targets = check_targets(y, 300)
            found = separation_of(targets, as_columns(active[:, [unit]]), halves_of(targets, seed))
            covered["numbers"].append(found.low[0] <= 2.0 <= found.high[0])
            y = rng.random(300) < 0.2 + 0.4 * active[:, unit]
            targets = check_targets(y, 300)
            found = separation_of(targets, as_columns(active[:, [unit]]), halves_of(targets, seed))
            covered["two"].append(found.low[0] <= 0.4 <= found.high[0])
    # 600 intervals: a standard error is 0.9 %.
    assert 0.93 < np.mean(covered["numbers"]) < 0.97
    assert 0.93 < np.mean(covered["two"]) < 0.98


# Correlations.


@pytest.mark.parametrize("sparse", [False, True])
def test_correlations_are_those_of_numpy(sparse):
    rng = np.random.default_rng(0)
    codes = (1e3 + rng.normal(size=(200, 5))).astype(np.float32)
    codes[rng.random((200, 5)) < 0.6] = 0.0
    codes[:, 4] = 7.0
    y = codes[:, 0] + rng.normal(size=200)
    targets, rows = check_targets(y, 200), rng.random(200) < 0.5
    sums = Correlations(targets, rows, 5)
    for which in (slice(0, 90), slice(90, 200)):
        block = sp.csr_array(codes[which]) if sparse else codes[which]
        sums.see(Block(which, block, block, block))
    found = sums.of(np.array([0, 0, 0, -1, 0]))
    for unit in range(3):
        expected = np.corrcoef(codes[rows, unit].astype(float), y[rows])[0, 1]
        np.testing.assert_allclose(found[unit], expected, rtol=1e-6)
    assert np.isnan(found[3:]).all()


# What targets are.


def test_what_are_classes_and_what_numbers():
    diabetes = load_diabetes().target
    assert check_targets(diabetes, len(diabetes)).classes is None
    assert check_targets([0.5, 1.0, 2.0], 3).classes is None
    assert check_targets([0.0, 1.0, 2.0], 3).classes.tolist() == [0.0, 1.0, 2.0]
    assert check_targets(np.arange(99), 99).classes.tolist() == list(range(99))
    assert check_targets(["b", "a", "b"], 3).classes.tolist() == ["a", "b"]
    assert check_targets(np.array([1, 2, 1], dtype=object), 3).classes.tolist() == [1, 2]
    assert check_targets(np.array([["b"], ["a"]], dtype=object), 2).codes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1.0, 2.0], "for each of the 3 rows"),
        ([1.0, np.nan, 2.0], "missing values, got 1"),
        (["a", None, "b"], "missing values, got 1"),
        (["a", "a", "a"], "two classes at least"),
        ([[1, 2], [1, 2], [1, 2]], "1 dimension"),
        ([0.5, np.inf, 2.0], "finite"),
    ],
)
def test_bad_targets_are_named(y, said):
    with pytest.raises(ValueError, match=f"y must .*{said}"):
        check_targets(y, 3)
