"""What was published of deep sparse autoencoders: how near sksae comes, and how fast.

Four studies: self-taught learning, a stack before and after fine-tuning, few labels among many
rows, and two layers of features against one. sksae stands beside the same networks written by hand
in PyTorch, with the same settings and as many epochs, and beside what scikit-learn has. Where sksae
is the more accurate one, it is there with half the epochs too: the time to the same accuracy. The
repeats are the seeds: they start the networks and draw the labelled rows.
"""

from _harness import MNIST, SENTENCES, option_parser, positive_int

parser = option_parser(__doc__, repeats=3, data=MNIST)
studies = ["self-taught", "stacked", "semi-supervised", "features"]
parser.add_argument("--studies", nargs="+", default=studies, choices=studies)
parser.add_argument(
    "--seeds", type=positive_int, default=5, help="repeats of semi-supervised, %(default)s"
)
parser.add_argument(
    "--processor-time", action="store_true", help="instead of wall time: for a busy machine"
)

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import argparse
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import _deep_runs as runs
from _deep_data import (
    Labelled,
    as_labelled,
    few_labels,
    half_of_the_low_digits,
    sentences,
    some_of,
)
from _deep_runs import Run
from _harness import (
    at_least,
    interleave,
    median_ratio,
    mnist_or_digits,
    noted,
    quiet,
    report,
    set_threads,
)

OURS, HAND, RAW = "sksae", "PyTorch by hand", "raw features"
QUICK = "sksae, half the epochs"
MLP, MLP_SAME = "MLPClassifier, its defaults", "MLPClassifier, same epochs"
FASTER = 1.5
N_FEATURE_ROWS = 10_000, 10_000  # to learn features from, to judge them by
# Of the linear classifier on features: raw ones are near their best there.
LINEAR_DECAY = {"mnist": 3e-3, "sentences": 3e-2}

Found = dict[str, list[Run]]


# --- studies ---------------------------------------------------------------------------------


def self_taught(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Features learnt from the digits 5-9 tell the digits 0-4 apart."""
    digits = options.digits
    unlabelled, rows = half_of_the_low_digits(digits)
    found = rounds(
        {
            OURS: partial(runs.frozen_sksae, unlabelled, rows, [200]),
            QUICK: partial(
                runs.frozen_sksae, unlabelled, rows, [200], how=runs.half_of(runs.SELF_TAUGHT)
            ),
            HAND: partial(runs.frozen_by_hand, unlabelled, rows, [200]),
            RAW: partial(runs.logistic_regression, rows, runs.SELF_TAUGHT_DECAY),
        },
        options.repeats,
    )
    note = (
        f"self-taught: {len(unlabelled)} digits 5-9 without labels, softmax on {len(rows.X_train)}"
        f" digits 0-4, tested on {len(rows.X_test)}. Published: about 0.983, on pixels 0.96."
    )
    return rows_of("self-taught", found, published=0.983, faster=[HAND], better=[RAW]), [note]


def stacked(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Two layers trained one upon the other, then all together for the classes."""
    rows = options.digits
    sizes = [200, 200]
    found = rounds(
        {
            OURS: partial(runs.tuned_sksae, rows, sizes),
            HAND: partial(runs.tuned_by_hand, rows, sizes),
            MLP: partial(runs.mlp, rows, sizes),
            MLP_SAME: partial(runs.mlp_same_epochs, rows, sizes),
        },
        options.repeats,
    )
    note = (
        f"stacked: {len(rows.X_train)} digits, 784-200-200-10, {runs.PRETRAINING.max_iter} epochs"
        f" a layer, {runs.TUNING.max_iter} together. Published: 0.877 before fine-tuning, 0.976"
        f" after. '{MLP}' is held against all of sksae's seconds, '{MLP_SAME}' against those of"
        " its softmax and fine-tuning."
    )
    table = rows_of("stacked", found, published=0.982, faster=[HAND, MLP], ratio=[MLP_SAME])
    return table, [note]


def semi_supervised(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """60000 digits of which 1000 have a label."""
    digits = options.digits
    graph = runs.NeighbourGraph(digits.X_train, digits.X_test)
    sizes = [runs.FEW_UNITS]

    def draw(function: Callable[..., Run], *args, **kwargs) -> Callable[[int], Run]:
        return lambda seed: function(few_labels(digits, seed), *args, seed=seed, **kwargs)

    def on_labelled(function: Callable[..., Run], *args) -> Callable[[int], Run]:
        return lambda seed: function(few_labels(digits, seed).labelled, *args, seed=seed)

    others = {
        "sksae, labelled rows only": draw(runs.few_labels_sksae, sizes, pretrained_on_all=False),
        f"{HAND}, not pre-trained": draw(runs.few_labels_by_hand, sizes, pretrained=False),
        "LogisticRegression": on_labelled(runs.logistic_regression, 1e-2),
        "LabelSpreading": draw(runs.label_spreading, graph),
        MLP: on_labelled(runs.mlp, sizes),
    }
    found = rounds(
        {
            OURS: draw(runs.few_labels_sksae, sizes),
            QUICK: draw(runs.few_labels_sksae, sizes, how=runs.half_of(runs.PRETRAINING)),
            HAND: draw(runs.few_labels_by_hand, sizes),
            **others,
        },
        options.seeds,
    )
    labelled = len(few_labels(digits, 0).labelled.X_train)
    note = (
        f"semi-supervised: {len(digits.X_train)} digits, {labelled} with a label;"
        f" 784-{sizes[0]}-10. LabelSpreading has all rows; its graph is found once."
    )
    return rows_of("semi-supervised", found, faster=[HAND], better=others), [note]


def deep_features(options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Codes of two layers against those of one, for the same linear classifier."""
    digits = options.digits
    table = features_of("mnist", partial(some_of, digits, N_FEATURE_ROWS[0]), options.repeats)
    if path := SENTENCES.beside(options.data):
        draw = partial(sentences, path, N_FEATURE_ROWS)
        table += features_of("sentences", draw, options.repeats)
    note = (
        f"features: one layer of 200 units or two, learnt from {N_FEATURE_ROWS[0]} rows, then"
        " StandardScaler and LogisticRegression on the last codes. 'with labels' are the codes of"
        " a classifier that was fine-tuned on the same rows."
    )
    return table, [note]


def features_of(name: str, draw: Callable[[int], Labelled], repeats: int) -> list[dict]:
    """Return the rows of one data set, of which `draw` gives rows for a seed."""
    one = runs.autoencoder(200, runs.FEATURES, **runs.FEATURE_SETTINGS[name])
    l1 = runs.autoencoder(200, runs.FEATURES, **runs.L1)
    decay = LINEAR_DECAY[name]

    def scorer(function: Callable[..., Run], *args, **kwargs) -> Callable[[int], Run]:
        return lambda seed: function(draw(seed), *args, decay=decay, seed=seed, **kwargs)

    alternatives = {
        OURS: scorer(runs.features_sksae, [one, one]),
        "sksae, one layer": scorer(runs.features_sksae, [one]),
        "sksae, trained on together": scorer(runs.features_sksae, [one, one], together=True),
        "sksae, second layer l1": scorer(runs.features_sksae, [one, l1]),
        "sksae, one layer, with labels": scorer(runs.features_tuned_sksae, [one]),
        "sksae, with labels": scorer(runs.features_tuned_sksae, [one, one]),
        RAW: scorer(runs.features_as_they_are),
    }
    if name == "mnist":  # what is written by hand needs rows in [0, 1]
        alternatives[HAND] = scorer(runs.features_by_hand, [200, 200])
    found = rounds(alternatives, repeats)
    return rows_of(f"features, {name}", found, faster=[HAND])


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


def rows_of(
    study: str,
    found: Found,
    published: float | None = None,
    faster: Collection[str] = (),
    ratio: Collection[str] = (),
    better: Collection[str] = (),
) -> list[dict]:
    """Return a row for each alternative.

    Parameters
    ----------
    study : str
    found : dict of str to list of Run
    published : float, optional
        The least accuracy that is wanted of sksae.
    faster : collection of str
        Alternatives that sksae is to beat in time, by FASTER, and not to fall behind in accuracy.
    ratio : collection of str
        Alternatives whose time is set against sksae's, to be known.
    better : collection of str
        Alternatives that sksae is to beat in accuracy.
    """
    ours = found[OURS]
    accuracy = {name: statistics.fmean(values(of, "test")) for name, of in found.items()}
    table = []
    for name, of in found.items():
        row = described(study, name, of)
        if name == OURS and published is not None:
            row |= at_least(accuracy[OURS], published)
        if name in faster or name in ratio:
            row["times sksae"] = median_ratio(seconds_of(of), seconds_of(ours, like=of[0]))
        if name in faster:
            row["target"] = f"at least {FASTER}, as accurate"
            row["met"] = row["times sksae"] >= FASTER and accuracy[OURS] >= accuracy[name]
        if name == QUICK:
            hand = median_ratio(seconds_of(found[HAND]), seconds_of(of))
            row["target"] = f"{HAND} {FASTER} times as long, no better"
            row["met"] = hand >= FASTER and accuracy[QUICK] >= accuracy[HAND]
        if name in better:
            row |= {"target": "below sksae", "met": accuracy[name] < accuracy[OURS]}
        table.append(row)
    return table


def described(study: str, name: str, of: Sequence[Run]) -> dict:
    tests, before = values(of, "test"), values(of, "before")
    return {
        "study": study,
        "alternative": name,
        "before": f"{statistics.fmean(before):.4f}" if before else None,
        "accuracy": f"{statistics.fmean(tests):.4f}",
        "+-": f"{statistics.stdev(tests):.4f}" if len(tests) > 1 else "",
        "seconds": " + ".join(f"{median_of(of, part):.1f}" for part in of[0].seconds),
        "times sksae": None,
        "target": None,
        "met": None,
    }


def values(of: Sequence[Run], which: str) -> list[float]:
    return [run.accuracy[which] for run in of if which in run.accuracy]


def median_of(of: Sequence[Run], part: str) -> float:
    return statistics.median(run.seconds[part] for run in of)


def seconds_of(of: Sequence[Run], like: Run | None = None) -> list[float]:
    """Return the seconds of each run, all of them.

    Or those of the parts that `like` has too, where it has parts in common.
    """
    parts = set(of[0].seconds)
    if like is not None:
        parts = parts & set(like.seconds) or parts
    return [sum(run.seconds[part] for part in parts) for run in of]


def main() -> None:
    set_threads(options.threads)
    quiet()
    if options.processor_time:
        Run.clock = time.process_time
    digits = mnist_or_digits(options.data)
    options.digits = as_labelled(digits)
    table, notes = [], [noted(digits)]
    for name in options.studies:
        found, said = STUDIES[name](options)
        table += found
        notes += said
    report("Deep networks, and what was published", table, notes, options.json)


if __name__ == "__main__":
    main()
