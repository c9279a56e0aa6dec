"""A grid search in one process and in two, with warm workers and with cold ones.

Digits, 64 to 25 units and 64 to 100 with a classifier behind: 9 candidates, 3 folds, 50 epochs. One
process has as many threads as torch takes (see --threads); each of two workers has its share of the
cores, as joblib gives it. Cold workers are new processes, which import scikit-learn, and torch at
their first fit.
"""

import statistics

from _harness import at_least, interleave, median_ratio, option_parser, quiet, report, set_threads
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderTransformer


def searches():
    """Return each search by name: a function of n_jobs."""
    X, y = load_digits(return_X_y=True)
    small = SparseAutoencoderTransformer(25, max_iter=50, tol=0.0, random_state=0)
    large = SparseAutoencoderTransformer(100, max_iter=50, tol=0.0, random_state=0)
    pipe = make_pipeline(large, StandardScaler(), LogisticRegression())
    values = {"rho": [0.03, 0.1, 0.3], "beta": [0.1, 1.0, 3.0]}
    nested = {f"sparseautoencodertransformer__{name}": value for name, value in values.items()}
    return {
        "64-25": lambda n_jobs: GridSearchCV(small, values, cv=3, n_jobs=n_jobs).fit(X),
        "64-100, classifier": lambda n_jobs: GridSearchCV(pipe, nested, cv=3, n_jobs=n_jobs).fit(
            X, y
        ),
    }


def runs_of(search):
    """Return the alternatives; a cold run leaves the workers warm for those after it."""

    def cold(_):
        get_reusable_executor(reuse=True).shutdown(wait=True)
        return search(2)

    def warm(_):
        return search(2)

    return {
        "n_jobs=1": lambda _: search(1),
        "n_jobs=2, cold workers": cold,
        "n_jobs=2, warm workers": warm,
    }


def main():
    options = option_parser(__doc__, repeats=3).parse_args()
    set_threads(options.threads)
    quiet()
    rows = []
    for name, search in searches().items():
        seconds, _ = interleave(runs_of(search), options.repeats)
        for alternative, taken in seconds.items():
            row = {"search": name, "run": alternative, "seconds": statistics.median(taken)}
            if alternative != "n_jobs=1":
                row["times as fast"] = median_ratio(seconds["n_jobs=1"], taken)
            if "warm" in alternative:
                row |= at_least(row["times as fast"], 1.0)
            rows.append(row)
    report("Searches in one process and in two", rows, [], options.json)


if __name__ == "__main__":
    main()
