"""Members of classifier and regressor: pre-training, fitted ones, names, searches."""

import copy

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from stacking import (
    assert_nothing_half_fitted,
    assert_same,
    chain,
    frozen,
    make_rows,
    no_training,
    pair,
    sae,
    supervised_loss,
)
from supervising import MEMBERS, TARGETS, X, each_kind, each_stack, greedy, make, target_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.each_once
@each_stack
@each_kind
def test_pre_training_is_a_stacks(kind, name):
    n_layers = sum(1 + len(member.hidden_layer_sizes) for member in MEMBERS[name])
    model = make(kind, MEMBERS[name], freeze=n_layers).fit(X, TARGETS[kind])
    assert_same(model.autoencoders_, greedy(MEMBERS[name]))


@pytest.mark.each_once
@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_kind
def test_members_are_never_changed(kind, freeze):
    given = [sae(5).fit(X), *frozen([sae(3)], make_rows(30, 5))]
    before = copy.deepcopy(given)
    model = make(kind, given, freeze=freeze).fit(X, TARGETS[kind])
    fitted = chain(pair(tied_weights=True), X)
    twins = copy.deepcopy(fitted)
    other = make(kind, fitted, pretrain=False, freeze=freeze).fit(X, TARGETS[kind])
    for each in (model, other):
        each.partial_fit(X, TARGETS[kind])
    for member, twin in zip([*given, *fitted], [*before, *twins], strict=True):
        state, old = (vars(getattr(each, "estimator", each)) for each in (member, twin))
        assert joblib.hash(state) == joblib.hash(old)


@each_kind
def test_members_fitted_to_other_data_are_where_it_starts(kind):
    members = chain(pair(), 3.0 * make_rows(40) - 1.0)
    given = {"pretrain": False, "alpha": 1e-4}
    kept = make(kind, members, freeze=2, **given).fit(X, TARGETS[kind])
    assert_same(kept.autoencoders_, members)
    tuned = make(kind, members, dtype="float64", **given).fit(X, TARGETS[kind])
    assert tuned.autoencoders_[0].scale_ == members[0].scale_
    expected = supervised_loss(tuned, X, target_of(kind, tuned), kind)
    assert tuned.loss_ == pytest.approx(expected, rel=1e-6)
    assert tuned.loss_ < kept.loss_


@each_kind
def test_a_search_over_frozen_members_and_whether_to_train_them(kind):
    members = [FrozenEstimator(member) for member in chain(pair(), X)]
    grid = {"pretrain": [False, True], "alpha": [1e-4, 1e-1]}
    search = GridSearchCV(make(kind, members, freeze=2), grid, cv=2).fit(X, TARGETS[kind])
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    # They are taken as they are in either case.
    np.testing.assert_array_equal(scores[::2], scores[1::2])
    assert_same(search.best_estimator_.autoencoders_, [m.estimator for m in members])
    # Without FrozenEstimator a search takes away what members have learnt, and says so.
    unwrapped = make(kind, [m.estimator for m in members], pretrain=False)
    with pytest.raises(NotFittedError, match=r"'sae0'.*FrozenEstimator"):
        clone(unwrapped).fit(X, TARGETS[kind])


@pytest.mark.parametrize("kind", ["labels", pytest.param("numbers", marks=pytest.mark.slow)])
def test_a_search_over_named_members(kind):
    members = [("edges", sae(5)), ("corners", sae(4))]
    grid = {"corners__n_components": [2, 3], "edges__rho": [0.1, 0.3]}
    search = GridSearchCV(make(kind, members), grid, cv=2).fit(X, TARGETS[kind])
    found = search.best_estimator_.autoencoders_
    assert found[1].n_components == search.best_params_["corners__n_components"]
    assert found[0].rho == search.best_params_["edges__rho"]
    replaced = make(kind, members).set_params(edges=sae(6)).fit(X, TARGETS[kind])
    assert replaced.autoencoders_[0].n_components == 6


@each_kind
def test_an_unfitted_member_is_named(monkeypatch, kind):
    first = sae(5).fit(X)
    no_training(monkeypatch)
    for members, pretrain, name in (
        ([first, sae(4)], False, "'sae1'"),
        ([("edges", sae(5))], False, "'edges'"),
        ([sae(5), FrozenEstimator(sae(4))], True, "'sae1'"),
    ):
        for method in ("fit", "partial_fit"):
            model = make(kind, members, pretrain=pretrain)
            with pytest.raises(NotFittedError, match=rf"{name}.*not fitted.*pretrain=True"):
                getattr(model, method)(X, TARGETS[kind])
            assert_nothing_half_fitted(model, "predict")


@each_kind
def test_members_that_do_not_fit_are_named_both(monkeypatch, kind):
    wrong, first = sae(4).fit(make_rows(30, 7)), sae(5).fit(X)
    no_training(monkeypatch)
    for members, pretrain, said in (
        ([first, wrong], False, r"'sae1'.* 7 features.*'sae0'.* 5 components"),
        ([("a", first), ("b", wrong)], False, r"'b'.* 7 features.*'a'.* 5 components"),
        ([sae(5), FrozenEstimator(wrong)], True, r"'sae1'.* 7 features.*'sae0'.* 5 components"),
        ([wrong, first], False, r"'sae0'.* 7 features.*X has 6 features"),
    ):
        for method in ("fit", "partial_fit"):
            model = make(kind, members, pretrain=pretrain)
            with pytest.raises(ValueError, match=said):
                getattr(model, method)(X, TARGETS[kind])
            assert_nothing_half_fitted(model, "predict")
