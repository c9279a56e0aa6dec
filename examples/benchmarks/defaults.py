"""What the defaults of SparseAutoencoderTransformer are worth, against other feature extractors.

Every extractor has the defaults of its library and the size of code of the data set; its codes are
standardised and go to LogisticRegression. Rows, scaling, splits and classifier are the same for
all. A seed draws the rows, or the folds, and starts the extractor; the repeats are the seeds.
With --cache what has been measured is kept, so that the study can be interrupted, and other
parameters be tried without measuring the peers again.
"""

import argparse
import ast
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _extractors import LINEAR, OURS, PEERS
from _harness import as_text, option_parser, quiet, report, set_threads
from _labelled import data_sets
from _measuring import PENALTIES, Figures, figures_of, warm_up

MARGIN = 0.01  # that raw features or PCA may be ahead
SHARE_OF_RHO = 0.2  # that the mean activation may be off
SHARE_NEAR_RHO = 0.9  # of the units, at least, that are within a factor of 2 of rho
HIGH_ACTIVATION = 0.9  # that some unit reaches
ALIKE = 0.9  # cosine from which two atoms are the same
COLUMNS = (
    *PENALTIES,
    "R^2",
    "Hoyer",
    "zero rows",
    "effective units",
    "largest activation",
    "mean activation",
    "dead units",
    "largest cosine",
    "roughness",
    "roughness of rows",
    "seconds",
)

# Of each data set and extractor the figures of all seeds.
Results = dict[tuple[str, str], list[Figures]]


# --- options ---------------------------------------------------------------------------------


def parse_options() -> argparse.Namespace:
    parser = option_parser(__doc__, repeats=5)
    parser.add_argument("--cache", type=Path, help="folder that keeps what has been measured")
    parser.add_argument("--sets", nargs="+", help="data sets; default all that there is data for")
    parser.add_argument(
        "--extractors", nargs="*", default=[OURS, *PEERS], choices=[OURS, *PEERS], metavar="NAME"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        type=variant,
        metavar="NAME=VALUE,...",
        help="parameters of sksae to measure as well, such as rho=0.1,solver=lbfgs; repeatable",
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    return parser.parse_args()


def variant(text: str) -> dict[str, Any]:
    """Return parameters from ``name=value,name=value``; what is no literal is a string."""
    parameters = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{part!r} is not name=value")
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parameters[name] = value
    return parameters


# --- tables ----------------------------------------------------------------------------------


def values(figures: Sequence[Figures], name: str) -> list[float]:
    """Return a figure of all seeds, of which there may be none."""
    return [value for each in figures if (value := each.get(name)) is not None]


def mean_of(figures: Sequence[Figures], name: str) -> float:
    return statistics.fmean(values(figures, name))


def row_of(data: str, name: str, figures: Sequence[Figures]) -> dict[str, str]:
    """Return the means over seeds as text, accuracies with their standard deviation."""
    row = {"data": data, "features": name}
    for column in COLUMNS:
        found = values(figures, column)
        row[column] = as_text(round(statistics.fmean(found), 4)) if found else ""
        if found and column in PENALTIES:
            row[column] = f"{statistics.fmean(found):.4f}"
            row[column] += f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
    return row


def print_markdown(rows: Sequence[Mapping[str, str]], notes: Sequence[str]) -> None:
    """Print the rows as one Markdown table for each data set, then the notes as a list."""
    for data in dict.fromkeys(row["data"] for row in rows):
        print(f"### {data}\n")
        shown = [name for name in rows[0] if name != "data"]
        cells = [[row[name] for name in shown] for row in rows if row["data"] == data]
        for line in (shown, ["---"] * len(shown), *cells):
            print("|", " | ".join(line), "|")
        print()
    print("\n".join(f"- {note}" for note in notes))


# --- verdicts --------------------------------------------------------------------------------


def points_against(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return 1 if the first are higher on average, 0 if lower, 1/2 within one standard error.

    The seeds pair them: both saw the same rows. The standard error is that of the mean difference.
    """
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(ours) > 1 else 0.0
    return 0.5 if abs(mean) <= error else float(mean > 0)


def accuracy_note(ours: Sequence[float], peers: Mapping[str, Sequence[float]]) -> tuple:
    """Return the points of one data set, the least against any peer, and a sentence on it."""
    points = {peer: points_against(ours, theirs) for peer, theirs in peers.items()}
    means = {peer: statistics.fmean(theirs) for peer, theirs in peers.items()}
    best = max(means, key=lambda peer: means[peer])
    note = f"{statistics.fmean(ours):.4f}, best other {means[best]:.4f} ({best})"
    for outcome, words in ((0.0, "behind"), (0.5, "level with")):
        if those := [peer for peer in points if points[peer] == outcome]:
            note += f"; {words} {', '.join(those)}"
    return min(points.values()), note if min(points.values()) < 1 else f"{note}; ahead of all"


def sparseness_notes(results: Results, sets: Sequence[str], name: str) -> list[str]:
    """Return how sparse rows are, and where units are off rho, or atoms rough or alike."""

    def means(column: str) -> dict[str, float]:
        return {
            d: mean_of(results[d, name], column) for d in sets if values(results[d, name], column)
        }

    def named(those: Iterable[str]) -> str:
        return ", ".join(those) or "nowhere"

    cosines, rows = means("largest cosine"), means("roughness of rows")
    low = [data for data, value in means("largest activation").items() if value < HIGH_ACTIVATION]
    far = [data for data, value in means("units near rho").items() if value < SHARE_NEAR_RHO]
    alike = [f"{data} ({value:.2f})" for data, value in cosines.items() if value > ALIKE]
    rough = [
        f"{d} ({value / rows[d]:.2f} times)"
        for d, value in means("roughness").items()
        if value > rows[d]
    ]
    hoyer = (f"{data} {value:.2f}" for data, value in means("Hoyer").items())
    return [
        f"median Hoyer sparsity of a row: {', '.join(hoyer)}",
        f"largest activation below {HIGH_ACTIVATION}: {named(low)}",
        f"fewer than {SHARE_NEAR_RHO:.0%} of the units between rho/2 and 2 rho: {named(far)}",
        f"largest cosine between atoms above {ALIKE}: {named(alike)}",
        f"atoms rougher than the rows: {named(rough)}",
    ]


def verdicts(results: Results, sets: Sequence[str], name: str) -> list[str]:
    """Return a sentence for each labelled set and for each target, for our extractor `name`."""
    notes, points, behind, slowest = [], [], [], []
    for data in sets:
        ours = results[data, name]
        peers = {peer: results[data, peer] for peer in PEERS if (data, peer) in results}
        if not peers:
            continue
        if mean_of(ours, "seconds") >= max(mean_of(f, "seconds") for f in peers.values()):
            slowest.append(data)
        if not values(ours, "accuracy"):
            continue
        accuracies = {peer: values(figures, "accuracy") for peer, figures in peers.items()}
        gained, note = accuracy_note(values(ours, "accuracy"), accuracies)
        points.append(gained)
        notes.append(f"{data}: {note}")
        linear = [mean_of(peers[peer], "accuracy") for peer in LINEAR if peer in peers]
        if mean_of(ours, "accuracy") < max(linear, default=0.0) - MARGIN:
            behind.append(data)
    notes.append(
        f"ahead of all on {sum(points):g} of {len(points)} labelled sets, level counts 1/2"
    )
    notes.append(f"more than {MARGIN} behind raw or PCA: {', '.join(behind) or 'nowhere'}")
    notes.append(f"slowest of all: {', '.join(slowest) or 'nowhere'}")
    notes += sparseness_notes(results, sets, name)
    every = [figures for data in sets for figures in results[data, name]]
    notes.append(f"most dead units: {max(values(every, 'dead units')):.2%}")
    if ratios := values(every, "mean activation / rho"):
        kept = all(abs(ratio - 1) <= SHARE_OF_RHO for ratio in ratios)
        words = f"{'' if kept else 'NOT '}within {SHARE_OF_RHO:.0%}"
        notes.append(f"mean activation / rho: {min(ratios):.3f} to {max(ratios):.3f}, {words}")
    return [f"{name}: {note}" for note in notes]


def main() -> None:
    options = parse_options()
    set_threads(options.threads)
    quiet()
    available = data_sets(options.data)
    sets = options.sets or list(available)
    if missing := set(sets) - set(available):
        sys.exit(f"There is no data for {', '.join(missing)}; there is {', '.join(available)}.")
    jobs: dict[str, tuple[str, dict]] = {name: (name, {}) for name in options.extractors}
    for parameters in options.variant:
        label = ", ".join(f"{name}={value}" for name, value in parameters.items())
        jobs[f"{OURS}, {label}"] = (OURS, parameters)
    if any(name == OURS for name, _ in jobs.values()):
        warm_up()
    results: Results = {}
    for seed in range(options.repeats):  # outermost, so that an early stop leaves whole rounds
        for data in sets:
            for label, (name, parameters) in jobs.items():
                found = figures_of(name, parameters, available[data], seed, options.cache)
                results.setdefault((data, label), []).append(found)
                print(f"seed {seed}, {data}, {label}", file=sys.stderr, flush=True)
    rows = [row_of(data, label, results[data, label]) for data in sets for label in jobs]
    ours = [label for label, (name, _) in jobs.items() if name == OURS]
    notes = [note for label in ours for note in verdicts(results, sets, label)]
    if options.markdown:
        print_markdown(rows, notes)
    else:
        report("Features for a linear classifier, by default", rows, notes, options.json)


if __name__ == "__main__":
    main()
