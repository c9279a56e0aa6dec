"""One process of crowded.py: it fits whenever a line comes in, and says how many seconds it took.

    python _crowd.py WORKLOAD ALTERNATIVE FILE

FILE holds the rows, as numpy saves them.
"""

import gc
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from _alternatives import FITS, MLP, SKORCH, Penalty, Setting
from _harness import mnist_or_synthetic, patches_or_synthetic, quiet, restore_wait_policy

# By its wait policy, which OpenMP reads when torch is loaded, sksae can keep threads from spinning
# only where it is the first to load torch.
TORCH_FIRST, SKSAE_FIRST = "sksae, torch before it", "sksae, torch by it"


def lbfgs_by_sksae(X, setting: Setting, seed: int) -> None:
    from sksae import SparseAutoencoderTransformer

    SparseAutoencoderTransformer(
        setting.n_components,
        **asdict(setting.penalty),
        sparsity="kl",
        output_activation=setting.output,
        scale_data=False,
        solver="lbfgs",
        max_iter=setting.epochs,
        tol=0,
        device="cpu",
        random_state=seed,
    ).fit(X)


def lbfgs_by_mlp(X, setting: Setting, seed: int) -> None:
    from sklearn.neural_network import MLPRegressor

    MLPRegressor(
        hidden_layer_sizes=(setting.n_components,),
        activation="logistic",
        solver="lbfgs",
        alpha=setting.penalty.alpha,
        max_iter=setting.epochs,
        tol=0,
        random_state=seed,
    ).fit(X, X)


ADAM = {
    TORCH_FIRST: FITS["sksae"],
    SKSAE_FIRST: FITS["sksae"],
    SKORCH: FITS[SKORCH],
    MLP: FITS[MLP],
}
LBFGS = {TORCH_FIRST: lbfgs_by_sksae, SKSAE_FIRST: lbfgs_by_sksae, MLP: lbfgs_by_mlp}


@dataclass(frozen=True)
class Workload:
    """Rows and what is fitted to them; epochs of L-BFGS are iterations."""

    rows: Callable[[Path | None, int], np.ndarray]
    n_rows: int
    setting: Setting
    fits: Mapping[str, Callable]


UFLDL = Penalty(rho=0.01, beta=3.0, alpha=1e-4)
WORKLOADS = {
    "64-64": Workload(patches_or_synthetic, 4000, Setting(64, UFLDL, rate=0.01, epochs=20), ADAM),
    "784-196": Workload(
        mnist_or_synthetic,
        10_000,
        Setting(196, Penalty(rho=0.1, beta=3.0, alpha=3e-3), rate=0.01, epochs=2),
        ADAM,
    ),
    "L-BFGS, 64-25": Workload(
        patches_or_synthetic, 10_000, Setting(25, UFLDL, rate=0.0, epochs=50), LBFGS
    ),
}


def main(workload: str, alternative: str, file: str) -> None:
    restore_wait_policy()
    if alternative == TORCH_FIRST:
        import torch  # noqa: F401
    quiet()
    X, work = np.load(file), WORKLOADS[workload]
    fit = work.fits[alternative]
    # What is loaded at the first fit is loaded now.
    fit(X[:300], replace(work.setting, epochs=1), 0)
    print("ready", flush=True)
    for seed in sys.stdin:
        gc.collect()
        start = time.perf_counter()
        fit(X, work.setting, int(seed))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
