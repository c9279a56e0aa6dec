"""What was published of deep sparse autoencoders: how near sksae comes, and how fast.

Four studies: self-taught learning, a stack before and after fine-tuning, few labels among many
rows, and two layers of features against one. sksae stands beside the same networks written by hand
in PyTorch, with the same settings and as many epochs, and beside what scikit-learn has. The repeats
are the seeds: they start the networks and draw the labelled rows.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import _deep_runs as runs
from _deep_data import few_labels, half_of_the_low_digits, mnist_labelled, sentences
from _deep_runs import Run
from _harness import (
    at_least,
    find_data,
    interleave,
    median_ratio,
    option_parser,
    quiet,
    report,
    required_data,
    set_threads,
)

OURS, HAND, MLP, RAW = "sksae", "PyTorch by hand", "MLPClassifier", "raw features"
FASTER = 1.5
SAME = 0.001  # that an accuracy may be below another one and still count as equal
N_SENTENCES = 20_000, 10_000  # to learn from, to be judged by

Found = dict[str, list[Run]]


# --- studies ---------------------------------------------------------------------------------


def self_taught(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Features learnt from the digits 5-9 tell the digits 0-4 apart."""
    digits = mnist_labelled(required_data(options.data, "mnist.npz"))
    unlabelled, rows = half_of_the_low_digits(digits)
    found = rounds(
        {
            OURS: partial(runs.frozen_sksae, unlabelled, rows, [200]),
            HAND: partial(runs.frozen_by_hand, unlabelled, rows, [200]),
            RAW: partial(runs.logistic_regression, rows, runs.SELF_TAUGHT_DECAY),
        },
        options.repeats,
    )
    note = (
        f"self-taught: {len(unlabelled)} digits 5-9 without labels, softmax on {len(rows.X_train)}"
        f" digits 0-4, tested on {len(rows.X_test)}. Published: about 0.983, on pixels 0.96."
    )
    return rows_of("self-taught", found, least=0.983), [note]


def stacked(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Two layers trained one upon the other, then all together for the classes."""
    rows = mnist_labelled(required_data(options.data, "mnist.npz"))
    sizes = [200, 200]
    same_epochs = f"{MLP}, as many epochs"
    found = rounds(
        {
            OURS: partial(runs.tuned_sksae, rows, sizes),
            HAND: partial(runs.tuned_by_hand, rows, sizes),
            same_epochs: partial(runs.mlp, rows, sizes, how=runs.TUNING),
            f"{MLP}, its defaults": partial(runs.mlp, rows, sizes),
        },
        options.repeats,
    )
    note = (
        f"stacked: {len(rows.X_train)} digits, 784-200-200-10, {runs.PRETRAINING.max_iter} epochs"
        f" a layer, {runs.TUNING.max_iter} together. Published: 0.877 before fine-tuning, 0.976"
        f" after. {MLP} is held against the seconds of sksae's fine-tuning alone."
    )
    return rows_of("stacked", found, least=0.982), [note]


def semi_supervised(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """60000 digits of which 1000 have a label."""
    digits = mnist_labelled(required_data(options.data, "mnist.npz"))
    sizes, decay = [500], 1e-3

    def draw(function: Callable[..., Run], *args, **kwargs) -> Callable[[int], Run]:
        return lambda seed: function(few_labels(digits, seed), *args, seed=seed, **kwargs)

    def on_labelled(function: Callable[..., Run], *args) -> Callable[[int], Run]:
        return lambda seed: function(few_labels(digits, seed).labelled, *args, seed=seed)

    found = rounds(
        {
            OURS: draw(runs.few_labels_sksae, sizes, decay),
            HAND: draw(runs.few_labels_by_hand, sizes, decay),
            f"{HAND}, not pre-trained": draw(
                runs.few_labels_by_hand, sizes, decay, pretrained=False
            ),
            "LogisticRegression": on_labelled(runs.logistic_regression, 1e-2),
            MLP: on_labelled(runs.mlp, sizes),
            "LabelSpreading": draw(runs.label_spreading),
        },
        options.repeats,
    )
    labelled = len(few_labels(digits, 0).labelled.X_train)
    note = f"semi-supervised: {len(digits.X_train)} digits, {labelled} with a label; 784-500-10."
    return rows_of("semi-supervised", found), [note]


def deep_features(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Codes of two layers against those of one, for the same linear classifier."""
    sets = {"mnist": lambda seed: mnist_labelled(required_data(options.data, "mnist.npz"))}
    if path := find_data(options.data, "sentence_embeddings.npz"):
        sets["sentences"] = lambda seed: sentences(path, N_SENTENCES, seed)
    table = []
    for name, draw in sets.items():
        alternatives = {
            OURS: (runs.features_sksae, [200, 200]),
            "sksae, one layer": (runs.features_sksae, [200]),
            HAND: (runs.features_by_hand, [200, 200]),
        }
        found = rounds(
            {
                alternative: lambda seed, draw=draw, function=function, sizes=sizes: function(
                    draw(seed), sizes, seed
                )
                for alternative, (function, sizes) in alternatives.items()
            }
            | {RAW: lambda seed, draw=draw: runs.features_as_they_are(draw(seed), seed)},
            options.repeats,
        )
        table += rows_of(f"features, {name}", found)
    return table, ["features: 200-200 or 200, then StandardScaler and LogisticRegression."]


STUDIES = {
    "self-taught": self_taught,
    "stacked": stacked,
    "semi-supervised": semi_supervised,
    "features": deep_features,
}


# --- tables ----------------------------------------------------------------------------------


def rounds(alternatives: Mapping[str, Callable[[int], Run]], repeats: int) -> Found:
    """Return the runs of all alternatives, one of each in every round."""
    return interleave(alternatives, repeats, warm_up=False)[1]


def rows_of(study: str, found: Found, least: float | None = None) -> list[dict]:
    """Return a row for each alternative: ours against what was published, theirs against ours."""
    return [row_of(study, name, found, least) for name in found]


def row_of(study: str, name: str, found: Found, least: float | None) -> dict:
    of = found[name]
    tests = values(of, "test")
    row = {
        "study": study,
        "alternative": name,
        "before": statistics.fmean(before) if (before := values(of, "before")) else None,
        "accuracy": f"{statistics.fmean(tests):.4f}",
        "+-": f"{statistics.stdev(tests):.4f}" if len(tests) > 1 else "",
        "seconds": " + ".join(f"{median_of(of, part):.1f}" for part in of[0].seconds),
        "times sksae": None,
        "target": None,
        "met": None,
    }
    if name == OURS:
        return row | (at_least(statistics.fmean(tests), least) if least else {})
    if name.startswith((HAND, MLP)) and "not pre-trained" not in name:
        faster = median_ratio(seconds_of(of), seconds_of(found[OURS], set(of[0].seconds)))
        as_good = statistics.fmean(values(found[OURS], "test")) >= statistics.fmean(tests) - SAME
        row["times sksae"] = faster
        row["target"] = f"at least {FASTER}, accuracy of sksae no lower"
        row["met"] = faster >= FASTER and as_good
    return row


def values(of: Sequence[Run], which: str) -> list[float]:
    return [run.accuracy[which] for run in of if which in run.accuracy]


def median_of(of: Sequence[Run], part: str) -> float:
    return statistics.median(run.seconds[part] for run in of)


def seconds_of(of: Sequence[Run], parts: set[str] | None = None) -> list[float]:
    """Return the seconds of each run, of these parts or of all."""
    return [
        sum(seconds for part, seconds in run.seconds.items() if parts is None or part in parts)
        for run in of
    ]


def main() -> None:
    parser = option_parser(__doc__, repeats=5)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    options = parser.parse_args()
    set_threads(options.threads)
    quiet()
    table, notes = [], []
    for name in options.studies:
        found, said = STUDIES[name](options)
        table += found
        notes += said
    report("Deep networks, and what was published", table, notes, options.json)


if __name__ == "__main__":
    main()
