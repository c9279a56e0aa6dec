"""Seeds and weights of rows, of stack, classifier and regressor."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from stacking import assert_same, no_training, pair, sae
from supervising import (
    TARGETS,
    X,
    assert_same_model,
    each_extent,
    each_kind,
    each_kind_and_stack,
    each_solver,
    greedy,
    last_layer,
    make,
    members_only,
    output,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Seeds.


@pytest.mark.each_once
@each_solver
@each_kind_and_stack
def test_the_same_seed_gives_the_same_bits(kind, solver):
    params = {"solver": solver, "early_stopping": True, "validation_fraction": 0.2}
    one, other = (make(kind, **params).fit(X, TARGETS[kind]) for _ in range(2))
    assert_same_model(one, other)
    assert one.loss_ == other.loss_
    different = make(kind, **params | {"random_state": 1}).fit(X, TARGETS[kind])
    assert np.any(last_layer(different) != last_layer(one))
    assert np.any(output(different, X) != output(one, X))


@each_kind_and_stack
def test_the_state_of_a_shared_generator_moves_on(kind):
    def fit(generator):
        return output(make(kind, random_state=generator).fit(X, TARGETS[kind]), X)

    generator = np.random.RandomState(0)
    one, other = fit(generator), fit(generator)
    assert np.any(one != other)
    np.testing.assert_array_equal(one, fit(np.random.RandomState(0)))


@each_kind_and_stack
def test_members_without_a_seed_draw_from_the_parents_and_others_keep_theirs(kind):
    def start(seed, parent):
        members = [sae(5, random_state=seed), sae(4)]
        model = make(kind, members, random_state=parent, **members_only(kind))
        return model.fit(X, TARGETS[kind]).autoencoders_

    assert_same(start(None, 0), start(None, 0))
    assert np.any(start(None, 0)[0].coefs_[0] != start(None, 1)[0].coefs_[0])
    assert_same(start(3, 0)[:1], start(3, 1)[:1])
    assert np.any(start(3, 0)[1].coefs_[0] != start(3, 1)[1].coefs_[0])
    first = start(3, 0)[0]
    assert_same([first], [sae(5, random_state=3).fit(X)])
    # One member more or less drawing does not move the seeds of the others.
    first_drawn, first_given = start(None, 0), start(first.random_state, 0)
    assert first_drawn[1].random_state == first_given[1].random_state


@each_kind_and_stack
def test_neither_global_generator_is_touched(kind):
    import torch

    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    make(kind, random_state=np.random.RandomState(0)).fit(X, TARGETS[kind])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


# Weights.


@pytest.mark.each_once
@each_solver
@each_extent
def test_rows_of_weight_zero_are_left_out(kind, extent, solver):
    quiet = {"dtype": "float64", "batch_size": 64, "shuffle": False}
    # A decay with which the layer on top ends at the same iteration, whatever is rounded.
    params = {"solver": solver, "alpha": 0.01, **extent, **quiet}
    weight = (np.arange(60) % 3 > 0).astype(float)
    weighted = make(kind, pair(**quiet), **params).fit(X, TARGETS[kind], sample_weight=weight)
    counted = weight > 0
    without = make(kind, pair(**quiet), **params).fit(X[counted], TARGETS[kind][counted])
    tolerance = (1e-6, 0.0) if kind == "stack" else (1e-5, 1e-8)
    np.testing.assert_allclose(output(weighted, X), output(without, X), *tolerance)


@each_kind_and_stack
def test_weights_count_in_all_trainings(kind):
    weight = np.linspace(0.1, 3.0, 60)
    for extent in ({}, members_only(kind)):
        plain = make(kind, **extent).fit(X, TARGETS[kind])
        weighted = make(kind, **extent).fit(X, TARGETS[kind], sample_weight=weight)
        for one, other in zip(plain.autoencoders_, weighted.autoencoders_, strict=True):
            assert np.any(one.coefs_[0] != other.coefs_[0])
    assert_same(weighted.autoencoders_, greedy(weight=weight))


@pytest.mark.parametrize("weight", [np.zeros(60), -np.ones(60), np.ones(59), np.full(60, np.nan)])
@each_kind_and_stack
def test_bad_weights_are_refused(kind, weight):
    with pytest.raises(ValueError, match=r"(?i)sample[_ ]weight"):
        make(kind).fit(X, TARGETS[kind], sample_weight=weight)


@each_kind
def test_rows_with_a_target_must_weigh_something(monkeypatch, kind):
    no_training(monkeypatch)
    y = TARGETS[kind].astype(float)
    y[:30] = np.nan
    weight = np.isnan(y).astype(float)
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"sample_weight.* 0 in all rows that have a target"):
            getattr(make(kind, unlabeled=np.nan), method)(X, y, sample_weight=weight)


@each_kind
def test_weights_are_routed(kind):
    from sklearn import config_context

    weight = np.linspace(0.1, 3.0, 60)
    expected = make(kind, alpha=1e-4).fit(X, TARGETS[kind], sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        model = make(kind, alpha=1e-4).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        pipe = make_pipeline(model)
        pipe.fit(X, TARGETS[kind], sample_weight=weight)
        np.testing.assert_array_equal(output(pipe[-1], X), output(expected, X))
        search = GridSearchCV(model, {"alpha": [1e-4]}, cv=2)
        search.fit(X, TARGETS[kind], sample_weight=weight)
        np.testing.assert_array_equal(output(search.best_estimator_, X), output(expected, X))
        refused = make(kind).set_fit_request(sample_weight=False)
        unweighted = make_pipeline(refused).fit(X, TARGETS[kind])
    assert np.any(output(unweighted, X) != output(expected, X))
