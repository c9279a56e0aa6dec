"""Ctrl-C: what was learnt is kept where the user called fit, and given up where others did."""

import signal
import warnings
from functools import partial

import joblib
import numpy as np
import pytest
from registered import COUNTED, TRAININGS, each_penalised
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, learning_curve
from sklearn.pipeline import FeatureUnion, make_pipeline

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.engine.exact.evaluation import ExactEvaluation
from sksae.engine.full_batch import FullObjective
from sksae.engine.history import History
from sksae.engine.minibatch_training import MinibatchTraining
from sksae.model_selection import BatchedGridSearchCV
from sksae.process import interrupts
from sksae.training import finetuning, fit, outcome

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("default_interrupts"),
]

rng = np.random.default_rng(0)
X = rng.random((60, 6))
y = (X[:, 0] > 0.5).astype(int)
SHORT = {"batch_size": 10, "tol": 0.0, "random_state": 0}
# Epochs of the last training of each fit, and of those before.
LAST, BEFORE = 7, 3

each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def sae(**params):
    return SparseAutoencoderTransformer(4, **(SHORT | params))


def on_top(kind, **params):
    return kind([sae(max_iter=BEFORE)], **SHORT, max_iter=LAST, **params)


KINDS = {
    "transformer": partial(sae, max_iter=LAST),
    "stack": partial(on_top, StackedSparseAutoencoder),
    "classifier": partial(on_top, SparseAutoencoderClassifier),
    "regressor": partial(on_top, SparseAutoencoderRegressor),
}
each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def press(monkeypatch):
    """Press Ctrl-C at the end of the second epoch of every training of LAST epochs.

    Where it was pressed is noted in the list that is returned.
    """
    verdict, noted = History.verdict, []

    def interrupted(self, *args, **kwargs):
        result = verdict(self, *args, **kwargs)
        if self._describe.__self__.max_iter == LAST and len(self._run.losses) == 2:
            noted.append("verdict")
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(History, "verdict", interrupted)
    return noted


@pytest.fixture
def press_again(monkeypatch, press):
    """Return a function that has Ctrl-C pressed in a method too, once it has been pressed before.

    At each of its calls, before it works.
    """

    def prepare(owner, name):
        method = getattr(owner, name)

        def interrupted(*args, **kwargs):
            if press:
                press.append(name)
                signal.raise_signal(signal.SIGINT)
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, interrupted)
        monkeypatch.setattr(interrupts, "SAME_PRESS", 0.0)
        return press

    return prepare


class Subclass(SparseAutoencoderTransformer):
    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, y, sample_weight)


class Composed(TransformerMixin, BaseEstimator):
    """Somebody's estimator with an autoencoder in it."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, X, y=None):
        self.inner_ = self.inner.fit(X, y)
        return self


# Who called.


@pytest.mark.each_once
@each_kind
@each_solver
def test_what_was_learnt_is_kept_for_the_user(kind, solver, press):
    model = KINDS[kind](solver=solver)
    with pytest.warns(UserWarning, match="Training interrupted by user.$") as record:
        model.fit(X, y)
    assert [each.category for each in record].count(UserWarning) == 1
    assert model.n_iter_ == 2
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.score(X, y))


def helper(model):
    return [model.fit(X)][0]


@pytest.mark.parametrize(
    "call",
    [
        helper,
        lambda model: model.fit_transform(X),
        lambda model: model.set_output(transform="default").fit_transform(X),
        lambda model: Subclass(**model.get_params()).fit(X),
        lambda model: warnings.catch_warnings() and model.fit(X),
        lambda model: list(map(model.fit, [X])),
    ],
)
def test_functions_and_subclasses_of_the_users_are_the_user(call, press):
    with pytest.warns(UserWarning, match="interrupted"):
        call(KINDS["transformer"]())


def run(function, *args):
    return function(*args)


OTHERS = {
    "pipeline": lambda model: make_pipeline(model, LogisticRegression()).fit(X, y),
    "last step": lambda model: make_pipeline("passthrough", model).fit(X, y),
    "union": lambda model: FeatureUnion([("sae", model)]).fit(X),
    "columns": lambda model: ColumnTransformer([("sae", model, [0, 1, 2])]).fit(X),
    "somebody's": lambda model: Composed(model).fit(X, y),
    "joblib": lambda model: joblib.Parallel(1)(joblib.delayed(run)(model.fit, X, y) for _ in [0]),
    "memory": lambda model: joblib.Memory(None).cache(run)(model.fit, X, y),
}


@pytest.mark.each_once
@each_kind
@pytest.mark.parametrize("other", ["last step", "somebody's", "joblib"])
def test_others_are_given_the_interrupt(other, kind, press):
    model = KINDS[kind]()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*interrupted")
        with pytest.raises(KeyboardInterrupt):
            OTHERS[other](model)
    assert not hasattr(model, "n_iter_")
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("other", OTHERS)
@each_solver
def test_a_transformer_in_others_is_not_half_trained(other, solver, press):
    with pytest.raises(KeyboardInterrupt):
        OTHERS[other](KINDS["transformer"](solver=solver))


@each_kind
@pytest.mark.parametrize("search", [GridSearchCV, BatchedGridSearchCV])
def test_a_search_is_given_up(kind, search, press):
    found = search(KINDS[kind](), {"alpha": [1e-3]}, cv=2, n_jobs=1)
    with pytest.raises(KeyboardInterrupt):
        found.fit(X, y)
    assert not hasattr(found, "cv_results_")


def test_cross_validation_is_given_up(press):
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(KINDS["transformer"](), X, cv=2)


def test_a_transformed_target_is_given_up(press):
    with pytest.raises(KeyboardInterrupt):
        TransformedTargetRegressor(KINDS["regressor"]()).fit(X, y)


# Pressed again.


@pytest.mark.each_once
@each_kind
@each_solver
def test_a_second_interrupt_loses_nothing_but_the_evaluation(kind, solver, press_again):
    pressed = press_again(FullObjective, "evaluate")
    with pytest.warns(UserWarning, match="and so was the evaluation after it: loss_ is nan"):
        model = KINDS[kind](solver=solver).fit(X, y)
    assert pressed == ["verdict", "evaluate"]
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert np.isnan(model.loss_)
    assert np.isfinite(model.score(X, y))
    assert model.largest_activation_.shape == (4,)
    assert np.isnan(model.largest_activation_).all()
    assert np.isnan(model.row_sparsity_)
    if hasattr(model, "mean_activation_"):
        assert model.mean_activation_.shape == (4,)
        assert np.isnan([model.mean_activation_, model.active_share_]).all()


@each_solver
@each_penalised
def test_a_second_interrupt_where_beta_is_found(solver, sparsity, press_again):
    if (sparsity, solver) not in TRAININGS:
        return
    walk = ExactEvaluation if sparsity in COUNTED else FullObjective
    pressed = press_again(walk, "activity")
    params = {"beta": "auto", "sparsity": sparsity, "rho": 0.3, "solver": solver}
    with pytest.warns(UserWarning, match="interrupted"):
        model = KINDS["transformer"](**params).fit(X)
    assert pressed[:2] == ["verdict", "activity"] or solver == "lbfgs"
    assert model.beta_ > 0.0
    model.set_params(warm_start=True, max_iter=BEFORE)
    pressed.clear()
    assert model.fit(X).n_iter_ == 2 + BEFORE
    assert np.isfinite(model.loss_)


AT_THE_END = {
    "its layers are taken": (fit, "from_centred"),
    "layers of a whole are taken": (finetuning, "from_centred"),
    "it is said": (outcome, "warn_user"),
    "its beta is judged": (MinibatchTraining, "_end"),
}


@pytest.mark.each_once
@each_kind
@pytest.mark.parametrize("moment", AT_THE_END)
def test_interrupts_at_the_end_are_passed_over(kind, moment, press_again):
    press_again(*AT_THE_END[moment])
    with pytest.warns(UserWarning, match="interrupted"):
        model = KINDS[kind]().fit(X, y)
    assert model.n_iter_ == 2
    assert np.isfinite(model.score(X, y))


@pytest.mark.each_once
@each_kind
@each_minibatch_solver
def test_an_interrupt_of_the_evaluation_keeps_what_was_learnt(kind, solver, monkeypatch):
    verdict, evaluate, done = History.verdict, FullObjective.evaluate, []

    def noted(self, *args, **kwargs):
        result = verdict(self, *args, **kwargs)
        done.append(self._describe.__self__.max_iter == LAST == len(self._run.losses))
        return result

    def interrupted(self):
        if done[-1]:
            signal.raise_signal(signal.SIGINT)
        return evaluate(self)

    monkeypatch.setattr(History, "verdict", noted)
    monkeypatch.setattr(FullObjective, "evaluate", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model = KINDS[kind](solver=solver).fit(X, y)
    assert model.n_iter_ == LAST
    assert np.isnan(model.loss_)
    assert np.isfinite(model.score(X, y))
    with pytest.raises(KeyboardInterrupt):
        make_pipeline("passthrough", KINDS[kind](solver=solver)).fit(X, y)


@each_minibatch_solver
def test_a_press_heard_twice_is_one(solver, press, monkeypatch):
    # As of a parent in the same terminal that passes it on; however soon.
    def heard_again():
        signal.raise_signal(signal.SIGINT)
        return interrupts.is_kept()

    monkeypatch.setattr("sksae.engine.minibatch_training.is_kept", heard_again)
    with pytest.warns(UserWarning, match="Training interrupted by user.$"):
        model = KINDS["transformer"](solver=solver).fit(X)
    assert np.isfinite(model.loss_)


class FitsAnother:
    """A callback that fits a model, which is interrupted, and then is interrupted itself."""

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == 0:
            assert KINDS["transformer"]().fit(X).n_iter_ == 2
        if context.task_name == "epoch" and context.task_id == 1:
            signal.raise_signal(signal.SIGINT)


def test_after_a_fit_within_it_a_fit_can_be_interrupted(press):
    model = sae(max_iter=BEFORE).set_callbacks(FitsAnother())
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X)
    assert press == ["verdict"]
    assert model.n_iter_ == 2


def test_a_handler_of_the_users_is_left_in_place(press):
    def handler(number, frame):
        seen.append(number)
        raise KeyboardInterrupt

    seen = []
    signal.signal(signal.SIGINT, handler)
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            KINDS["transformer"]().fit(X)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert seen == [signal.SIGINT]


# Passes over pieces.


@pytest.fixture
def press_in_pass(monkeypatch):
    """Return a function that has Ctrl-C pressed as often as batches have been trained on."""

    def prepare(n_steps):
        step = MinibatchTraining._step

        def interrupted(self):
            if self._config.is_one_pass and self._running[0].state.n_steps == n_steps:
                signal.raise_signal(signal.SIGINT)
            step(self)

        monkeypatch.setattr(MinibatchTraining, "_step", interrupted)

    return prepare


PIECEWISE = {kind: KINDS[kind] for kind in ("transformer", "classifier", "regressor")}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("kind", PIECEWISE)
def test_a_pass_that_was_cut_short_counts(kind, before, press_in_pass, monkeypatch):
    model = PIECEWISE[kind]()
    if before:
        model.partial_fit(X, y)
    n_iter, n_steps = (model.n_iter_, model.n_steps_) if before else (0, 0)
    with monkeypatch.context():
        press_in_pass(2)
        with pytest.warns(UserWarning, match="interrupted"):
            model.partial_fit(X, y)
        monkeypatch.undo()
    assert model.n_iter_ == len(model.loss_curve_) == n_iter + 1
    assert model.n_steps_ == n_steps + 2
    assert model.loss_curve_[-1] == model.loss_
    assert np.isfinite(model.score(X, y))
    model.partial_fit(X, y)
    assert (model.n_iter_, model.n_steps_) == (n_iter + 2, n_steps + 8)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("kind", PIECEWISE)
def test_a_pass_without_a_step_is_as_if_never_begun(kind, before, press_in_pass):
    model = PIECEWISE[kind]()
    if before:
        model.partial_fit(X, y)
    seen = {name: value for name, value in vars(model).items() if name.endswith("_")}
    press_in_pass(0)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)
    assert {name for name in vars(model) if name.endswith("_")} == set(seen)
    assert all(vars(model)[name] is value for name, value in seen.items())


def test_passes_for_others_are_given_up(press_in_pass):
    press_in_pass(1)
    with pytest.raises(KeyboardInterrupt):
        learning_curve(
            KINDS["classifier"](), X, y, cv=2, train_sizes=[0.5], exploit_incremental_learning=True
        )
