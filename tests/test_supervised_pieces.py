"""partial_fit of classifier and regressor on pieces that are unlike, in scale or in weight."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::UserWarning"
)

N_TRAIN, N_PIECES, N_PASSES = 1400, 7, 10
DIGITS = load_digits()
ORDER = np.random.default_rng(0).permutation(len(DIGITS.data))
X = DIGITS.data[ORDER]
TARGETS = {
    SparseAutoencoderClassifier: DIGITS.target[ORDER],
    SparseAutoencoderRegressor: X[:, 20:28].sum(axis=1) + X[:, 40] / 2.0,
}
A, B = slice(0, 200), slice(200, 400)
each_class = pytest.mark.parametrize("cls", TARGETS)
each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])


def make(cls, member=None, **params):
    member = member or SparseAutoencoderTransformer(16, sparsity="l1", max_iter=3)
    return cls([member], random_state=0, **params)


def add(model, rows, target, weight=None):
    known = {"classes": range(10)} if isinstance(model, SparseAutoencoderClassifier) else {}
    weights = None if weight is None else np.broadcast_to(weight, len(rows))
    return model.partial_fit(rows, target, sample_weight=weights, **known)


def add_digits(model, rows, weight=None):
    return add(model, X[rows], TARGETS[type(model)][rows], weight)


def output(model, rows):
    is_classifier = isinstance(model, SparseAutoencoderClassifier)
    return model.predict_proba(rows) if is_classifier else model.predict(rows)


def weights_of(model):
    encoders = [coef for member in model.autoencoders_ for coef in member.coefs_]
    return np.concatenate([np.ravel(part) for part in (model.coef_, model.intercept_, *encoders)])


def copy_of(model):
    return pickle.loads(pickle.dumps(model))


# Pieces that are unlike the rest.


def score_after_passes(model, unit=1.0, unit_of_y=1.0):
    y = TARGETS[type(model)]
    y = unit_of_y * y if isinstance(model, SparseAutoencoderRegressor) else y
    for _ in range(N_PASSES):
        for rows in np.array_split(np.arange(N_TRAIN), N_PIECES):
            add(model, unit * X[rows], y[rows])
    return model.score(unit * X[N_TRAIN:], y[N_TRAIN:])


def beginnings(y):
    """Return what may come before rows and targets are as they will be."""
    noise = np.random.default_rng(1).normal(size=(150, 64)) * X.std() / 1000.0
    alike = np.repeat(X[:1], 50, axis=0)
    some = X[:150], y[:150]
    return {
        "one row": [(X[:1], y[:1])],
        "constant rows": [(alike, y[:50])] * 2,
        "constant rows and y": [(alike, np.repeat(y[:1], 50))] * 2,
        "blank frames": [(np.zeros((40, 64)), y[:40])] * 2,
        "rows one by one": [(X[i : i + 1], y[i : i + 1]) for i in range(5)],
        "sensor noise in the dark": [(X.mean(axis=0) + noise, y[:150])] * 2,
        "a dark start": [(some[0] / 1000.0, some[1])] * 2,
        "a bright start": [(1000.0 * some[0], some[1])],
        "constant y": [(some[0], np.repeat(y[:1], 150))],
    }


def beginnings_of_y(y):
    return {
        "tiny y": [(X[:150], y[:150] / 1e6)],
        "huge y": [(X[:150], y[:150] * 1e6)],
        "y far away": [(X[:150], y[:150] + 1e4)],
    }


@pytest.fixture(scope="module")
def fair():
    """Return the score of a fair start, found once for each network."""
    found = {}

    def score(cls, member, *units):
        key = (cls, str(member), units)
        if key not in found:
            found[key] = score_after_passes(make(cls, member), *units)
        return found[key]

    return score


def assert_as_good_as_fair(fair, pieces, cls, member=None, unit=1.0, unit_of_y=1.0):
    model = make(cls, member)
    for rows, y in pieces:
        unit_of_target = unit_of_y if cls is SparseAutoencoderRegressor else 1
        add(model, unit * rows, unit_of_target * y)
    score = score_after_passes(model, unit, unit_of_y)
    assert score > fair(cls, member, unit, unit_of_y) - 0.02


@pytest.mark.each_once
@each_class
@pytest.mark.parametrize("beginning", ["one row", "blank frames", "a dark start", "a bright start"])
def test_a_start_unlike_the_rest_is_not_held_against_it(fair, cls, beginning):
    assert_as_good_as_fair(fair, beginnings(TARGETS[cls])[beginning], cls)


@pytest.mark.parametrize("beginning", beginnings_of_y(np.zeros(150)))
def test_nor_are_targets_unlike_the_rest(fair, beginning):
    cls = SparseAutoencoderRegressor
    assert_as_good_as_fair(fair, beginnings_of_y(TARGETS[cls])[beginning], cls)


@pytest.mark.slow
@each_class
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
@pytest.mark.parametrize(("unit", "unit_of_y"), [(1e-6, 1e5), (1e4, 1e-5)])
@pytest.mark.parametrize("beginning", ["one row", "blank frames", "a dark start"])
def test_nor_in_another_unit(fair, beginning, unit, unit_of_y, sparsity, cls):
    member = SparseAutoencoderTransformer(40, sparsity=sparsity)
    pieces = beginnings(TARGETS[cls])[beginning]
    assert_as_good_as_fair(fair, pieces, cls, member, unit, unit_of_y)


@each_class
@each_minibatch_solver
def test_a_piece_that_shows_the_scaling_wrong_leaves_predictions_as_they_are(cls, solver):
    model = make(cls, solver=solver)
    for rows in (A, B):
        add_digits(model, rows)
    before, scale = output(model, X), model.autoencoders_[0].scale_
    factor = 2.6 if cls is SparseAutoencoderRegressor else 1
    add(model.set_params(learning_rate=1e-15), 2.6 * X[A], factor * TARGETS[cls][A])
    assert model.autoencoders_[0].scale_ == pytest.approx(2.6 * scale, rel=0.1)
    np.testing.assert_allclose(output(model, X), before, rtol=1e-5, atol=1e-6)


def test_targets_are_scaled_anew():
    model = add_digits(make(SparseAutoencoderRegressor), A)
    mean, scale = model.target_mean_, model.target_scale_
    add(model, X[B], 2.6 * TARGETS[type(model)][B])
    np.testing.assert_allclose(model.target_scale_, 2.6 * scale, rtol=0.1)
    np.testing.assert_allclose(model.target_mean_, 2.6 * mean, rtol=0.1)


@each_class
@pytest.mark.parametrize("is_frozen", [False, True], ids=["fitted", "FrozenEstimator"])
def test_members_that_are_not_trained_are_left_as_they_are(cls, is_frozen):
    member = SparseAutoencoderTransformer(16, sparsity="l1", max_iter=3, random_state=0).fit(X[A])
    given = FrozenEstimator(member) if is_frozen else member
    model = make(cls, given, pretrain=is_frozen, freeze=1)
    for factor in (1.0, 5.0, 1000.0, 0.01):
        add(model, factor * X[A], TARGETS[cls][A])
    kept = model.autoencoders_[0]
    np.testing.assert_array_equal(kept.coefs_[0], member.coefs_[0])
    np.testing.assert_array_equal(kept.mean_, member.mean_)
    assert kept.scale_ == member.scale_


@each_class
def test_nor_are_frozen_layers_where_rows_are_of_a_scale_not_far_off(cls):
    model = add_digits(make(cls, freeze=1), A)
    before = copy_of(model).autoencoders_[0]
    add(model, 3.0 * X[B], TARGETS[cls][B])
    np.testing.assert_array_equal(model.autoencoders_[0].coefs_[0], before.coefs_[0])
    assert model.autoencoders_[0].scale_ == before.scale_


@each_class
def test_a_stream_goes_on_from_a_pickle(cls):
    model = make(cls)
    for factor, rows in ((1.0, A), (2.6, B)):
        add(model, factor * X[rows], TARGETS[cls][rows])
    again = copy_of(model)
    for other in (model, again):
        add_digits(other, A, 0.5)
        add(other, X[B] / 5.0, TARGETS[cls][B])
    np.testing.assert_array_equal(weights_of(again), weights_of(model))


# sample_weight across pieces.


@pytest.mark.each_once
@each_class
@each_minibatch_solver
@pytest.mark.parametrize("weight", [1e-6, 1e-17, 1e-300])
def test_a_piece_that_weighs_next_to_nothing_moves_nothing(cls, solver, weight):
    model = make(cls, solver=solver)
    for _ in range(2):
        add_digits(model, A)
    before = weights_of(model)
    moved = np.abs(weights_of(add_digits(copy_of(model), B)) - before).max()
    for _ in range(5):
        add_digits(model, B, weight)
    assert np.abs(weights_of(model) - before).max() < 1e-3 * moved


@pytest.mark.each_once
@each_class
@each_minibatch_solver
@pytest.mark.parametrize("factor", [3.7, 1e-300, 1e300])
def test_a_common_factor_of_all_weights_changes_nothing(cls, solver, factor):
    weight = np.random.default_rng(0).random(400)
    one, other = (make(cls, solver=solver, dtype="float64") for _ in range(2))
    for rows in np.array_split(np.arange(400), 3):
        add_digits(one, rows, weight[rows])
        add_digits(other, rows, factor * weight[rows])
    np.testing.assert_allclose(weights_of(other), weights_of(one), rtol=1e-7, atol=1e-9)


@each_class
def test_weights_of_one_are_no_weights(cls):
    one, other = make(cls), make(cls)
    for rows in (A, B):
        add_digits(one, rows)
        add_digits(other, rows, 1.0)
    np.testing.assert_array_equal(weights_of(one), weights_of(other))


def test_pieces_count_by_the_weight_of_their_classes():
    model = add_digits(make(SparseAutoencoderClassifier, class_weight={3: 1e-6}), A)
    before, light = weights_of(model), np.flatnonzero(TARGETS[type(model)] == 3)
    add_digits(model, light)
    np.testing.assert_allclose(weights_of(model), before, atol=1e-5)
    heavy = np.flatnonzero(TARGETS[type(model)] == 4)
    assert np.abs(weights_of(add_digits(model, heavy)) - before).max() > 1e-3


@each_class
def test_pieces_count_by_the_weight_of_rows_with_a_target(cls):
    is_classifier = cls is SparseAutoencoderClassifier
    mark = -1 if is_classifier else np.nan
    model = add_digits(make(cls, unlabeled=mark), A)
    before = weights_of(model)
    target, weight = TARGETS[cls][B].copy(), np.full(200, 1e-6)
    target[::2], weight[::2] = mark, 1.0
    add(model.set_params(freeze=None), X[B], target, weight)
    np.testing.assert_allclose(weights_of(model), before, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="is 0 in all rows that have a target"):
        add(model, X[B], target, np.where(weight == 1.0, 1.0, 0.0))


@each_class
def test_a_piece_without_weight_is_refused_and_leaves_the_model_as_it_is(cls):
    model = add_digits(make(cls), A)
    before = weights_of(model)
    with pytest.raises(ValueError, match="weight"):
        add_digits(model, B, 0.0)
    np.testing.assert_array_equal(weights_of(model), before)


@each_class
def test_frozen_layers_are_not_those_of_a_dark_start(cls):
    member = SparseAutoencoderTransformer(16, sparsity="l1", max_iter=3)
    model = make(cls, member, freeze=1)
    add(model, X[:150] / 1000.0, TARGETS[cls][:150])
    score = score_after_passes(model)
    assert score > score_after_passes(make(cls, member, freeze=1)) - 0.02
    kept = model.autoencoders_[0].coefs_[0].copy()
    assert model.autoencoders_[0]._seen["n_rows"] > N_PASSES * N_TRAIN
    add(model, 1000.0 * X[:150], TARGETS[cls][:150])
    np.testing.assert_array_equal(model.autoencoders_[0].coefs_[0], kept)
