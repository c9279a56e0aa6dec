"""What fine-tuning minimises, and what comes of it: of stack, classifier and regressor."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from stacking import arrays_of, chain, encode, pair, sae, stack_loss, supervised_loss
from supervising import (
    MEMBERS,
    TARGETS,
    X,
    each_kind,
    each_kind_and_stack,
    each_solver,
    each_stack,
    make,
    output,
    target_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TRAINED = {}


@pytest.mark.each_once
@pytest.mark.parametrize(("solver", "decay"), [("adam", "top"), ("sgd", "all"), ("lbfgs", "all")])
@each_kind
@each_stack
def test_loss_is_the_formula(name, kind, solver, decay):
    weight = np.linspace(0.0, 2.0, len(X)) if decay == "all" else None
    if name not in TRAINED:
        wide = [clone(member).set_params(dtype="float64") for member in MEMBERS[name]]
        TRAINED[name] = chain(wide, X)
    params = {"solver": solver, "decay": decay, "alpha": 0.1, "dtype": "float64"}
    model = make(kind, TRAINED[name], pretrain=False, **params)
    model.fit(X, TARGETS[kind], sample_weight=weight)
    target = target_of(kind, model, weight)
    expected = supervised_loss(model, X, target, kind, weight)
    assert model.loss_ == pytest.approx(expected, rel=1e-9)
    # The two decays are not the same number.
    model.decay = {"top": "all", "all": "top"}[decay]
    assert supervised_loss(model, X, target, kind, weight) != pytest.approx(expected, rel=1e-8)


@each_solver
@each_kind_and_stack
def test_loss_in_float32_to_its_own_rounding(kind, solver):
    model = make(kind, solver=solver).fit(X, TARGETS[kind])
    if kind == "stack":
        expected = stack_loss(model.autoencoders_, X, 1e-3)
    else:
        expected = supervised_loss(model, X, target_of(kind, model), kind)
    assert model.loss_ == pytest.approx(expected, rel=1e-5)
    kinds = {array.dtype for array in arrays_of(model.autoencoders_)}
    assert kinds == {np.dtype("float32"), np.dtype("float64")}
    assert all(coef.dtype == np.float32 for m in model.autoencoders_ for coef in m.coefs_)


@each_kind_and_stack
def test_the_curve_of_lbfgs_ends_in_the_loss(kind):
    params = {"solver": "lbfgs", "dtype": "float64", "max_iter": 8, "tol": 0.0}
    model = make(kind, pair(dtype="float64"), **params).fit(X, TARGETS[kind])
    assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-9)
    assert len(model.loss_curve_) == model.n_iter_ == 8
    assert np.all(np.diff(model.loss_curve_) <= 0)


@each_kind
def test_it_learns(kind):
    given = {"labels": {"max_iter": 100}, "numbers": {"max_iter": 150, "alpha": 1e-5}}[kind]
    members = [sae(20, max_iter=30), sae(10, max_iter=30)]
    model = make(kind, members, learning_rate=0.02, tol=0.0, **given).fit(X, TARGETS[kind])
    assert model.score(X, TARGETS[kind]) > 0.95


@pytest.mark.each_once
@each_solver
@each_kind
def test_fine_tuning_does_better_than_a_layer_on_codes_alone(kind, solver):
    rate = {"learning_rate": 0.3} if solver == "sgd" else {"learning_rate": 0.01}
    params = {"max_iter": 40, "alpha": 1e-3, "tol": 0.0, "solver": solver} | rate
    members = [sae(20, max_iter=20), sae(15, max_iter=20)]
    top_alone = make(kind, members, freeze=2, **params).fit(X, TARGETS[kind])
    tuned = make(kind, members, **params).fit(X, TARGETS[kind])
    assert tuned.loss_ < 0.9 * top_alone.loss_
    assert tuned.score(X, TARGETS[kind]) > top_alone.score(X, TARGETS[kind])


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_kind
def test_the_layer_on_top_is_trained_first(kind, solver):
    # A fine-tuning of steps that move nothing.
    given = {"solver": solver, "alpha": 1e-4}
    still = make(kind, learning_rate=1e-30, max_iter=1, **given).fit(X, TARGETS[kind])
    top_alone = make(kind, freeze=2, **given).fit(X, TARGETS[kind])
    np.testing.assert_allclose(output(still, X), output(top_alone, X), rtol=1e-4, atol=1e-5)
    assert still.n_iter_ == 1


@each_kind
def test_weights_of_the_lower_layers_decay_only_if_told_to(kind):
    def size(**params):
        model = make(kind, max_iter=30, **params).fit(X, TARGETS[kind])
        return sum((coef**2).sum() for m in model.autoencoders_ for coef in m.coefs_[:1])

    assert size(decay="all", alpha=1.0) < 0.5 * size(decay="top", alpha=1.0)


@each_kind
def test_the_output_is_a_linear_layer_on_the_codes(kind):
    for rows in (X, X.astype(np.float32)):
        model = make(kind).fit(X, TARGETS[kind])
        codes = encode(model.autoencoders_, rows)
        by_hand = codes @ np.atleast_2d(model.coef_).T + model.intercept_
        found = output(model, rows)
        assert found.dtype == rows.dtype
        tolerance = 1e-10 if rows.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(
            found, by_hand.reshape(found.shape), rtol=tolerance, atol=tolerance
        )


def test_fine_tuning_learns_where_the_softmax_alone_leaves_no_error():
    digits, labels = load_digits(return_X_y=True)
    rows, chosen = digits[:400], labels[:400]
    members = [sae(40, max_iter=40, random_state=0).fit(rows)]
    given = {"pretrain": False, "alpha": 0.0, "max_iter": 50, "batch_size": "auto"}
    alone = make("labels", members, freeze=1, **given).fit(rows, chosen)
    # Without decay it separates the rows it knows, and has nothing to teach the layers below.
    assert alone.loss_ < 1e-6
    model = make("labels", members, **given).fit(rows, chosen)
    assert model.score(digits[400:], labels[400:]) > alone.score(digits[400:], labels[400:]) + 0.01
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 5
