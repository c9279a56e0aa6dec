"""What cannot work is refused before any training, in words that name it and what to do."""

import copy
import re
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from plans import plan_of
from registered import each_sparsity, each_training, rho_of
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from sksae import SparseAutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_solver = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
each_minibatch_solver = pytest.mark.parametrize("solver", ["adam", "sgd"])
each_method = pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_transform"])
each_container = pytest.mark.parametrize("container", [np.array, csr_array], ids=["dense", "csr"])


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.random((40, 6))


def make(**params):
    defaults = {"n_components": 4, "batch_size": 10, "max_iter": 4, "random_state": 0}
    given = defaults | params
    given.setdefault("rho", rho_of(given.get("sparsity", "kl"), 0.05))
    return SparseAutoencoderTransformer(**given)


@pytest.fixture
def no_training(monkeypatch):
    def reached(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr("sksae.engine.training.train", reached)


def assert_unfitted(model, X):
    with pytest.raises(NotFittedError):
        model.transform(X)
    assert not [name for name in vars(model) if name.endswith("_") and "_in_" not in name]


# Parameters.

BAD_VALUES = [
    ("n_components", 0, r"\[1, inf\)"),
    ("n_components", -3, r"\[1, inf\)"),
    ("n_components", 2.5, "int"),
    ("n_components", None, "int"),
    ("sparsity", "k1", "'kl'.*'l1'|'l1'.*'kl'"),
    ("sparsity", "KL", "'kl'"),
    ("rho", 0.0, r"\(0(\.0)?, 1(\.0)?\)"),
    ("rho", 1.0, r"\(0(\.0)?, 1(\.0)?\)"),
    ("rho", 1.5, r"\(0(\.0)?, 1(\.0)?\)"),
    ("rho", -0.1, r"\(0(\.0)?, 1(\.0)?\)"),
    ("rho", np.nan, r"\(0(\.0)?, 1(\.0)?\)"),
    ("rho", 0, r"\[1, inf\)"),
    ("rho", 4, "n_components"),
    ("rho", 100, "n_components"),
    ("beta", -1.0, r"\[0(\.0)?, inf\)"),
    ("beta", np.inf, r"\[0(\.0)?, inf\)"),
    ("beta", np.nan, r"\[0(\.0)?, inf\)"),
    ("alpha", -1e-9, r"\[0(\.0)?, inf\)"),
    ("activation", "softmax", "'sigmoid'"),
    ("output_activation", "softmax", "'identity'"),
    ("loss", "hinge", "'cross_entropy'"),
    ("hidden_activation", "auto", "'relu'"),
    ("hidden_layer_sizes", (0,), "at least 1"),
    ("hidden_layer_sizes", (5, -1), "at least 1"),
    ("hidden_layer_sizes", (2.5,), "int"),
    ("hidden_layer_sizes", 0, r"\[1, inf\)"),
    ("hidden_layer_sizes", [[3], [4]], "int"),
    ("tied_weights", "yes", "bool"),
    ("tied_weights", None, "bool"),
    ("noise", "salt", "'gaussian'.*'masking'|'masking'.*'gaussian'"),
    ("noise", "Gaussian", "'gaussian'"),
    ("noise", True, "'gaussian'"),
    ("noise_level", -0.1, r"\[0(\.0)?, inf\)"),
    ("noise_level", np.inf, r"\[0(\.0)?, inf\)"),
    ("noise_level", np.nan, r"\[0(\.0)?, inf\)"),
    ("noise_level", None, "float"),
    ("noise_level", "0.3", "float"),
    ("scale_data", "yes", "bool"),
    ("solver", "rmsprop", "'adam'"),
    ("learning_rate", 0.0, r"\(0(\.0)?, inf\)"),
    ("learning_rate", -1.0, r"\(0(\.0)?, inf\)"),
    ("learning_rate_schedule", "cosine", "'linear'"),
    ("momentum", 1.0, r"\[0(\.0)?, 1(\.0)?\)"),
    ("batch_size", 0, r"\[1, inf\)"),
    ("batch_size", 1.5, "int"),
    ("max_iter", 0, r"\[1, inf\)"),
    ("tol", -1.0, r"\[0(\.0)?, inf\)"),
    ("n_iter_no_change", 0, r"\[1, inf\)"),
    ("early_stopping", "yes", "bool"),
    ("validation_fraction", 0.0, r"\(0(\.0)?, 1(\.0)?\)"),
    ("validation_fraction", 1.0, r"\(0(\.0)?, 1(\.0)?\)"),
    ("shuffle", 2, "bool"),
    ("warm_start", "no", "bool"),
    ("dtype", "float16", "'float32'"),
    ("dtype", np.float32, "'float32'"),
    ("device", 0, "str"),
    ("verbose", -1, "must be"),
    ("random_state", "seed", "must be"),
]


@each_method
@pytest.mark.parametrize(("name", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_is_refused(X, no_training, name, value, allowed, method):
    model = make(**{name: value})
    with pytest.raises((ValueError, TypeError), match=rf"{name}.*({allowed})"):
        getattr(model, method)(X)
    assert_unfitted(model, X)


@pytest.mark.parametrize("activation", ["relu", "identity", "prelu"])
@each_method
def test_kl_refuses_an_unbounded_code(X, no_training, activation, method):
    model = make(sparsity="kl", activation=activation)
    with pytest.raises(ValueError, match=rf"activation.*'sigmoid'.*'tanh'.*'{activation}'"):
        getattr(model, method)(X)
    assert_unfitted(model, X)


@each_method
def test_a_relu_output_refuses_scaled_data(X, no_training, method):
    with pytest.raises(ValueError, match=r"output_activation='relu'.*scale_data=False"):
        getattr(make(output_activation="relu"), method)(X)


@pytest.mark.parametrize("level", [1, 1.0, 1.5])
@each_method
def test_masking_leaves_something_of_the_rows(X, no_training, level, method):
    model = make(noise="masking", noise_level=level)
    with pytest.raises(ValueError, match=rf"noise_level={level}.*'masking'.*less than 1"):
        getattr(model, method)(X)
    assert_unfitted(model, X)
    # More than all is no nonsense where it is added.
    assert plan_of(model.set_params(noise="gaussian"), X, None).config.noise.level > 0


@pytest.mark.parametrize("name", ["noise_level", "alpha", "beta"])
@each_method
def test_a_number_beyond_the_precision_is_refused(X, no_training, name, method):
    model = make(noise="gaussian", **{name: 1e39})
    with pytest.raises(ValueError, match=rf"{name}=1e\+39.*dtype='float32'"):
        getattr(model, method)(X)


@pytest.mark.parametrize(
    "device", ["cuda", "cuda:0", "cuda:7", "mps", "gpu", "cuda:x", "CPU", "meta", "xpu", ""]
)
@each_method
def test_a_device_that_is_not_there_is_refused(X, no_training, monkeypatch, device, method):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    model = make(device=device)
    with pytest.raises(ValueError, match=rf"device='{device}'.*'auto'.*'cpu'"):
        getattr(model, method)(X)
    assert_unfitted(model, X)


def test_a_cuda_device_beyond_the_last_is_refused(X, no_training, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"device='cuda:2'.*2 CUDA device"):
        make(device="cuda:2").fit(X)


def test_mps_refuses_float64(X, no_training, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(ValueError, match=r"device='mps'.*dtype='float32'"):
        make(device="mps", dtype="float64").fit(X)


@pytest.mark.parametrize(
    ("n_rows", "fraction"), [(2, 0.1), (1, 0.5), (10, 0.1), (40, 0.999)], ids=str
)
def test_too_few_rows_to_hold_out_are_refused(X, no_training, n_rows, fraction):
    model = make(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"early_stopping.*validation_fraction"):
        model.fit(X[:n_rows])
    assert_unfitted(model, X)


@pytest.mark.parametrize(
    ("params", "idle"),
    [
        ({"sparsity": "l1", "rho": 0.1}, ["rho"]),
        ({"sparsity": "l2", "rho": 2}, ["rho"]),
        ({"sparsity": None, "rho": 0.1}, ["rho"]),
        ({"sparsity": None, "beta": 2.0}, ["beta"]),
        ({"sparsity": None, "rho": 0.1, "beta": 0.0}, ["rho", "beta"]),
    ],
)
@each_method
def test_an_idle_rho_or_beta_warns(X, params, idle, method):
    with pytest.warns(UserWarning, match="no effect") as record:
        getattr(make(learning_rate=1e-9, **params), method)(X)
    messages = [str(warning.message) for warning in record if "effect" in str(warning.message)]
    assert len(messages) == len(idle)
    for name, message in zip(idle, messages, strict=True):
        assert re.search(rf"{name}=.*sparsity={params['sparsity']!r}", message)


@pytest.mark.parametrize("level", [0, 0.5, 1e39])
@each_method
def test_an_idle_noise_level_warns(X, level, method):
    with pytest.warns(UserWarning, match=re.escape(f"noise_level={level} has no effect")) as record:
        getattr(make(noise_level=level), method)(X)
    assert record[0].filename == __file__
    messages = [str(warning.message) for warning in record if "effect" in str(warning.message)]
    assert len(messages) == 1
    assert "noise=None" in messages[0]


@pytest.mark.parametrize("noise", ["gaussian", "masking"])
def test_a_noise_level_that_acts_does_not_warn(X, noise):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(noise=noise, noise_level=0.5).partial_fit(X)


@each_sparsity
def test_defaults_that_do_nothing_do_not_warn(X, sparsity):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(sparsity=sparsity).partial_fit(X)


# Rows.


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@each_container
@each_method
def test_rows_that_are_not_finite_are_refused(X, no_training, container, method, bad):
    rows = X.copy()
    rows[3, 2] = bad
    model = make()
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        getattr(model, method)(container(rows))
    assert_unfitted(model, X)


@pytest.mark.parametrize("method", ["transform", "score", "score_samples"])
@each_container
def test_a_fitted_model_refuses_rows_that_are_not_finite(X, container, method):
    rows = X.copy()
    rows[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        getattr(make().fit(X), method)(container(rows))


@pytest.mark.parametrize(
    ("shape", "named"), [((0, 6), "0 sample"), ((40, 0), "0 feature")], ids=["rows", "features"]
)
@each_container
@each_method
def test_empty_rows_are_refused(no_training, container, method, shape, named):
    with pytest.raises(ValueError, match=named):
        getattr(make(), method)(container(np.empty(shape)))


@pytest.mark.parametrize("method", ["transform", "score", "score_samples", "partial_fit"])
@each_container
def test_a_wrong_number_of_features_is_refused(X, container, method):
    with pytest.raises(ValueError, match=r"X has 5 features.*expecting 6 features"):
        getattr(make().fit(X), method)(container(X[:, :5]))


@pytest.mark.parametrize("rows", ["text", [["a", "b"]], [1.0, 2.0], np.ones((2, 2, 2)), 1.0, None])
@each_method
def test_what_is_not_a_table_of_numbers_is_refused(no_training, rows, method):
    with pytest.raises((ValueError, TypeError)):
        getattr(make(), method)(rows)


@each_method
def test_complex_rows_are_refused(X, no_training, method):
    with pytest.raises(ValueError, match="Complex data"):
        getattr(make(), method)(X + 1j)


# Weights.


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.zeros(40), "zero"),
        (-np.ones(40), "[Nn]egative"),
        (np.full(40, np.nan), "NaN"),
        (np.full(40, np.inf), "infinity"),
        (np.ones(39), "sample_weight"),
        (np.ones((40, 2)), "sample_weight|[Ss]ample weights"),
    ],
    ids=["zero", "negative", "nan", "inf", "too few", "two columns"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
@each_container
def test_bad_weights_are_refused(X, monkeypatch, container, method, weight, said):
    model = make()
    if method == "score":
        model.fit(X)
    monkeypatch.setattr("sksae.engine.training.train", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ValueError, match=rf"(?s){said}") as info:
        getattr(model, method)(container(X), sample_weight=weight)
    assert re.search("sample[_ ]weight", str(info.value).lower())


# Targets out of reach.


@pytest.mark.parametrize(
    ("output_activation", "shift", "scale", "named"),
    [
        ("sigmoid", 0.0, 2.0, r"\[0, 1\]"),
        ("sigmoid", -0.5, 1.0, r"\[0, 1\]"),
        ("tanh", 0.0, 3.0, r"\[-1, 1\]"),
        ("relu", -0.5, 1.0, r"\[0, inf\]"),
    ],
)
@each_container
@each_method
def test_targets_out_of_reach_warn(X, container, method, output_activation, shift, scale, named):
    rows = container(shift + scale * X)
    low, high = f"{rows.min():.4g}", f"{rows.max():.4g}"
    model = make(output_activation=output_activation, scale_data=False)
    said = rf"{re.escape(low)} to {re.escape(high)}.*'{output_activation}'.*{named}"
    with pytest.warns(UserWarning, match=said):
        getattr(model, method)(rows)


@pytest.mark.parametrize(
    ("output_activation", "scale_data"),
    [("sigmoid", False), ("tanh", False), ("relu", False), ("identity", False), ("sigmoid", True)],
)
def test_targets_within_reach_do_not_warn(X, output_activation, scale_data):
    rows = 10.0 * X - 3.0 if scale_data or output_activation == "identity" else X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(output_activation=output_activation, scale_data=scale_data).partial_fit(rows)


def test_zeros_of_a_sparse_matrix_are_targets_too():
    rows = csr_array(np.diag(np.full(6, 0.5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(output_activation="sigmoid", scale_data=False).partial_fit(rows)
    rows.data[:] = -0.5
    with pytest.warns(UserWarning, match=r"-0\.5 to 0,"):
        make(output_activation="sigmoid", scale_data=False).partial_fit(rows)


# Losses that break down.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_method
def test_a_loss_that_breaks_down_names_epoch_and_learning_rate(X, dtype, method):
    model = make(
        sparsity=None, solver="sgd", learning_rate=1e6, scale_data=False, dtype=dtype, max_iter=50
    )

    def train():
        for _ in range(50):
            getattr(model, method)(X)

    with pytest.raises(ValueError, match=r"epoch \d+ at learning_rate=1000000\.0"):
        train()
    if method != "partial_fit":
        assert_unfitted(model, X)


def test_a_learning_rate_chosen_for_the_user_is_named_as_a_number(X):
    model = make(sparsity=None, solver="sgd", scale_data=False, max_iter=500)
    with pytest.raises(ValueError, match=r"epoch \d+ at learning_rate=0\.\d+"):
        model.fit(1e6 * X)


def test_lbfgs_names_the_iteration(X):
    with pytest.raises(ValueError, match=r"iteration \d+.*'lbfgs'"):
        make(sparsity=None, solver="lbfgs", scale_data=False, dtype="float32").fit(1e30 * X)


@each_solver
def test_rows_too_large_to_be_squared_are_refused_and_never_give_nan(X, solver):
    model = make(solver=solver)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            model.fit(1e300 * X)
    except ValueError:
        assert_unfitted(model, X)
    else:
        assert np.isfinite(model.transform(1e300 * X)).all()


@each_minibatch_solver
def test_a_failed_fit_leaves_the_model_of_before(X, solver):
    model = make(solver=solver, sparsity=None, scale_data=False).fit(X)
    codes, loss = model.transform(X), model.loss_
    model.set_params(learning_rate=1e30, max_iter=50)
    for rows in (X, np.hstack([X, X])):
        with pytest.raises(ValueError, match="epoch"):
            model.fit(rows)
        np.testing.assert_array_equal(model.transform(X), codes)
        assert model.loss_ == loss
        assert model.n_features_in_ == 6


@each_minibatch_solver
def test_a_failed_pass_leaves_the_model_of_before(X, solver):
    model = make(solver=solver, sparsity=None, scale_data=False).partial_fit(X)
    twin = copy.deepcopy(model)
    model.set_params(learning_rate=1e30)
    with pytest.raises(ValueError, match="epoch 2"):
        model.partial_fit(X).partial_fit(X)
    model.set_params(learning_rate="auto")
    np.testing.assert_array_equal(model.transform(X), twin.transform(X))
    model.partial_fit(X)
    np.testing.assert_array_equal(model.transform(X), twin.partial_fit(X).transform(X))


# Interrupts.


class Interrupt:
    """A callback that acts at the end of an epoch."""

    def __init__(self, epoch, act):
        self.epoch, self.act = epoch, act

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id + 1 == self.epoch:
            self.act()


def raise_interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("early_stopping", [False, True])
@each_solver
def test_an_interrupt_leaves_what_was_learned_so_far(X, solver, early_stopping):
    model = make(solver=solver, max_iter=50, early_stopping=early_stopping)
    model.set_callbacks(Interrupt(3, raise_interrupt))
    with pytest.warns(UserWarning, match="interrupted") as record:
        model.fit(X)
    assert len(record) == 1
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.loss_)
    assert model.loss_ < model.loss_curve_[0]
    assert model.mean_activation_.shape == (4,)
    model.set_callbacks().set_params(warm_start=True, max_iter=2).fit(X)
    assert model.n_iter_ == 5


@each_solver
def test_an_interrupt_before_the_first_epoch_leaves_the_start(X, solver):
    class AtOnce(Interrupt):
        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "epoch":
                raise KeyboardInterrupt

    model = make(solver=solver).set_callbacks(AtOnce(1, raise_interrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X)
    assert (model.n_iter_, model.n_steps_, model.loss_curve_) == (0, 0, [])
    assert np.isfinite(model.transform(X)).all()
    model.set_callbacks().set_params(warm_start=True).fit(X)
    assert model.n_iter_ == 4


@each_minibatch_solver
def test_training_goes_on_after_an_interrupt_where_it_was(X, solver):
    steady = {"learning_rate_schedule": "constant", "tol": 0.0, "dtype": "float64"}
    interrupted = make(solver=solver, max_iter=6, warm_start=True, **steady)
    interrupted.set_callbacks(Interrupt(2, raise_interrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        interrupted.fit(X)
    interrupted.set_callbacks().set_params(max_iter=4).fit(X)
    whole = make(solver=solver, max_iter=6, **steady).fit(X)
    np.testing.assert_allclose(interrupted.coefs_[0], whole.coefs_[0], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_solver
def test_ctrl_c_at_any_moment_leaves_a_usable_model(X, default_interrupts, solver, dtype):
    begun, n_epochs = threading.Event(), 20_000

    def interrupt():
        begun.wait(60)
        time.sleep(0.03)
        signal.raise_signal(signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    model = make(n_components=20, solver=solver, dtype=dtype, max_iter=n_epochs)
    model.set_params(tol=0.0, n_iter_no_change=n_epochs)
    model.set_callbacks(Interrupt(2, begun.set))
    sender.start()
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(X)
    finally:
        begun.set()
        sender.join()
    assert 2 <= model.n_iter_ < n_epochs
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.score(X))


def test_an_interrupt_during_partial_fit_is_not_passed_over_in_silence(X, monkeypatch):
    model = make().partial_fit(X)
    monkeypatch.setattr(
        "sksae.base.monitoring.EpochMonitor.epoch_begins", lambda *args: raise_interrupt()
    )
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            model.partial_fit(X)
    except KeyboardInterrupt:
        pass
    assert np.isfinite(model.transform(X)).all()


# Small and strange, but fine.


@pytest.mark.each_once
@each_training
@pytest.mark.parametrize(
    "rows",
    [
        np.c_[np.full(20, 3.0), np.random.default_rng(0).random((20, 3))],
        np.full((20, 3), 0.5),
        np.zeros((20, 3)),
        np.random.default_rng(0).random((1, 5)),
        np.random.default_rng(0).random((20, 1)),
        np.random.default_rng(0).random((1, 1)),
        np.random.default_rng(0).random((20, 2)),
    ],
    ids=[
        "constant feature",
        "constant",
        "zeros",
        "one sample",
        "one feature",
        "one number",
        "n_components > n_features",
    ],
)
@each_container
def test_it_trains(solver, rows, sparsity, container):
    given = container(rows)
    for params in ({}, {"scale_data": False, "output_activation": "sigmoid"}):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", category=RuntimeWarning)
            warnings.filterwarnings("ignore", "X holds values")
            model = make(solver=solver, sparsity=sparsity, **params).fit(given)
            codes = model.transform(given)
        assert codes.shape == (len(rows), 4)
        assert np.isfinite(codes).all()
        assert np.isfinite(model.inverse_transform(codes)).all()
        assert np.isfinite(model.score_samples(given)).all()
        assert np.isfinite(model.loss_)
