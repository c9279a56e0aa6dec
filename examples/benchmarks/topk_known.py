"""Whether atoms that are known are found again: dictionaries of k active units, sksae and others.

Rows are mixtures of 256 atoms in 64 dimensions, some 8 at a time: independent of each other, in
groups that are on together, or parents and children of which a child is on only where its parent
is (_topk_data.py has the definitions). All learn 256 atoms with 8 active, in 40 epochs of 50000
rows in batches of 1024. Columns:

match
    Mean over pairs of a true and a learnt atom, one to one, of the magnitude of their cosine
    (sksae.metrics.matched_correlation), at the rate with the least FVU on rows that are not
    trained on: nobody who learns from rows has the atoms to choose by. "best match" is the largest
    of all rates, for comparison.
FVU, dead, rate
    Of the same dictionary as match: what its 8 largest activations leave of rows that are not
    trained on, units that are never active, and the rate.

All learners have three rates: packages their default and 3 and 9 times as much, sparsify, whose
default is large, as little, and sksae "auto" and two. Packages run as in topk.py, with units dead
after two epochs.

    python topk_known.py --peers peers --cache kept
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _harness import option_parser, quiet, report, set_threads
from _topk_data import CODES, N_ACTIVE, N_ATOMS, Rows, known
from _topk_dictionary import Setting
from _topk_figures import figures_of
from _topk_ours import FROZEN, OURS
from _topk_peers import PEERS
from _topk_runs import available, learn
from topk import DEAD_EPOCHS, RATES

SETTING = Setting(width=N_ATOMS, k=N_ACTIVE, batch=1024, epochs=40, seed=0)
FACTORS = (1, 3, 9)
OUR_RATES = (None, 3e-3, 1e-2)  # None is "auto"
# Of their defaults, those that are known depend on the width.
WIDTH_OF_RATES = 3072


def parse_options() -> argparse.Namespace:
    parser = option_parser(__doc__, repeats=1)
    parser.add_argument("--peers", type=Path, help="folder of the packages' environments")
    parser.add_argument("--cache", type=Path, help="folder that keeps what has been learnt")
    parser.add_argument("--codes", nargs="+", choices=CODES, default=list(CODES))
    names = [name for name in [*OURS, *PEERS] if name != FROZEN]
    parser.add_argument("--learners", nargs="+", choices=names, metavar="NAME", default=names)
    return parser.parse_args()


def settings_of(name: str, seed: int) -> Iterator[Setting]:
    """Yield a learner's settings, one for each rate."""
    base = replace(SETTING, seed=seed)
    if name in OURS:
        for rate in OUR_RATES:
            yield replace(base, rate=rate)
        return
    default, _, cares = RATES[name]
    if name.startswith(("sparsify", "dictionary_learning")):
        default *= (WIDTH_OF_RATES / N_ATOMS) ** 0.5
    for factor in FACTORS:
        rate = default / factor if name.startswith("sparsify") else default * factor
        rate = float(f"{rate:.3g}")
        yield replace(base, rate=rate, dead_epochs=DEAD_EPOCHS if cares else None)


def best_of(name: str, rows: Rows, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Return the figures of the dictionary that leaves least of other rows."""
    from sksae.metrics import matched_correlation

    found = []
    for setting in settings_of(name, seed):
        dictionary = learn(name, rows, setting, options.peers, options.cache, options.threads)
        figures = figures_of(dictionary, rows, [N_ACTIVE])
        found.append(
            {
                "match": matched_correlation(dictionary.W_dec, rows.true_atoms),
                "FVU": figures[f"FVU, {N_ACTIVE} largest"],
                "dead": figures["dead"],
                "rate": setting.rate,
            }
        )
    best_match = max(each["match"] for each in found)
    return min(found, key=lambda each: each["FVU"]) | {"best match": best_match}


def row_of(name: str, codes: str, options: argparse.Namespace) -> dict[str, object]:
    """Return a row of the table: means over seeds, each of which draws rows and starts anew."""
    found = [best_of(name, known(codes, seed), seed, options) for seed in range(options.repeats)]
    means = {
        column: statistics.fmean(each[column] for each in found)
        for column in ("match", "best match", "FVU", "dead")
    }
    rates = ", ".join("auto" if each["rate"] is None else f"{each['rate']:g}" for each in found)
    return {"codes": codes, "learner": name} | means | {"rate": rates}


def main() -> None:
    options = parse_options()
    set_threads(options.threads)
    quiet()
    _, missing = available(options.peers)
    notes = [f"{N_ATOMS} atoms, {N_ACTIVE} of them active in the mean; {options.repeats} seeds."]
    if left_out := [name for name in missing if name in options.learners]:
        notes.append(f"No environment in --peers, left out: {', '.join(left_out)}.")
    names = [name for name in options.learners if name not in missing]
    rows = [row_of(name, codes, options) for codes in options.codes for name in names]
    report("Known atoms found again", rows, notes, options.json)


if __name__ == "__main__":
    main()
