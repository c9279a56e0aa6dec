"""A grid of small networks: all at once, one by one in two workers, and in skorch.

Timed from the call of a search's ``fit`` to its return, without the refit of the best, which is
the same for all. One by one means GridSearchCV in two workers: warm ones have fitted before, cold
ones are started by the search and import torch first. BatchedGridSearchCV has the same two workers,
warm ones.
"""

from _harness import NATURAL_IMAGES, PHOTOGRAPHS, option_parser

parser = option_parser(__doc__, repeats=3, data=NATURAL_IMAGES)

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import os
import statistics
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _harness import (
    at_least,
    interleave,
    median_ratio,
    natural_patches,
    quiet,
    report,
    sample,
    set_threads,
)
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.model_selection import BatchedGridSearchCV

BATCHED, WARM, COLD, SKORCH = "all at once", "one by one, warm", "one by one, cold", "skorch, warm"
WORKERS = 2
BATCH, RATE, ALPHA = 256, 1e-2, 1e-4


class Case:
    """A search: data, estimator, grid, folds, and how much faster it is to be all at once."""

    def __init__(self, name, X, y, estimator, grid, cv, targets, to_skorch=None):
        self.name, self.X, self.y = name, X, y
        self.estimator, self.grid, self.cv = estimator, grid, cv
        self.targets, self.to_skorch = targets, to_skorch

    def run(self, search_class, estimator=None, grid=None, **options):
        """Search and return the search."""
        estimator = self.estimator if estimator is None else estimator
        search = search_class(
            estimator, grid or self.grid, cv=self.cv, n_jobs=WORKERS, refit=False, **options
        )
        return search.fit(self.X, self.y)


def autoencoder(n_components: int, epochs: int) -> SparseAutoencoderTransformer:
    return SparseAutoencoderTransformer(
        n_components,
        alpha=ALPHA,
        learning_rate=RATE,
        batch_size=BATCH,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=epochs + 1,  # never stop early
        device="cpu",
        random_state=0,
    )


def cases(images: Path | None) -> list[Case]:
    patches = natural_patches(images)
    patches = patches.astype(np.float32)
    rho = [0.01, 0.03, 0.05, 0.1, 0.2]
    beta = [0.1, 0.3, 1.0, 3.0, 10.0]
    cancer = MinMaxScaler().fit_transform(load_breast_cancer().data)
    digits, labels = load_digits(return_X_y=True)
    pipe = make_pipeline(autoencoder(100, 200), StandardScaler(), LogisticRegression(max_iter=1000))
    step = "sparseautoencodertransformer__"
    return [
        Case(
            "patches 64-25, 5 x 5 x 3, 20 epochs",
            patches,
            None,
            autoencoder(25, 20),
            {"rho": rho, "beta": beta},
            3,
            {WARM: 2.2, COLD: 3.0, SKORCH: 12.0},
            to_skorch=(25, 20),
        ),
        Case(
            "breast_cancer 30-16, 5 x 5 x 5, 200 epochs",
            cancer,
            None,
            autoencoder(16, 200),
            {"rho": rho, "beta": beta},
            5,
            {WARM: 3.0},
        ),
        Case(
            "digits 64-100 and LogisticRegression, 3 x 3 x 3, 200 epochs",
            digits / 16.0,
            labels,
            pipe,
            {f"{step}rho": [*rho[1::2], 0.3], f"{step}beta": beta[::2]},
            3,
            {WARM: 1.4},
        ),
    ]


# --- the same model in skorch ----------------------------------------------------------------


class Network(torch.nn.Module):
    """Sigmoid code and linear output, biases where the trivial solution is."""

    def __init__(self, n_features, n_components, rho):
        super().__init__()
        self.encoder = torch.nn.Linear(n_features, n_components)
        self.decoder = torch.nn.Linear(n_components, n_features)
        bound = (6 / (n_features + n_components + 1)) ** 0.5
        for layer in (self.encoder, self.decoder):
            torch.nn.init.uniform_(layer.weight, -bound, bound)
            torch.nn.init.zeros_(layer.bias)
        torch.nn.init.constant_(self.encoder.bias, float(np.log(rho / (1 - rho))))

    def forward(self, x):
        code = torch.sigmoid(self.encoder(x))
        return self.decoder(code), code


class Objective(torch.nn.Module):
    """J of a minibatch, less the weight decay."""

    def __init__(self, rho, beta):
        super().__init__()
        self.rho, self.beta = rho, beta

    def forward(self, prediction, x):
        output, code = prediction
        rho, rho_hat = self.rho, code.mean(dim=0)
        kl = rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
        return (output - x).square().sum() / (2 * len(x)) + self.beta * kl.sum()


def skorch_r2(net, X, y=None) -> float:
    """Return R^2 of the reconstruction, as the score of SparseAutoencoderTransformer."""
    error = np.square(net.predict(X) - X).sum(dtype=np.float64)
    return 1.0 - error / np.square(X - X.mean(axis=0)).sum(dtype=np.float64)


def search_skorch(case: Case):
    """Search the same grid over the same model, n_jobs as ours."""
    from skorch import NeuralNet
    from skorch.callbacks import LRScheduler
    from torch.optim.lr_scheduler import LinearLR

    X, (n_components, epochs) = case.X, case.to_skorch
    n_train = len(X) - len(X) // case.cv
    n_steps = epochs * -(-n_train // BATCH)
    schedule = LRScheduler(
        LinearLR, start_factor=1.0, end_factor=0.0, total_iters=n_steps, step_every="batch"
    )
    net = NeuralNet(
        Network,
        module__n_features=X.shape[1],
        module__n_components=n_components,
        criterion=Objective,
        optimizer=torch.optim.Adam,
        optimizer__param_groups=[("*.weight", {"weight_decay": ALPHA})],
        lr=RATE,
        max_epochs=epochs,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[("schedule", schedule)],
        verbose=0,
    )
    # rho is that of the starting bias and of the objective.
    grid = [
        {"module__rho": [rho], "criterion__rho": [rho], "criterion__beta": case.grid["beta"]}
        for rho in case.grid["rho"]
    ]
    return GridSearchCV(net, grid, cv=case.cv, scoring=skorch_r2, n_jobs=WORKERS, refit=False).fit(
        X, X
    )


def has_skorch() -> bool:
    try:
        import skorch  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


# --- measuring -------------------------------------------------------------------------------


def end_workers() -> None:
    """End joblib's workers, so that the next search starts new ones."""
    get_reusable_executor().shutdown(wait=True)


def warm_workers(case: Case) -> None:
    """Let every worker import what it needs and fit once."""
    few = {name: values[:2] for name, values in case.grid.items()}
    case.run(GridSearchCV, grid=few)


def anonymous_bytes_of_all() -> int:
    """Return the anonymous resident memory of this process and its workers (Linux only)."""
    total = 0
    own = str(os.getpid())
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="utf-8")
            lines = dict(line.split(":", 1) for line in text.splitlines())
        except OSError:  # it has just ended
            continue
        if own in (lines["Pid"].strip(), lines["PPid"].strip()) and "RssAnon" in lines:
            total += 1024 * int(lines["RssAnon"].split()[0])
    return total


def runs_of(case: Case) -> dict:
    """Return what is to be timed, by name; each takes the number of the round."""
    runs = {
        BATCHED: lambda _: case.run(BatchedGridSearchCV),
        WARM: lambda _: case.run(GridSearchCV),
    }
    if COLD in case.targets:
        runs[COLD] = lambda _: case.run(GridSearchCV)
    if case.to_skorch and has_skorch():
        runs[SKORCH] = lambda _: search_skorch(case)
    return runs


def best_score(search) -> float:
    """Return the best mean score over the folds."""
    return float(np.max(search.cv_results_["mean_test_score"]))


def measure(case: Case, repeats: int) -> list[dict]:
    runs = runs_of(case)
    before = {COLD: end_workers}
    seconds, searches = interleave(
        runs,
        repeats,
        before=lambda name: before.get(name, lambda: warm_workers(case))(),
    )
    best = {name: best_score(found[-1]) for name, found in searches.items()}
    rows = []
    for name in runs:
        before.get(name, lambda: warm_workers(case))()
        ratio = median_ratio(seconds[name], seconds[BATCHED])
        row = {
            "search": case.name,
            "how": name,
            "seconds": statistics.median(seconds[name]),
            "times all at once": ratio,
            "target": None,
            "met": None,
            "best score": best[name],
            "peak MB": max(sample(anonymous_bytes_of_all, partial(runs[name], 0), 0.02)) / 1e6,
        }
        if name in case.targets:
            row |= at_least(ratio, case.targets[name])
        rows.append(row)
    return rows


def main() -> None:
    set_threads(options.threads)
    quiet()
    rows = [row for case in cases(options.data) for row in measure(case, options.repeats)]
    notes = [
        f"Images: {options.data or PHOTOGRAPHS}.",
        f"From the call of fit to its return, without the refit; one by one in {WORKERS} workers.",
        "Peak: anonymous memory of this process and its workers together, in a run of its own.",
    ]
    report("Searches over grids of small networks", rows, notes, options.json)


if __name__ == "__main__":
    main()
