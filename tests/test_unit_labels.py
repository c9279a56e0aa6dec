"""Labels without a language model, of words and of conditions, and how well they tell."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import f1_score, precision_score, recall_score

import sksae.inspection.table.rule_labels
import sksae.inspection.table.term_labels
from sksae.inspection.table.fidelity import fidelity
from sksae.inspection.table.rule_labels import MANY_CUTS, cut_points, most_rows, rule_labels
from sksae.inspection.table.term_labels import (
    PRIOR_ROWS,
    TOKEN,
    incidence_of_features,
    incidence_of_texts,
    term_labels,
    z_scores,
)


def columns(*masks):
    return sp.csc_array(np.column_stack(masks).astype(np.float64))


# Fidelity.


def test_fidelity_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    holds, active = rng.random((50, 4)) < 0.5, rng.random((50, 4)) < 0.3
    found = fidelity(
        (holds & active).sum(axis=0), holds.sum(axis=0), active.sum(axis=0), len(holds)
    )
    for unit in range(4):
        pair = active[:, unit], holds[:, unit]
        np.testing.assert_allclose(found.f1[unit], f1_score(*pair))
        np.testing.assert_allclose(found.precision[unit], precision_score(*pair))
        np.testing.assert_allclose(found.recall[unit], recall_score(*pair))
        base = f1_score(active[:, unit], np.ones(50, dtype=bool))
        np.testing.assert_allclose(found.base_f1[unit], base)


# Words.

WORDS = np.array(["red", "green", "blue", "warm", "cold", "loud", "quiet", "near", "far", "small"])


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return np.array([" ".join(rng.choice(WORDS, 4)) for _ in range(400)], dtype=object)


@pytest.fixture(scope="module")
def first():
    return np.random.default_rng(1).random(400) < 0.5


def has(texts, *words):
    return np.array([any(word in text.split() for word in words) for text in texts])


def test_scores_are_those_of_the_paper(texts):
    counts = CountVectorizer(binary=True, dtype=float, token_pattern=TOKEN).fit_transform(texts)
    counts = sp.csc_array(counts)
    active = np.random.default_rng(2).random(400) < 0.3
    found = z_scores(counts, columns(active)).toarray().ravel()
    dense = counts.toarray()
    y, other = dense[active].sum(axis=0), dense[~active].sum(axis=0)
    prior = PRIOR_ROWS * dense.sum(axis=0) / len(dense)
    n, n_other, n_prior = y.sum(), other.sum(), prior.sum()
    delta = np.log((y + prior) / (n + n_prior - y - prior)) - np.log(
        (other + prior) / (n_other + n_prior - other - prior)
    )
    np.testing.assert_allclose(found, delta / np.sqrt(1 / (y + prior) + 1 / (other + prior)))


def test_units_are_called_by_the_words_that_they_are_active_for(texts, first):
    rng = np.random.default_rng(3)
    masks = [
        has(texts, "red"),
        has(texts, "warm", "loud"),
        rng.random(400) < 0.3,
        np.zeros(400, dtype=bool),
        np.ones(400, dtype=bool),
        has(texts, "far") & (np.cumsum(has(texts, "far")) <= 4),
    ]
    incidence = incidence_of_texts(texts, first)
    active = columns(*masks)
    labels, found = term_labels(incidence, active[first], active[~first])
    assert labels[0] == "red"
    assert sorted(labels[1].split(", ")) == ["loud", "warm"]
    assert labels[3:].tolist() == [None, None, None]
    np.testing.assert_allclose(found.f1[:2], 1.0)
    assert np.isnan(found.f1[2]) or found.f1[2] < 0.6
    for each in found:
        assert np.isnan(each[3:]).all()


def test_words_are_checked_by_other_rows_than_they_are_chosen_on(texts, first):
    # On the second half the unit is active for another word.
    active = columns(np.where(first, has(texts, "red"), has(texts, "blue")))
    incidence = incidence_of_texts(texts, first)
    labels, found = term_labels(incidence, active[first], active[~first])
    assert labels[0] == "red"
    expected = f1_score(has(texts, "blue")[~first], has(texts, "red")[~first])
    np.testing.assert_allclose(found.f1, expected)


def test_words_that_only_fit_the_chosen_half_are_found_out(first):
    rng = np.random.default_rng(0)
    # Of very many words some always fit.
    texts = np.array([" ".join(f"w{n}" for n in rng.integers(0, 3000, 20)) for _ in range(400)])
    active = columns(*(rng.random((20, 400)) < 0.05))
    incidence = incidence_of_texts(texts.astype(object), first)
    _, found = term_labels(incidence, active[first], active[~first])
    _, on_chosen = term_labels(
        incidence._replace(second=incidence.first), active[first], active[first]
    )
    assert np.nanmean(on_chosen.f1) > 0.4
    assert np.nanmean(found.f1) < np.nanmean(found.base_f1) + 0.03


def test_blocks_of_units_make_no_difference(texts, first, monkeypatch):
    active = columns(*(has(texts, word) for word in WORDS))
    incidence = incidence_of_texts(texts, first)
    _, whole = term_labels(incidence, active[first], active[~first])
    monkeypatch.setattr(sksae.inspection.table.term_labels, "BLOCK_UNITS", 3)
    _, in_blocks = term_labels(incidence, active[first], active[~first])
    np.testing.assert_array_equal(whole, in_blocks)


def test_numbers_are_no_words():
    incidence = incidence_of_texts(np.array(["12 x1 abc", "a 34"], dtype=object), np.ones(2, bool))
    assert incidence.terms.tolist() == ["abc", "x1"]
    assert incidence_of_texts(np.array(["1 2", "a"], dtype=object), np.ones(2, bool)) is None


def test_counts_of_words_have_words(texts, first):
    vectorizer = CountVectorizer()
    counts = sp.csr_array(vectorizer.fit_transform(texts))
    incidence = incidence_of_features(vectorizer.get_feature_names_out(), counts, first)
    active = columns(has(texts, "near"))
    labels, found = term_labels(incidence, active[first], active[~first])
    assert labels.tolist() == ["near"]
    np.testing.assert_allclose(found.f1, 1.0)


# Rules.


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 5)) * [1.0, 100.0, 1e-3, 1.0, 1.0]
    X[:, 3] = rng.random(1000) < 0.3
    X[:, 4] = rng.integers(0, 6, 1000)
    return X


NAMES = np.array(["width", "area", "rate", "smoker", "children"], dtype=object)


def labels_of(X, *masks):
    active = columns(*masks)
    return rule_labels(NAMES, (X[:500], X[500:]), (active[:500], active[500:]))


def test_rules_are_found_again(rows):
    width, area, rate, smoker, children = rows.T
    labels, found = labels_of(
        rows,
        width > 1.0,
        (width > 0.0) & (area <= -20.0),
        (smoker == 1.0) & (children > 2.0),
        (np.abs(width) > 1.5),
        (width > -0.5) & (width < 0.5),
        smoker == 0.0,
        rate > 0.0,
    )
    assert labels[2] in ("smoker = 1 and children > 2", "children > 2 and smoker = 1")
    assert labels[5] == "smoker = 0"
    assert labels[0].startswith("width > ")
    assert " and " in labels[1]
    assert " or " in labels[3]
    assert "< width <=" in labels[4]
    assert labels[6].startswith("rate > ")
    np.testing.assert_array_less(0.9, found.f1)
    assert all(len(label) < 40 for label in labels)


def test_a_rule_is_measured_as_it_is_written(rows):
    unit = rows[:, 0] + 0.3 * np.random.default_rng(1).normal(size=1000) > 0.8
    (label,), found = labels_of(rows, unit)
    name, cut = label.split(" > ")
    assert name == "width"
    np.testing.assert_allclose(
        found.f1[0], f1_score(unit[500:], rows[500:, 0] > float(cut)), rtol=1e-12
    )


def test_chance_has_rules_that_are_found_out(rows):
    rng = np.random.default_rng(0)
    _, found = labels_of(rows, *(rng.random((20, 1000)) < 0.1))
    assert np.nanmean(found.f1) < np.nanmean(found.base_f1) + 0.03
    # Nothing tells more than "always" of a unit that is active nearly always.
    labels, _ = labels_of(rows, rng.random(1000) < 0.97)
    assert labels.tolist() == [None]


def test_without_rows_there_is_no_rule(rows):
    labels, found = labels_of(
        rows, np.zeros(1000, bool), np.ones(1000, bool), np.arange(1000) % 250 == 0
    )
    assert labels.tolist() == [None, None, None]
    for each in found:
        assert np.isnan(each).all()
    (label,), _ = labels_of(np.ones((1000, 5)), np.arange(1000) % 2 == 0)
    assert label is None


def test_blocks_make_no_difference_to_rules(rows, monkeypatch):
    masks = [rows[:, 0] > cut for cut in np.linspace(-1.0, 1.0, 9)]
    whole, _ = labels_of(rows, *masks)
    monkeypatch.setattr(sksae.inspection.table.rule_labels, "BLOCK_UNITS", 2)
    assert labels_of(rows, *masks)[0].tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0, 1.0], ["0"]),
        ([3.0, 1.0, 2.0, np.nan], ["1", "2"]),
        ([-0.0446, 0.0507], ["0"]),
        ([0.1, 0.2, 0.3], ["0.15", "0.25"]),
        ([2.0, 2.0], []),
        ([np.nan], []),
    ],
)
def test_cut_points_of_few_values(values, expected):
    assert cut_points(np.array(values), MANY_CUTS) == expected


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 4.7, 1e4, 1e12])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_cut_points_have_few_digits_and_are_near_the_quantiles(scale, offset):
    values = (np.random.default_rng(0).normal(size=1000) + offset) * scale
    cuts = cut_points(values, MANY_CUTS)
    assert max(map(len, cuts)) <= 18
    assert len(set(cuts)) == len(cuts)
    numbers = np.array(cuts, dtype=float)
    np.testing.assert_allclose(
        np.interp(np.quantile(values, 0.5), numbers, numbers),
        numbers[np.abs(numbers - np.quantile(values, 0.5)).argmin()],
        atol=0.1 * scale,
    )
    assert (numbers >= values.min()).all()
    assert (numbers < values.max()).all()


def test_many_features_have_fewer_rows_and_cut_points():
    assert most_rows(10) == (5000, 50_000)
    making, checking = most_rows(5000)
    assert 100 < making < 5000
    assert 1000 < checking < 50_000
