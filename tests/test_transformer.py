"""What scikit-learn expects around the mathematics: attributes, stopping, routing, search."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import sklearn
from registered import each_training, rho_of
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sksae import SparseAutoencoderTransformer

SOLVERS = ("adam", "sgd", "lbfgs")
each_solver = pytest.mark.parametrize("solver", SOLVERS)

unfinished = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((60, 3)) @ rng.random((3, 8)) + 0.1 * rng.random((60, 8))


def make(n_components=5, **params):
    given = {"random_state": 0} | params
    given.setdefault("rho", rho_of(given.get("sparsity", "kl"), 0.05))
    return SparseAutoencoderTransformer(n_components, **given)


# Attributes.


@pytest.mark.parametrize("scale_data", [True, False])
@unfinished
def test_components_are_the_last_weights_in_the_units_of_x(X, scale_data):
    model = make(scale_data=scale_data, max_iter=5).fit(X)
    assert model.components_.shape == (5, 8)
    np.testing.assert_allclose(model.components_, model.coefs_[-1] * model.scale_, rtol=1e-6)
    codes = model.transform(X)
    base = model.inverse_transform(np.zeros_like(codes))
    np.testing.assert_allclose(
        model.inverse_transform(codes), base + codes @ model.components_, rtol=1e-5
    )


@unfinished
def test_components_do_not_exist_with_hidden_layers_and_the_error_says_why(X):
    model = make(hidden_layer_sizes=(6,), max_iter=3).fit(X)
    assert not hasattr(model, "components_")
    with pytest.raises(AttributeError, match=r"hidden layers.*not linear"):
        _ = model.components_


def test_components_do_not_exist_before_fit():
    assert not hasattr(make(), "components_")


@pytest.mark.parametrize(
    ("hidden_layer_sizes", "shapes"),
    [
        ((), [(8, 5), (5, 8)]),
        (6, [(8, 6), (6, 5), (5, 6), (6, 8)]),
        ([7, 6], [(8, 7), (7, 6), (6, 5), (5, 6), (6, 7), (7, 8)]),
    ],
)
@unfinished
def test_coefs_lead_from_input_to_output(X, hidden_layer_sizes, shapes):
    model = make(hidden_layer_sizes=hidden_layer_sizes, max_iter=3).fit(X)
    assert [coef.shape for coef in model.coefs_] == shapes
    assert [intercept.shape for intercept in model.intercepts_] == [shape[1:] for shape in shapes]
    assert model.transform(X).shape == (60, 5)


@unfinished
def test_slopes_belong_to_prelu_layers_and_are_learned(X):
    model = make(
        sparsity="l1", beta=0.01, activation="prelu", output_activation="prelu", max_iter=20
    ).fit(X)
    assert [slope.shape for slope in model.slopes_] == [(5,), (8,)]
    assert not np.any(model.slopes_[0] == 0.25)
    assert make(max_iter=2).fit(X).slopes_ == [None, None]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_solver
@unfinished
def test_dtype_is_that_of_the_weights(X, dtype, solver):
    model = make(dtype=dtype, solver=solver, max_iter=3).fit(X.astype(np.float32))
    assert {array.dtype for array in (*model.coefs_, *model.intercepts_)} == {np.dtype(dtype)}


@unfinished
def test_without_scaling_mean_and_scale_do_nothing(X):
    model = make(scale_data=False, max_iter=2).fit(X)
    np.testing.assert_array_equal(model.mean_, np.zeros(8))
    assert model.scale_ == 1.0
    assert isinstance(model.scale_, float)


@pytest.mark.parametrize(("batch_size", "n_batches"), [("auto", 4), (60, 1), (59, 2), (7, 9)])
@unfinished
def test_epochs_and_steps_are_counted(X, batch_size, n_batches):
    model = make(batch_size=batch_size, max_iter=4).fit(X)
    assert model.n_iter_ == 4
    assert model.n_steps_ == 4 * n_batches
    assert len(model.loss_curve_) == 4
    assert model.validation_score_curve_ is None


@unfinished
def test_iterations_of_lbfgs_are_counted(X):
    model = make(solver="lbfgs", max_iter=7).fit(X)
    assert model.n_iter_ == model.n_steps_ == len(model.loss_curve_) == 7
    assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-5)
    assert np.all(np.diff(model.loss_curve_) < 0)


# Solvers and schedules.


@each_training
@unfinished
def test_every_solver_lowers_the_loss_of_every_sparsity(X, solver, sparsity):
    params = {"beta": 0.1} if sparsity in ("l1", "l2") else {}
    model = make(sparsity=sparsity, solver=solver, max_iter=40, **params).fit(X)
    assert model.loss_ < 0.9 * model.loss_curve_[0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("solver", SOLVERS),
        ("sparsity", ("kl", "l1", "l2", None)),
        ("rho", (0.05, 0.2, 3)),
        ("beta", (3.0, 1.0)),
        ("alpha", (1e-4, 0.1)),
        ("activation", ("sigmoid", "tanh")),
        ("output_activation", ("identity", "sigmoid", "tanh", "prelu")),
        ("hidden_layer_sizes", ((), (6,), (6, 6))),
        ("scale_data", (True, False)),
        ("learning_rate", ("auto", 0.1)),
        ("learning_rate_schedule", ("linear", "constant")),
        ("batch_size", ("auto", 20)),
        ("max_iter", (5, 6)),
        ("dtype", ("float32", "float64")),
        ("random_state", (0, 1)),
    ],
)
@unfinished
def test_no_parameter_does_nothing(X, name, values):
    losses = [make(**({"max_iter": 5} | {name: value})).fit(X).loss_ for value in values]
    assert len(set(losses)) == len(values)


@pytest.mark.parametrize(
    ("params", "name", "values"),
    [
        ({"solver": "sgd"}, "momentum", (0.9, 0.0)),
        ({"hidden_layer_sizes": (6,)}, "hidden_activation", ("relu", "tanh", "prelu", "identity")),
        ({"batch_size": 20}, "shuffle", (True, False)),
        ({"early_stopping": True}, "validation_fraction", (0.1, 0.5)),
        ({"sparsity": None}, "activation", ("sigmoid", "tanh", "relu", "prelu", "identity")),
    ],
)
@unfinished
def test_no_parameter_does_nothing_beside_its_partner(X, params, name, values):
    losses = [make(**({"max_iter": 5} | params | {name: value})).fit(X).loss_ for value in values]
    assert len(set(losses)) == len(values)


@unfinished
def test_auto_activation_is_sigmoid_for_kl_and_relu_otherwise(X):
    for sparsity, activation in (("kl", "sigmoid"), ("l1", "relu"), ("l2", "relu"), (None, "relu")):
        auto, named = (
            make(sparsity=sparsity, activation=name, max_iter=3).fit(X)
            for name in ("auto", activation)
        )
        np.testing.assert_array_equal(auto.transform(X), named.transform(X))


# When training ends.


@pytest.mark.parametrize("n_iter_no_change", [1, 4])
@each_solver
@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_training_ends_when_the_loss_stops_falling_by_tol(X, solver, n_iter_no_change, schedule):
    # The first epoch cannot but set the mark; none after it falls by 99 %.
    params = {"solver": solver, "tol": 0.99, "n_iter_no_change": n_iter_no_change}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(**params, max_iter=100, learning_rate_schedule=schedule).fit(X)
    # A falling rate falls to zero first, in as many epochs as were waited for.
    cools = solver != "lbfgs" and schedule == "linear"
    assert model.n_iter_ == 1 + n_iter_no_change * (2 if cools else 1)


def test_more_epochs_allowed_do_not_make_a_model_worse():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 5)) @ rng.normal(size=(5, 10))
    losses = [
        make(n_components=30, batch_size=64, tol=1e-3, max_iter=max_iter).fit(X)
        for max_iter in (60, 1000)
    ]
    assert losses[1].n_iter_ < 500
    assert losses[1].loss_ <= 1.02 * losses[0].loss_


@unfinished
def test_without_tol_all_epochs_are_made(X):
    model = make(tol=0.0, n_iter_no_change=300, max_iter=150).fit(X)
    assert model.n_iter_ == 150


@pytest.mark.parametrize(
    ("params", "warned"),
    [
        ({"max_iter": 12, "n_iter_no_change": 5}, True),
        ({"max_iter": 12, "n_iter_no_change": 50, "tol": 0.9}, False),
        ({"max_iter": 12, "n_iter_no_change": 50, "tol": 0.9, "solver": "sgd"}, False),
        (
            {
                "max_iter": 12,
                "n_iter_no_change": 50,
                "tol": 0.9,
                "learning_rate_schedule": "constant",
            },
            True,
        ),
        ({"max_iter": 12, "solver": "lbfgs"}, True),
        ({"max_iter": 12, "n_iter_no_change": 50, "tol": 0.9, "solver": "lbfgs"}, True),
    ],
    ids=[
        "linear, still falling",
        "linear, no longer falling",
        "linear sgd, no longer falling",
        "constant",
        "lbfgs",
        "lbfgs, no longer falling",
    ],
)
def test_convergence_warning(X, params, warned):
    expected = pytest.warns(ConvergenceWarning, match="max_iter") if warned else nullcontext()
    with warnings.catch_warnings():
        if not warned:
            warnings.simplefilter("error")
        with expected:
            model = make(**params).fit(X)
    assert model.n_iter_ == 12


def test_a_linear_schedule_that_has_ended_where_it_should_gives_no_warning():
    X = load_digits().data[:300]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(16, max_iter=150).fit(X)


@pytest.mark.parametrize("method", ["fit", "fit_transform", "partial_fit"])
@unfinished
def test_warnings_point_at_the_line_that_called(X, method):
    model = make(sparsity=None, rho=0.2, max_iter=2, learning_rate_schedule="constant")
    with pytest.warns(UserWarning, match="no effect") as record:
        getattr(model, method)(X)
    assert {warning.filename for warning in record} == {__file__}


# Early stopping.


@pytest.fixture
def held_out(monkeypatch):
    """Fix the split: the last 20 of 60 rows are held out."""
    index = np.arange(60)
    monkeypatch.setattr("sksae.training.plan.split_rows", lambda *args: (index[:40], index[40:]))
    return index[40:]


@pytest.mark.parametrize("learning_rate_schedule", ["linear", "constant"])
@each_solver
@unfinished
def test_early_stopping_restores_the_weights_that_did_best(
    X, held_out, solver, learning_rate_schedule
):
    # Large noisy steps, just not too large for rows of this size, and more units than they feed.
    X = 0.4 / 3 * (X - X[:40].mean(axis=0)) / np.sqrt(X[:40].var(axis=0).mean())
    model = make(
        30,
        scale_data=False,
        sparsity=None,
        solver=solver,
        learning_rate={"adam": 0.3, "sgd": 0.5, "lbfgs": "auto"}[solver],
        learning_rate_schedule=learning_rate_schedule,
        batch_size=4,
        max_iter=60,
        early_stopping=True,
        tol=0.0,
        n_iter_no_change=60,
        dtype="float64",
    ).fit(X)
    curve = model.validation_score_curve_
    assert len(curve) == model.n_iter_
    assert model.score(X[held_out]) == pytest.approx(max(curve), abs=1e-10)
    if solver != "lbfgs" and learning_rate_schedule == "constant":
        assert curve[-1] < max(curve)


@each_solver
@unfinished
def test_held_out_rows_take_no_part_in_training(X, held_out, solver):
    model = make(early_stopping=True, solver=solver, max_iter=4).fit(X)
    other = X.copy()
    other[held_out] += 5.0
    again = clone(model).fit(other)
    np.testing.assert_allclose(model.mean_, X[:40].mean(axis=0))
    assert model.loss_curve_ == again.loss_curve_
    assert model.validation_score_curve_ != again.validation_score_curve_


@each_solver
def test_early_stopping_ends_when_the_score_stops_rising_by_tol(X, solver):
    model = make(solver=solver, early_stopping=True, tol=10.0, n_iter_no_change=3, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(X).n_iter_ == (4 if solver == "lbfgs" else 7)


@unfinished
def test_early_stopping_holds_out_the_share_asked_for(X, monkeypatch):
    import sksae.training.plan

    splits, split_rows = [], sksae.training.plan.split_rows
    monkeypatch.setattr(
        sksae.training.plan,
        "split_rows",
        lambda *args: splits.append(split_rows(*args)) or splits[-1],
    )
    weight = np.r_[np.zeros(20), np.ones(40)]
    make(early_stopping=True, validation_fraction=0.25, max_iter=2).fit(X, sample_weight=weight)
    ((kept, held_out),) = splits
    assert len(held_out) == 10
    assert sorted([*kept, *held_out]) == list(range(20, 60))


@unfinished
def test_early_stopping_weighs_held_out_rows(X, held_out):
    weight = np.random.default_rng(0).integers(0, 4, 60).astype(float)
    model = make(early_stopping=True, max_iter=6, dtype="float64").fit(X, sample_weight=weight)
    score = model.score(X[held_out], sample_weight=weight[held_out])
    assert score == pytest.approx(max(model.validation_score_curve_), abs=1e-10)


# Names, frames, clones.


@unfinished
def test_feature_names_out_carry_the_class_name(X):
    names = make(3, max_iter=2).fit(X).get_feature_names_out()
    assert names.tolist() == [f"sparseautoencodertransformer{k}" for k in range(3)]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@unfinished
def test_set_output_gives_frames(X, library):
    frames = pytest.importorskip(library)
    model = make(3, max_iter=2).set_output(transform=library)
    codes = model.fit_transform(X)
    assert isinstance(codes, frames.DataFrame)
    assert list(codes.columns) == model.get_feature_names_out().tolist()
    np.testing.assert_array_equal(codes.to_numpy(), model.set_output().transform(X))
    assert model.inverse_transform(codes).shape == X.shape


@unfinished
def test_fit_transform_is_fit_then_transform(X):
    np.testing.assert_array_equal(
        make(max_iter=5).fit_transform(X), make(max_iter=5).fit(X).transform(X)
    )
    weight = np.arange(60.0)
    np.testing.assert_array_equal(
        make(max_iter=5).fit_transform(X, sample_weight=weight),
        make(max_iter=5).fit(X, sample_weight=weight).transform(X),
    )


@unfinished
def test_clone_takes_every_parameter_and_nothing_fitted(X):
    given = {
        "n_components": 7,
        "loss": "squared_error",
        "sparsity": "l2",
        "rho": 0.05,
        "beta": 0.5,
        "budgets": "auto",
        "prefixes": None,
        "alpha": 1e-3,
        "activation": "prelu",
        "output_activation": "sigmoid",
        "hidden_layer_sizes": [6],
        "hidden_activation": "tanh",
        "tied_weights": True,
        "noise": "masking",
        "noise_level": 0.1,
        "scale_data": True,
        "sparse_output": False,
        "transform_n_active": None,
        "transform_algorithm": "encode",
        "solver": "sgd",
        "learning_rate": 1e-3,
        "learning_rate_schedule": "constant",
        "momentum": 0.5,
        "batch_size": 10,
        "max_iter": 3,
        "tol": 1e-3,
        "n_iter_no_change": 5,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "shuffle": False,
        "warm_start": True,
        "dtype": "float64",
        "device": "cpu",
        "data_parallel": False,
        "verbose": False,
        "random_state": 3,
    }
    model = SparseAutoencoderTransformer(**given)
    assert model.get_params() == given
    model.fit(X)
    assert model.get_params() == given
    copy = clone(model)
    assert copy.get_params() == given
    assert not hasattr(copy, "coefs_")
    np.testing.assert_array_equal(copy.fit(X).transform(X), model.transform(X))


def test_only_the_size_of_the_code_is_positional():
    with pytest.raises(TypeError, match="positional"):
        SparseAutoencoderTransformer(5, "kl")


# Routing and search.


@unfinished
def test_sample_weight_is_routed_through_a_pipeline(X):
    weight = np.random.default_rng(0).random(60)
    scaled = MinMaxScaler().fit_transform(X)
    expected = make(max_iter=5).fit(scaled, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        model = make(max_iter=5).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        pipe = make_pipeline(MinMaxScaler(), model).fit(X, sample_weight=weight)
        score = pipe.score(X, sample_weight=weight)
    np.testing.assert_array_equal(pipe[-1].coefs_[0], expected.coefs_[0])
    assert score == expected.score(scaled, sample_weight=weight)


@pytest.mark.parametrize("request_weight", [True, False])
@unfinished
def test_sample_weight_goes_only_where_it_is_asked_for(X, request_weight):
    weight = np.random.default_rng(0).random(60)
    y = np.arange(60) % 2
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(
            make(max_iter=5).set_fit_request(sample_weight=request_weight),
            LogisticRegression().set_fit_request(sample_weight=True),
        ).fit(X, y, sample_weight=weight)
    alone = make(max_iter=5).fit(X, sample_weight=weight if request_weight else None)
    np.testing.assert_array_equal(pipe[0].coefs_[0], alone.coefs_[0])


def test_partial_fit_and_score_can_request_sample_weight():
    with sklearn.config_context(enable_metadata_routing=True):
        model = make().set_partial_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        requests = model.get_metadata_routing()
    assert requests.partial_fit.requests["sample_weight"] is True
    assert requests.score.requests["sample_weight"] is True


@unfinished
def test_grid_search_over_rho_beta_and_size_in_a_pipeline_in_two_processes():
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    pipe = make_pipeline(
        MinMaxScaler(), make(max_iter=5, batch_size=32), LogisticRegression(max_iter=2000)
    )
    grid = {
        "sparseautoencodertransformer__rho": [0.05, 0.2],
        "sparseautoencodertransformer__beta": [0.1, 3.0],
        "sparseautoencodertransformer__n_components": [8, 24],
    }
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) > 1
    assert search.best_score_ > 0.5
    assert search.predict(X[:3]).shape == (3,)


@unfinished
def test_grid_search_by_its_own_score(X):
    search = GridSearchCV(make(max_iter=20), {"beta": [0.0, 300.0]}, cv=2).fit(X)
    assert search.best_params_ == {"beta": 0.0}


def test_the_list_of_parameter_names_is_the_callers_own():
    SparseAutoencoderTransformer._get_param_names().clear()
    assert "n_components" in SparseAutoencoderTransformer().get_params()


class WithMore(SparseAutoencoderTransformer):
    """Has parameters of its own, others with other defaults, and does not tell of all."""

    def __init__(self, n_units, *, rho=0.2):
        super().__init__(n_units, rho=rho, max_iter=2, random_state=0)
        self.n_units = n_units

    def get_params(self, deep=True):
        return {"n_units": self.n_units, "rho": self.rho}


@unfinished
def test_a_subclass_may_have_other_parameters(X):
    ours = WithMore(5).fit(X)
    theirs = SparseAutoencoderTransformer(5, rho=0.2, max_iter=2, random_state=0).fit(X)
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    assert ours.partial_fit(X).n_iter_ == 3


@pytest.mark.parametrize("solver", ["adamm", "SGD", None, 3])
def test_an_unknown_solver_is_refused_after_fit_too(X, solver):
    model = make(max_iter=2).fit(X).set_params(solver=solver)
    before = model.coefs_[0].copy()
    with pytest.raises(
        ValueError, match=rf"solver must be 'adam', 'sgd' or 'lbfgs', got {solver!r}"
    ):
        model.partial_fit(X)
    np.testing.assert_array_equal(model.coefs_[0], before)
