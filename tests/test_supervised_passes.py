"""partial_fit of classifier and regressor."""

import copy

import numpy as np
import pytest
from stacking import assert_same, chain, pair, supervised_loss
from supervising import TARGETS, X, each_kind, greedy, make, output, target_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@each_kind
def test_a_first_pass_trains_the_members_once_for_all(kind):
    model = make(kind, freeze=2).partial_fit(X, TARGETS[kind])
    assert_same(model.autoencoders_, greedy())
    model.partial_fit(X + 1.0, TARGETS[kind])
    assert_same(model.autoencoders_, greedy())
    assert (model.n_iter_, model.n_steps_, len(model.loss_curve_)) == (2, 6, 2)
    given = chain(pair(), X)
    taken = make(kind, given, pretrain=False, freeze=2).partial_fit(X, TARGETS[kind])
    assert_same(taken.autoencoders_, given)


@pytest.mark.each_once
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_kind
def test_passes_learn(kind, freeze, solver):
    rate = 0.02 if solver == "adam" else 0.2
    model = make(kind, freeze=freeze, solver=solver, learning_rate=rate)
    model.partial_fit(X, TARGETS[kind])
    first = model.loss_
    for _ in range(15):
        model.partial_fit(X, TARGETS[kind])
    assert model.loss_ < 0.97 * first
    assert model.n_iter_ == 16
    expected = supervised_loss(model, X, target_of(kind, model), kind)
    assert model.loss_ == pytest.approx(expected, rel=1e-5)


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"freeze": 1}, {"freeze": None}),
        ({"freeze": None}, {"freeze": 1}),
        ({"freeze": 2}, {"freeze": 0}),
        ({"freeze": None}, {"freeze": 2}),
        ({"solver": "lbfgs"}, {"solver": "adam"}),
        ({"solver": "adam"}, {"solver": "sgd"}),
        ({"solver": "sgd"}, {"solver": "adam"}),
        ({"dtype": "float64"}, {"dtype": "float32"}),
        ({"dtype": "float32"}, {"dtype": "float64"}),
        ({"pretrain": True}, {"pretrain": False}),
    ],
    ids=str,
)
@each_kind
def test_passes_go_on_with_other_parameters(kind, first, then):
    model = make(kind, **first).fit(X, TARGETS[kind])
    before = copy.deepcopy(model)
    model.set_params(**then, learning_rate=2e-4).partial_fit(X, TARGETS[kind])
    assert model.n_iter_ == before.n_iter_ + 1
    assert np.isfinite(output(model, X)).all()
    # One pass of small steps moves it a little.
    np.testing.assert_allclose(output(model, X), output(before, X), atol=0.5)
    n_frozen = then.get("freeze", 0) or 0
    assert_same(model.autoencoders_[:n_frozen], before.autoencoders_[:n_frozen])


@each_kind
def test_a_pass_remembers_the_moments_of_the_one_before(kind):
    model = make(kind).partial_fit(X, TARGETS[kind])
    forgetful = copy.deepcopy(model)
    forgetful._state = {}
    for each in (model, forgetful):
        each.partial_fit(X, TARGETS[kind])
    assert np.any(output(model, X) != output(forgetful, X))
    assert float(model._state["n_steps"]) == 6


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_kind
def test_passes_count_on_and_visit_rows_in_other_orders(kind, solver):
    model = make(kind, solver=solver).fit(X, TARGETS[kind]).partial_fit(X, TARGETS[kind])
    shown = copy.deepcopy(model).set_params(learning_rate=1e30, alpha=1e8)
    with pytest.raises(ValueError, match=r"epoch [56] at learning_rate=1e\+30"):
        shown.partial_fit(X, TARGETS[kind]).partial_fit(X, TARGETS[kind])
    again = copy.deepcopy(model)
    # As if it were the epoch before once more.
    again.n_iter_, again.loss_curve_ = 3, again.loss_curve_[:3]
    again.loss_parts_ = {name: each[:3] for name, each in again.loss_parts_.items()}
    for each in (model, again):
        each.partial_fit(X, TARGETS[kind])
    assert np.any(output(model, X) != output(again, X))


@pytest.mark.parametrize(("solver", "rate"), [("adam", 3e-3), ("sgd", 0.003)])
@each_kind
def test_auto_is_a_smaller_rate_than_that_of_a_start(kind, solver, rate):
    found = make(kind, solver=solver).fit(X, TARGETS[kind])
    same = make(kind, solver=solver, learning_rate=rate).fit(X, TARGETS[kind])
    np.testing.assert_array_equal(output(found, X), output(same, X))


@each_kind
def test_lbfgs_has_no_passes(kind):
    model = make(kind, solver="lbfgs")
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match=r"'partial_fit' with solver='lbfgs'.*or 'sgd'"):
        model.partial_fit(X, TARGETS[kind])


@each_kind
def test_passes_hold_out_nothing(kind):
    with pytest.raises(ValueError, match="early_stopping=True"):
        make(kind, early_stopping=True).partial_fit(X, TARGETS[kind])


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_kind
def test_a_failed_fit_or_pass_leaves_the_model_of_before(kind, solver):
    model = make(kind, solver=solver).fit(X, TARGETS[kind])
    found, loss = output(model, X), model.loss_
    model.set_params(learning_rate=1e30, max_iter=50, alpha=1e8)
    for rows, method in ((X, "fit"), (np.hstack([X, X]), "fit"), (X, "partial_fit")):

        def train(rows=rows, method=method):
            for _ in range(5):
                getattr(model, method)(rows, TARGETS[kind])

        with pytest.raises(ValueError, match=r"epoch \d+ at learning_rate"):
            train()
    assert model.n_features_in_ == 6
    if loss == model.loss_:
        np.testing.assert_array_equal(output(model, X), found)
