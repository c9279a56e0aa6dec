"""What SparseAutoencoderClassifier and SparseAutoencoderRegressor have in common."""

import copy
import pickle
from collections import Counter

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from stacking import (
    Recorder,
    arrays_of,
    assert_nothing_half_fitted,
    assert_same,
    chain,
    encode,
    frozen,
    make_rows,
    no_training,
    pair,
    sae,
    supervised_loss,
)

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    StackedSparseAutoencoder,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_rows()
NUMBERS = 3.0 * X[:, 0] - X[:, 1] ** 2
TARGETS = {
    "labels": np.digitize(NUMBERS, np.quantile(NUMBERS, [0.3, 0.6])),
    "numbers": NUMBERS,
}
KINDS = {"labels": SparseAutoencoderClassifier, "numbers": SparseAutoencoderRegressor}
TOPS = {"labels": "softmax", "numbers": "linear-layer"}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def make(kind, members=None, **params):
    defaults = {"max_iter": 3, "batch_size": 20, "random_state": 0}
    return KINDS[kind](pair() if members is None else members, **(defaults | params))


def output(model, rows):
    """Return scores of classes, or predictions."""
    return getattr(model, "decision_function", model.predict)(rows)


def greedy(members=None, seed=0, weight=None):
    """Return members as pre-training leaves them."""
    stack = StackedSparseAutoencoder(
        pair() if members is None else members, finetune=False, random_state=seed
    )
    return stack.fit(X, sample_weight=weight).autoencoders_


# What is minimised.

MEMBERS = {
    "kl": pair(),
    "tanh": pair(activation="tanh"),
    "l1": pair(sparsity="l1"),
    "prelu": pair(sparsity=None, activation="prelu"),
    "tied": pair(tied_weights=True),
    "tied square": [sae(4, tied_weights=True)],
    "noise": pair(noise="gaussian"),
    "unscaled": pair(scale_data=False),
    "sigmoid output": pair(output_activation="sigmoid"),
    "deep": [sae(5, hidden_layer_sizes=(7,)), sae(4, hidden_layer_sizes=(6,))],
    "one": [sae(5)],
    "three": [sae(6), sae(5), sae(4)],
}
TRAINED = {}
each_stack = pytest.mark.parametrize("name", MEMBERS)


def target_of(kind, model, weight=None):
    """Return the target as it is trained on: positions of labels, numbers scaled."""
    if kind == "labels":
        return np.searchsorted(model.classes_, TARGETS[kind])[:, None]
    mean = np.average(NUMBERS, weights=weight)
    scale = np.sqrt(np.average((NUMBERS - mean) ** 2, weights=weight))
    return ((NUMBERS - mean) / scale)[:, None]


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


@each_kind
def test_loss_in_float32_to_its_own_rounding(kind):
    model = make(kind).fit(X, TARGETS[kind])
    expected = supervised_loss(model, X, target_of(kind, model), kind)
    assert model.loss_ == pytest.approx(expected, rel=1e-5)
    assert all(coef.dtype == np.float32 for m in model.autoencoders_ for coef in m.coefs_)


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
def test_the_curve_of_lbfgs_ends_in_the_loss(kind):
    params = {"solver": "lbfgs", "dtype": "float64", "max_iter": 6, "tol": 0.0}
    model = make(kind, pair(dtype="float64"), **params).fit(X, TARGETS[kind])
    assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-9)
    assert len(model.loss_curve_) == model.n_iter_ == 6


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


# Freezing.


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


# Members.


@each_stack
@each_kind
def test_pre_training_is_a_stacks(kind, name):
    n_layers = sum(1 + len(member.hidden_layer_sizes) for member in MEMBERS[name])
    model = make(kind, MEMBERS[name], freeze=n_layers).fit(X, TARGETS[kind])
    assert_same(model.autoencoders_, greedy(MEMBERS[name]))


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


@each_kind
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


# Seeds, weights, containers.


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


# To disk and back.


@pytest.mark.parametrize(
    "reborn",
    [
        lambda model, path: pickle.loads(pickle.dumps(model)),
        lambda model, path: joblib.load(joblib.dump(model, path)[0]),
        lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
        lambda model, path: copy.deepcopy(model),
    ],
    ids=["pickle", "joblib", "joblib mmap", "deepcopy"],
)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@each_kind
def test_it_comes_back_the_same_and_goes_on_alike(kind, solver, reborn, tmp_path):
    model = make(kind, solver=solver).fit(X, TARGETS[kind])
    again = reborn(model, tmp_path / "model.joblib")
    for rows in (X, X.astype(np.float32), csr_array(X)):
        np.testing.assert_array_equal(output(again, rows), output(model, rows))
    for each in (again, model):
        each.partial_fit(X, TARGETS[kind]).partial_fit(X[::-1], TARGETS[kind][::-1])
    np.testing.assert_array_equal(output(again, X), output(model, X))
    # Its members, read-only as they may be, can serve another.
    make(kind, again.autoencoders_, pretrain=False).fit(X, TARGETS[kind])


@each_kind
def test_arrays_are_numpys(kind):
    model = make(kind, early_stopping=True, validation_fraction=0.2).fit(X, TARGETS[kind])
    for array in (*arrays_of(model.autoencoders_), model.coef_, *model._state.values()):
        assert type(array) is np.ndarray
    assert type(model.loss_) is float
    assert type(model.n_iter_) is type(model.n_steps_) is int
    assert {type(loss) for loss in (*model.loss_curve_, *model.validation_score_curve_)} == {float}
    assert b"torch" not in pickle.dumps(model)


# partial_fit.


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


# Early stopping.


@pytest.mark.parametrize("freeze", [None, 1, 2])
@each_solver
@each_kind
def test_early_stopping_returns_the_best_weights(kind, solver, freeze):
    params = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 12, "freeze": freeze}
    if solver != "lbfgs":
        params["learning_rate"] = 0.05
    models = []
    last = f"fit/fit-{TOPS[kind]}/epoch" if freeze == 2 else "fit/finetune/epoch"
    recorder = Recorder(lambda path, model: models.append(model) if path == last else None)
    model = make(kind, solver=solver, **params).set_callbacks(recorder).fit(X, TARGETS[kind])
    curve = model.validation_score_curve_
    assert len(curve) == model.n_iter_ >= 1
    best = models[int(np.argmax(curve))]
    np.testing.assert_array_equal(output(model, X), output(best, X))
    assert make(kind).fit(X, TARGETS[kind]).validation_score_curve_ is None


@each_kind
def test_the_curve_is_the_score_on_the_rows_held_out(kind, monkeypatch):
    from sksae.stacking import supervised

    parts = []
    hold_out = supervised.hold_out

    def spy(*args):
        parts.append(hold_out(*args))
        return parts[-1]

    monkeypatch.setattr(supervised, "hold_out", spy)
    y, weight = TARGETS[kind].astype(float), np.linspace(0.5, 2.0, 60)
    y[::7], weight[::5] = np.nan, 0.0
    model = make(
        kind,
        pair(dtype="float64"),
        early_stopping=True,
        validation_fraction=0.4,
        unlabeled=np.nan,
        dtype="float64",
    ).fit(X, y, sample_weight=weight)
    ((kept, held_out),) = parts
    # Rows that have a target and weigh something, each in one part.
    expected = np.flatnonzero(~np.isnan(y) & (weight > 0))
    np.testing.assert_array_equal(np.sort([*kept, *held_out]), expected)
    assert len(held_out) == np.ceil(0.4 * len(expected))
    score = model.score(X[held_out], y[held_out], sample_weight=weight[held_out])
    assert max(model.validation_score_curve_) == pytest.approx(score, rel=1e-9)
    # Members saw all rows that weigh something.
    whole = make(kind, pair(dtype="float64"), freeze=2, unlabeled=np.nan)
    whole.fit(X, y, sample_weight=weight)
    for one, other in zip(whole.autoencoders_, model.autoencoders_, strict=True):
        assert one.loss_ == other.loss_


# Callbacks.


@each_solver
@each_kind
def test_each_member_is_a_task_and_so_are_epochs_of_fine_tuning(kind, solver):
    recorder = Recorder()
    model = make(kind, solver=solver).set_callbacks(recorder).fit(X, TARGETS[kind])
    top = f"fit/fit-{TOPS[kind]}"
    assert Counter(recorder.begun) == {
        "fit": 1,
        "fit/fit-sae0": 1,
        "fit/fit-sae0/epoch": 3,
        "fit/fit-sae1": 1,
        "fit/fit-sae1/epoch": 3,
        top: 1,
        f"{top}/epoch": recorder.begun.count(f"{top}/epoch"),
        "fit/finetune": 1,
        "fit/finetune/epoch": model.n_iter_,
    }
    assert Counter(recorder.ended) == Counter(recorder.begun)
    np.testing.assert_array_equal(recorder.seen.y, TARGETS[kind])
    np.testing.assert_array_equal(recorder.seen.X, X)


@each_kind
def test_callbacks_see_a_usable_model_and_can_stop_it(kind):
    scores = []

    def look(path, model):
        if path != "fit/finetune/epoch":
            return False
        assert type(model) is KINDS[kind]
        scores.append(model.score(X, TARGETS[kind]))
        return len(scores) == 2

    model = make(kind, max_iter=50).set_callbacks(Recorder(look)).fit(X, TARGETS[kind])
    assert model.n_iter_ == len(scores) == 2
    assert scores[-1] == model.score(X, TARGETS[kind])


@each_kind
def test_verbose_names_the_score(kind, capsys):
    model = make(kind, verbose=1, early_stopping=True, validation_fraction=0.2)
    model.fit(X, TARGETS[kind])
    lines = [line for line in capsys.readouterr().out.splitlines() if "Epoch" in line]
    assert len(lines) == model.n_iter_
    name = {"labels": "accuracy", "numbers": "R^2"}[kind]
    expected = f"[fine-tuning] Epoch 1, loss = {model.loss_curve_[0]:.8g}, held-out {name} = "
    assert lines[0].startswith(expected)


# Errors.

BAD_VALUES = [
    ("pretrain", "yes"),
    ("freeze", -1),
    ("freeze", 1.5),
    ("decay", "none"),
    ("unlabeled", True),
    ("unlabeled", [-1]),
    ("unlabeled", np.inf),
    ("alpha", -1.0),
    ("solver", "rmsprop"),
    ("learning_rate", 0.0),
    ("learning_rate_schedule", "cosine"),
    ("momentum", 1.0),
    ("batch_size", 0),
    ("max_iter", 0),
    ("tol", -1.0),
    ("n_iter_no_change", 0),
    ("early_stopping", "no"),
    ("validation_fraction", 0.0),
    ("shuffle", 3),
    ("dtype", "float16"),
    ("device", "gpu"),
    ("verbose", -1),
    ("random_state", "seed"),
]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
@each_kind
def test_a_bad_value_is_refused_before_any_training(monkeypatch, kind, name, value, method):
    no_training(monkeypatch)
    model = make(kind, **{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        getattr(model, method)(X, TARGETS[kind])
    assert_nothing_half_fitted(model, "predict")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "autoencoders is empty"),
        ([MinMaxScaler()], r"entry 0 is MinMaxScaler\(\)"),
        ([("a", sae(5)), ("a", sae(4))], "not unique.*'a'"),
        ([("freeze", sae(5))], "conflict.*'freeze'"),
        ([sae(5), sae(4, rho=-1.0)], "'rho' parameter"),
        (sae(5), "'autoencoders' parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@each_kind
def test_what_is_no_list_of_autoencoders_is_refused(monkeypatch, kind, members, said):
    no_training(monkeypatch)
    for method in ("fit", "partial_fit"):
        model = make(kind, members)
        with pytest.raises((TypeError, ValueError), match=f"(?s){said}"):
            getattr(model, method)(X, TARGETS[kind])
        assert_nothing_half_fitted(model, "predict")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@each_kind
def test_there_must_be_a_target_for_each_row(monkeypatch, kind, method):
    no_training(monkeypatch)
    for y, said in ((None, "requires y"), (TARGETS[kind][:-1], "inconsistent numbers")):
        model = make(kind)
        with pytest.raises(ValueError, match=said):
            getattr(model, method)(X, y)
        assert_nothing_half_fitted(model, "predict")


@each_kind
def test_targets_that_are_all_missing(monkeypatch, kind):
    no_training(monkeypatch)
    for mark, y in ((-1, np.full(60, -1)), (np.nan, np.full(60, np.nan)), (None, [None] * 60)):
        for method in ("fit", "partial_fit"):
            model = make(kind, unlabeled=mark)
            with pytest.raises(ValueError, match=f"y holds no target.*unlabeled={mark}"):
                getattr(model, method)(X, y)
            assert_nothing_half_fitted(model, "predict")


@each_kind
def test_a_mark_that_is_not_named_is_refused(monkeypatch, kind):
    no_training(monkeypatch)
    y = TARGETS[kind].astype(float)
    y[3] = np.nan
    with pytest.raises(ValueError, match="Input y contains NaN"):
        make(kind).fit(X, y)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        make(kind, unlabeled=-1).fit(X, y)


@pytest.mark.parametrize("rows", [np.full((60, 6), np.nan), np.empty((0, 6)), np.ones(60), "text"])
@each_kind
def test_what_is_no_table_of_numbers_is_refused(monkeypatch, kind, rows):
    no_training(monkeypatch)
    model = make(kind)
    with pytest.raises(ValueError, match=r"X|[Ss]ample|[Aa]rray|string"):
        model.fit(rows, TARGETS[kind])
    assert_nothing_half_fitted(model, "predict")


@each_kind
def test_nothing_comes_of_an_unfitted_model(kind):
    with pytest.raises(NotFittedError, match=KINDS[kind].__name__):
        make(kind).predict(X)
    with pytest.raises(ValueError, match="7 features"):
        make(kind).fit(X, TARGETS[kind]).predict(np.ones((2, 7)))


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
