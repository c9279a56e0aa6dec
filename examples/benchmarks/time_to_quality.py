"""Time to the same J: how soon sksae has what skorch and a DataLoader loop have in five epochs.

Timed from the call of fit to its return, on digits, on patches of images and on embeddings of
sentences. All have the same rows, batches, penalties and rates: of .003, .01 and .03 the rate at
which the loop's J is lowest. sksae's max_iter is one for all three data sets, the smallest at which
its J is not above theirs on any; --choose shows how it was found.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _alternatives import FITS, LOOP, OURS, SKORCH, Penalty, Setting, has_skorch
from _harness import (
    MNIST,
    NATURAL_IMAGES,
    SENTENCES,
    at_least,
    excess,
    find_data,
    interleave,
    median_ratio,
    natural_patches,
    objective,
    option_parser,
    positive_int,
    quiet,
    report,
    rows_of_mnist,
    set_threads,
)

EPOCHS = 5  # of the others
MAX_ITER = 5
TARGET = 7.0


@dataclass(frozen=True)
class Case:
    """Rows, and how all learn from them."""

    rows: Callable[[Path | None], np.ndarray | None]
    setting: Setting

    def loss(self, X: np.ndarray, found: tuple) -> float:
        return objective(X, *found, **self.setting.of_objective)


def digits(given: Path | None) -> np.ndarray:
    return rows_of_mnist(find_data(given, MNIST), 20_000)[0]


def patches(given: Path | None) -> np.ndarray:
    return natural_patches(find_data(given, NATURAL_IMAGES), 50_000).astype(np.float32)


def embeddings(given: Path | None) -> np.ndarray | None:
    """Return embeddings centred, over one number by which their mean squared norm is 36."""
    path = find_data(given, SENTENCES)
    if path is None:
        return None
    with np.load(path) as file:
        X = file["X"][:20_000].astype(np.float32)
    X -= X.mean(axis=0)
    return X * np.sqrt(36 * len(X) / np.vdot(X, X))


CASES = {
    "MNIST, 784-196": Case(
        digits, Setting(196, Penalty(rho=0.1, beta=3.0, alpha=3e-3), rate=0.01, epochs=EPOCHS)
    ),
    "patches, 64-25": Case(
        patches, Setting(25, Penalty(rho=0.01, beta=3.0, alpha=1e-4), rate=0.03, epochs=EPOCHS)
    ),
    # Penalties are sksae's defaults for such rows.
    "embeddings, 384-1536": Case(
        embeddings,
        Setting(
            1536,
            Penalty(rho=0.05, beta=6.0, alpha=0.0049),
            rate=0.01,
            epochs=EPOCHS,
            output="identity",
        ),
    ),
}


def compare(name: str, case: Case, X: np.ndarray, others, max_iter: int, repeats: int) -> list:
    """Return the rows of one data set: seconds and J of all."""
    ours = replace(case.setting, epochs=max_iter)
    settings = {OURS: ours, **dict.fromkeys(others, case.setting)}
    seconds, found = interleave(
        {
            fit: lambda seed, fit=fit, setting=setting: FITS[fit](X, setting, seed)
            for fit, setting in settings.items()
        },
        repeats,
    )
    losses = {
        fit: statistics.median(case.loss(X, weights) for weights in by_seed)
        for fit, by_seed in found.items()
    }
    rows = []
    for fit, setting in settings.items():
        row = {
            "data": name,
            "alternative": fit,
            "epochs": setting.epochs,
            "seconds": statistics.median(seconds[fit]),
            "J": losses[fit],
        }
        if fit != OURS:
            verdict = at_least(median_ratio(seconds[fit], seconds[OURS]), TARGET)
            row |= {
                "times sksae": median_ratio(seconds[fit], seconds[OURS]),
                "J of sksae above it, %": excess(losses[OURS], losses[fit]),
                "target": f"{verdict['target']}, J not above",
                "met": verdict["met"] and losses[OURS] <= losses[fit],
            }
        rows.append(row)
    return rows


def choose(name: str, case: Case, X: np.ndarray, others, repeats: int) -> dict:
    """Return the row of one data set: J of the others, and of sksae after so many epochs."""

    def loss(fit: str, epochs: int) -> float:
        setting = replace(case.setting, epochs=epochs)
        by_seed = (case.loss(X, FITS[fit](X, setting, seed)) for seed in range(repeats))
        return statistics.median(by_seed)

    theirs = {fit: loss(fit, EPOCHS) for fit in others}
    ours: dict[int, float | None] = dict.fromkeys(range(1, EPOCHS + 1))
    enough = None
    for epochs in ours:
        ours[epochs] = loss(OURS, epochs)
        if ours[epochs] <= min(theirs.values()):
            enough = epochs
            break
    return {
        "data": name,
        **{f"J of {fit}": value for fit, value in theirs.items()},
        **{f"{epochs}": value for epochs, value in ours.items()},
        "max_iter": enough or f"more than {EPOCHS}",
    }


def main() -> None:
    parser = option_parser(__doc__, repeats=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--max-iter", type=positive_int, default=MAX_ITER, help="of sksae")
    parser.add_argument("--choose", action="store_true", help="find max_iter, without timing")
    options = parser.parse_args()
    set_threads(options.threads)
    quiet()
    others = [SKORCH, LOOP] if has_skorch() else [LOOP]
    notes = [] if has_skorch() else ["skorch is not installed: its rows are missing."]
    rows = []
    for name in options.cases:
        case = CASES[name]
        X = case.rows(options.data)
        if X is None:
            notes.append(f"{name}: left out, as no folder was named that has {SENTENCES.name}.")
            continue
        notes.append(f"{name}: {len(X)} rows, {case.setting}.")
        if options.choose:
            rows.append(choose(name, case, X, others, options.repeats))
        else:
            rows += compare(name, case, X, others, options.max_iter, options.repeats)
    notes.append("J over all rows, in float64 by the same formula, the median over the seeds.")
    title = "J after so many epochs of sksae, 1 to 5" if options.choose else "Time to the same J"
    report(title, rows, notes, options.json)


if __name__ == "__main__":
    main()
