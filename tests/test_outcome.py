"""What is said at the end of a fit: that it came to nothing, why, and whose fit it was."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from plans import plan_of as plan_for
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.metrics import dead_units
from sksae.model.loss_parts import LossParts
from sksae.model.tasks import TrainingResult
from sksae.model_selection import BatchedGridSearchCV
from sksae.training import outcome

DIGITS, LABELS = load_digits(return_X_y=True)
FEW, FEW_LABELS = DIGITS[:300], LABELS[:300]
IRIS = load_iris().data
WINE = StandardScaler().fit_transform(load_wine().data)


def make(n_components=20, **params):
    return SparseAutoencoderTransformer(n_components, **({"random_state": 0} | params))


def said(fit, *args, **kwargs):
    """Return kind and text of all warnings that a fit gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args, **kwargs)
    return [(each.category, str(each.message)) for each in caught]


def said_at_end(fit, *args, **kwargs):
    """Return the texts of the ConvergenceWarnings among them."""
    return [text for kind, text in said(fit, *args, **kwargs) if kind is ConvergenceWarning]


@pytest.fixture
def ends(monkeypatch):
    """What trainings of autoencoders came to, as it is judged."""
    seen = []

    def noting(trained, advice, scorer=outcome.no_use, **options):
        seen.append(trained)
        return scorer(trained, advice, **options)

    monkeypatch.setattr(outcome, "no_use", noting)
    return seen


# Fits that are useless.

NO_BETTER = r"no better than by their mean \(R\^2 of the training rows is -\d"


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("params", "texts"),
    [
        (
            {"learning_rate": 10.0},
            ["is above", "where training began", r"lower learning_rate=10 \('auto' is 0.02\)\.$"],
        ),
        (
            {"learning_rate": 1.0, "max_iter": 3},
            ["reached max_iter=3", NO_BETTER, "learning_rate=1 .*; or raise max_iter, or tol"],
        ),
        (
            {"alpha": 1.0},
            ["20 of 20 units are dead", "almost the same", r"lower alpha=1 \(None is 0.012\)\.$"],
        ),
        (
            {"sparsity": "l1", "beta": 10.0},
            ["20 of 20 units are dead", r"\(0 in all", r"lower beta=10 \(None is 0.12\)\.$"],
        ),
        (
            {"noise": "masking", "noise_level": 0.7, "sparsity": "l1"},
            [r"R\^2 of the training rows without noise is -", r"noise_level=0.7 \(by default 0.3"],
        ),
        (
            {"alpha": 1.0, "learning_rate": 0.5},
            [r"lower learning_rate=0.5 \('auto' is 0.02\), or lower alpha=1 \(None is 0.012\)"],
        ),
        # No parameter is larger than by default.
        (
            {"solver": "sgd", "max_iter": 1, "sparsity": "l1", "batch_size": 300},
            [NO_BETTER, r"raise max_iter \(1 now\)"],
        ),
        ({"scale_data": False, "output_activation": "sigmoid"}, ["use scale_data=True"]),
        ({"solver": "lbfgs", "alpha": 1.0}, ["20 of 20 units are dead", "lower alpha=1"]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_useless_fit_is_one_warning_with_advice(params, texts, dtype):
    (text,) = said_at_end(make(**params).fit, FEW.astype(dtype))
    assert text.startswith("SparseAutoencoderTransformer: ")
    for each in texts:
        assert re.search(each, text), text


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "params",
    [{}, {"scale_data": False}, {"output_activation": "sigmoid"}, {"hidden_layer_sizes": (9,)}],
)
def test_the_r_squared_told_is_the_score(params, weighted, kind, ends):
    weight = np.arange(300) % 3.0 if weighted else None
    model = make(max_iter=3, batch_size=32, **params)
    said(model.fit, kind(FEW), sample_weight=weight)
    (end,) = ends
    score = model.score(FEW, sample_weight=weight)
    assert 1.0 - end.error / end.deviation == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize(
    ("X", "params"),
    [
        (IRIS, {"sparsity": "l1"}),
        (IRIS, {"sparsity": "l2"}),
        (FEW, {"alpha": 0.2}),
        (FEW, {"alpha": 2.0, "activation": "tanh"}),
    ],
)
def test_dead_units_told_are_those_of_the_metric(X, params):
    model = make(100, **params)
    weight = (np.arange(len(X)) % 4 > 0).astype(float)
    texts = said_at_end(model.fit, X, sample_weight=weight)
    dead = dead_units(model.transform(X[weight > 0.0]))
    assert dead.any()
    assert f"{dead.sum()} of 100 units are dead" in texts[-1]


@pytest.mark.parametrize(("n_dead", "is_said"), [(0, False), (2, False), (3, True)])
def test_one_in_a_hundred_units_may_be_dead(n_dead, is_said):
    highest = np.ones(200)
    highest[:n_dead] = 0.0
    end = TrainingResult(np.empty(0), lowest=np.zeros(200), highest=highest)
    assert (outcome.dead_units(end, "do this") is not None) == is_said


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"sparsity": "l1", "solver": "sgd"},
        {"sparsity": "l2", "tied_weights": True},
        {"hidden_layer_sizes": (9,), "beta": "auto"},
        {"output_activation": "tanh"},
    ],
)
def test_the_start_is_measured_as_the_end(params, weighted, ends):
    """At a rate of next to nothing training ends where it began."""
    weight = np.arange(300) % 3.0 if weighted else None
    model = make(learning_rate=1e-20, max_iter=2, **params)
    said(model.fit, FEW, sample_weight=weight)
    (end,) = ends
    assert end.loss_at_start == pytest.approx(model.loss_, rel=1e-6)


def test_the_start_of_a_fit_that_goes_on_is_where_it_stood(ends):
    model = make(5, max_iter=20, warm_start=True, tol=0.0).fit(FEW)
    before = model.loss_
    said(model.set_params(learning_rate=10.0).fit, FEW)
    assert ends[1].loss_at_start == pytest.approx(before, rel=1e-5)
    # The first steps lead up a little, as long as they are.
    model = make(max_iter=200, warm_start=True, solver="lbfgs", sparsity=None).fit(FEW)
    settled = model.loss_
    model.set_params(solver="adam", max_iter=1)
    assert not [text for text in said_at_end(model.fit, FEW) if "began" in text]
    assert ends[-1].loss > 1.1 * settled
    # So good a fit need not be held against it, which would take another pass over the rows.
    assert ends[-1].loss_at_start is None
    # But not so far that most is lost.
    model.set_params(max_iter=5, learning_rate=10.0)
    (text,) = said_at_end(model.fit, FEW)
    assert re.search("where training began|no better than", text)


def test_networks_side_by_side_are_told_apart():
    from sksae.training.fit import train_plans

    common = {"max_iter": 10, "dtype": "float64"}
    models = [make(**common), make(learning_rate=0.1, alpha=0.5, **common)]
    plans = [plan_for(model, FEW, None) for model in models]
    for plan, ours in zip(plans, train_plans(plans, FEW, None), strict=True):
        (alone,) = train_plans([plan], FEW, None)
        for name in ("error", "deviation", "loss_at_start", "lowest", "highest"):
            expected = getattr(alone, name)
            if expected is None:
                continue  # known to make no difference, which the other network may not allow
            np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-6)


# Fits of which nothing is to be said.


@pytest.mark.parametrize(
    ("X", "params"),
    [
        (FEW, {}),
        pytest.param(FEW, {"activation": "tanh"}, marks=pytest.mark.slow),
        (FEW, {"solver": "lbfgs"}),
        (FEW, {"early_stopping": True}),
        (FEW, {"noise": "gaussian"}),
        pytest.param(FEW, {"dtype": "float64"}, marks=pytest.mark.slow),
        pytest.param(sp.csr_array(FEW), {}, marks=pytest.mark.slow),
        (FEW, {"sparsity": "l1", "beta": "auto"}),
        pytest.param(WINE, {}, marks=pytest.mark.slow),
        (WINE, {"solver": "sgd"}),
        (IRIS, {}),
        (load_diabetes().data, {}),
        pytest.param(FEW / 16.0, {"scale_data": False, "max_iter": 1000}, marks=pytest.mark.slow),
        (np.eye(12)[np.arange(100) % 12], {}),
    ],
)
def test_a_good_fit_is_silent(X, params):
    assert said(make(40, **params).fit, X) == []


@pytest.mark.each_once
@pytest.mark.parametrize("max_iter", [1, 3, 200])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    "X",
    [
        np.full((30, 3), 0.1),
        np.full((30, 3), 0.1, dtype=np.float32),
        sp.csr_array((30, 3)),
        FEW[:1],
        FEW[:1] * 1e6,
        np.full((30, 3), 1e6) + 1e-10 * (np.arange(90.0) % 2).reshape(30, 3),
    ],
)
def test_rows_that_are_alike_leave_nothing_to_be_said(X, solver, max_iter):
    assert said(make(solver=solver, max_iter=max_iter).fit, X) == []


def test_a_row_with_weight_is_alone_among_those_without():
    weight = np.zeros(300)
    weight[7] = 2.0
    assert said(make(max_iter=2).fit, FEW, sample_weight=weight) == []


def test_a_piece_of_a_stream_is_not_judged():
    assert said(make(learning_rate=1.0).partial_fit, FEW) == []


def test_a_fit_that_the_user_ends_is_not_judged():
    class Interrupting:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "epoch" and context.task_id == 2:
                raise KeyboardInterrupt

        def on_fit_task_end(self, estimator, context): ...

    model = make(learning_rate=10.0).set_callbacks(Interrupting())
    texts = [text for _, text in said(model.fit, FEW)]
    assert texts == ["SparseAutoencoderTransformer: Training interrupted by user."]


@pytest.mark.parametrize("params", [{"early_stopping": True}, {"noise": "gaussian"}])
def test_a_loss_that_training_does_not_go_by_is_not_held_against_it(params, ends):
    make(**params).fit(FEW)
    assert ends[0].loss_at_start is None


# Advice that fits the case.


def plan_of(**params):
    return plan_for(make(**params), FEW, None)


def end_of(plan, loss_curve=(), **values):
    losses = [LossParts(each, each, 0.0, 0.0) for each in loss_curve]
    values = {"stopped_by": "max_iter"} | values
    return TrainingResult(plan.start, beta=1.0, losses=losses, **values)


@pytest.mark.parametrize(
    ("params", "activity", "fits", "does_not"),
    [
        ({"sparsity": "l1"}, 0.5, "raise max_iter, rho or n_components", "relu"),
        ({"sparsity": "l1", "activation": "prelu"}, 0.5, "activation='relu' and", "learning rate"),
        ({"sparsity": "l2"}, 0.5, "sparsity='l1'", "learning rate"),
        ({"sparsity": "l1"}, 0.01, "learning rate, at which units may die", "relu"),
        ({"sparsity": "l1", "solver": "lbfgs"}, 0.01, "raise max_iter, or lower rho", "rate"),
        ({"sparsity": "kl"}, 0.01, "raise max_iter, or lower rho", "die"),
        ({"sparsity": "kl"}, 0.5, "raise max_iter, rho or n_components", "sparsity="),
    ],
)
def test_advice_on_a_missed_rho(params, activity, fits, does_not):
    plan = plan_of(beta="auto", **params)
    found = outcome.missed_rho(end_of(plan, activity=activity), plan)
    assert fits in found.advice
    assert does_not not in found.advice


@pytest.mark.parametrize(
    ("params", "fits", "does_not"),
    [
        ({"sparsity": "l1"}, "use beta='auto', or lower beta (1 now)", "learning_rate"),
        ({"sparsity": "l1", "beta": "auto"}, "raise rho", "'auto'"),
        ({"sparsity": "l2"}, "lower beta (1 now), or lower learning_rate (0.02 now)", "'auto'"),
        ({"sparsity": "l2", "solver": "lbfgs"}, "lower beta (1 now)", "learning_rate"),
        ({"sparsity": None}, "activation='prelu'", "beta"),
        ({}, "lower alpha (0.012 now), or raise rho (0.05 now)", "learning_rate"),
        ({"sparsity": None, "activation": "tanh"}, "lower alpha (0.001 now)", "rho"),
        ({"hidden_layer_sizes": (9,)}, "lower learning_rate (0.02 now)", "beta"),
        ({"scale_data": False}, "use scale_data=True, or lower alpha", "beta"),
        ({"scale_data": False, "output_activation": "relu"}, "lower alpha", "scale_data"),
    ],
)
def test_advice_where_nothing_is_raised(params, fits, does_not):
    plan = plan_of(**params)
    advice = outcome.advice_on(end_of(plan), plan, [])
    assert fits in advice
    assert does_not not in advice


@pytest.mark.parametrize(
    ("stopped_by", "curve", "advice"),
    [
        ("tol", [2.0, 2.0], "lower tol=1 (by default 0.001)."),
        ("max_iter", [2.0, 2.0], "raise max_iter (200 now)."),
        ("max_iter", [2.0, 1.0], "raise max_iter, or tol."),
    ],
)
def test_a_tolerance_is_to_blame_if_it_ended_training(stopped_by, curve, advice):
    plan = plan_of()
    raised = [outcome.Unusual("tol", 1.0, 1e-3, 1e-3)]
    end = end_of(plan, stopped_by=stopped_by, loss_curve=curve, error=37.0, deviation=36.0)
    end = replace(end, lowest=np.zeros(20), highest=np.ones(20))
    (text,) = said_at_end(outcome.warn_of_end, end, plan, raised, n_rows=300)
    assert text.endswith(f": {advice}")


def test_units_that_died_are_told_with_the_rho_they_miss():
    plan = plan_of(sparsity="l1", beta="auto")
    end = end_of(plan, activity=0.01, loss=1.0, loss_curve=[1.0], error=1.0, deviation=36.0)
    end = replace(end, lowest=np.zeros(20), highest=np.repeat([0.0, 1.0], 10), stopped_by="tol")
    (text,) = said_at_end(outcome.warn_of_end, end, plan, [], n_rows=300)
    assert re.search("beta='auto' ended .* off rho=.*, and 10 of 20 units are dead", text)
    assert text.count("raise") == 1
    # A few rows tell nothing of a unit.
    (text,) = said_at_end(outcome.warn_of_end, end, plan, [], n_rows=9)
    assert "dead" not in text


# Whose fit it was.

LR = r"loss_=\S+ is above \S+, where training began"


def test_members_of_a_stack_are_told_by_name():
    stack = StackedSparseAutoencoder(
        [("low", make(learning_rate=10.0)), ("top", make(10, alpha=2.0))],
        max_iter=3,
        random_state=0,
    )
    low, top, *_ = [text for _, text in said(stack.fit, FEW)]
    assert re.match("StackedSparseAutoencoder, member 'low': ", low)
    assert re.match("StackedSparseAutoencoder, member 'top': .*\\d+ of 10 units are dead", top)


def test_fine_tuning_is_told_in_the_name_of_the_stack():
    members = [make(tol=0.05), make(10, tol=0.05)]
    stack = StackedSparseAutoencoder(members, learning_rate=3.0, max_iter=30, random_state=0)
    text = said_at_end(stack.fit, FEW)[-1]
    assert re.match(f"StackedSparseAutoencoder: .*({LR}|{NO_BETTER}).*learning_rate", text)
    stack = StackedSparseAutoencoder(members, max_iter=3, random_state=0)
    (text,) = said_at_end(stack.fit, FEW)
    assert text == (
        "StackedSparseAutoencoder: training reached max_iter=3 and the loss has not "
        "converged yet: raise max_iter, or tol."
    )


@pytest.mark.parametrize("kind", [SparseAutoencoderClassifier, SparseAutoencoderRegressor])
def test_members_and_fine_tuning_of_a_supervised_stack(kind):
    model = kind([make(alpha=2.0, rho=0.1, sparsity="l1", max_iter=5)], max_iter=3, random_state=0)
    texts = said(model.fit, FEW, FEW_LABELS)
    name = kind.__name__
    assert {text.split(": ")[0] for _, text in texts} == {name, f"{name}, member 'sae0'"}
    assert (
        f"{name}, member 'sae0': rho=0.1 has no effect with sparsity='l1'."
        in dict(texts)[UserWarning]
    )
    # What is fine-tuned for a task is not judged by how it reconstructs.
    assert not [text for _, text in texts if text.startswith(f"{name}: ") and "R^2" in text]


def test_warnings_of_one_member_can_be_silenced():
    stack = StackedSparseAutoencoder(
        [make(alpha=2.0), make(10, alpha=2.0)], finetune=False, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", message="StackedSparseAutoencoder, member 'sae0'")
        stack.fit(FEW)
    assert caught
    assert all("member 'sae1'" in str(each.message) for each in caught)


def test_a_fit_within_a_fit_speaks_for_itself():
    class Fitting:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "fit-sae0":
                make(alpha=2.0).fit(FEW)

        def on_fit_task_end(self, estimator, context): ...

    stack = StackedSparseAutoencoder([make(tol=0.05)], finetune=False, random_state=0)
    texts = [text for _, text in said(stack.set_callbacks(Fitting()).fit, FEW)]
    assert len(texts) == 1
    assert texts[0].startswith("SparseAutoencoderTransformer: ")
    # And what is said outside of any fit in nobody's name.
    (text,) = [text for _, text in said(make(tol=0.05).fit(FEW).score, FEW[:1])]
    assert text.startswith("R^2 is not well-defined")


def test_a_search_with_networks_side_by_side_says_the_same():
    grid = {"alpha": [1e-2, 2.0], "learning_rate": [0.02, 1.0]}
    X = FEW.copy()
    X[:, 20] *= 1e4
    texts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        found = said(search(make(5, max_iter=20), grid, cv=2).fit, X)
        texts.append(sorted(re.sub(r"\d\S*", "#", text) for _, text in found))
    assert texts[1] == texts[0]
    assert any("column # of X holds" in text for text in texts[0])
    assert any("units are dead" in text for text in texts[0])


# Fine-tuning for a target.


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(SparseAutoencoderClassifier([30], random_state=0), marks=pytest.mark.slow),
        SparseAutoencoderClassifier(random_state=0),
    ],
    ids=str,
)
def test_a_good_classifier_is_silent(model):
    assert said(model.fit, FEW, FEW_LABELS) == []
    assert model.score(FEW, FEW_LABELS) == 1.0


def test_a_loss_of_labels_that_still_falls_is_told():
    # A short training at a constant rate: far from done.
    given = {"learning_rate_schedule": "constant", "max_iter": 5, "random_state": 0}
    (text,) = said_at_end(SparseAutoencoderClassifier([30], **given).fit, FEW, FEW_LABELS)
    assert text.startswith("SparseAutoencoderClassifier: training reached max_iter=5")


@pytest.mark.parametrize(
    ("model_class", "target"),
    [(SparseAutoencoderClassifier, FEW_LABELS), (SparseAutoencoderRegressor, FEW[:, 20])],
)
def test_fine_tuning_that_only_did_harm_is_told(model_class, target):
    given = {"learning_rate": 30.0, "max_iter": 10, "random_state": 0}
    texts = said_at_end(model_class([make(max_iter=20, tol=0.05)], **given).fit, FEW, target)
    pattern = (
        rf"{model_class.__name__}: .*loss_=\S+ is above \S+, where training began: "
        r"lower learning_rate \(30 now\)"
    )
    assert any(re.search(pattern, text) for text in texts), texts
    # What is shown otherwise than it is judged, or judged by others, need not lower J.
    for other in ({"dropout": 0.2}, {"noise": "gaussian"}, {"early_stopping": True}):
        texts = said_at_end(
            model_class([make(max_iter=20, tol=0.05)], **given, **other).fit, FEW, target
        )
        assert not any("where training began" in text for text in texts)


def test_noise_that_hides_a_target_is_told():
    given = {"noise": "masking", "noise_level": 0.8, "random_state": 0}
    model = SparseAutoencoderRegressor([make(max_iter=40)], **given)
    texts = said_at_end(model.fit, FEW, FEW_LABELS)
    assert model.score(FEW, FEW_LABELS) < 0.0
    assert any("no better than by their mean" in t and "lower noise_level" in t for t in texts)


@pytest.mark.parametrize("target", [np.arange(50.0), np.arange(50) % 2], ids=["numbers", "labels"])
def test_rows_that_tell_nothing_are_no_fault_of_the_rate(target):
    model_class = SparseAutoencoderClassifier if target.max() == 1 else SparseAutoencoderRegressor
    texts = said_at_end(model_class(random_state=0).fit, np.ones((50, 4)), target)
    assert not any("where training began" in text for text in texts)


def test_units_that_die_in_fine_tuning_are_counted():
    stack = StackedSparseAutoencoder([make(16)], alpha=10.0, max_iter=1000, random_state=0)
    (text,) = said_at_end(stack.fit, FEW)
    assert text.startswith("StackedSparseAutoencoder: ")
    assert re.search(r"16 of 16 units are dead .*lower alpha \(10 now\)", text)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_rate_far_too_small_is_named(solver):
    model = make(64, learning_rate=1e-7, solver=solver, max_iter=20)
    (text,) = said_at_end(model.fit, DIGITS[:600])
    assert "raise learning_rate=1e-07" in text


@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
def test_rows_too_small_for_unscaled_training_are_named_whatever_ended_it(output_activation):
    given = {"scale_data": False, "output_activation": output_activation, "max_iter": 10}
    texts = said_at_end(make(**given).fit, FEW / 1e4)
    assert "use scale_data=True" in texts[0]


@pytest.mark.parametrize(
    ("model", "rows", "target"),
    [
        (SparseAutoencoderClassifier(random_state=0), IRIS, load_iris().target),
        (SparseAutoencoderClassifier(random_state=0), WINE, load_wine().target),
        (SparseAutoencoderRegressor(random_state=0), *load_diabetes(return_X_y=True)),
    ],
    ids=["iris", "wine", "diabetes"],
)
def test_good_fits_for_a_target_are_silent(model, rows, target):
    assert said(model.fit, rows, target) == []
