"""The UFLDL exercise by L-BFGS: sksae in float32 and float64 against numpy with scipy's L-BFGS-B.

10000 8x8 patches of whitened natural images, 64-25-64 sigmoid units, 400 iterations. The seed of
the starting weights is the number of the repeat, alike for all; the patches stay the same.
"""

from _harness import NATURAL_IMAGES, PHOTOGRAPHS, option_parser, positive_int

parser = option_parser(__doc__, repeats=5, data=NATURAL_IMAGES)
parser.add_argument("--max-iter", type=positive_int, default=400, help="default %(default)s")

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import statistics

import numpy as np
from _harness import (
    at_least,
    excess,
    interleave,
    median_ratio,
    natural_patches,
    objective,
    quiet,
    report,
    set_threads,
    sigmoid,
    starting_weights,
    weights_of,
)
from scipy.optimize import minimize

N_COMPONENTS = 25
PENALTY = {"rho": 0.01, "beta": 3.0, "alpha": 1e-4}
SCIPY = "numpy + scipy, float64"
SAME = 0.3  # percent that J may be above scipy's and still count as the same
TARGETS = {"float32": 12.0, "float64": 7.5}


def split(theta, n_features: int) -> tuple:
    """Return W_in, b_in, W_out, b_out as views of the flat vector."""
    shapes = (n_features, N_COMPONENTS), (N_COMPONENTS,), (N_COMPONENTS, n_features), (n_features,)
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = np.split(theta, ends[:-1])
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def flat(*arrays):
    return np.concatenate([array.ravel() for array in arrays])


def cost_and_gradient(theta, X):
    """Return J and its gradient in closed form, as one writes it for the exercise."""
    rho, beta, alpha = PENALTY.values()
    n_samples, n_features = X.shape
    W_in, b_in, W_out, b_out = split(theta, n_features)

    code = sigmoid(X @ W_in + b_in)
    output = sigmoid(code @ W_out + b_out)
    error = output - X
    rho_hat = code.mean(axis=0)
    cost = (
        np.vdot(error, error) / 2 / n_samples
        + beta * np.sum(rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat)))
        + alpha / 2 * (np.vdot(W_in, W_in) + np.vdot(W_out, W_out))
    )

    delta2 = error * output * (1 - output) / n_samples
    kl_slope = beta / n_samples * ((1 - rho) / (1 - rho_hat) - rho / rho_hat)
    delta1 = (delta2 @ W_out.T + kl_slope) * code * (1 - code)
    gradient = flat(
        X.T @ delta1 + alpha * W_in,
        delta1.sum(axis=0),
        code.T @ delta2 + alpha * W_out,
        delta2.sum(axis=0),
    )
    return cost, gradient


def fit_scipy(X, seed: int, max_iter: int) -> tuple:
    """Return the weights found and the number of iterations done."""
    result = minimize(
        cost_and_gradient,
        flat(*starting_weights(X, N_COMPONENTS, PENALTY["rho"], seed)),
        args=(X,),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxcor": 100,
            "maxiter": max_iter,
            "maxfun": 100 * max_iter,
            "ftol": 0,
            "gtol": 0,
        },
    )
    return split(result.x, X.shape[1]), result.nit


def fit_sksae(X, seed: int, max_iter: int, dtype: str) -> tuple:
    """Return the weights found and the number of iterations done."""
    from sksae import SparseAutoencoderTransformer

    model = SparseAutoencoderTransformer(
        N_COMPONENTS,
        **PENALTY,
        sparsity="kl",
        output_activation="sigmoid",
        scale_data=False,
        solver="lbfgs",
        max_iter=max_iter,
        tol=0,
        dtype=dtype,
        device="cpu",
        random_state=seed,
    ).fit(X)
    return weights_of(model), model.n_iter_


def row_of(name: str, dtype: str | None, seconds, losses, iterations) -> dict:
    """Return the row of one alternative; `dtype` is None for the reference itself."""
    row = {
        "alternative": name,
        "seconds": statistics.median(seconds[name]),
        "fewest iterations": min(iterations[name]),
        "J": statistics.median(losses[name]),
    }
    if dtype is None:
        return row
    faster = median_ratio(seconds[SCIPY], seconds[name])
    above = excess(median_ratio(losses[name], losses[SCIPY]), 1)
    verdict = at_least(faster, TARGETS[dtype])
    return row | {
        "J above scipy's, %": above,
        "times faster": faster,
        "target": f"{verdict['target']}, same J",
        "met": verdict["met"] and above <= SAME,
    }


def main() -> None:
    set_threads(options.threads)
    quiet()
    X = natural_patches(options.data)
    X_single = X.astype(np.float32)
    n_iter = options.max_iter
    runs = {
        "sksae, float32": lambda seed: fit_sksae(X_single, seed, n_iter, "float32"),
        "sksae, float64": lambda seed: fit_sksae(X, seed, n_iter, "float64"),
        SCIPY: lambda seed: fit_scipy(X, seed, n_iter),
    }
    for warm_up in (fit_scipy, lambda *a: fit_sksae(*a, "float32")):
        warm_up(X_single, 0, 2)  # a whole round would take half a minute
    seconds, found = interleave(runs, options.repeats, warm_up=False)
    losses = {
        name: [objective(X, *weights, **PENALTY) for weights, _ in results]
        for name, results in found.items()
    }
    iterations = {name: [n for _, n in results] for name, results in found.items()}
    dtypes = dict(zip(runs, (*TARGETS, None), strict=True))
    rows = [row_of(name, dtypes[name], seconds, losses, iterations) for name in runs]
    notes = [
        f"Images: {options.data or PHOTOGRAPHS}.",
        f"{len(X)} patches, 64-{N_COMPONENTS}-64, {PENALTY}, at most {n_iter} iterations.",
        "J over all rows in float64 by the same formula; the seconds compare at the same J only.",
    ]
    report("The UFLDL exercise by L-BFGS", rows, notes, options.json)


if __name__ == "__main__":
    main()
