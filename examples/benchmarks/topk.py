"""Dictionaries of exactly k active units: sksae's against those of four packages for them.

All learn 3072 atoms with 32 of them active from the same embeddings of sentences, in batches of
1024 and 20 epochs. A fifth of the documents is held out, and every figure but "dead" is of their
rows. Rows are centred, with a mean squared norm of 1, by the training rows; two of the packages
want features of variance 1, and get the same rows times a number (_topk_peers.py tells which, and
how each is trained). Columns:

FVU
    Squared residuals over squared deviations from the training mean, of the code as the learner
    reads it: the 32 largest activations of a row, or those above the threshold of a batch learner.
FVU, 32 (16, 8) largest
    Of so many of a row, whoever learnt it.
active
    Mean number of active units of that first code, and dead: the share of units that are active on
    no training row.
accuracy, +-
    Of LogisticRegression on that code, and its standard error; sentences of one document count as
    one draw in it. All learners have the same rows, so that their differences are surer than that.
agreement
    Of the atoms of two seeds: the mean over atoms of the largest cosine with one of the others.
seconds
    That training took, with no other work on the machine, for runs with --threads.

Packages run each in an environment of its own, folders of --peers (saelens, sparsify, dictlearn and
overcomplete), and appear twice: at their defaults, and "tuned", with the best rate of a sweep from
a third to 27 times the default, and with units dead after two epochs where a package looks after
them at all. --sweep shows how the rates were found, by the FVU on rows of documents that are
neither trained on there nor held out here. sksae is at its defaults. For comparison: the rows
themselves, principal components, and atoms that are rows, with a trained encoder.

    python -m venv peers/saelens && peers/saelens/bin/pip install sae-lens
    python -m venv peers/sparsify && peers/sparsify/bin/pip install eai-sparsify
    python -m venv peers/dictlearn && peers/dictlearn/bin/pip install dictionary-learning
    python -m venv peers/overcomplete && peers/overcomplete/bin/pip install overcomplete
    python topk.py --peers peers --cache kept --threads 2
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _harness import SENTENCES, option_parser, positive_int, quiet, report, set_threads
from _topk_data import Rows, sentences
from _topk_dictionary import Dictionary, Setting
from _topk_figures import Figures, accuracy, figures_of, pca_figures
from _topk_ours import FROZEN, OURS
from _topk_peers import PEERS
from _topk_runs import available, learn

SETTING = Setting(width=3072, k=32, batch=1024, epochs=20, seed=0)
KS = (32, 16, 8)
FACTORS = (1 / 3, 1, 3, 9, 27)  # of the default rate, for a sweep
# For a sweep fewer epochs do, but not where the best rate falls with their number.
SWEEP_EPOCHS = {name: 20 if name == "sparsify TopK" else 6 for name in PEERS}
DEAD_EPOCHS = 2
# The default rates at this width, the best of the sweep, and whether dead units are looked after.
RATES: dict[str, tuple[float, float, bool]] = {
    "SAELens TopK": (3e-4, 0.0027, True),
    "SAELens BatchTopK": (3e-4, 0.0027, True),
    "sparsify TopK": (0.011547, 0.00385, True),
    "dictionary_learning TopK": (4.6188e-4, 0.00416, True),
    "dictionary_learning BatchTopK": (4.6188e-4, 0.00416, True),
    "overcomplete TopK": (5e-4, 0.0045, False),
    "overcomplete BatchTopK": (5e-4, 0.0045, False),
}


def parse_options() -> argparse.Namespace:
    parser = option_parser(__doc__, repeats=2, data=SENTENCES)
    parser.add_argument("--peers", type=Path, help="folder of the packages' environments")
    parser.add_argument("--cache", type=Path, help="folder that keeps what has been learnt")
    parser.add_argument(
        "--learners", nargs="+", choices=[*OURS, *PEERS], metavar="NAME", help="default all"
    )
    parser.add_argument("--epochs", type=positive_int, default=SETTING.epochs)
    parser.add_argument("--sweep", action="store_true", help="look for the packages' best rates")
    return parser.parse_args()


# --- learning --------------------------------------------------------------------------------


def settings_of(name: str, base: Setting) -> Iterator[tuple[str, Setting]]:
    """Yield how a learner is set, as a label and a setting: sksae once, a package twice."""
    yield "defaults", base
    if name in RATES:
        _, rate, cares = RATES[name]
        yield "tuned", replace(base, rate=rate, dead_epochs=DEAD_EPOCHS if cares else None)


def learnt_by(name: str, rows: Rows, setting: Setting, options: argparse.Namespace) -> Dictionary:
    return learn(name, rows, setting, options.peers, options.cache, options.threads)


# --- tables ----------------------------------------------------------------------------------


def row_of(
    name: str, label: str, rows: Rows, setting: Setting, options: argparse.Namespace
) -> dict[str, object]:
    """Return a row of the table: means over seeds."""
    from sksae.metrics import mean_max_cosine_similarity

    learnt = [
        learnt_by(name, rows, replace(setting, seed=seed), options)
        for seed in range(options.repeats)
    ]
    figures = averaged([figures_of(dictionary, rows, KS) for dictionary in learnt])
    seconds = [each.seconds for each in learnt if options.threads in (None, each.threads)]
    agreement = None
    if len(learnt) > 1 and name != FROZEN:
        agreement = mean_max_cosine_similarity(learnt[0].W_dec, learnt[1].W_dec)
    return {
        "learner": name,
        "setting": label,
        **figures,
        "agreement": agreement,
        "seconds": statistics.median(seconds) if seconds else None,
        "version": learnt[0].version,
    }


def averaged(figures: list[Figures]) -> Figures:
    return {name: statistics.fmean(each[name] for each in figures) for name in figures[0]}


def baselines(rows: Rows) -> Iterator[dict[str, object]]:
    yield {"learner": "raw rows", **accuracy(rows.X_train, rows.X_test, rows)}
    yield {"learner": "PCA", **pca_figures(rows, KS)}


def table(names: list[str], rows: Rows, options: argparse.Namespace) -> list[dict[str, object]]:
    base = replace(SETTING, epochs=options.epochs)
    found = [
        row_of(name, label, rows, setting, options)
        for name in names
        for label, setting in settings_of(name, base)
    ]
    return found if options.learners else [*found, *baselines(rows)]


def sweep(names: list[str], rows: Rows, options: argparse.Namespace) -> list[dict[str, object]]:
    """Return for each package the FVU of every rate on the rows to choose by."""
    found = []
    for name in names:
        base = replace(SETTING, epochs=SWEEP_EPOCHS[name])
        default, _, cares = RATES[name]
        of_rate = {}
        for factor in FACTORS:
            rate = float(f"{default * factor:.3g}")
            setting = replace(base, rate=rate, dead_epochs=DEAD_EPOCHS if cares else None)
            dictionary = learnt_by(name, rows, setting, options)
            of_rate[rate] = figures_of(dictionary, rows, KS[:1])[f"FVU, {KS[0]} largest"]
        found.append(
            {"learner": name}
            | {
                f"{factor:.2g} x": fvu
                for factor, fvu in zip(FACTORS, of_rate.values(), strict=True)
            }
            | {"best rate": min(of_rate, key=of_rate.get)}
        )
    return found


def main() -> None:
    options = parse_options()
    if options.data is None:
        sys.exit(f"Neither --data nor SKSAE_DATA names a folder. {SENTENCES.expected}")
    set_threads(options.threads)
    quiet()
    found, missing = available(options.peers)
    chosen = options.learners or [*OURS, *PEERS]
    study, choosing = sentences(options.data)
    notes = []
    if left_out := [name for name in missing if name in chosen]:
        notes.append(f"No environment in --peers, left out: {', '.join(left_out)}.")
    if options.sweep:
        names = [name for name in found if name in chosen]
        report("FVU on rows to choose by", sweep(names, choosing, options), notes, options.json)
        return
    names = [name for name in chosen if name not in missing]
    counts = f"{len(study.X_train)} rows to learn from, {len(study.X_test)} held out"
    training = f"{SETTING.k} of {SETTING.width} units, {options.epochs} epochs"
    notes.append(f"{counts}; {training}, means of {options.repeats} seeds.")
    report("Codes with k active units", table(names, study, options), notes, options.json)


if __name__ == "__main__":
    main()
