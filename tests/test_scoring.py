"""Scorers of an autoencoder in a search, and the sparsest candidate among the good ones."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_validate,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.metrics import dead_fraction, hoyer_sparsity, l0, refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).random((90, 6))


def sae(**params):
    defaults = {"solver": "lbfgs", "max_iter": 100, "tol": 0.05, "random_state": 0}
    return SparseAutoencoderTransformer(5, **defaults | params)


EXPECTED = {
    "explained_variance": lambda model, X, codes: model.score(X),
    "neg_l0": lambda model, X, codes: -np.mean(np.sum(codes > 0.3, axis=1)),
    "neg_mean_activation": lambda model, X, codes: -np.mean(codes),
    "neg_dead_fraction": lambda model, X, codes: -dead_fraction(codes, tol=0.4),
    "hoyer": lambda model, X, codes: np.mean(hoyer_sparsity(codes)),
}


@pytest.mark.parametrize("wrap", ["plain", "pipeline", "nested", "behind", "stacked"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_scorers_measure_the_autoencoder_wherever_it_stands(X, activation, wrap):
    scaler, model = MinMaxScaler((0.0, 7.0)).fit(X), sae(activation=activation, rho=0.3)
    rows = X if wrap == "plain" else scaler.transform(X)
    if wrap == "stacked":
        first = sae(rho=0.2).fit(rows)
        rows = first.transform(rows)
    model.fit(rows)
    estimator = {
        "plain": lambda: model,
        "pipeline": lambda: make_pipeline("passthrough", scaler, None, model),
        "nested": lambda: make_pipeline(scaler, make_pipeline(model, StandardScaler())),
        "behind": lambda: make_pipeline(scaler, model, StandardScaler(), LogisticRegression()),
        "stacked": lambda: make_pipeline(scaler, first, model),
    }[wrap]()
    codes = model.transform(rows)
    codes = (1 + codes) / 2 if activation == "tanh" else codes
    scorers = sparsity_scorers(threshold=0.3, tol=0.4)
    assert set(scorers) == set(EXPECTED)
    for name, scorer in scorers.items():
        score = scorer(estimator, X)
        assert type(score) is float
        assert score == pytest.approx(EXPECTED[name](model, rows, codes), rel=1e-12), name


def on_top(kind):
    """Return a stack, or one with a layer on top, whose last code is tanh."""
    members = [sae(rho=0.2, max_iter=10), sae(activation="tanh", rho=0.3, max_iter=10)]
    return kind(members, max_iter=3, tol=0.01, random_state=0)


CODERS = {
    "transformer": lambda: sae(activation="tanh", rho=0.3, max_iter=10),
    "stack": lambda: on_top(StackedSparseAutoencoder),
    "classifier": lambda: on_top(SparseAutoencoderClassifier),
    "regressor": lambda: on_top(SparseAutoencoderRegressor),
}


def same(*args):
    """Score all alike."""
    return 0.0


def scaled(model):
    return make_pipeline(MinMaxScaler((0.0, 7.0)), model)


# What the scorers find an estimator in, on rows scaled to [0, 7].
HOLDERS = {
    "pipeline": scaled,
    "search": lambda model: scaled(GridSearchCV(model, {"random_state": [0]}, scoring=same, cv=2)),
    "searched pipeline": lambda model: GridSearchCV(
        scaled(model), {"memory": [None]}, scoring=same, cv=2
    ),
    "batched": lambda model: BatchedGridSearchCV(
        scaled(model), {"memory": [None]}, scoring=same, cv=2
    ),
    "searches": lambda model: HOLDERS["searched pipeline"](
        RandomizedSearchCV(model, {"random_state": [0]}, n_iter=1, scoring=same, cv=2)
    ),
    "union": lambda model: scaled(FeatureUnion([("raw", "passthrough"), ("sae", model)])),
    "columns": lambda model: scaled(
        ColumnTransformer([("sae", model, slice(0, 6))], remainder="passthrough")
    ),
    "behind": lambda model: scaled(make_pipeline(model, LogisticRegression())),
    "threshold": lambda model: FixedThresholdClassifier(scaled(model), threshold=0.4),
    "self-trained": lambda model: SelfTrainingClassifier(scaled(model), max_iter=1),
    "target": lambda model: TransformedTargetRegressor(scaled(model)),
}
HELD = [(holder, coder) for holder in HOLDERS for coder in CODERS]
for only, holders in {"classifier": ["threshold", "self-trained"], "regressor": ["target"]}.items():
    HELD = [pair for pair in HELD if pair[0] not in holders or pair[1] == only]
# Each holder with one of them, and each of them; the other pairs say the same.
USUAL = {*zip(HOLDERS, 3 * [*CODERS], strict=False), *HELD[-3:]}
HELD = [pytest.param(*pair, marks=() if pair in USUAL else pytest.mark.slow) for pair in HELD]


@pytest.fixture
def y(X):
    return (X[:, 0] > 0.5).astype(int)


def assert_scored_as(model, rows, estimator, X):
    """Assert that the scores of an estimator are those of the autoencoder in it, on its rows."""
    codes = (1 + model.transform(rows)) / 2
    for name, scorer in sparsity_scorers(threshold=0.3, tol=0.4).items():
        if name == "explained_variance" and hasattr(model, "predict"):
            message = f"explained_variance is nan: a {type(model).__name__} reconstructs nothing"
            with pytest.warns(UserWarning, match=message) as record:
                assert np.isnan(scorer(estimator, X))
            assert [each.filename for each in record] == [__file__]
            continue
        score = scorer(estimator, X)
        assert type(score) is float
        assert score == pytest.approx(EXPECTED[name](model, rows, codes), rel=1e-9), name


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("holder", "coder"), HELD)
def test_scorers_find_stacks_too_and_in_searches(X, y, holder, coder):
    rows = MinMaxScaler((0.0, 7.0)).fit_transform(X)
    target = (y - y.mean()) / y.std() if holder == "target" else y
    model = CODERS[coder]().fit(rows, target)
    estimator = HOLDERS[holder](CODERS[coder]()).fit(X, y)
    assert_scored_as(model, rows, estimator, X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("coder", CODERS)
def test_scorers_find_what_is_frozen(X, y, coder):
    rows = MinMaxScaler((0.0, 7.0)).fit_transform(X)
    model = CODERS[coder]().fit(rows, y)
    frozen = FrozenEstimator(model)
    for estimator in (frozen, FrozenEstimator(make_pipeline("passthrough", frozen))):
        assert_scored_as(model, rows, estimator, rows)
    assert_scored_as(model, rows, scaled(frozen).fit(X), X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("coder", CODERS)
def test_searches_of_stacks_have_their_scores(X, y, coder):
    estimator = scaled(CODERS[coder]())
    parameter = f"{estimator.steps[-1][0]}__random_state"
    has_rows = coder in ("transformer", "stack")
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        search = GridSearchCV(
            estimator, {parameter: [0, 1]}, scoring=sparsity_scorers(), refit="hoyer", cv=2
        ).fit(X, y)
    warned = [each for each in record if "explained_variance is nan" in str(each.message)]
    assert bool(warned) == (not has_rows)
    for name in sparsity_scorers():
        scores = search.cv_results_[f"mean_test_{name}"]
        assert (
            np.isnan(scores).all()
            if warned and name == "explained_variance"
            else (np.isfinite(scores).all())
        )


def test_scorers_use_the_definitions_of_active_and_dead_units_given(X):
    model = sae(rho=0.3, scale_data=False).fit(X)
    codes = model.transform(X)
    variation = np.sort(np.ptp(codes, axis=0) / codes.max(axis=0))
    tol = variation[1:3].mean()
    scorers = sparsity_scorers(threshold=0.6, relative=True, tol=tol)
    assert scorers["neg_l0"](model, X) == -l0(codes, threshold=0.6, relative=True)
    assert scorers["neg_l0"](model, X) != -l0(codes, threshold=0.6)
    assert scorers["neg_dead_fraction"](model, X) == -0.4


def test_scorers_leave_other_tanh_codes_as_they_are(X):
    model = sae(sparsity="l1", activation="tanh", beta=0.001).fit(X)
    expected = -np.abs(model.transform(X)).mean()
    assert sparsity_scorers()["neg_mean_activation"](model, X) == pytest.approx(expected)


def test_scorers_take_sparse_rows_and_data_frames(X):
    pandas = pytest.importorskip("pandas")
    model = sae().fit(X)
    frames = sae().set_output(transform="pandas").fit(pandas.DataFrame(X))
    for scorer in sparsity_scorers(threshold=0.05).values():
        expected = scorer(model, X)
        assert scorer(model, sp.csr_array(X)) == pytest.approx(expected, rel=1e-9)
        assert scorer(frames, pandas.DataFrame(X)) == pytest.approx(expected, rel=1e-9)


SIDE_BY_SIDE = {
    "union": lambda model: FeatureUnion([("sae", model), ("scale", MinMaxScaler())]),
    "nested union": lambda model: FeatureUnion(
        [("raw", "passthrough"), ("both", FeatureUnion([("first", sae(rho=0.4)), ("sae", model)]))]
    ),
    "columns": lambda model: ColumnTransformer(
        [("sae", model, [0, 2, 3]), ("raw", "passthrough", [1]), ("gone", "drop", [4])]
    ),
    "slice": lambda model: ColumnTransformer([("sae", model, slice(1, 5))]),
    "function": lambda model: ColumnTransformer([("sae", model, lambda X: [5, 1])]),
    "remainder": lambda model: ColumnTransformer(
        [("scale", MinMaxScaler(), [0, 1])], remainder=model
    ),
    "columns before a union": lambda model: ColumnTransformer(
        [("inner", FeatureUnion([("sae", make_pipeline(MinMaxScaler(), model))]), [0, 2, 3])]
    ),
}
# Of X, what reaches the autoencoder.
REACHING = {
    "columns": lambda X: X[:, [0, 2, 3]],
    "slice": lambda X: X[:, 1:5],
    "function": lambda X: X[:, [5, 1]],
    "remainder": lambda X: X[:, 2:],
    "columns before a union": lambda X: MinMaxScaler().fit_transform(X[:, [0, 2, 3]]),
}


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_scorers_measure_an_autoencoder_that_stands_beside_others(X, name):
    around = SIDE_BY_SIDE[name](sae(rho=0.3))
    estimator = make_pipeline(MinMaxScaler((0.0, 7.0)), around, StandardScaler()).fit(X)
    rows = REACHING.get(name, lambda X: X)(MinMaxScaler((0.0, 7.0)).fit_transform(X))
    model = sae(rho=0.3).fit(rows)
    codes = model.transform(rows)
    for metric, scorer in sparsity_scorers(threshold=0.3, tol=0.4).items():
        expected = EXPECTED[metric](model, rows, codes)
        assert scorer(estimator, X) == pytest.approx(expected, rel=1e-12), metric


def test_scorers_take_columns_by_name_in_any_order(X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    estimator = ColumnTransformer([("sae", sae(), ["e", "b"]), ("raw", "passthrough", ["a"])])
    estimator.fit(frame)
    expected = sae().fit(frame[["e", "b"]]).score(frame[["e", "b"]])
    for given in (frame, frame[list("fedcba")]):
        scored = sparsity_scorers()["explained_variance"](estimator, given)
        assert scored == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scorer", sparsity_scorers().values(), ids=sparsity_scorers())
def test_scorers_name_what_is_missing(scorer, X):
    beside = [around(sae()) for around in SIDE_BY_SIDE.values()]
    for unfitted in (sae(), make_pipeline(MinMaxScaler(), sae()), *beside):
        with pytest.raises(NotFittedError, match="SparseAutoencoderTransformer"):
            scorer(unfitted, X)
    for kind in ("stack", "classifier", "regressor"):
        for unfitted in (CODERS[kind](), HOLDERS["searches"](CODERS[kind]())):
            with pytest.raises(NotFittedError, match=type(CODERS[kind]()).__name__):
                scorer(unfitted, X)
    for other in (
        MinMaxScaler().fit(X),
        FrozenEstimator(MinMaxScaler().fit(X)),
        GridSearchCV(MinMaxScaler(), {"copy": [True]}, scoring=same, cv=2).fit(X),
        Pipeline([("scale", MinMaxScaler())]).fit(X),
        FeatureUnion([("raw", "passthrough"), ("scale", MinMaxScaler())]).fit(X),
        ColumnTransformer([("scale", MinMaxScaler(), [0])], remainder="passthrough").fit(X),
    ):
        with pytest.raises(ValueError, match=r"(?s)needs a Sparse.*got .*MinMaxScaler"):
            scorer(other, X)


def test_scorers_and_rules_can_be_pickled_and_cloned(X):
    scorers, refit = sparsity_scorers(threshold=0.2), refit_sparsest(2.0)
    assert pickle.loads(pickle.dumps(scorers)) == scorers
    search = clone(GridSearchCV(sae(), {"rho": [0.1]}, scoring=scorers, refit=refit))
    assert search.scoring == scorers
    assert pickle.loads(pickle.dumps(search)).refit.keywords == refit.keywords


def test_a_search_without_labels(X):
    rho = [0.02, 0.1, 0.3]
    search = GridSearchCV(
        sae(beta=1.0),
        {"rho": rho},
        scoring=sparsity_scorers(),
        refit=refit_sparsest(1000.0, sparsity="neg_mean_activation"),
        cv=3,
    ).fit(X)
    for name in sparsity_scorers():
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    activity = -search.cv_results_["mean_test_neg_mean_activation"]
    assert np.all(np.diff(activity) > 0.0)
    assert search.best_params_ == {"rho": 0.02}
    again = search.set_params(refit=refit_sparsest(0.0)).fit(X)
    assert again.best_index_ == search.cv_results_["mean_test_explained_variance"].argmax()
    assert again.transform(X).shape == (90, 5)


def test_a_search_with_a_classifier_behind(X):
    y = X[:, 0] > 0.5
    model = make_pipeline(MinMaxScaler(), sae(), StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        model,
        {"sparseautoencodertransformer__rho": [0.5, 0.1]},
        scoring={"accuracy": "accuracy", **sparsity_scorers()},
        refit=refit_sparsest(1000.0, score="accuracy", sparsity="neg_mean_activation"),
        cv=3,
    ).fit(X, y)
    assert search.best_index_ == 1
    assert search.predict(X).shape == y.shape


def test_a_search_by_a_single_score(X):
    search = GridSearchCV(
        sae(),
        {"rho": [0.3, 0.1, 0.2]},
        refit=refit_sparsest(
            1000.0,
            score="score",
            sparsity=lambda results: -results["param_rho"].astype(float),
        ),
        cv=3,
    ).fit(X)
    assert search.best_params_ == {"rho": 0.1}


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_candidates_that_fail_in_a_search_are_not_chosen(X):
    search = GridSearchCV(
        sae(),
        {"activation": ["relu", "sigmoid"]},
        scoring=sparsity_scorers(),
        refit=refit_sparsest(),
        cv=3,
    )
    with pytest.warns(FitFailedWarning, match="bounded code"):
        search.fit(X)
    assert search.best_params_ == {"activation": "sigmoid"}


def test_scorers_in_cross_validate_with_metadata_routing(X):
    with config_context(enable_metadata_routing=True):
        scores = cross_validate(sae(), X, scoring=sparsity_scorers(), cv=2)
    assert np.isfinite(scores["test_hoyer"]).all()


# The rule of one standard error.


def results(scores, sparsity, name="explained_variance"):
    """Return cv_results_ of candidates with these scores in each fold, and this sparsity."""
    scores = np.asarray(scores, float)
    return {
        f"mean_test_{name}": scores.mean(axis=1),
        "mean_test_hoyer": np.asarray(sparsity, float),
        **{f"split{i}_test_{name}": fold for i, fold in enumerate(scores.T)},
    }


# The best has mean 0.9, standard deviation 0.03 (ddof=1) and standard error 0.015 over 4 folds.
BEST = 0.9 + 0.03 * np.sqrt(3 / 4) * np.array([1, -1, 1, -1])


@pytest.mark.parametrize(
    ("within_se", "expected"), [(0.0, 1), (0.9, 1), (1.0, 2), (1.9, 2), (2.0, 3), (100.0, 0)]
)
def test_the_sparsest_within_so_many_standard_errors_is_chosen(within_se, expected):
    scores = [[0.1] * 4, BEST, [0.8851] * 4, [0.8701] * 4]
    found = results(scores, sparsity=[0.9, 0.2, 0.5, 0.6])
    index = refit_sparsest(within_se)(found)
    assert type(index) is int
    assert index == expected


def test_the_standard_error_is_that_of_the_best_candidate():
    scores = [BEST, [0.8849] * 4, [0.8851, 0.4, 1.2, 1.0551]]
    assert np.mean(scores[2]) < 0.9
    found = results(scores, sparsity=[0.1, 0.9, 0.5])
    assert refit_sparsest()(found) == 2


def test_ties_go_to_the_better_score_and_then_to_the_first():
    scores = [[0.89] * 4, BEST, [0.895] * 4, [0.895] * 4]
    assert refit_sparsest()(results(scores, [0.5, 0.1, 0.5, 0.5])) == 2
    assert refit_sparsest(0.0)(results([[0.5] * 2] * 3, [0.1, 0.2, 0.2])) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_candidates_without_a_number_are_never_chosen(bad):
    scores = np.array([BEST, BEST, BEST, [0.2] * 4])
    scores[1, 2] = bad
    found = results(scores, sparsity=[0.1, 0.9, bad, 0.5])
    assert refit_sparsest()(found) == 0
    assert refit_sparsest(100.0)(found) == 3


def test_a_search_in_which_all_failed_says_so():
    found = results(np.full((3, 4), np.nan), sparsity=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"explained_variance.*hoyer.*all failed"):
        refit_sparsest()(found)


@pytest.mark.parametrize("missing", ["mean_test_accuracy", "mean_test_hoyer"])
def test_missing_scores_are_named_with_those_there_are(missing):
    found = results([BEST], [0.1], name="accuracy") | {"mean_test_other": [1.0]}
    del found[missing]
    with pytest.raises(ValueError, match=rf"no '{missing}', only \[.*'mean_test_other'.*scoring"):
        refit_sparsest(score="accuracy")(found)


def test_missing_folds_are_named():
    found = results([BEST], [0.1])
    del found["split0_test_explained_variance"]
    with pytest.raises(ValueError, match="split0_test_explained_variance"):
        refit_sparsest()(found)


def test_a_single_split_gives_the_best_with_a_warning(X):
    found = results([[0.8], [0.9]], [0.9, 0.1])
    with pytest.warns(UserWarning, match="single split"):
        assert refit_sparsest()(found) == 1
    cv = ShuffleSplit(1, random_state=0)
    search = GridSearchCV(
        sae(), {"rho": [0.1]}, scoring=sparsity_scorers(), refit=refit_sparsest(0.0), cv=cv
    )
    assert search.fit(X).best_index_ == 0


def test_a_function_for_sparsity_must_speak_of_all_candidates():
    with pytest.raises(ValueError, match="each of 2 candidates"):
        refit_sparsest(sparsity=lambda _: [1.0])(results([BEST, BEST], [0.1, 0.2]))


MISTAKES = {
    "scorers": (lambda: sparsity_scorers(threshold=-1.0), "'threshold'"),
    "scorers whole": (lambda: sparsity_scorers(threshold=2.0, relative=True), "less than 1"),
    "within": (lambda: refit_sparsest(-1.0), "'within_se'"),
    "score": (lambda: refit_sparsest(score=None), "'score'"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
