"""scikit-learn's searches, pipelines and unions, and Optuna's, with and without labels."""

import numpy as np
import pytest
from joblib import Memory
from scipy.stats import loguniform, randint
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

import sksae.transformer
from sksae import SparseAutoencoderTransformer
from sksae.metrics import refit_sparsest, sparsity_scorers

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Optuna's own, on import and on use of what it calls experimental.
    pytest.mark.filterwarnings("ignore:.*optuna.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental"),
]

X, y = (array[:300] for array in load_digits(return_X_y=True))


def make_sae(**params):
    given = {"n_components": 12, "rho": 0.1, "beta": 0.1, "batch_size": 32, "max_iter": 8}
    return SparseAutoencoderTransformer(**given | {"random_state": 0} | params)


def make_pipe(*, memory=None, **params):
    steps = [
        ("sae", make_sae(**params)),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(max_iter=1000)),
    ]
    return Pipeline(steps, memory=memory)


def make_union(**params):
    return FeatureUnion([("sae", make_sae(**params)), ("pca", PCA(3, random_state=0))])


def make_columns(**params):
    """Return codes of the upper half of each picture beside the pixels of its last row."""
    return ColumnTransformer(
        [("sae", make_sae(**params), slice(0, 32)), ("pixels", "passthrough", slice(56, 64))]
    )


def behind(transformer):
    """Return a classifier behind a transformer."""
    return Pipeline(
        [
            ("features", transformer),
            ("scale", StandardScaler()),
            ("classify", LogisticRegression(max_iter=1000)),
        ]
    )


def prefixed(prefix, params):
    return {prefix + name: values for name, values in params.items()}


# Every candidate is what it would be by itself.

GRID = {"rho": [0.05, 0.3], "n_components": [6, 12]}
RANDOM = {"rho": loguniform(0.01, 0.5), "n_components": randint(4, 20), "sparsity": ["kl", "l1"]}
SEARCHES = {
    "grid": lambda model, prefix, **options: GridSearchCV(model, prefixed(prefix, GRID), **options),
    "randomized": lambda model, prefix, **options: RandomizedSearchCV(
        model, prefixed(prefix, RANDOM), n_iter=4, random_state=0, **options
    ),
}
each_search = pytest.mark.parametrize("make_search", SEARCHES.values(), ids=SEARCHES)


@each_search
def test_a_supervised_search_scores_each_candidate_as_it_would_be_scored_alone(make_search):
    search = make_search(make_pipe(), "sae__", cv=3, error_score="raise").fit(X, y)
    for candidate, params in enumerate(search.cv_results_["params"]):
        alone = cross_val_score(make_pipe().set_params(**params), X, y, cv=3)
        found = [search.cv_results_[f"split{fold}_test_score"][candidate] for fold in range(3)]
        np.testing.assert_array_equal(found, alone)
    best = make_pipe().set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), best.predict_proba(X))
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 1


@each_search
def test_an_unsupervised_search_scores_each_candidate_as_it_would_be_scored_alone(make_search):
    scorers = sparsity_scorers()
    search = make_search(
        make_sae(), "", scoring=scorers, refit=refit_sparsest(), cv=3, error_score="raise"
    ).fit(X)
    for candidate, params in enumerate(search.cv_results_["params"]):
        alone = cross_validate(make_sae().set_params(**params), X, scoring=scorers, cv=3)
        for name in scorers:
            mean = search.cv_results_[f"mean_test_{name}"][candidate]
            assert mean == alone[f"test_{name}"].mean()
    assert search.best_index_ == refit_sparsest()(search.cv_results_)
    best = make_sae().set_params(**search.best_params_).fit(X)
    np.testing.assert_array_equal(search.transform(X), best.transform(X))


def test_parameters_of_every_kind_can_be_searched():
    grid = {
        "hidden_layer_sizes": [(), (7,), [9, 7], 5],
        "sparsity": ["kl", None],
        "rho": [1, 0.3],
        "batch_size": ["auto", 50],
    }
    search = RandomizedSearchCV(
        make_sae(max_iter=2), grid, n_iter=12, cv=2, random_state=0, error_score="raise"
    )
    with pytest.warns(UserWarning, match="has no effect with sparsity=None"):
        search.fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len({str(layers) for layers in search.cv_results_["param_hidden_layer_sizes"]}) == 4


# Halving: max_iter is what candidates compete for.


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(True, marks=pytest.mark.slow, id="supervised"),
        pytest.param(False, id="unsupervised"),
    ],
)
def test_halving_trains_survivors_longer_and_each_rung_anew(labels):
    model, prefix, target = (make_pipe(), "sae__", y) if labels else (make_sae(), "", None)
    scoring = None if labels else sparsity_scorers()["hoyer"]
    search = HalvingGridSearchCV(
        model,
        {f"{prefix}rho": [0.05, 0.1, 0.3, 0.4]},
        resource=f"{prefix}max_iter",
        min_resources=3,
        max_resources=12,
        factor=2,
        cv=2,
        scoring=scoring,
        random_state=0,
        error_score="raise",
    ).fit(X, target)
    assert search.n_resources_ == [3, 6, 12]
    assert search.n_candidates_ == [4, 2, 1]
    splits = search._checked_cv_orig
    for candidate, params in enumerate(search.cv_results_["params"]):
        n_resources = search.cv_results_["n_resources"][candidate]
        assert params[f"{prefix}max_iter"] == n_resources
        alone = cross_val_score(
            clone(model).set_params(**params), X, target, cv=splits, scoring=scoring
        )
        assert search.cv_results_["mean_test_score"][candidate] == alone.mean()
    best = search.best_estimator_["sae"] if labels else search.best_estimator_
    assert best.n_iter_ == 12
    # A rung is a training of its own, whose rate has fallen to zero at its end: in the first one
    # the winner is not where it is at the same epoch of the last.
    short = clone(best).set_params(max_iter=3).fit(X)
    assert short.loss_curve_[-1] != best.loss_curve_[2]


# Pipeline(memory=...).


@pytest.fixture
def trainings(monkeypatch):
    """Return a list that grows by a number of units at each training."""
    train, calls = sksae.transformer.train_plans, []

    def counted(plans, *args, **options):
        calls.extend(plan.architecture.sizes[1] for plan in plans)
        return train(plans, *args, **options)

    monkeypatch.setattr(sksae.transformer, "train_plans", counted)
    return calls


@pytest.mark.parametrize("mmap_mode", [None, pytest.param("r", marks=pytest.mark.slow)])
def test_a_memory_saves_training_again_what_has_not_changed(tmp_path, trainings, mmap_mode):
    memory = Memory(tmp_path, mmap_mode=mmap_mode, verbose=0)
    grid = {"classify__C": [0.1, 1.0, 10.0]}
    plain = GridSearchCV(make_pipe(), grid, cv=3).fit(X, y)
    assert len(trainings) == 3 * 3 + 1
    trainings.clear()
    for expected in (3 + 1, 0):  # Once for each fold and once to refit; then never again.
        search = GridSearchCV(make_pipe(memory=memory), grid, cv=3).fit(X, y)
        assert len(trainings) == expected
        trainings.clear()
        for name in ("mean_test_score", "split2_test_score"):
            np.testing.assert_array_equal(search.cv_results_[name], plain.cv_results_[name])
        np.testing.assert_array_equal(search.predict_proba(X), plain.predict_proba(X))
    GridSearchCV(make_pipe(memory=memory), {"sae__rho": [0.1, 0.2]}, cv=3, refit=False).fit(X, y)
    assert len(trainings) == 3
    GridSearchCV(make_pipe(memory=memory, random_state=1), grid, cv=3, refit=False).fit(X, y)
    assert len(trainings) == 3 + 3


def test_a_memory_serves_an_unsupervised_search(tmp_path, trainings):
    steps = [("first", make_sae()), ("second", make_sae(n_components=5))]
    search = GridSearchCV(
        Pipeline(steps, memory=str(tmp_path)),
        {"second__rho": [0.05, 0.3]},
        scoring=sparsity_scorers(),
        refit=refit_sparsest(),
        cv=3,
    ).fit(X)
    first = [n_units for n_units in trainings if n_units == 12]
    second = [n_units for n_units in trainings if n_units == 5]
    assert (len(first), len(second)) == (3 + 1, 2 * 3 + 1)
    np.testing.assert_array_equal(
        search.transform(X), Pipeline(steps).set_params(**search.best_params_).fit_transform(X)
    )


# FeatureUnion and ColumnTransformer.

AROUND = {"union": make_union, "columns": make_columns}
each_around = pytest.mark.parametrize("make_around", AROUND.values(), ids=AROUND)


@each_around
def test_a_supervised_search_inside_of(make_around):
    grid = prefixed("features__sae__", GRID)
    search = GridSearchCV(behind(make_around()), grid, cv=2, error_score="raise").fit(X, y)
    for candidate, params in enumerate(search.cv_results_["params"]):
        alone = cross_val_score(behind(make_around()).set_params(**params), X, y, cv=2)
        assert search.cv_results_["mean_test_score"][candidate] == alone.mean()
    assert search.best_score_ > 0.5


@each_around
def test_an_unsupervised_search_inside_of(make_around):
    search = GridSearchCV(
        make_around(),
        prefixed("sae__", GRID),
        scoring=sparsity_scorers(),
        refit=refit_sparsest(),
        cv=2,
        error_score="raise",
    ).fit(X)
    rows = X if make_around is make_union else X[:, :32]
    plain = GridSearchCV(make_sae(), GRID, scoring=sparsity_scorers(), refit=False, cv=2).fit(rows)
    for name in sparsity_scorers():
        np.testing.assert_array_equal(
            search.cv_results_[f"mean_test_{name}"], plain.cv_results_[f"mean_test_{name}"]
        )
    assert search.transform(X).shape[0] == 300


@each_around
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_carry_the_names_of_units_with_their_prefix(make_around, library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({f"pixel{i}": column for i, column in enumerate(X.T)})
    around = make_around(max_iter=2).set_output(transform=library).fit(frame)
    table = around.transform(frame)
    expected = [f"sae__sparseautoencodertransformer{unit}" for unit in range(12)]
    assert list(table.columns)[:12] == expected
    assert list(around.get_feature_names_out()) == list(table.columns)
    codes = around.named_transformers_["sae"] if make_around is make_columns else around["sae"]
    given = frame[frame.columns[:32]] if make_around is make_columns else frame
    np.testing.assert_array_equal(table[expected].to_numpy(), codes.transform(given).to_numpy())


# Optuna.


@pytest.fixture
def optuna():
    module = pytest.importorskip("optuna")
    pytest.importorskip("optuna_integration")
    module.logging.set_verbosity(module.logging.WARNING)
    return module


def test_optuna_searches_with_a_classifier_behind(optuna):
    from optuna_integration.sklearn import OptunaSearchCV

    space = {
        "sae__rho": optuna.distributions.FloatDistribution(0.01, 0.5, log=True),
        "sae__n_components": optuna.distributions.IntDistribution(4, 20),
        "sae__sparsity": optuna.distributions.CategoricalDistribution(["kl", "l1"]),
    }
    search = OptunaSearchCV(make_pipe(), space, n_trials=4, cv=3, random_state=0).fit(X, y)
    for trial in search.trials_:
        alone = cross_val_score(make_pipe().set_params(**trial.params), X, y, cv=3)
        assert trial.value == alone.mean()
    best = make_pipe().set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), best.predict_proba(X))
    again = OptunaSearchCV(make_pipe(), space, n_trials=4, cv=3, random_state=0).fit(X, y)
    assert [trial.params for trial in again.trials_] == [trial.params for trial in search.trials_]
    assert again.best_score_ == search.best_score_


def test_optuna_searches_without_labels(optuna):
    from optuna_integration.sklearn import OptunaSearchCV

    space = {"alpha": optuna.distributions.FloatDistribution(1e-6, 1.0, log=True)}
    search = OptunaSearchCV(make_sae(), space, n_trials=3, cv=2, random_state=0).fit(X)
    alone = cross_val_score(make_sae().set_params(**search.best_params_), X, cv=2)
    assert search.best_score_ == alone.mean()
    sparsest = OptunaSearchCV(
        make_sae(), space, n_trials=3, cv=2, scoring=sparsity_scorers()["hoyer"], random_state=0
    ).fit(X)
    assert sparsest.best_score_ == max(trial.value for trial in sparsest.trials_)


def test_optuna_prunes_by_partial_fit(optuna):
    from optuna_integration.sklearn import OptunaSearchCV

    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.ThresholdPruner(lower=0.05, n_warmup_steps=5),
        sampler=optuna.samplers.GridSampler({"alpha": [1e-4, 10.0]}),
    )
    search = OptunaSearchCV(
        make_sae(),
        {"alpha": optuna.distributions.FloatDistribution(1e-6, 10.0)},
        enable_pruning=True,
        max_iter=8,
        cv=2,
        n_trials=2,
        study=study,
    ).fit(X)
    ended = {trial.params["alpha"]: trial.state.name for trial in search.trials_}
    assert ended == {1e-4: "COMPLETE", 10.0: "PRUNED"}
    assert search.best_score_ > 0.05


def test_a_study_weighs_reconstruction_against_sparsity(optuna):
    scorers = sparsity_scorers()

    def objective(trial):
        model = make_sae(rho=trial.suggest_float("rho", 0.02, 0.4, log=True))
        scores = cross_validate(model, X, scoring=scorers, cv=2)
        return scores["test_explained_variance"].mean(), scores["test_neg_mean_activation"].mean()

    study = optuna.create_study(
        directions=["maximize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=5)
    front = sorted(study.best_trials, key=lambda trial: trial.values[0])
    assert len(front) > 1
    assert [trial.values[1] for trial in front] == sorted(
        (trial.values[1] for trial in front), reverse=True
    )


class Prune:
    """Tell a trial of R^2 after each epoch, and end it where its pruner says so."""

    def __init__(self, trial, X_validation):
        self.trial, self.X_validation = trial, X_validation
        self.epoch = 0

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        import optuna

        if fitted_estimator is not None:
            self.trial.report(fitted_estimator.score(self.X_validation), self.epoch)
            self.epoch += 1
            if self.trial.should_prune():
                raise optuna.TrialPruned


def test_a_study_prunes_by_a_callback(optuna):
    X_train, X_validation = train_test_split(X, random_state=0)

    def objective(trial):
        model = make_sae(alpha=trial.suggest_float("alpha", 1e-6, 10.0))
        model.set_callbacks(Prune(trial, X_validation)).fit(X_train)
        return model.score(X_validation)

    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.ThresholdPruner(lower=0.05, n_warmup_steps=5),
        sampler=optuna.samplers.GridSampler({"alpha": [1e-4, 10.0]}),
    )
    study.optimize(objective, n_trials=2)
    trials = {trial.params["alpha"]: trial for trial in study.trials}
    assert trials[10.0].state.name == "PRUNED"
    assert len(trials[10.0].intermediate_values) == 6
    assert trials[1e-4].state.name == "COMPLETE"
    assert len(trials[1e-4].intermediate_values) == 8 + 1


def test_a_pruned_training_leaves_the_model_unfitted(optuna):
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=-1e9))
    model = make_sae().set_callbacks(Prune(study.ask(), X))
    with pytest.raises(optuna.TrialPruned):
        model.fit(X)
    assert not hasattr(model, "coefs_")
