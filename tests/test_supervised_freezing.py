"""Layers of classifier and regressor that stay as pre-trained."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from stacking import assert_nothing_half_fitted, chain, no_training, pair, sae
from supervising import TARGETS, X, each_kind, greedy, make

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.each_once
@pytest.mark.parametrize("n_frozen", [None, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_kind
def test_frozen_layers_keep_every_bit_and_the_others_move(kind, dtype, n_frozen):
    members = [
        sae(5, hidden_layer_sizes=(7,), hidden_activation="prelu", dtype=dtype),
        sae(4, hidden_layer_sizes=(6,), hidden_activation="prelu", dtype=dtype),
    ]
    before = greedy(members)
    model = make(kind, members, freeze=n_frozen, dtype=dtype).fit(X, TARGETS[kind])

    def encoders(members):
        return [
            (member.coefs_[at], member.intercepts_[at], member.slopes_[at])
            for member in members
            for at in range(2)
        ]

    pairs = zip(encoders(before), encoders(model.autoencoders_), strict=True)
    for at, (old, new) in enumerate(pairs):
        for one, other in zip(old, new, strict=True):
            if at < (n_frozen or 0) or one is None:
                np.testing.assert_array_equal(one, other)
            else:
                assert np.any(one != other)
    # No decoder has a part in it.
    for old, new in zip(before, model.autoencoders_, strict=True):
        for one, other in zip(old.coefs_[2:], new.coefs_[2:], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.each_once
@pytest.mark.parametrize("n_frozen", [0, 1, 2])
@each_kind
def test_tied_decoders_follow_their_encoders(kind, n_frozen):
    model = make(kind, pair(tied_weights=True), freeze=n_frozen).fit(X, TARGETS[kind])
    for member in model.autoencoders_:
        np.testing.assert_array_equal(member.coefs_[1], member.coefs_[0].T)


@each_kind
def test_more_frozen_layers_than_there_are(monkeypatch, kind):
    no_training(monkeypatch)
    for members, n_layers in ((pair(), 2), ([sae(5, hidden_layer_sizes=(7, 6)), sae(4)], 4)):
        for freeze in (n_layers + 1, 99):
            for method in ("fit", "partial_fit"):
                model = make(kind, members, freeze=freeze)
                with pytest.raises(ValueError, match=rf"freeze={freeze} .* {n_layers} only"):
                    getattr(model, method)(X, TARGETS[kind])
                assert_nothing_half_fitted(model, "predict")


@each_kind
def test_with_all_frozen_the_top_is_trained_by_lbfgs_until_it_has_settled(kind):
    models = [
        make(kind, freeze=2, solver=solver).fit(X, TARGETS[kind])
        for solver in ("adam", "sgd", "lbfgs")
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)
    assert models[0].n_iter_ > 3  # max_iter
    longer = make(kind, freeze=2, tol=0.0, n_iter_no_change=50).fit(X, TARGETS[kind])
    # Least squares are solved to the last bit either way.
    assert longer.n_iter_ > models[0].n_iter_ or kind == "numbers"
    assert longer.loss_ <= models[0].loss_ * (1 + 1e-6)


@each_kind
def test_with_all_frozen_a_larger_max_iter_is_heard(kind, monkeypatch):
    monkeypatch.setattr("sksae.training.supervised.TOP_ITERATIONS", 4)
    params = {"freeze": 2, "tol": 0.0, "n_iter_no_change": 50}
    for max_iter, n_iter in ((3, 4), (6, 6)):
        with pytest.warns(ConvergenceWarning, match=f"max_iter={n_iter}"):
            model = make(kind, chain(pair(), X), pretrain=False, max_iter=max_iter, **params).fit(
                X, TARGETS[kind]
            )
        assert model.n_iter_ == n_iter
