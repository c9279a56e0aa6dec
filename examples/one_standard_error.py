"""
The rule of one standard error: as sparse as the data allow
============================================================

Many candidates of a search are as good as the best one, within the noise of cross-validation. The
rule of one standard error takes the sparsest of them: its codes are easier to read and to store.
``refit_sparsest`` is that rule, for any search of scikit-learn, and ``SearchDisplay`` shows what it
had to choose from.

It takes about half a minute and needs the extra ``plot``::

    python examples/one_standard_error.py
"""

# %%
# A search
# --------
# How many units, and which share of them is active: twelve candidates, in five folds of digits. A
# classifier behind the codes says how good they are, and ``sparsity_scorers`` how sparse.
# ``BatchedGridSearchCV`` trains candidates side by side; ``GridSearchCV`` would find the same.

from _data import example_parser

options = example_parser(
    "The sparsest candidate among the good ones", "one_standard_error.png"
).parse_args()

import matplotlib.pyplot as plt
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.inspection import AtomsDisplay, SearchDisplay
from sksae.metrics import refit_sparsest, sparsity_scorers
from sksae.model_selection import BatchedGridSearchCV

print("Digits: scikit-learn's, 1797 of 8x8 pixels")
X, y = load_digits(return_X_y=True)
pipe = Pipeline(
    [
        ("sae", SparseAutoencoderTransformer(tol=1e-2, n_iter_no_change=20, random_state=0)),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(C=0.1)),
    ]
)
search = BatchedGridSearchCV(
    pipe,
    {"sae__n_components": [64, 128, 192], "sae__rho": [0.02, 0.03, 0.06, 0.2]},
    scoring={"accuracy": "accuracy", **sparsity_scorers()},
    refit=refit_sparsest(within_se=1.0, score="accuracy"),
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
).fit(X, y)

# %%
# Which candidate
# ---------------
# The rule is of use where the score reaches a plateau. Accuracy does. R^2 of the reconstruction
# rises with every further unit that is active, by far more than its standard error: by R^2 the rule
# and the best are the same candidate, at the end of the grid.

results = search.cv_results_
choices = {
    "best accuracy": refit_sparsest(within_se=0.0, score="accuracy")(results),
    "the rule": search.best_index_,
    "best R^2": refit_sparsest(within_se=0.0)(results),
    "the rule, by R^2": refit_sparsest(within_se=1.0)(results),
}
scores = {"accuracy": "accuracy", "explained_variance": "R^2", "hoyer": "Hoyer", "neg_l0": "active"}
print(f"\n{'':18s}{'units':>7s}{'rho':>7s}" + "".join(f"{name:>11s}" for name in scores.values()))
for name, index in choices.items():
    chosen = results["params"][index]
    means = [abs(results[f"mean_test_{score}"][index]) for score in scores]
    print(
        f"{name:18s}{chosen['sae__n_components']:7d}{chosen['sae__rho']:7.2f}"
        + "".join(
            f"{value:11.{digits}f}" for value, digits in zip(means, (3, 3, 2, 1), strict=True)
        )
    )

# %%
# What its atoms look like
# ------------------------
# Beside those of the best candidate by R^2, which a search without the rule would have chosen: the
# 32 units of each that are used most.

dense = clone(pipe).set_params(**results["params"][choices["best R^2"]]).fit(X, y)
figure = plt.figure(figsize=(11, 5.0), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1.0))
display = SearchDisplay.from_estimator(search, score="accuracy", ax=left.subplots())
display.ax_.set_xlabel("Hoyer's sparsity of rows  (sparser →)")
display.ax_.set_ylabel("accuracy in cross-validation, ± 1 SE  (better →)")
for part, (name, index, model) in zip(
    right.subfigures(2, 1),
    (
        ("Chosen by the rule", choices["the rule"], search),
        ("Best reconstruction", choices["best R^2"], dense),
    ),
    strict=True,
):
    chosen = results["params"][index]
    active = -results["mean_test_neg_l0"][index]
    part.suptitle(
        f"{name}: {chosen['sae__n_components']} units, rho={chosen['sae__rho']}, "
        f"{active:.0f} active in a row",
        fontsize="medium",
    )
    autoencoder = getattr(model, "best_estimator_", model)["sae"]
    units = (-autoencoder.mean_activation_).argsort()[:32]
    AtomsDisplay.from_estimator(
        model, units=units, image_shape=(8, 8), ax=part.subplots(4, 8).ravel()
    )
figure.savefig(options.output, dpi=80)
print("\nSaved", options.output)
