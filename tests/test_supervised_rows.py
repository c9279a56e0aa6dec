"""Seeds, weights and containers of rows, of classifier and regressor."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from stacking import assert_same, no_training, pair, sae
from supervising import TARGETS, X, each_kind, each_solver, greedy, make, output

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@each_solver
@each_kind
def test_the_same_seed_gives_the_same_bits(kind, solver):
    params = {"solver": solver, "early_stopping": True, "validation_fraction": 0.2}
    one, other = (make(kind, **params).fit(X, TARGETS[kind]) for _ in range(2))
    assert_same(one.autoencoders_, other.autoencoders_)
    np.testing.assert_array_equal(one.coef_, other.coef_)
    assert one.loss_ == other.loss_
    different = make(kind, **params | {"random_state": 1}).fit(X, TARGETS[kind])
    assert np.any(different.coef_ != one.coef_)


@each_kind
def test_members_without_a_seed_draw_from_the_parents_and_others_keep_theirs(kind):
    def start(seed, parent):
        members = [sae(5, random_state=seed), sae(4)]
        model = make(kind, members, random_state=parent, freeze=2)
        return model.fit(X, TARGETS[kind]).autoencoders_

    assert_same(start(None, 0), start(None, 0))
    assert np.any(start(None, 0)[0].coefs_[0] != start(None, 1)[0].coefs_[0])
    assert_same(start(3, 0)[:1], start(3, 1)[:1])
    assert np.any(start(3, 0)[1].coefs_[0] != start(3, 1)[1].coefs_[0])


@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_solver
@each_kind
def test_sparse_rows_give_what_dense_ones_do(kind, solver, freeze):
    rows = X * (X > 0.5)
    params = {"solver": solver, "dtype": "float64", "freeze": freeze}
    dense = make(kind, pair(dtype="float64"), **params).fit(rows, TARGETS[kind])
    sparse = make(kind, pair(dtype="float64"), **params).fit(csr_array(rows), TARGETS[kind])
    for given in (rows, csr_array(rows)):
        np.testing.assert_allclose(output(sparse, given), output(dense, rows), rtol=1e-6, atol=1e-8)
    one, other = (
        make(kind, pair(dtype="float64"), dtype="float64").partial_fit(given, TARGETS[kind])
        for given in (rows, csr_array(rows))
    )
    np.testing.assert_allclose(output(one, rows), output(other, rows), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_solver
@each_kind
def test_rows_of_weight_zero_are_left_out(kind, solver, freeze):
    quiet = {"dtype": "float64", "batch_size": 64, "shuffle": False}
    # A decay with which the layer on top ends at the same iteration, whatever is rounded.
    params = {"solver": solver, "freeze": freeze, "alpha": 0.01, **quiet}
    weight = (np.arange(60) % 3 > 0).astype(float)
    weighted = make(kind, pair(**quiet), **params).fit(X, TARGETS[kind], sample_weight=weight)
    counted = weight > 0
    without = make(kind, pair(**quiet), **params).fit(X[counted], TARGETS[kind][counted])
    np.testing.assert_allclose(output(weighted, X), output(without, X), rtol=1e-5, atol=1e-8)


@each_kind
def test_weights_count_in_pre_training_too(kind):
    weight = np.linspace(0.1, 3.0, 60)
    model = make(kind, freeze=2).fit(X, TARGETS[kind], sample_weight=weight)
    assert_same(model.autoencoders_, greedy(weight=weight))


@pytest.mark.parametrize("weight", [np.zeros(60), -np.ones(60), np.ones(59), np.full(60, np.nan)])
@each_kind
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


@each_kind
def test_in_a_pipeline_and_cross_validation(kind):
    pipe = make_pipeline(MinMaxScaler(), make(kind, max_iter=30))
    scores = cross_val_score(pipe, X, TARGETS[kind], cv=3)
    assert np.isfinite(scores).all()
    name = type(pipe[-1]).__name__.lower()
    pipe.set_params(**{f"{name}__sae0__n_components": 7}).fit(X, TARGETS[kind])
    assert pipe[-1].autoencoders_[0].n_components == 7


@each_kind
def test_names_of_columns_are_kept(kind):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    model = make(kind).fit(frame, pandas.Series(TARGETS[kind]))
    assert list(model.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("fedcba")])
