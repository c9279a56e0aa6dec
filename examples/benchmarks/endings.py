"""Whether trainings end when they are done: fits by default against patient ones of the same J.

A patient fit has the alpha and beta of the one by default and its batches, a tenth of its rate, and
goes on until a hundred epochs have brought no new best; "lbfgs" goes on until no step lowers J.
Fits by default shall reach 97 % of its R^2. With --cache what has been measured is kept, so that
the study can be interrupted, and fits by default be measured anew after a change of sksae without
their patient references.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from _endings_runs import LONGEST, Case, Figures, run
from _harness import as_text, positive_int, report, set_threads
from _measuring import fingerprint, recall, warm_up

SHARE = 0.97  # of the patient fit's R^2, to be reached
SMALL, NEAR_SMALL = 0.05, 0.002  # below the first the difference counts, and may be the second

# To be raised when something here or in _endings_runs or _wide_data changes what is measured.
PROTOCOL = 1
WIDE = "250 x 5000"
SHAPES = [f"{n} x {d}" for d, n in product((5000, 20000), (100, 250, 300, 600))]
BATCHES = {1: 250, 2: 125, 5: 50, 10: 25}
OTHER_DATA = {
    "spectra 80 x 4000": {},
    "pictures 40 x 10000": {},
    "counts 200 x 4000": {"n_components": 30},
    "words 600 x 3000": {},
    "whitened 2000 x 384": {},
    "voxels 60 x 20000": {},
}
CODES = [
    *product(("kl",), ("sigmoid", "tanh")),
    *product(("l1", "l2", None), ("relu", "prelu", "sigmoid", "tanh", "identity")),
]
NETWORKS = {
    "tied": {"tied_weights": True},
    "300 units": {"n_components": 300},
    "hidden layer": {"n_components": 30, "hidden_layer_sizes": (60,)},
    "early stopping": {"early_stopping": True},
    "sgd": {"solver": "sgd"},
    "sgd, l1": {"solver": "sgd", "sparsity": "l1"},
}
LBFGS = {"": {}, ", l1": {"sparsity": "l1"}, ", tanh": {"activation": "tanh"}}


def all_cases() -> list[Case]:
    """Return the grid, what takes longest last."""
    cases = [Case("data", data, parameters) for data, parameters in OTHER_DATA.items()]
    cases += [
        Case("rho 0.2", "counts 200 x 4000", {"n_components": 30, "rho": 0.2}),
        Case("lbfgs", "whitened 2000 x 384", {"solver": "lbfgs"}),
        *(Case("shape", shape) for shape in SHAPES if shape.endswith(" 5000")),
        Case("wide stack", "200 x 5000", kind="stack"),
        Case("wide classifier", "classes 250 x 5000", kind="classifier"),
    ]
    cases += [Case(f"{n} batches", WIDE, {"batch_size": size}) for n, size in BATCHES.items()]
    cases += [Case(name, WIDE, parameters) for name, parameters in NETWORKS.items()]
    cases += [
        Case(f"lbfgs{name}", WIDE, {"solver": "lbfgs", **more}) for name, more in LBFGS.items()
    ]
    cases += [
        Case(f"{sparsity}, {activation}", WIDE, {"sparsity": sparsity, "activation": activation})
        for sparsity, activation in CODES
        if (sparsity, activation) != CODES[0]
    ]
    return cases + [Case("shape", shape) for shape in SHAPES if shape.endswith("20000")]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=positive_int, help="of torch and of numpy's BLAS")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--cache", type=Path, help="folder that keeps what has been measured")
    parser.add_argument("--cases", nargs="+", help="parts of names; default all")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser.parse_args()


def figures_of(case: Case, folder: Path | None) -> tuple[Figures, Figures]:
    """Return the figures of the fit by default and of the patient one.

    The latter is a yardstick: what is kept of it holds for any state of sksae.
    """
    key = {
        "data": f"{case.data} {case.name}",
        "extractor": "default",
        "seed": 0,
        "kind": case.kind,
        "parameters": case.parameters,
        "protocol": PROTOCOL,
    }
    versions = fingerprint("sksae")
    ours = recall(folder, key | {"versions": versions}, lambda: run(case))
    versions = {name: value for name, value in versions.items() if name != "sksae"}
    key |= {"extractor": "patient", "how": ours["patient"], "versions": versions}
    return ours, recall(folder, key, lambda: run(case, ours["patient"]))


def is_met(ours: float, theirs: float) -> bool:
    """Return whether a fit by default has come as far as it shall."""
    return ours >= (theirs - NEAR_SMALL if theirs < SMALL else SHARE * theirs)


def row_of(case: Case, ours: Figures, patient: Figures) -> dict[str, object]:
    """Return a row of the table."""
    note = ours["warnings"]
    if "accuracy" in ours:
        note += f" accuracy {ours['accuracy']:.3f}, patient {patient['accuracy']:.3f}"
    if patient["epochs"] >= LONGEST:
        note += f" patient stopped after {LONGEST}"
    return {
        "case": case.name,
        "data": case.data,
        "R^2": ours["R^2"],
        "patient R^2": patient["R^2"],
        "ratio": ours["R^2"] / patient["R^2"],
        "target": "ok" if is_met(ours["R^2"], patient["R^2"]) else "NOT MET",
        "J": ours["loss"],
        "patient J": patient["loss"],
        "epochs": ours["epochs"],
        "steps": ours["steps"],
        "seconds": ours["seconds"],
        "patient epochs": patient["epochs"],
        "patient seconds": patient["seconds"],
        "note": note.strip(),
    }


def print_markdown(rows: Sequence[Mapping[str, object]], notes: Sequence[str]) -> None:
    """Print the rows as one Markdown table, then the notes as a list."""
    columns = list(rows[0])
    for line in (
        columns,
        ["---"] * len(columns),
        *([as_text(row[name]) for name in columns] for row in rows),
    ):
        print("|", " | ".join(line), "|")
    print()
    print("\n".join(f"- {note}" for note in notes))


def main() -> None:
    options = parse_options()
    set_threads(options.threads)
    warm_up()
    rows = []
    for case in all_cases():
        name = f"{case.name}, {case.data}"
        if options.cases and not any(part in name for part in options.cases):
            continue
        rows.append(row_of(case, *figures_of(case, options.cache)))
        shown = {column: rows[-1][column] for column in ("R^2", "patient R^2", "ratio", "target")}
        print(name, shown, file=sys.stderr, flush=True)
    if not rows:
        sys.exit(f"No case has one of {', '.join(options.cases)} in its name.")
    missed = [f"{row['case']} ({row['data']})" for row in rows if row["target"] != "ok"]
    notes = [f"{len(rows) - len(missed)} of {len(rows)} met; not: {', '.join(missed) or 'none'}"]
    if options.markdown:
        print_markdown(rows, notes)
    else:
        report("Ends of trainings", rows, notes, options.json)


if __name__ == "__main__":
    main()
