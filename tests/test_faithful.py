"""Faithful to the seeds of the idea: published optima, UFLDL's run, and data in any unit."""

from functools import cache

import numpy as np
import oracle
import pytest
from oracle import Network, Terms
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_digits

from sksae import SparseAutoencoderTransformer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


# The CRAN package autoencoder

PUBLISHED_J = 2.2456820439


@pytest.fixture(scope="module")
def nature_patches(load):
    return 0.998 * load("nature_patches_10x10.npz")["X"] + 0.001


def fit_nature_patches(X, **params):
    model = SparseAutoencoderTransformer(
        25,
        rho=0.01,
        beta=6.0,
        alpha=2e-4,
        output_activation="sigmoid",
        scale_data=False,
        solver="lbfgs",
        dtype="float64",
    )
    return model.set_params(**params).fit(X)


def test_published_weights_have_the_published_objective(load, nature_patches):
    weights = load("cran_reference_25.npz")
    network = Network(
        [weights["W1"].T, weights["W2"].T],
        [weights["b1"], weights["b2"]],
        [None, None],
        ("sigmoid", "sigmoid"),
    )
    terms, share = Terms("kl", rho=0.01, beta=6.0, alpha=2e-4), oracle.shares(len(nature_patches))
    value = oracle.objective(np, network, terms, nature_patches, nature_patches, share)
    assert value == pytest.approx(PUBLISHED_J, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lbfgs_reaches_the_published_optimum_in_400_iterations(nature_patches, seed):
    model = fit_nature_patches(nature_patches, max_iter=400, tol=0.0, random_state=seed)
    assert model.loss_ <= 1.003 * PUBLISHED_J
    assert model.loss_ == pytest.approx(oracle.loss_of(model, nature_patches), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lbfgs_left_to_converge_meets_the_published_optimum(nature_patches, seed):
    model = fit_nature_patches(nature_patches, max_iter=5000, tol=1e-7, random_state=seed)
    assert model.n_iter_ < 5000
    assert model.loss_ <= 1.001 * PUBLISHED_J


# The run of the UFLDL notes: 10000 patches of 8x8 whitened pixels, 25 units

N_DRAWS = 10
# J where scipy 1.17.1's L-BFGS-B ended on each draw of patches after 400 iterations, from the
# starting weights that random_state=draw gives: what `scipys_objective` returns, measured once.
SCIPYS_J = [
    0.35451390191244864,
    0.3566835269919702,
    0.3498369200796683,
    0.35585289059992775,
    0.3506859785535466,
    0.35335276054728243,
    0.35112325881034323,
    0.3526178367428301,
    0.35251012430630974,
    0.35388568339043824,
]


@pytest.fixture(scope="module")
def patches(load):
    """Return the function that draws 8x8 patches, less each one's mean or one of all."""
    images = load("natural_images_whitened.npz")["images"].astype(np.float64)

    @cache
    def draw(seed, own_mean):
        rng = np.random.RandomState(seed)
        which, top, left = rng.randint(10, size=10000), *rng.randint(313, size=(2, 10000))
        X = np.stack(
            [
                images[k, i : i + 8, j : j + 8].ravel()
                for k, i, j in zip(which, top, left, strict=True)
            ]
        )
        X -= X.mean(axis=1, keepdims=True) if own_mean else X.mean()
        limit = 3 * X.std()
        return (X.clip(-limit, limit) / limit + 1) * 0.4 + 0.1

    return draw


def ufldl_model(**params):
    model = SparseAutoencoderTransformer(
        25, rho=0.01, beta=3.0, alpha=1e-4, output_activation="sigmoid", scale_data=False
    )
    return model.set_params(**params)


def ufldl_lbfgs(draw, dtype):
    return ufldl_model(
        solver="lbfgs", max_iter=400, tol=0.0, n_iter_no_change=400, dtype=dtype, random_state=draw
    )


def starting_weights(model, X):
    """Return the weights W1, W2, b1, b2 from which a model's training starts.

    Those of a training that makes a single step, of a length that changes nothing.
    """
    still = clone(model).set_params(
        solver="sgd", learning_rate=1e-300, momentum=0.0, max_iter=1, dtype="float64"
    )
    still.fit(X)
    return [*still.coefs_, *still.intercepts_]


def scipys_objective(X, start, terms, max_iter):
    """Return J where numpy and scipy's L-BFGS-B end, and how many iterations they took."""
    (n, d), h = X.shape, start[0].shape[1]
    rho, beta, alpha = terms.rho, terms.beta, terms.alpha
    bounds = np.cumsum([d * h, h * d, h])

    def value_and_gradient(flat):
        coef1, coef2, bias1, bias2 = np.split(flat, bounds)
        coef1, coef2 = coef1.reshape(d, h), coef2.reshape(h, d)
        code = 1 / (1 + np.exp(-(X @ coef1 + bias1)))
        output = 1 / (1 + np.exp(-(code @ coef2 + bias2)))
        rho_hat, error = code.mean(axis=0), output - X
        divergence = rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat))
        value = np.vdot(error, error) / (2 * n) + beta * divergence.sum()
        value += alpha / 2 * (np.vdot(coef1, coef1) + np.vdot(coef2, coef2))
        delta2 = error * output * (1 - output) / n
        sparse = beta / n * ((1 - rho) / (1 - rho_hat) - rho / rho_hat)
        delta1 = (delta2 @ coef2.T + sparse) * code * (1 - code)
        gradient = (
            X.T @ delta1 + alpha * coef1,
            code.T @ delta2 + alpha * coef2,
            delta1.sum(axis=0),
            delta2.sum(axis=0),
        )
        return value, np.concatenate([block.ravel() for block in gradient])

    options = {"maxcor": 100, "maxiter": max_iter, "maxfun": 10**4, "ftol": 0.0, "gtol": 0.0}
    flat = np.concatenate([block.ravel() for block in start])
    found = minimize(value_and_gradient, flat, jac=True, method="L-BFGS-B", options=options)
    return found.fun, found.nit


@pytest.fixture(scope="module")
def ufldl_fits(patches):
    """Return the function that gives the fits to all draws in a precision."""

    @cache
    def fits(dtype):
        return [ufldl_lbfgs(draw, dtype).fit(patches(draw, True)) for draw in range(N_DRAWS)]

    return fits


@pytest.mark.slow
@each_dtype
def test_lbfgs_runs_all_iterations_of_the_ufldl_run(ufldl_fits, dtype):
    assert [model.n_iter_ for model in ufldl_fits(dtype)] == [400] * N_DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(N_DRAWS))
@each_dtype
def test_lbfgs_ends_where_scipy_does_from_the_same_start(ufldl_fits, dtype, draw):
    assert ufldl_fits(dtype)[draw].loss_ <= 1.005 * SCIPYS_J[draw]


@pytest.mark.slow
@each_dtype
def test_lbfgs_is_as_good_as_scipy_over_many_draws(ufldl_fits, dtype):
    losses = [model.loss_ for model in ufldl_fits(dtype)]
    assert np.median(losses) <= 1.003 * np.median(SCIPYS_J)
    assert max(losses) <= 1.01 * np.median(SCIPYS_J)


@pytest.mark.slow
def test_scipy_still_ends_where_it_did(patches):
    X, model = patches(0, True), ufldl_lbfgs(0, "float64")
    value, n_iter = scipys_objective(X, starting_weights(model, X), oracle.terms_of(model), 400)
    assert n_iter == 400
    # Rounding alone leads its path elsewhere in the end, though no further than this.
    assert value == pytest.approx(SCIPYS_J[0], rel=5e-3)
    assert model.fit(X).loss_ <= 1.005 * value


@each_dtype
def test_the_first_steps_of_lbfgs_are_as_good_as_scipys(patches, dtype):
    X, model = patches(0, True), ufldl_lbfgs(0, dtype).set_params(max_iter=30)
    start = starting_weights(model, X)
    value, _ = scipys_objective(X, start, oracle.terms_of(model), 30)
    assert model.fit(X).loss_ <= 1.005 * value


# Minibatches


def check_activations(model):
    np.testing.assert_allclose(model.mean_activation_, model.rho, rtol=0.3)


each_batch_size = pytest.mark.parametrize("batch_size", [100, "auto"])


@pytest.mark.each_once
@each_batch_size
@pytest.mark.parametrize("seed", range(2))
def test_adam_comes_close_to_lbfgs_in_60_passes(patches, seed, batch_size):
    model = ufldl_model(max_iter=60, batch_size=batch_size, random_state=seed)
    assert model.fit(patches(seed, False)).loss_ <= 0.385
    check_activations(model)


@pytest.mark.slow
@pytest.mark.parametrize("stopping", [{}, {"n_iter_no_change": 300}], ids=["default", "never"])
@each_batch_size
@pytest.mark.parametrize("seed", range(2))
def test_adam_comes_closer_to_lbfgs_in_300_passes(patches, seed, batch_size, stopping):
    model = ufldl_model(max_iter=300, batch_size=batch_size, random_state=seed, **stopping)
    assert model.fit(patches(seed, False)).loss_ <= 0.37
    check_activations(model)


@pytest.fixture(scope="module")
def mnist(load):
    return load("mnist.npz")["X_train"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_adam_learns_mnist_in_20_epochs(mnist, seed):
    X = (mnist[:20000] / 255).astype(np.float32)
    model = SparseAutoencoderTransformer(
        196,
        rho=0.1,
        beta=3.0,
        alpha=3e-3,
        output_activation="sigmoid",
        scale_data=False,
        max_iter=20,
        random_state=seed,
    ).fit(X)
    assert -model.score_samples(X).mean() / 2 <= 8.4
    check_activations(model)


# Scaled data


def codes_in_two_units(model, X):
    return clone(model).fit_transform(X), clone(model).fit_transform(X * 1000 + 50)


@pytest.mark.each_once
@pytest.mark.parametrize(
    ("solver", "max_iter"),
    # L-BFGS on a relu code is chaos: within 50 iterations the rounding of X becomes a change of J.
    [("adam", 200), ("sgd", 50), ("lbfgs", 30)],
)
@pytest.mark.parametrize(
    "penalty",
    [
        {"sparsity": "kl"},
        {"sparsity": "l1", "beta": 0.01},
        {"sparsity": "l2", "beta": 0.1},
        {"sparsity": None},
    ],
    ids=["kl", "l1", "l2", "none"],
)
def test_codes_do_not_depend_on_units_in_float64(penalty, solver, max_iter):
    model = SparseAutoencoderTransformer(
        30, **penalty, solver=solver, max_iter=max_iter, dtype="float64", random_state=0
    )
    codes, others = codes_in_two_units(model, load_digits().data[:1000])
    assert codes.std() > 0.005
    np.testing.assert_allclose(others, codes, rtol=0, atol=1e-4)


@pytest.mark.each_once
@pytest.mark.parametrize("output_activation", ["identity", "sigmoid"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_codes_of_kl_do_not_depend_on_units_in_float32(activation, output_activation):
    model = SparseAutoencoderTransformer(
        30, activation=activation, output_activation=output_activation, random_state=0
    )
    codes, others = codes_in_two_units(model, load_digits().data[:1000])
    np.testing.assert_allclose(others, codes, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_codes_of_a_large_kl_model_do_not_depend_on_units_in_float32(mnist):
    model = SparseAutoencoderTransformer(196, rho=0.1, max_iter=50, random_state=0)
    codes, others = codes_in_two_units(model, mnist[:5000].astype(np.float64))
    np.testing.assert_allclose(others, codes, rtol=0, atol=1e-4)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_mean_far_above_the_deviation_does_not_hinder_training(solver):
    # The deviations of digits are about 6, and eighths are exact in float32 at 6e4.
    X = load_digits().data
    far = (X + 6e4).astype(np.float32)
    # Long enough to settle: underway the roundings of two trainings lead them apart.
    model = SparseAutoencoderTransformer(30, solver=solver, max_iter=200, random_state=0)
    near_score = clone(model).fit(X).score(X)
    assert near_score > 0.5
    assert model.fit(far).score(far) == pytest.approx(near_score, abs=0.01)


def test_a_sigmoid_output_reconstructs_scaled_mnist(mnist):
    X = mnist[:2000].astype(np.float32)
    model = SparseAutoencoderTransformer(
        100, output_activation="sigmoid", max_iter=30, random_state=0
    )
    assert model.fit(X).score(X) > 0.5
