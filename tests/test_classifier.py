"""SparseAutoencoderClassifier: probabilities, labels, classes and their weights."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from stacking import (
    assert_nothing_half_fitted,
    assert_same,
    chain,
    encode,
    frozen,
    make_rows,
    no_training,
    pair,
    sae,
    supervised_loss,
)

from sksae import SparseAutoencoderClassifier
from sksae.base.holding_out import hold_out

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_rows()
SCORE = 3.0 * X[:, 0] - X[:, 1] ** 2
y = np.digitize(SCORE, np.quantile(SCORE, [0.3, 0.6]))
WORDS = np.array(["ant", "bee", "cat"])
each_method = pytest.mark.parametrize("method", ["fit", "partial_fit"])


def make(members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return SparseAutoencoderClassifier(
        pair() if members is None else members, **(defaults | params)
    )


def assert_same_model(one, other, **tolerance):
    tolerance = tolerance or {"rtol": 1e-6, "atol": 1e-9}
    for a, b in (
        (one.decision_function(X), other.decision_function(X)),
        (one.coef_, other.coef_),
        (encode(one.autoencoders_, X), encode(other.autoencoders_, X)),
    ):
        np.testing.assert_allclose(a, b, **tolerance)
    assert one.classes_.tolist() == other.classes_.tolist()


# Predictions.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_the_softmax_of_a_linear_layer(n_classes, dtype):
    rows, labels = X.astype(dtype), WORDS[np.minimum(y, n_classes - 1)]
    model = make().fit(rows, labels)
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-15}
    )
    scores = encode(model.autoencoders_, rows) @ model.coef_.T + model.intercept_
    assert model.coef_.shape == (n_classes, 4)
    assert model.intercept_.shape == (n_classes,)
    found = model.predict_proba(rows)
    np.testing.assert_allclose(found, softmax(scores, axis=1), **tolerance)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(model.predict_log_proba(rows), np.log(found), **tolerance)
    assert found.dtype == model.decision_function(rows).dtype == dtype
    decision = model.decision_function(rows)
    if n_classes == 2:
        np.testing.assert_allclose(decision, scores[:, 1] - scores[:, 0], **tolerance)
        odds = np.log(found[:, 1] / found[:, 0])
        np.testing.assert_allclose(decision, odds, rtol=1e-3, atol=1e-5)
        expected = model.classes_[(decision > 0).astype(int)]
    else:
        np.testing.assert_allclose(decision, scores, **tolerance)
        expected = model.classes_[decision.argmax(axis=1)]
    assert model.predict(rows).tolist() == expected.tolist()
    assert model.score(rows, labels) == np.mean(model.predict(rows) == labels)


def test_probabilities_far_from_one_half_stay_finite():
    model = make().fit(X, y)
    model.coef_ = 1e4 * model.coef_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.predict_log_proba(X)).all()
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


LABELS = {
    "ints": y,
    "not from 0": 10 * y - 7,
    "floats": y.astype(float),
    "bools": y > 0,
    "strings": WORDS[y],
    "objects": WORDS.astype(object)[y],
    "numbers in objects": y.astype(object),
    "list": WORDS[y].tolist(),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_kind_are_the_same_to_it(name):
    labels = LABELS[name]
    model = make(max_iter=30).fit(X, labels)
    plain = make(max_iter=30).fit(X, y > 0 if name == "bools" else y)
    np.testing.assert_array_equal(model.decision_function(X), plain.decision_function(X))
    assert model.classes_.tolist() == sorted(set(np.asarray(labels).tolist()))
    assert set(model.predict(X).tolist()) <= set(np.asarray(labels).tolist())
    assert type(model.predict(X)[0]) is type(model.classes_[0])
    assert model.classes_.dtype != object
    assert np.mean(model.predict(X) == labels) > 0.5


@pytest.mark.parametrize("n_classes", [2, 3])
def test_with_all_layers_frozen_it_is_logistic_regression_on_the_codes(n_classes):
    labels = np.minimum(y, n_classes - 1)
    members = chain(pair(), X)
    model = make(
        members,
        pretrain=False,
        freeze=2,
        alpha=1e-3,
        dtype="float64",
        tol=0.0,
        n_iter_no_change=50,
        max_iter=2000,
    ).fit(X, labels)
    # Of two classes it has one vector, the difference of ours, and half the decay.
    inverse = 1e-3 * len(X) / (2 if n_classes == 2 else 1)
    codes = encode(members, X)
    expected = LogisticRegression(C=1 / inverse, tol=1e-12, max_iter=10000).fit(codes, labels)
    np.testing.assert_allclose(
        model.decision_function(X), expected.decision_function(codes), rtol=1e-5, atol=1e-5
    )
    coef = model.coef_[1:] - model.coef_[:1] if n_classes == 2 else model.coef_
    np.testing.assert_allclose(coef, expected.coef_, rtol=1e-4, atol=1e-5)


# Weights of classes.

SKEWED = np.where(np.arange(60) < 40, 0, np.where(np.arange(60) < 55, 1, 2))
WEIGHT = np.random.default_rng(0).uniform(0.2, 2.0, 60)


@pytest.mark.each_once
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize(("solver", "freeze"), [("adam", None), ("lbfgs", None), ("adam", 2)])
def test_class_weights_are_sample_weights(solver, freeze, weight):
    members = chain(pair(), X)
    params = {"pretrain": False, "solver": solver, "freeze": freeze, "dtype": "float64"}
    own = np.ones(60) if weight is None else weight
    counts = np.bincount(SKEWED, weights=own)
    balanced = own.sum() / (3 * counts)
    for class_weight, by_class in (
        ("balanced", balanced),
        ({0: 0.5, 1: 3.0, 2: 1.0}, np.array([0.5, 3.0, 1.0])),
        ({1: 4.0}, np.array([1.0, 4.0, 1.0])),
        ({0: 0.0, 1: 1.0, 2: 2.0}, np.array([0.0, 1.0, 2.0])),
    ):
        model = make(members, class_weight=class_weight, **params)
        model.fit(X, SKEWED, sample_weight=weight)
        expected = make(members, **params).fit(X, SKEWED, sample_weight=own * by_class[SKEWED])
        assert_same_model(model, expected, rtol=1e-7, atol=1e-9)
        target = SKEWED[:, None]
        loss = supervised_loss(model, X, target, "labels", own * by_class[SKEWED])
        assert model.loss_ == pytest.approx(loss, rel=1e-6)
    plain = make(members, **params).fit(X, SKEWED, sample_weight=weight)
    assert np.any(plain.coef_ != model.coef_)


def test_class_weights_do_not_reach_pre_training():
    plain = make(freeze=2).fit(X, SKEWED)
    assert_same(
        make(freeze=2, class_weight="balanced").fit(X, SKEWED).autoencoders_, plain.autoencoders_
    )


def test_balanced_weights_count_labelled_rows_that_weigh_something():
    members = chain(pair(), X)
    given = np.where(np.arange(60) % 3 == 0, -1, SKEWED)
    weight = (np.arange(60) % 4 > 0).astype(float)
    quiet = {"pretrain": False, "class_weight": "balanced", "dtype": "float64"}
    model = make(members, unlabeled=-1, **quiet).fit(X, given, sample_weight=weight)
    counted = (given >= 0) & (weight > 0)
    assert_same_model(model, make(members, **quiet).fit(X[counted], given[counted]))


def test_balanced_helps_a_rare_class():
    rare = (np.quantile(SCORE, 0.9) < SCORE).astype(int)
    members = chain([sae(8, max_iter=20)], X)
    params = {"pretrain": False, "freeze": 1}
    plain = make(members, **params).fit(X, rare)
    balanced = make(members, class_weight="balanced", **params).fit(X, rare)
    assert balanced.predict(X).mean() > plain.predict(X).mean()


@pytest.mark.parametrize(
    ("class_weight", "said"),
    [
        ({7: 2.0}, r"\[.*0.*1.*2.*\].*class_weight"),
        ("equal", "'class_weight' parameter"),
        ([1, 2, 3], "'class_weight' parameter"),
        ({0: 0.0, 1: 0.0, 2: 0.0}, "class_weight.* 0 in all rows"),
    ],
)
@each_method
def test_bad_class_weights_are_refused(monkeypatch, method, class_weight, said):
    no_training(monkeypatch)
    model = make(class_weight=class_weight)
    with pytest.raises(ValueError, match=said):
        getattr(model, method)(X, SKEWED)
    assert_nothing_half_fitted(model, "predict")


def test_passes_take_weights_by_class_but_no_balance():
    members = chain(pair(), X)
    by_class = np.array([0.5, 3.0, 1.0])
    model = make(members, pretrain=False, class_weight={0: 0.5, 1: 3.0, 2: 1.0})
    model.partial_fit(X, SKEWED)
    # A piece without all classes.
    model.partial_fit(X[:50], SKEWED[:50])
    expected = make(members, pretrain=False)
    expected.partial_fit(X, SKEWED, sample_weight=by_class[SKEWED])
    expected.partial_fit(X[:50], SKEWED[:50], sample_weight=by_class[SKEWED[:50]])
    assert_same_model(model, expected, rtol=1e-5, atol=1e-6)
    assert not hasattr(make(class_weight="balanced"), "partial_fit")
    said = "'partial_fit' with class_weight='balanced', which needs the frequencies.*sample_weight"
    with pytest.raises(AttributeError, match=said):
        make(class_weight="balanced").partial_fit(X, SKEWED)


# Rows held out.


def test_held_out_rows_hold_each_class_in_proportion():
    labels = np.repeat(WORDS, [60, 30, 10])
    index = np.random.default_rng(0).permutation(120)[:100] % 100
    index = np.unique(index)
    kept, held_out = hold_out(np.arange(100), labels, 0.2, seed=0)
    assert [np.sum(labels[held_out] == word) for word in WORDS] == [12, 6, 2]
    assert np.sort([*kept, *held_out]).tolist() == list(range(100))
    assert (np.diff(kept) > 0).all()
    # Of the rows named only.
    kept, held_out = hold_out(index, labels, 0.2, seed=0)
    assert set(kept) | set(held_out) == set(index)
    # A function of the seed.
    same, other = hold_out(index, labels, 0.2, seed=0), hold_out(index, labels, 0.2, seed=1)
    np.testing.assert_array_equal(same[1], held_out)
    assert np.any(other[1] != held_out)


@pytest.mark.parametrize(
    ("labels", "fraction", "said"),
    [
        (np.where(np.arange(60) == 7, "dog", WORDS[y]), 0.2, r"only 1 member.*\['dog'\]"),
        (WORDS[y], 0.02, "number of classes"),
        (WORDS[y], 0.99, "train set will be empty"),
    ],
)
def test_a_class_that_cannot_be_held_out(monkeypatch, labels, fraction, said):
    no_training(monkeypatch)
    model = make(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=rf"(?s)early_stopping=True.*validation_fraction.*{said}"):
        model.fit(X, labels)
    assert_nothing_half_fitted(model, "predict")


def test_a_class_without_weight_need_not_be_held_out():
    labels = np.where(np.arange(60) == 7, 3, y)
    weight = (np.arange(60) != 7).astype(float)
    model = make(early_stopping=True, validation_fraction=0.2)
    model.fit(X, labels, sample_weight=weight)
    assert model.classes_.tolist() == [0, 1, 2, 3]


# partial_fit.


def test_classes_of_the_first_pass_are_all_there_are():
    model = make().partial_fit(X[y < 2], y[y < 2], classes=[2, 0, 1, 1])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(X).shape == (60, 3)
    model.partial_fit(X, y).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes=\[0, 1\] are others.*\[0, 1, 2\]"):
        model.partial_fit(X, y, classes=[0, 1])


def test_without_classes_those_of_the_first_pass_count():
    model = make().partial_fit(X, WORDS[y])
    before = model.predict_proba(X)
    for strange in (np.array(["dog", *WORDS[y[1:]]]), y):
        with pytest.raises(
            ValueError, match=r"not in classes=\['ant', 'bee', 'cat'\]: \['?(dog|0)"
        ):
            model.partial_fit(X, strange)
        np.testing.assert_array_equal(model.predict_proba(X), before)
    # A single class is enough then, and in a first pass that is told all of them.
    model.partial_fit(X[:2], ["cat", "cat"])
    make().partial_fit(X[:5], ["cat"] * 5, classes=WORDS)
    with pytest.raises(ValueError, match="one class only, 'cat'"):
        make().partial_fit(X[:5], ["cat"] * 5)
    with pytest.raises(ValueError, match="one class only, 'cat'"):
        make().partial_fit(X[:5], ["cat"] * 5, classes=["cat"])
    with pytest.raises(ValueError, match=r"not in classes=\['ant', 'bee'\]: \['cat'\]"):
        make().partial_fit(X, WORDS[y], classes=["ant", "bee"])


def test_members_may_be_frozen_in_a_search_of_classifiers():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import BaggingClassifier

    model = make(frozen(pair(), X), freeze=2)
    for wrapper in (CalibratedClassifierCV(model, cv=2), BaggingClassifier(model, 2)):
        assert wrapper.fit(X, y).predict_proba(X).shape == (60, 3)
