"""Five epochs on MNIST: sksae against skorch, a DataLoader loop, MLPRegressor and the floor.

Timed from the call of fit to its return. skorch and the loop minimise the same J, so that theirs
can be compared; MLPRegressor has no sparsity term and shows its seconds only. How soon the same J
is reached is another question, which time_to_quality.py answers.
"""

from _harness import MNIST, option_parser

parser = option_parser(__doc__, repeats=5, data=MNIST)

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import statistics

from _alternatives import FITS, MLP, OURS, SKORCH, Penalty, Setting, has_skorch
from _harness import (
    at_least,
    at_most,
    excess,
    fastest,
    five_products,
    interleave,
    median_ratio,
    objective,
    quiet,
    report,
    rows_of_mnist,
    set_threads,
)

N_SAMPLES = 20_000
SETTING = Setting(196, Penalty(rho=0.1, beta=3.0, alpha=3e-3), rate=1e-2, epochs=5)
SAME = 1.0  # percent that J may be above theirs and still count as the same
TARGETS = {SKORCH: 2.5, MLP: 1.2}
TO_FLOOR = 1.8


def floors_of(X) -> dict:
    """Return, for each library, a function that does the five products of all steps."""
    full, rest = divmod(len(X), SETTING.batch)
    whole = five_products(SETTING.batch, X.shape[1], SETTING.n_components)
    last = five_products(rest, X.shape[1], SETTING.n_components)

    def floor(library):
        def run(_) -> None:
            for _ in range(SETTING.epochs):
                for _ in range(full):
                    whole[library]()
                if rest:
                    last[library]()

        return run

    return {library: floor(library) for library in whole}


def row_of(name: str, seconds: dict[str, list[float]], losses: dict[str, float]) -> dict:
    """Return the row of one alternative; ours is held against the floor, the others against it."""
    floor = fastest(seconds)
    to_floor = median_ratio(seconds[name], seconds[floor])
    to_ours = median_ratio(seconds[name], seconds[OURS])
    row = {
        "alternative": f"{name}, the floor" if name == floor else name,
        "seconds": statistics.median(seconds[name]),
        "times the floor": to_floor,
        "times sksae": to_ours,
        "target": None,
        "met": None,
        "J": losses.get(name),
    }
    if name == OURS:
        verdict = at_most(to_floor, TO_FLOOR)
        row |= verdict | {"target": f"{verdict['target']} x floor"}
    elif name in TARGETS:
        verdict = at_least(to_ours, TARGETS[name])
        row |= verdict | {"target": f"{verdict['target']} x sksae"}
        if name in losses:
            row["met"] = row["met"] and excess(losses[OURS], losses[name]) <= SAME
    return row


def compare(name: str, theirs: float, ours: float) -> str:
    """Say plainly whether our J is as good as theirs."""
    percent = excess(ours, theirs)
    if percent < -SAME:
        verdict = f"better by more than {SAME:g} %"
    elif percent <= SAME:
        verdict = f"the same within {SAME:g} %"
    else:
        verdict = f"WORSE by more than {SAME:g} %, so the seconds do not compare"
    return f"J of sksae less that of {name}: {percent:+.2f} %, {verdict}."


def main() -> None:
    set_threads(options.threads)
    quiet()
    X, source = rows_of_mnist(options.data, N_SAMPLES)
    fits = dict(FITS)
    notes = [
        f"{N_SAMPLES} x {X.shape[1]}, {SETTING}.",
        source,
        "J over all rows, in float64 by the same formula, the median over the repeats.",
    ]
    if not has_skorch():
        del fits[SKORCH]
        notes.append("skorch is not installed: its row is missing.")
    runs = {name: lambda seed, fit=fit: fit(X, SETTING, seed) for name, fit in fits.items()}
    seconds, weights = interleave({**runs, **floors_of(X)}, options.repeats)
    losses = {
        name: statistics.median(objective(X, *found, **SETTING.of_objective) for found in found_by)
        for name, found_by in weights.items()
        if name in fits and name != MLP
    }
    rows = [row_of(name, seconds, losses) for name in seconds]
    notes += [compare(name, J, losses[OURS]) for name, J in losses.items() if name != OURS]
    report("Five epochs of MNIST, from the call of fit to its return", rows, notes, options.json)


if __name__ == "__main__":
    main()
