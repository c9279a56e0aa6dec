"""partial_fit on pieces that are unlike: in scale, in weight, or all of one row."""

import pickle
from dataclasses import fields

import numpy as np
import pytest
from registered import each_sparsity
from scipy.sparse import csr_array
from sklearn.datasets import load_digits

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
)
from sksae.base.attributes import network_of, with_network
from sksae.model.rescaling import rescaled as rescaled_network
from sksae.model.scaling import scaling_of
from sksae.training.seen import ENOUGH_ROWS, FAR_OFF, Seen

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS = np.random.default_rng(0).permutation(load_digits().data)
N_PIECES, N_PASSES = 9, 10


def make(**params):
    defaults = {"n_components": 32, "random_state": 0}
    return SparseAutoencoderTransformer(**(defaults | params))


def score_after_passes(model, X):
    for _ in range(N_PASSES):
        for rows in np.array_split(X, N_PIECES):
            model.partial_fit(rows)
    return model.score(X)


def beginnings():
    """Return what may come before rows are as they will be, in units of the deviation of all."""
    sensor = np.random.default_rng(1).normal(size=(150, 64)) / 1000.0
    deviation = DIGITS.std()
    return {
        "one row": [DIGITS[:1]],
        "constant rows": [np.repeat(DIGITS[:1], 50, axis=0)] * 3,
        "blank frames": [np.zeros((40, 64))] * 5,
        "blank rows": [np.zeros((1, 64))] * 30,
        "two rows": [DIGITS[:2]],
        "sensor noise in the dark": [DIGITS.mean(axis=0) + deviation * sensor] * 2,
        "dark rows": [DIGITS[:150] / 1000.0] * 2,
        "dim rows": [DIGITS[:150] / 5.0] * 2,
        "glaring rows": [DIGITS[:150] * 1000.0],
        "rows far away": [DIGITS[:150] + 100.0 * deviation],
    }


@pytest.fixture(scope="module")
def fair():
    """Return the R^2 of a fair start, found once for each set of parameters."""
    found = {}

    def score(params, unit, dtype):
        key = (str(params), unit, dtype)
        if key not in found:
            found[key] = score_after_passes(make(**params), (unit * DIGITS).astype(dtype))
        return found[key]

    return score


def assert_as_good_as_fair(fair, beginning, params, unit=1.0, dtype=np.float64):
    model = make(**params)
    for rows in beginnings()[beginning]:
        model.partial_fit((unit * rows).astype(dtype))
    score = score_after_passes(model, (unit * DIGITS).astype(dtype))
    assert score > fair(params, unit, dtype) - 0.02


@pytest.mark.each_once
@pytest.mark.parametrize("beginning", beginnings())
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_a_start_unlike_the_rest_is_not_held_against_it(fair, sparsity, beginning):
    assert_as_good_as_fair(fair, beginning, {"sparsity": sparsity})


@pytest.mark.parametrize("n_rows", [2, 5, 20])
def test_nor_are_rows_that_came_one_by_one(fair, n_rows):
    model = make()
    for row in DIGITS[:n_rows]:
        model.partial_fit(row[None])
    assert score_after_passes(model, DIGITS) > fair({}, 1.0, np.float64) - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("beginning", beginnings())
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "sgd"},
        {"solver": "sgd", "sparsity": "l1"},
        {"tied_weights": True, "sparsity": "l1"},
        {"output_activation": "tanh"},
    ],
    ids=str,
)
def test_nor_by_another_network(fair, params, beginning):
    assert_as_good_as_fair(fair, beginning, params)


@pytest.mark.slow
@pytest.mark.parametrize("beginning", ["one row", "blank frames", "dark rows"])
@pytest.mark.parametrize(
    ("unit", "dtype"), [(1e-6, np.float32), (1e4, np.float32), (1e4, np.float64)]
)
@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_nor_in_another_unit(fair, sparsity, dtype, unit, beginning):
    assert_as_good_as_fair(fair, beginning, {"sparsity": sparsity}, unit, dtype)


NETWORKS = {
    "kl": {},
    "relu": {"sparsity": "l1"},
    "tied relu": {"sparsity": "l1", "tied_weights": True},
    "prelu": {"sparsity": "l1", "activation": "prelu"},
    "deep": {"hidden_layer_sizes": (20,)},
    "deep relu": {"hidden_layer_sizes": (20,), "sparsity": "l1"},
}


def scaled_by(factor, X):
    return scaling_of(
        X.mean(axis=0),
        np.sqrt(X.var(axis=0).mean()) * factor,
        scale_data=True,
        output_activation="identity",
    )


def rescaled(model, after, **how):
    """Return a fitted model with its network for another scaling."""
    return with_network(model, rescaled_network(network_of(model), after, **how))


@pytest.mark.parametrize("params", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("factor", [0.3, 2.5])
def test_another_scaling_leaves_the_output_as_it_is(params, factor):
    X = DIGITS[:100]
    model = make(dtype="float64", max_iter=5, **params).fit(X)
    other = rescaled(model, scaled_by(factor, X + 3.0))
    assert other.scale_ == pytest.approx(factor * model.scale_)
    there_and_back = model.inverse_transform(model.transform(X))
    np.testing.assert_allclose(
        other.inverse_transform(other.transform(X)), there_and_back, rtol=1e-9
    )
    # The network that was given is still what it was.
    np.testing.assert_array_equal(model.inverse_transform(model.transform(X)), there_and_back)


@pytest.mark.parametrize("activation", ["sigmoid", "identity"])
def test_another_scaling_can_leave_codes_as_they_are(activation):
    X = DIGITS[:100]
    given = (
        {"tied_weights": True} if activation == "identity" else {"output_activation": activation}
    )
    model = make(dtype="float64", max_iter=5, **given).fit(X)
    after = scaling_of(
        X.mean(axis=0) + 1.0, 7.0, scale_data=True, output_activation=model.output_activation
    )
    other = rescaled(model, after, keep_codes=True)
    np.testing.assert_allclose(other.transform(X), model.transform(X), rtol=1e-9)


@pytest.mark.parametrize(
    "params", [{"tied_weights": True}, {"output_activation": "sigmoid"}, {}], ids=str
)
def test_what_cannot_keep_its_output_is_kept_as_scaled_rows_see_it(params):
    X = DIGITS[:100]
    model = make(dtype="float64", max_iter=5, **params).fit(X)
    output = model.output_activation
    other = rescaled(
        model,
        scaling_of(
            1000.0 * X.mean(axis=0),
            1000.0 * np.sqrt(X.var(axis=0).mean()),
            scale_data=True,
            output_activation=output,
        ),
    )
    np.testing.assert_allclose(other.transform(1000.0 * X), model.transform(X), rtol=1e-9)


def test_small_steps_of_the_scale_add_up():
    model = make(max_iter=5).fit(DIGITS[:100])
    first, bias = model.coefs_[0], model.intercepts_[0]
    for factor in (2.0, 4.0, 8.0, 16.0):
        model = rescaled(model, scaled_by(factor, DIGITS[:100]))
    # The last but one step had gone too far, and kept weights as they were.
    np.testing.assert_allclose(np.linalg.norm(model.coefs_[0]), 8.0 * np.linalg.norm(first))
    assert bias.shape == model.intercepts_[0].shape


def test_a_piece_that_shows_the_scale_wrong_leaves_the_output_and_begins_the_solver_anew():
    X = DIGITS[:200]
    model = make(dtype="float64", sparsity="l1").partial_fit(X)
    before = model.inverse_transform(model.transform(X))
    model.set_params(learning_rate=1e-15).partial_fit(2.5 * X)
    assert model.scale_ > FAR_OFF * 5.0
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), before, rtol=1e-6)
    assert model._state["n_steps"] < model.n_steps_


def test_warm_start_begins_anew_after_rows_all_alike():
    model = make(warm_start=True, max_iter=40).fit(np.ones((20, 64)))
    assert model.scale_ == 1.0
    model.fit(DIGITS[:500])
    assert model.scale_ == pytest.approx(make(max_iter=1).fit(DIGITS[:500]).scale_)
    assert model.n_iter_ > 40
    assert model.score(DIGITS[:500]) > 0.7


def test_unscaled_rows_stay_unscaled():
    model = make(scale_data=False).partial_fit(DIGITS[:1])
    for rows in np.array_split(DIGITS, 9):
        model.partial_fit(rows)
    assert model.scale_ == 1.0
    assert not model.mean_.any()
    np.testing.assert_allclose(model._centre, DIGITS.mean(axis=0), atol=1.0)


# What is known of rows.


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_running_moments_are_those_of_all_rows_where_none_is_forgotten(form, monkeypatch):
    monkeypatch.setattr("sksae.training.seen.FORGETTING", 1.0)
    weight = np.random.default_rng(0).random(300)
    seen = None
    for rows in np.array_split(np.arange(300), 7):
        piece = Seen.of_rows(form(DIGITS[rows]), None, weight[rows])
        seen = piece if seen is None else seen.followed_by(piece)
    mean = np.average(DIGITS[:300], axis=0, weights=weight)
    variance = np.average((DIGITS[:300] - mean) ** 2, axis=0, weights=weight)
    np.testing.assert_allclose(seen.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(seen.deviation**2, variance, rtol=1e-12)
    assert seen.weight == pytest.approx(weight.mean())
    assert (seen.n_rows, seen.n_told) == (300, 300)


def test_constant_columns_with_a_huge_mean_never_vary():
    row = np.array([[1.7e9, 1e-3, 0.1]])
    seen = Seen.of_rows(row, None, None)
    for n in (1, 3, 7, 50):
        seen = seen.followed_by(Seen.of_rows(np.repeat(row, n, axis=0), None, None))
    assert not seen.has_varied


def test_what_has_been_seen_is_plain_numbers_and_arrays():
    model = make().partial_fit(DIGITS[:50])
    assert set(model._seen) == {field.name for field in fields(Seen)}
    assert {type(value) for value in model._seen.values()} == {float, np.ndarray}
    again = pickle.loads(pickle.dumps(model)).partial_fit(DIGITS[50:90])
    model.partial_fit(DIGITS[50:90])
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])


def test_few_rows_are_followed_closely_and_many_from_afar():
    few, many = (Seen.of_rows(DIGITS[:n], None, None) for n in (50, 2 * ENOUGH_ROWS))
    for seen, within, beyond in ((few, 1.05, 1.3), (many, 1.9, 2.2)):
        for factor, is_far in (
            (within, False),
            (1 / within, False),
            (beyond, True),
            (1 / beyond, True),
        ):
            assert seen.is_far_from(seen.mean, seen.mean_deviation * factor) == is_far


# sample_weight across pieces.

each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
A, B = DIGITS[:120], DIGITS[120:240]


def weights_of(model):
    return np.concatenate([coef.ravel() for coef in (*model.coefs_, *model.intercepts_)])


def weigh(model, X, weight):
    return model.partial_fit(X, sample_weight=np.full(len(X), weight))


@pytest.mark.each_once
@each_minibatch_solver
@each_sparsity
def test_a_piece_that_weighs_next_to_nothing_moves_nothing(solver, sparsity):
    model = make(solver=solver, sparsity=sparsity, dtype="float64")
    for _ in range(5):
        model.partial_fit(A)
    before = weights_of(model)
    moved = np.abs(weights_of(pickle.loads(pickle.dumps(model)).partial_fit(B)) - before).max()
    for _ in range(20):
        weigh(model, B, 1e-6)
    assert np.abs(weights_of(model) - before).max() < 1e-3 * moved


@pytest.mark.each_once
@each_minibatch_solver
@each_sparsity
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight", [1e-14, 1e-30, 1e-300])
def test_weights_far_below_all_digits_move_nothing(solver, sparsity, dtype, weight):
    model = make(solver=solver, sparsity=sparsity, dtype=dtype).partial_fit(A)
    before = weights_of(model)
    weigh(model, B, weight)
    np.testing.assert_allclose(weights_of(model), before, atol=1e-12)


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
def test_nor_those_of_what_predicts(kind):
    y = (A.sum(axis=1) > np.median(A.sum(axis=1))).astype(int)
    model = kind([make(n_components=4)], random_state=0).partial_fit(
        A, y, sample_weight=np.full(len(A), 1e300)
    )
    before = model.predict(A)
    np.testing.assert_allclose(model.partial_fit(A, y).predict(A), before, atol=1e-6)


@each_minibatch_solver
@pytest.mark.parametrize("factor", [1e-6, 3.7, 1e12])
def test_a_common_factor_of_all_weights_changes_nothing(solver, factor):
    weight = np.random.default_rng(0).random(240)
    one, other = (make(solver=solver, dtype="float64") for _ in range(2))
    for rows in np.array_split(np.arange(240), 7):
        one.partial_fit(DIGITS[rows], sample_weight=weight[rows])
        other.partial_fit(DIGITS[rows], sample_weight=factor * weight[rows])
    np.testing.assert_allclose(weights_of(other), weights_of(one), rtol=1e-7, atol=1e-9)


@each_minibatch_solver
def test_weights_of_one_are_no_weights(solver):
    one, other = make(solver=solver), make(solver=solver)
    for rows in (A, B):
        one.partial_fit(rows)
        weigh(other, rows, 1.0)
    np.testing.assert_array_equal(weights_of(one), weights_of(other))


@each_minibatch_solver
def test_rows_that_come_one_by_one_count_by_their_weight(solver):
    """Of two kinds of rows that of the larger weight is reconstructed the better."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0].reshape(2, 4, 8)
    kind = rng.integers(0, 2, 200)
    X = np.array([rng.normal(size=4) @ basis[k] for k in kind])
    errors = []
    for heavy in (0, 1):
        model = make(n_components=4, solver=solver, sparsity=None, activation="identity")
        if solver == "sgd":
            model.set_params(learning_rate=3e-4)  # of single rows, whose gradients are long
        for row, k in zip(X, kind, strict=True):
            model.partial_fit(row[None], sample_weight=[1.0 if k == heavy else 0.02])
        errors.append([-model.score_samples(X[kind == k]).mean() for k in (0, 1)])
    assert errors[0][0] < 0.6 * errors[1][0]
    assert errors[1][1] < 0.6 * errors[0][1]


def test_a_single_heavy_row_does_not_undo_what_was_learnt():
    model = make()
    for rows in np.array_split(DIGITS, 9):
        model.partial_fit(rows)
    before = model.score(DIGITS)
    model.partial_fit(DIGITS[:1], sample_weight=[1e9])
    assert model.score(DIGITS) > before - 0.2


@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_beta_is_not_moved_by_what_weighs_next_to_nothing(sparsity):
    model = make(sparsity=sparsity, beta="auto", dtype="float64")
    for _ in range(5):
        for rows in np.array_split(DIGITS, 9):
            model.partial_fit(rows)
    before = model.beta_
    for _ in range(5):
        weigh(model, DIGITS[:300], 1e-9)
    assert model.beta_ == pytest.approx(before, rel=1e-6)


@each_minibatch_solver
@pytest.mark.parametrize("weight", [1e-13, 1e-17, 1e-300, 5e-324])
def test_however_little_a_piece_weighs(solver, weight):
    model = make(solver=solver).partial_fit(A)
    before = weights_of(model)
    np.testing.assert_allclose(weights_of(weigh(model, B, weight)), before, atol=1e-6)


@each_minibatch_solver
def test_ever_so_many_rows_of_next_to_no_weight_move_nothing(solver):
    model = make(solver=solver).partial_fit(A)
    before = weights_of(model)
    moved = np.abs(weights_of(pickle.loads(pickle.dumps(model)).partial_fit(B)) - before).max()
    model.set_params(batch_size=2048)
    weigh(model, np.tile(B, (300, 1)), 1e-6)
    weigh(model, np.tile(B, (300, 1)), 1e-6)
    assert np.abs(weights_of(model) - before).max() < 1e-3 * moved


@each_minibatch_solver
@pytest.mark.parametrize("factor", [1e-6, 100.0])
def test_a_warm_fit_is_of_its_rows_alone(solver, factor):
    one, other = (make(solver=solver, warm_start=True, max_iter=4).fit(A) for _ in range(2))
    one.fit(A)
    other.fit(A, sample_weight=np.full(len(A), factor))
    np.testing.assert_array_equal(weights_of(other), weights_of(one))
    assert other.n_steps_ == one.n_steps_


def test_the_usual_weight_is_that_of_the_rows_that_matter():
    heavy, light = (Seen.of_rows(A, None, np.full(120, each)) for each in (3.0, 1e-6))
    seen = heavy
    for _ in range(1000):
        seen = seen.followed_by(light)
    assert seen.usual_weight == pytest.approx(3.0, rel=1e-3)
    assert seen.weight == pytest.approx((3.0 + 1000 * 1e-6) / 1001)
    assert light.followed_by(heavy).usual_weight == pytest.approx(3.0)


@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_kinds_of_rows_that_come_by_turns_are_all_kept_in_view(sparsity):
    pieces = [rows + 50.0 * (i % 2) for i, rows in enumerate(np.array_split(DIGITS, 10))]
    model = make(sparsity=sparsity)
    for _ in range(3):
        for rows in pieces:
            model.partial_fit(rows)
    X = np.concatenate(pieces)
    assert model.scale_ == pytest.approx(make(max_iter=1).fit(X).scale_, rel=0.25)
    assert model.score(X) > 0.9


def test_rows_that_others_were_dropped_for_are_not_dropped_for_the_next():
    dim, bright = (Seen.of_rows(unit * A, None, None) for unit in (1.0, 100.0))
    assert dim.is_young
    turned = dim.turned_into(bright)
    assert turned.mean_deviation == bright.mean_deviation
    assert (turned.n_rows, turned.n_told) == (240, 121)
    assert not turned.is_young
    assert turned.followed_by(dim).is_young


@pytest.mark.parametrize("sparsity", ["kl", "l1"])
def test_one_glaring_piece_in_between_is_got_over(fair, sparsity):
    model = make(sparsity=sparsity)
    for rows in (*np.array_split(DIGITS, N_PIECES), 1000.0 * A):
        model.partial_fit(rows)
    assert score_after_passes(model, DIGITS) > fair({"sparsity": sparsity}, 1.0, np.float64) - 0.02
