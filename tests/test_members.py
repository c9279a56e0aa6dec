"""Members of a stack: their names, taken as they are, made of a pipeline, refused."""

import copy

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
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
    stack_loss,
)

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    StackedSparseAutoencoder,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning"),
]

X = make_rows()


def make(members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return StackedSparseAutoencoder(pair() if members is None else members, **(defaults | params))


# Members by name.


def test_members_have_names():
    model = make()
    params = model.get_params()
    assert params["sae0"] is model.autoencoders[0]
    assert params["sae1__rho"] == 0.2
    assert "sae2" not in params
    assert "sae0" not in model.get_params(deep=False)
    named = make([("edges", sae(5)), ("corners", sae(4))])
    assert named.get_params()["corners__n_components"] == 4
    mixed = make([("edges", sae(5)), sae(4)]).get_params()
    assert (mixed["edges__n_components"], mixed["sae1__n_components"]) == (5, 4)


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("named", [False, True], ids=["alone", "named"])
def test_a_member_can_be_replaced(container, named):
    names = ["a", "b"] if named else ["sae0", "sae1"]
    given = container(zip(names, pair(), strict=True) if named else pair())
    model, before = make(given), list(given)
    new = sae(7)
    model.set_params(**{names[0]: new, f"{names[1]}__rho": 0.3})
    assert model.get_params()[names[0]] is new
    assert model.get_params()[f"{names[1]}__rho"] == 0.3
    # Members without names have none afterwards.
    assert [isinstance(entry, tuple) for entry in model.autoencoders] == [named, named]
    # The list that was given is the caller's.
    assert list(given) == before
    assert model.fit(X).autoencoders_[0].n_components == 7
    model.set_params(autoencoders=pair(), sae0__n_components=2)
    assert [member.n_components for member in model.autoencoders] == [2, 4]
    with pytest.raises(ValueError, match="sae2"):
        model.set_params(sae2=sae(3))
    with pytest.raises(ValueError, match="sae2"):
        model.set_params(sae2__rho=0.3)


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        (None, {"sae0": 100}),
        ([6, np.int64(4)], {"sae0": 6, "sae1": 4}),
        ((6, sae(5)), {"sae0": 6, "sae1": 5}),
        ([("edges", 6), 4], {"edges": 6, "sae1": 4}),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "model_class",
    [StackedSparseAutoencoder, SparseAutoencoderClassifier, SparseAutoencoderRegressor],
)
def test_numbers_stand_for_members_and_none_for_one(model_class, given, sizes):
    model = model_class(given)
    assert repr(clone(model).autoencoders) == repr(given)
    for name, n_components in sizes.items():
        assert model.get_params()[f"{name}__n_components"] == n_components
    assert model.autoencoders is given
    name = next(iter(sizes))
    model.set_params(**{f"{name}__rho": 0.3, f"{name}__max_iter": 2}, max_iter=2)
    assert clone(model).get_params()[f"{name}__rho"] == 0.3
    model.fit(X, np.arange(len(X)) % 2)
    assert [member.n_components for member in model.autoencoders_] == list(sizes.values())
    assert (model.autoencoders_[0].rho, model.autoencoders_[0].max_iter) == (0.3, 2)
    replaced = model_class(given).set_params(**{name: sae(3)})
    assert replaced.get_params()[f"{name}__n_components"] == 3


@pytest.mark.parametrize("given", [None, [6, 4]], ids=str)
def test_a_search_goes_over_members_that_numbers_stand_for(given):
    stack = StackedSparseAutoencoder(given, max_iter=2, random_state=0)
    grid = {"sae0__rho": [0.1, 0.3], "sae0__n_components": [2, 4], "sae0__max_iter": [5]}
    if given is not None:
        grid["sae1__max_iter"] = [5]
    search = GridSearchCV(stack, grid, cv=2).fit(X)
    members = zip(("sae0", "sae1"), search.best_estimator_.autoencoders_, strict=False)
    found = {
        f"{name}__{parameter}": value
        for name, member in members
        for parameter, value in member.get_params().items()
    }
    assert search.best_params_ == {name: found[name] for name in grid}
    assert len(set(search.cv_results_["mean_test_score"])) == 4


def test_a_member_and_its_parameters_are_set_together():
    for given in ([6], [("edges", 6)], [sae(6)], None):
        stack = StackedSparseAutoencoder(given, max_iter=2, random_state=0)
        name = next(iter(dict(stack._members)))
        stack.set_params(**{name: 4, f"{name}__rho": 0.3, f"{name}__max_iter": 2})
        (member,) = stack.fit(X).autoencoders_
        assert (member.n_components, member.rho, member.max_iter) == (4, 0.3, 2)
    grid = {"sae0": [3, 4], "sae0__rho": [0.1, 0.3], "sae0__max_iter": [2]}
    search = GridSearchCV(StackedSparseAutoencoder(max_iter=2, random_state=0), grid, cv=2).fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 4


@pytest.mark.parametrize("given", [None, [6], [sae(6)]], ids=str)
def test_what_is_refused_changes_nothing(given):
    stack = StackedSparseAutoencoder(given)
    with pytest.raises(ValueError, match="bogus"):
        stack.set_params(sae0__bogus=1)
    with pytest.raises(ValueError, match="bogus"):
        stack.set_params(autoencoders=[5], sae0__bogus=1)
    assert stack.autoencoders is given


def test_clone_copies_the_members():
    model = make([("edges", sae(5)), ("corners", sae(4))]).fit(X)
    again = clone(model)
    assert not hasattr(again, "autoencoders_")
    assert again.get_params()["edges"] is not model.get_params()["edges"]
    assert_same(again.fit(X).autoencoders_, model.autoencoders_)


@pytest.mark.parametrize(
    ("members", "name"),
    [(pair(), "sae1"), ([("edges", sae(5)), ("corners", sae(4))], "corners")],
    ids=["alone", "named"],
)
def test_a_search_goes_over_members(members, name):
    grid = {f"{name}__rho": [0.1, 0.3], f"{name}__n_components": [2, 4]}
    search = GridSearchCV(make(members), grid, cv=2).fit(X)
    best = search.best_estimator_.autoencoders_[1]
    for key, value in search.best_params_.items():
        assert getattr(best, key.partition("__")[2]) == value
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert make(members).get_params()[f"{name}__n_components"] == 4


def test_a_batched_search_finds_what_a_search_finds():
    from sksae.model_selection import BatchedGridSearchCV

    grid = {"sae1__rho": [0.1, 0.3], "finetune": [False, True]}
    expected = GridSearchCV(make(), grid, cv=2).fit(X).cv_results_["mean_test_score"]
    found = BatchedGridSearchCV(make(), grid, cv=2).fit(X).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("finetune", [False, True])
def test_members_are_never_changed(finetune):
    members = [sae(5).fit(X), *frozen([sae(3)], make_rows(30, 5))]
    before = copy.deepcopy(members)
    make(members, finetune=finetune).fit(X)
    fitted = chain(pair(), X)
    twins = copy.deepcopy(fitted)
    make(fitted, finetune=finetune, pretrain=False).fit(X)
    for member, twin in zip([*members, *fitted], [*before, *twins], strict=True):
        state, old = (vars(getattr(each, "estimator", each)) for each in (member, twin))
        assert joblib.hash(state) == joblib.hash(old)


def test_one_member_twice_is_two():
    model = make([sae(6), sae(6)], finetune=False).fit(X)
    first, second = model.autoencoders_
    assert np.any(first.coefs_[0] != second.coefs_[0])
    member = sae(6)
    assert make([member, member]).fit(X).autoencoders_[0] is not member


# Members that are fitted already.


def test_fitted_members_are_taken_as_they_are():
    other = make_rows(40) * 3.0 - 1.0
    members = chain(pair(), other)
    model = make(members, pretrain=False, finetune=False).fit(X)
    assert_same(model.autoencoders_, members)
    # As copies: what becomes of one is no matter of the other.
    assert not {id(member) for member in members} & {id(m) for m in model.autoencoders_}
    np.testing.assert_array_equal(model.transform(X), encode(members, X))
    tuned = make(members, pretrain=False, dtype="float64").fit(X)
    # Their scaling is kept: it is part of what they learnt.
    np.testing.assert_array_equal(tuned.autoencoders_[0].mean_, members[0].mean_)
    assert tuned.autoencoders_[0].scale_ == members[0].scale_
    assert tuned.loss_ < stack_loss(members, X, 1e-3)
    assert tuned.loss_ == pytest.approx(stack_loss(tuned.autoencoders_, X, 1e-3), rel=1e-5)


def test_a_frozen_member_is_taken_and_the_others_trained():
    first = sae(5, random_state=7).fit(X)
    taken = FrozenEstimator(first)
    model = make([taken, sae(4)], finetune=False).fit(X)
    assert_same(model.autoencoders_[:1], [first])
    expected = sae(4, random_state=model.autoencoders_[1].random_state).fit(first.transform(X))
    assert_same(model.autoencoders_[1:], [expected])
    # Fine-tuned with the others.
    tuned = make([taken, sae(4)]).fit(X)
    assert np.any(tuned.autoencoders_[0].coefs_[0] != first.coefs_[0])
    # Searches clone, and frozen members come through.
    search = GridSearchCV(make([taken, sae(4)], finetune=False), {"sae1__rho": [0.1, 0.3]}, cv=2)
    assert_same(search.fit(X).best_estimator_.autoencoders_[:1], [first])


@pytest.mark.parametrize("pretrain", [False, True])
def test_an_unfitted_member_is_named(pretrain):
    unfitted = FrozenEstimator(sae(4)) if pretrain else sae(4)
    first = sae(5).fit(X)
    for members, name in (
        ([first, unfitted], "'sae1'"),
        ([("edges", first), ("corners", unfitted)], "'corners'"),
    ):
        model = make(members, pretrain=pretrain)
        with pytest.raises(NotFittedError, match=rf"{name}.*not fitted.*pretrain=True"):
            model.fit(X)
        assert_nothing_half_fitted(model)


def test_members_that_do_not_fit_are_named_both(monkeypatch):
    wrong = sae(4).fit(make_rows(30, 7))
    first = sae(5).fit(X)
    named = [("edges", first), ("corners", wrong)]
    no_training(monkeypatch)
    for members, pretrain, said in (
        ([first, wrong], False, r"'sae1'.* 7 features.*'sae0'.* 5 components"),
        (named, False, r"'corners'.* 7 features.*'edges'.* 5 components"),
        ([sae(5), FrozenEstimator(wrong)], True, r"'sae1'.* 7 .*'sae0'.* 5 "),
        ([wrong, first], False, r"'sae0'.* 7 features.*X has 6 features"),
    ):
        model = make(members, pretrain=pretrain)
        with pytest.raises(ValueError, match=said):
            model.fit(X)
        assert_nothing_half_fitted(model)


# From a pipeline.


def test_a_fitted_pipeline_becomes_a_fitted_stack():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    pipe = Pipeline([("edges", sae(5)), ("off", "passthrough"), ("corners", sae(4))]).fit(frame)
    before = copy.deepcopy(pipe)
    stack = StackedSparseAutoencoder.from_pipeline(pipe, max_iter=3, random_state=0)
    assert not stack.pretrain
    assert stack.n_features_in_ == 6
    assert list(stack.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(stack.transform(frame), pipe.transform(frame))
    codes = pipe.transform(frame)
    np.testing.assert_array_equal(stack.inverse_transform(codes), pipe.inverse_transform(codes))
    assert stack.get_params()["corners__n_components"] == 4
    greedy = stack.score(frame)
    stack.fit(frame)
    assert stack.score(frame) != greedy
    # The pipeline is left alone.
    assert_same([pipe[0], pipe[2]], [before[0], before[2]])


def test_a_fitted_pipeline_is_where_fine_tuning_starts():
    pipe = make_pipeline(sae(5, random_state=1), sae(4, random_state=2)).fit(X)
    stack = StackedSparseAutoencoder.from_pipeline(pipe, max_iter=3, random_state=0).fit(X)
    same = make(list(pipe), pretrain=False, batch_size="auto").fit(X)
    assert_same(stack.autoencoders_, same.autoencoders_)


def test_an_unfitted_pipeline_becomes_an_unfitted_stack():
    stack = StackedSparseAutoencoder.from_pipeline(
        make_pipeline(sae(5), None, sae(4)), max_iter=3, batch_size=20, random_state=0
    )
    assert stack.pretrain
    with pytest.raises(NotFittedError):
        stack.transform(X)
    assert_same(stack.fit(X).autoencoders_, make().fit(X).autoencoders_)


def test_a_slice_of_a_pipeline():
    pipe = make_pipeline(MinMaxScaler(), sae(5), sae(4), LogisticRegression())
    pipe.fit(X, X[:, 0] > X[:, 0].mean())
    stack = StackedSparseAutoencoder.from_pipeline(pipe[1:3])
    np.testing.assert_array_equal(stack.transform(pipe[0].transform(X)), pipe[:3].transform(X))


@pytest.mark.parametrize(
    "wrong", [PCA(2), MinMaxScaler(), make()], ids=lambda step: type(step).__name__
)
def test_other_steps_are_named(wrong):
    pipe = Pipeline([("edges", sae(5)), ("odd", wrong)])
    with pytest.raises(TypeError, match=r"'odd' is "):
        StackedSparseAutoencoder.from_pipeline(pipe)


def test_parameters_of_the_stack_pass_through_from_pipeline():
    pipe = make_pipeline(sae(5), sae(4)).fit(X)
    stack = StackedSparseAutoencoder.from_pipeline(pipe, pretrain=True, alpha=0.5)
    assert (stack.pretrain, stack.alpha) == (True, 0.5)
    with pytest.raises(TypeError, match="rho"):
        StackedSparseAutoencoder.from_pipeline(pipe, rho=0.1)


def test_a_pipeline_whose_members_do_not_fit_is_refused():
    pipe = Pipeline([("edges", sae(5).fit(X)), ("corners", sae(4).fit(X))])
    with pytest.raises(ValueError, match=r"'corners'.* 6 features.*'edges'.* 5 components"):
        StackedSparseAutoencoder.from_pipeline(pipe)


def test_an_empty_pipeline_is_refused_by_fit():
    stack = StackedSparseAutoencoder.from_pipeline(make_pipeline(sae(5), sae(4))[:0])
    with pytest.raises(ValueError, match="autoencoders is empty"):
        stack.fit(X)


# Errors.


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "autoencoders is empty"),
        ([PCA()], r"entry 0 is PCA\(\)"),
        ([sae(5), "sae"], "entry 1 is 'sae'"),
        ([("a", PCA())], r"entry 0 is \('a', PCA"),
        ([(1, sae(5))], r"entry 0 is \(1, "),
        ([sae(5), type(sae(5))], "entry 1 is <class"),
        ([make()], "entry 0 is StackedSparseAutoencoder"),
        ([("a", sae(5)), ("a", sae(4))], "not unique.*'a'"),
        ([("a__b", sae(5))], "'a__b'"),
        ([("alpha", sae(5))], "conflict.*'alpha'"),
        ([sae(5), 0], "'sae1' of autoencoders.*'n_components'"),
        ([True], "entry 0 is True"),
        ([("a", 2.0)], r"entry 0 is \('a', 2.0"),
        (sae(5), "'autoencoders' parameter"),
        (5, "'autoencoders' parameter"),
    ],
    ids=str,
)
def test_what_is_no_list_of_autoencoders_is_refused(members, said):
    model = StackedSparseAutoencoder(members)
    with pytest.raises((TypeError, ValueError), match=f"(?s){said}"):
        model.fit(X)
    assert "autoencoders" in model.get_params(deep=False)


BAD_VALUES = [
    ("finetune", "yes"),
    ("pretrain", None),
    ("alpha", -1.0),
    ("alpha", 1e39),
    ("solver", "rmsprop"),
    ("learning_rate", 0.0),
    ("learning_rate_schedule", "cosine"),
    ("momentum", 1.0),
    ("batch_size", 0),
    ("max_iter", 0),
    ("tol", -1.0),
    ("n_iter_no_change", 0),
    ("early_stopping", "no"),
    ("validation_fraction", 1.0),
    ("shuffle", 3),
    ("dtype", "float16"),
    ("device", "gpu"),
    ("verbose", -1),
    ("random_state", "seed"),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_before_any_training(monkeypatch, name, value):
    no_training(monkeypatch)
    model = make(**{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        model.fit(X)
    assert_nothing_half_fitted(model)


def test_a_members_bad_value_is_refused_before_any_training_and_the_member_named(monkeypatch):
    no_training(monkeypatch)
    with pytest.raises(ValueError, match="'rho' parameter") as info:
        make([sae(5), sae(4, rho=-1.0)]).fit(X)
    assert "'sae1'" in str(info.value)


@pytest.mark.parametrize(
    "params", [{"rho": 7}, {"activation": "relu"}, {"beta": "auto", "sparsity": None}]
)
def test_errors_in_a_members_training_name_it(params):
    model = make([("edges", sae(5)), ("corners", sae(4, **params))])
    with pytest.raises(ValueError, match="|".join(params)) as info:
        model.fit(X)
    assert "'corners'" in str(info.value)
    assert_nothing_half_fitted(model)


@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score", "score_samples"])
def test_nothing_comes_of_an_unfitted_stack(method):
    with pytest.raises(NotFittedError, match="StackedSparseAutoencoder"):
        getattr(make(), method)(X)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_failed_fit_leaves_the_model_of_before(solver):
    model = make(solver=solver).fit(X)
    codes, loss = model.transform(X), model.loss_
    model.set_params(learning_rate=1e30, max_iter=50, alpha=1e8)
    for rows in (X, np.hstack([X, X])):
        with pytest.raises(ValueError, match="epoch"):
            model.fit(rows)
        np.testing.assert_array_equal(model.transform(X), codes)
        assert model.loss_ == loss
        assert model.n_features_in_ == 6


def test_codes_of_another_width_are_refused():
    model = make().fit(X)
    with pytest.raises(ValueError, match="n_components=4"):
        model.inverse_transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="7 features"):
        model.transform(np.ones((2, 7)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(bad):
    rows = X.copy()
    rows[3, 2] = bad
    for container in (np.array, csr_array):
        model = make()
        with pytest.raises(ValueError, match="Input X contains"):
            model.fit(container(rows))
        assert_nothing_half_fitted(model)
