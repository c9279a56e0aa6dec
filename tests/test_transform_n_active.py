"""A fitted topk code read at another number of active units."""

import pickle
import warnings

import numpy as np
import pytest
from batched import assert_same_results
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
    metrics,
)
from sksae.base.reading import as_read
from sksae.model_selection import BatchedGridSearchCV

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*transform_n_active=.* active units"),
]
K = 6


def make(n_components=40, **params):
    few = {"sparsity": "topk", "rho": K, "budgets": None, "max_iter": 4, "tol": 0.1}
    few["random_state"] = 0
    return SparseAutoencoderTransformer(n_components, **(few | params))


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((700, 5)) ** 2 @ rng.normal(size=(5, 12)) + 0.1 * rng.random((700, 12))


@pytest.fixture(scope="module")
def y(X):
    return (X[:, 0] > np.median(X[:, 0])).astype(int)


@pytest.fixture(scope="module")
def fitted(X):
    return make().fit(X)


def read_at(model, n_active, **params):
    return pickle.loads(pickle.dumps(model)).set_params(transform_n_active=n_active, **params)


def largest(pre, n_active):
    """Return the largest positive entries of each row, in plain numpy."""
    rank = (-pre).argsort(axis=1).argsort(axis=1)
    return np.where((rank < n_active) & (pre > 0.0), pre, 0.0)


# What is read.


@pytest.mark.parametrize("n_active", [1, 3, K, 10, 40])
@pytest.mark.parametrize("sparse_output", [False, True])
def test_so_many_of_the_largest_units_are_active(fitted, X, n_active, sparse_output):
    rows = (X - fitted.mean_) / fitted.scale_ + fitted._shift
    pre = rows @ fitted.coefs_[0].astype(np.float64) + fitted.intercepts_[0]
    codes = read_at(fitted, n_active, sparse_output=sparse_output).transform(X)
    found = codes.toarray() if sparse_output else codes
    assert_allclose(found, largest(pre, n_active), atol=1e-10)
    assert (found > 0).sum(axis=1).max() <= n_active


def test_a_few_rows_and_many_are_read_alike(fitted, X):
    model = read_at(fitted, 2)
    assert_allclose(model.transform(X[:3]), model.transform(X)[:3], atol=1e-12)


def test_none_is_what_it_was_trained_with(fitted, X):
    assert_array_equal(read_at(fitted, K).transform(X), fitted.transform(X))


def test_scores_follow(fitted, X):
    model = read_at(fitted, 3)
    X_hat = model.inverse_transform(model.transform(X))
    assert model.score(X) == pytest.approx(metrics.explained_variance(X, X_hat), abs=1e-9)
    assert_allclose(model.score_samples(X), -((X_hat - X) ** 2).sum(axis=1), atol=1e-9)
    assert model.score(X) < fitted.score(X)
    assert metrics.l0(model.transform(X)) <= 3
    scorer = metrics.sparsity_scorers()["neg_l0"]
    assert scorer(model, X) == -metrics.l0(model.transform(X))


def test_codes_are_decoded_as_ever(fitted, X):
    codes = fitted.transform(X)
    assert_array_equal(read_at(fitted, 1).inverse_transform(codes), fitted.inverse_transform(codes))


def test_training_does_not_go_by_it(fitted, X):
    model = make(transform_n_active=2).fit(X)
    for ours, theirs in zip(model.coefs_, fitted.coefs_, strict=True):
        assert_array_equal(ours, theirs)
    assert model.loss_ == fitted.loss_
    assert_array_equal(model.mean_activation_, fitted.mean_activation_)
    assert_array_equal(model.set_params(transform_n_active=None).transform(X), fitted.transform(X))


def test_fit_transform_reads_at_it(fitted, X):
    codes = make(transform_n_active=2).fit_transform(X)
    assert_array_equal(codes, read_at(fitted, 2).transform(X))


def test_training_that_goes_on_is_that_of_all_units(X):
    models = [make(transform_n_active=n, warm_start=True).fit(X) for n in (None, 2)]
    for model in models:
        model.transform(X)
        model.fit(X).partial_fit(X)
    assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_reading_leaves_the_network_as_it_is(fitted):
    network = fitted.__sksae_network__()
    read = as_read(network, 2)
    assert read.encoder[-1].selection.n_active == 2
    assert network.encoder[-1].selection.n_active == K
    assert read.decoder is not network.decoder
    assert as_read(network, None) is network
    assert all(a.coef is b.coef for a, b in zip(read.layers, network.layers, strict=True))


# Warnings and errors.


@pytest.mark.parametrize(
    ("n_active", "message"),
    [
        (K + 1, f"={K + 1} is more than the {K} active"),
        (K - 1, f"={K - 1} is another number .*{K}"),
    ],
)
@pytest.mark.parametrize("method", ["transform", "score", "score_samples"])
def test_a_number_that_was_not_trained_for_warns(fitted, X, n_active, message, method):
    with pytest.warns(UserWarning, match=f"transform_n_active{message}") as caught:
        getattr(read_at(fitted, n_active), method)(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("budgets", "n_active"), [(None, None), (None, K), ([2], 2), ([2], 4)])
def test_a_number_that_was_trained_for_does_not_warn(X, budgets, n_active):
    # Between two budgets as well: units are in an order there.
    model = make(budgets=budgets, transform_n_active=n_active).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.score(X)
        model.inverse_transform(model.transform(X))


def test_more_than_the_last_budget_warns(X):
    with pytest.warns(UserWarning, match="=7 is more than the 6 active"):
        make(budgets=[2, 4], transform_n_active=7).fit(X).transform(X)


def test_advice_is_such_that_it_can_be_followed(X):
    for hidden, advised in [((), True), ((8,), False)]:
        model = make(hidden_layer_sizes=hidden, transform_n_active=2).fit(X)
        with pytest.warns(UserWarning, match="alone") as caught:
            model.transform(X)
        assert ("budgets='auto'" in str(caught[0].message)) == advised


@pytest.mark.parametrize(
    "params",
    [
        {"sparsity": "kl"},
        {"sparsity": "l1"},
        {"sparsity": None},
        {"sparsity": "batchtopk", "rho": 0.3},
    ],
    ids=str,
)
def test_where_it_has_no_effect_fit_says_so(X, params):
    model = SparseAutoencoderTransformer(8, max_iter=2, random_state=0, **params).fit(X)
    codes, score = model.transform(X), model.score(X)
    model.set_params(transform_n_active=3)
    idle = f"transform_n_active=3 has no effect with sparsity={params['sparsity']!r}"
    with pytest.warns(UserWarning, match=idle):
        model.fit(X)
    assert_array_equal(model.transform(X), codes)
    assert model.score(X) == score


@pytest.mark.parametrize("n_active", [0, 41, 2.5, -1, "2"])
def test_impossible_numbers_are_refused(fitted, X, n_active):
    with pytest.raises(ValueError, match="transform_n_active"):
        make(transform_n_active=n_active).fit(X)
    model = read_at(fitted, n_active)
    for method in (model.transform, model.score, model.score_samples):
        with pytest.raises(ValueError, match=f"transform_n_active={n_active!r} .* n_components=40"):
            method(X)


# In the company of others.


def test_searches_choose_it_and_batched_ones_train_once(X, y, trainings):
    pipe = make_pipeline(make(dtype="float64"), LogisticRegression())
    grid = {"sparseautoencodertransformer__transform_n_active": [1, 3, None]}
    ours = BatchedGridSearchCV(pipe, grid, cv=2, refit=False).fit(X, y)
    assert sum(trainings["ahead"]) == 2  # of two folds
    assert trainings["alone"] == []
    theirs = GridSearchCV(pipe, grid, cv=2, refit=False).fit(X, y)
    assert_same_results(ours, theirs)
    assert len(set(theirs.cv_results_["mean_test_score"])) > 1


def members(**params):
    return [make(30, **params), make(20, rho=4)]


@pytest.mark.parametrize("finetune", [False, True])
def test_stacks_are_trained_and_read_as_pipelines_are(X, finetune):
    stack = StackedSparseAutoencoder(
        members(transform_n_active=3), finetune=finetune, max_iter=2, random_state=0
    ).fit(X)
    pipe = make_pipeline(*stack.autoencoders_)
    codes = stack.transform(X)
    assert_allclose(codes, pipe.transform(X), rtol=1e-6, atol=1e-6)
    X_hat = stack.inverse_transform(codes)
    assert stack.score(X) == pytest.approx(metrics.explained_variance(X, X_hat), abs=1e-5)
    assert (stack.autoencoders_[0].transform(X) > 0).sum(axis=1).max() <= 3
    if not finetune:
        # The second one has learnt from codes as they are read.
        alone = make_pipeline(*members(transform_n_active=3)).fit(X)
        assert_allclose(codes, alone.transform(X), rtol=1e-3, atol=1e-3)


def test_a_fine_tuned_member_is_trained_for_what_it_is_read_at(X):
    message = "transform_n_active=3 is another number"
    stack = StackedSparseAutoencoder(
        members(transform_n_active=3), finetune=False, max_iter=2, random_state=0
    )
    with pytest.warns(UserWarning, match=message):
        stack.fit(X).transform(X)
    with pytest.warns(UserWarning, match=message):
        stack.score(X)
    stack.set_params(finetune=True).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack.transform(X)
        stack.score(X)


@pytest.mark.parametrize("n_members", [1, 2])
def test_budgets_are_those_of_the_last_training(X, y, n_members):
    given = [make(30, budgets=[2]), make(20, rho=4, budgets=[2])][:n_members]
    classifier = SparseAutoencoderClassifier(given, max_iter=2, random_state=0).fit(X, y)
    stack = StackedSparseAutoencoder(given, max_iter=2, random_state=0).fit(X)
    frozen = SparseAutoencoderClassifier(given, freeze=1, max_iter=2, random_state=0).fit(X, y)

    def budgets(estimator):
        networks = [member.__sksae_network__() for member in estimator.autoencoders_]
        return [network.encoder[-1].selection.budgets for network in networks]

    alone, several = [(6,), (4,)][:n_members], [(2, 6), (2, 4)][:n_members]
    # A softmax reads all active units, and so does a decoder of many layers.
    assert budgets(classifier) == alone
    assert budgets(stack) == (several if n_members == 1 else alone)
    assert budgets(frozen) == [several[0], *alone[1:]]


def test_what_is_frozen_keeps_what_it_was_trained_for(X, y):
    model = SparseAutoencoderClassifier(
        members(transform_n_active=3), freeze=2, max_iter=2, random_state=0
    ).fit(X, y)
    first, second = model.autoencoders_
    assert first.__sksae_network__().encoder[-1].selection.n_active == K
    codes = model.transform(X)
    assert_allclose(codes, second.transform(first.transform(X)), rtol=1e-6, atol=1e-6)
    assert model.predict(X).shape == y.shape
    first.set_params(transform_n_active=None)
    assert (first.transform(X) > 0).sum(axis=1).max() == K
