"""Rows without a target, of classifier and regressor, and targets that cannot be."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from stacking import assert_nothing_half_fitted, assert_same, chain, encode, no_training, pair
from supervising import NUMBERS, TARGETS, X, each_kind, greedy, make, output

from sksae.base.target_scaling import TargetScaling, first_scaling, scaled_targets
from sksae.base.targets import read_classes, read_labels, read_numbers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LABELS = TARGETS["labels"]
WORDS = np.array(["ant", "bee", "cat"])
SEVERAL = np.c_[NUMBERS, np.cos(4.0 * X[:, 2]), X[:, 3]]
WEIGHT = np.random.default_rng(0).uniform(0.1, 2.0, 60)
WITHOUT = np.arange(60) % 2 == 0


def marked(target, mark, dtype=object):
    """Return targets of every other row, and the mark elsewhere."""
    given = target.astype(dtype)
    given[WITHOUT] = mark
    return given


# The kind, the mark, targets some of which are marked, and all of them.
MARKS = {
    "labels -1": ("labels", -1, marked(LABELS, -1, int), LABELS),
    "labels -1.0": ("labels", -1.0, marked(LABELS, -1.0, float), LABELS.astype(float)),
    "labels 0": ("labels", 0, marked(LABELS + 1, 0, int), LABELS + 1),
    "labels nan": ("labels", np.nan, marked(LABELS, np.nan, float), LABELS.astype(float)),
    "words None": ("labels", None, marked(WORDS[LABELS], None), WORDS[LABELS]),
    "labels None": ("labels", None, marked(LABELS, None), LABELS),
    "words nan": ("labels", np.nan, marked(WORDS[LABELS], np.nan), WORDS[LABELS]),
    "words ?": ("labels", "?", marked(WORDS[LABELS], "?", "U3"), WORDS[LABELS]),
    "words ? in objects": ("labels", "?", marked(WORDS[LABELS], "?"), WORDS[LABELS]),
    "numbers nan": ("numbers", np.nan, marked(NUMBERS, np.nan, float), NUMBERS),
    "numbers -1": ("numbers", -1, marked(np.round(10 * NUMBERS), -1, int), np.round(10 * NUMBERS)),
    "numbers None": ("numbers", None, marked(NUMBERS, None), NUMBERS),
    "several nan": ("numbers", np.nan, marked(SEVERAL, np.nan, float), SEVERAL),
    "several None": ("numbers", None, marked(SEVERAL, None), SEVERAL),
    "several -1": ("numbers", -1.0, marked(SEVERAL, -1.0, float), SEVERAL),
}
USUAL = {"labels": "labels -1", "numbers": "numbers nan"}
each_method = pytest.mark.parametrize("method", ["fit", "partial_fit"])


def assert_same_model(one, other, rtol=1e-6, atol=1e-9):
    for a, b in (
        (output(one, X), output(other, X)),
        (one.coef_, other.coef_),
        (encode(one.autoencoders_, X), encode(other.autoencoders_, X)),
    ):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
    for name in ("classes_", "target_mean_"):
        np.testing.assert_array_equal(getattr(one, name, None), getattr(other, name, None))


# What such rows are for.


@pytest.mark.each_once
@pytest.mark.parametrize("freeze", [None, 1, 2])
@pytest.mark.parametrize("name", MARKS)
def test_rows_without_a_target_serve_pre_training_only(name, freeze):
    kind, mark, given, target = MARKS[name]
    params = {"dtype": "float64", "freeze": freeze}
    model = make(kind, pair(dtype="float64"), unlabeled=mark, **params).fit(X, given)
    # Members trained on all rows, then fine-tuned on those that have a target.
    members, seen = greedy(pair(dtype="float64")), target[~WITHOUT]
    expected = make(kind, members, pretrain=False, **params).fit(X[~WITHOUT], seen)
    assert_same_model(model, expected)
    np.testing.assert_allclose(output(model, X), output(expected, X), rtol=1e-6)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)
    if kind == "labels":
        assert model.classes_.dtype == target.dtype
        # The mark is no prediction.
        assert set(model.predict(X).tolist()) <= set(target.tolist())
    else:
        np.testing.assert_allclose(model.target_mean_, seen.reshape(30, -1).mean(axis=0))


@each_kind
def test_weights_of_rows_without_a_target_count_in_pre_training(kind):
    _, mark, given, target = MARKS[USUAL[kind]]
    model = make(kind, unlabeled=mark, freeze=2).fit(X, given, sample_weight=WEIGHT)
    members = greedy(weight=WEIGHT)
    assert_same(model.autoencoders_, members)
    seen, weight = target[~WITHOUT], WEIGHT[~WITHOUT]
    expected = make(kind, members, pretrain=False, freeze=2)
    expected.fit(X[~WITHOUT], seen, sample_weight=weight)
    assert_same_model(model, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("freeze", [None, 2])
def test_weights_are_heard_by_the_scaling_of_the_targets(freeze):
    _, mark, given, target = MARKS["numbers nan"]
    model = make("numbers", unlabeled=mark, freeze=freeze).fit(X, given, sample_weight=WEIGHT)
    seen, weight = target[~WITHOUT], WEIGHT[~WITHOUT]
    mean = np.average(seen, weights=weight)
    assert model.target_mean_[0] == pytest.approx(mean)
    deviation = np.sqrt(np.average((seen - mean) ** 2, weights=weight))
    assert model.target_scale_[0] == pytest.approx(deviation)


@each_kind
def test_rows_without_a_target_in_passes_are_left_out_after_pre_training(kind):
    _, mark, given, target = MARKS[USUAL[kind]]
    members = chain(pair(dtype="float64"), X)
    params = {"pretrain": False, "dtype": "float64", "shuffle": False}
    model = make(kind, members, unlabeled=mark, **params)
    expected = make(kind, members, **params)
    for _ in range(2):
        model.partial_fit(X, given)
        expected.partial_fit(X[~WITHOUT], target[~WITHOUT])
    assert_same_model(model, expected)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-9)
    pretrained = make(kind, unlabeled=mark, freeze=2).partial_fit(X, given).autoencoders_
    assert_same(pretrained, make(kind, freeze=2).partial_fit(X, target).autoencoders_)
    before = model.coef_.copy()
    with pytest.raises(ValueError, match="y holds no target"):
        model.partial_fit(X, np.full(60, mark))
    np.testing.assert_array_equal(model.coef_, before)


# Marks.


def test_off_by_default():
    given = marked(LABELS, -1, int)
    assert make("labels").fit(X, given).classes_.tolist() == [-1, 0, 1, 2]
    assert make("labels", unlabeled=np.False_).fit(X, LABELS).classes_.tolist() == [0, 1, 2]
    numbers = marked(NUMBERS, -1.0, float)
    assert make("numbers").fit(X, numbers).target_mean_[0] == pytest.approx(numbers.mean())


@each_kind
def test_false_is_not_0(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", FutureWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make(kind, unlabeled=False).fit(X, LABELS)
        assert_same_model(model, make(kind).fit(X, LABELS))


def test_marks_may_be_in_lists_and_series():
    words = WORDS[LABELS]
    expected = make("labels", unlabeled=None).fit(X, marked(words, None))
    found = make("labels", unlabeled=None).fit(X, marked(words, None).tolist())
    assert_same_model(found, expected)
    pandas = pytest.importorskip("pandas")
    for given, mark in (
        (pandas.Series(marked(words, None), dtype=object), None),
        (pandas.Series(marked(words, None), dtype="string"), np.nan),
        (pandas.Series(marked(words, np.nan)), np.nan),
    ):
        assert_same_model(make("labels", unlabeled=mark).fit(X, given), expected)
    numbers = pandas.Series(marked(LABELS, None), dtype="Int64")
    found = make("labels", unlabeled=np.nan).fit(X, numbers)
    np.testing.assert_array_equal(found.coef_, expected.coef_)


def test_the_mark_is_not_a_class():
    given = marked(LABELS, -1, int)
    model = make("labels", unlabeled=-1).partial_fit(X, given, classes=np.unique(given))
    assert model.classes_.tolist() == [0, 1, 2]
    model.partial_fit(X, given, classes=np.unique(given))
    words = make("labels", unlabeled=None)
    words.partial_fit(X, marked(WORDS[LABELS], None), classes=[None, *WORDS])
    assert words.classes_.tolist() == WORDS.tolist()


# Targets that cannot be.


def with_one(value):
    return np.where(np.arange(60) == 3, value, NUMBERS)


CANNOT_BE = {
    "labels None": (marked(WORDS[LABELS], None), False, r"y holds None.*unlabeled=None"),
    "labels None for -1": (marked(WORDS[LABELS], None), -1, r"y holds None.*unlabeled=None"),
    "labels nan": (marked(WORDS[LABELS], np.nan), False, r"y holds nan.*unlabeled=nan"),
    "labels nan for None": (marked(WORDS[LABELS], np.nan), None, r"y holds nan.*unlabeled=nan"),
    "labels mixed": (marked(WORDS[LABELS], 3), False, "y holds strings and numbers"),
    "labels mixed with -1": (marked(WORDS[LABELS], -1), None, "y holds strings and numbers"),
    "labels nan in numbers": (marked(LABELS, np.nan, float), False, "Input y contains NaN"),
    "labels inf": (marked(LABELS, np.inf, float), False, "Input y contains infinity"),
    "labels continuous": (NUMBERS, False, "[Uu]nknown label type.*continuous"),
    "labels two columns": (np.c_[LABELS, LABELS], False, "1d array"),
    "labels one class": (np.zeros(60), False, r"one class only, 0\.0"),
    "labels one class and ?": (
        marked(np.full(60, "ant"), "?", "U3"),
        "?",
        "one class only, 'ant'",
    ),
    "labels True": (LABELS, True, "unlabeled=True"),
    "numbers nan": (with_one(np.nan), False, "Input y contains NaN"),
    "numbers inf": (with_one(np.inf), False, "Input y contains infinity"),
    "numbers strings": (np.full(60, "ant"), False, "could not convert string"),
    "numbers three dimensions": (np.zeros((60, 2, 2)), False, "dim 3"),
    "numbers complex": (NUMBERS + 1j, False, "Complex"),
}


@pytest.mark.parametrize("name", CANNOT_BE)
@each_method
def test_targets_that_cannot_be(monkeypatch, method, name):
    no_training(monkeypatch)
    given, unlabeled, said = CANNOT_BE[name]
    model = make(name.split()[0], unlabeled=unlabeled)
    with pytest.raises(ValueError, match=said):
        getattr(model, method)(X, given)
    assert_nothing_half_fitted(model, "predict")


# Reading.


def test_reading_labels():
    found = read_labels(np.array(["b", "?", "a", "b"]), "?")
    assert found.classes.tolist() == ["a", "b"]
    assert found.index.tolist() == [0, 2, 3]
    assert found.codes[found.index, 0].tolist() == [1, 0, 1]
    assert found.codes.shape == (4, 1)
    found = read_labels([2, 0], False, np.array([0, 1, 2]))
    assert found.codes.ravel().tolist() == [2, 0]
    assert read_classes([None, 2, 1, 2], None).tolist() == [1, 2]
    assert read_classes([-1, 2, 1], -1).tolist() == [1, 2]
    assert read_classes([-1, 2, 1], False).tolist() == [-1, 1, 2]
    assert read_classes([np.nan, 2, 1], np.nan).tolist() == [1, 2]
    assert read_classes(["b", "?", "a"], "?").tolist() == ["a", "b"]


def test_reading_numbers():
    found = read_numbers([[1.0, 5.0], [-1.0, -1.0], [3.0, 5.0]], -1, None)
    assert found.index.tolist() == [0, 2]
    scaling = first_scaling(found.seen)
    assert scaling.mean.tolist() == [2.0, 5.0]
    assert scaling.scale.tolist() == [1.0, 1.0]
    assert scaled_targets(found, 3, scaling).tolist() == [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    assert not found.is_1d
    found = read_numbers([4.0, 8.0], False, None)
    scaling = TargetScaling(np.array([2.0]), np.array([2.0]))
    assert scaled_targets(found, 2, scaling).tolist() == [[1.0], [3.0]]
    assert found.is_1d
