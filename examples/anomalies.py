"""
Anomalies: pictures unlike those that were learnt
=================================================

An autoencoder rebuilds what is like its training rows, and little else. ``score_samples`` is minus
the squared error of a row, so that low scores are unusual rows; a quantile of the scores of good
rows that were not trained on is a threshold that says how many false alarms there will be. Of a row
that is reported, ``error_contributions`` tells which units mislead it and which ones serve it.

It takes some seconds and needs the extra ``plot``::

    python examples/anomalies.py
"""

# %%
# Good rows and faults
# --------------------
# 898 digits to learn from, 449 to set the threshold by, and 450 to be judged. Each of these is also
# spoilt in five ways: a camera may lose a line or have one stuck at full brightness, or show the
# picture shifted, mirrored, or over another one.

from _data import example_parser

options = example_parser(
    "Unusual rows by the error of reconstruction", "anomalies.png"
).parse_args()

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import train_test_split

from sksae import SparseAutoencoderTransformer
from sksae.inspection import error_contributions

FALSE_ALARMS = 0.02

print("Digits: scikit-learn's, 1797 of 8x8 pixels")
X_train, rest = train_test_split(load_digits().data, test_size=0.5, random_state=0)
X_threshold, X_test = train_test_split(rest, test_size=0.5, random_state=0)
rng = np.random.default_rng(0)
pictures = X_test.reshape(-1, 8, 8)
every = np.arange(len(pictures))

lost, stuck = pictures.copy(), pictures.copy()
lost[every, rng.integers(1, 7, len(every))] = 0.0
stuck[every, :, rng.integers(0, 8, len(every))] = 12.0
faults = {
    "line lost": lost,
    "line stuck": stuck,
    "shifted": np.roll(pictures, 2, axis=1),
    "mirrored": pictures[:, :, ::-1],
    "two at once": np.maximum(pictures, pictures[rng.permutation(every)]),
}
faults = {name: each.reshape(-1, 64) for name, each in faults.items()}

# %%
# Scores and a threshold
# ----------------------
# The threshold is a quantile of good rows that were not trained on: those of training score better
# than new ones do.

sae = SparseAutoencoderTransformer(128, random_state=0).fit(X_train)
threshold = np.quantile(sae.score_samples(X_threshold), FALSE_ALARMS)


def pca_scores(X):
    """Return minus the squared error of rows in the space of as many directions as serve best."""
    return -np.square(pca.inverse_transform(pca.transform(X)) - X).sum(axis=1)


pca = PCA(20).fit(X_train)
forest = IsolationForest(random_state=0).fit(X_train)
judges = {
    "sparse autoencoder": sae.score_samples,
    "PCA, 20 directions": pca_scores,
    "isolation forest": forest.score_samples,
}
print(f"\n{'share reported':20s}{'good':>12s}" + "".join(f"{name:>12s}" for name in faults))
for name, scores in judges.items():
    limit = np.quantile(scores(X_threshold), FALSE_ALARMS)
    shares = [np.mean(scores(X) < limit) for X in (X_test, *faults.values())]
    print(f"{name:20s}" + "".join(f"{share:12.2f}" for share in shares))

# %%
# Why a row is unusual
# --------------------
# A good picture and one of each fault, with the median score of its kind: what is rebuilt of it,
# where that is too dark (red) or too bright (blue), and the units with the most to do with it:
# negative is by how much larger the error would be without the unit. What is unlike all that was
# learnt, as a mirrored digit is, has no unit of its own.

figure = plt.figure(figsize=(11, 6.0), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.35))
axis = left.subplots()
bins = np.linspace(0.0, 1800.0, 37)
axis.hist(-sae.score_samples(X_test), bins, color="0.6", label="good rows")
spoilt = np.concatenate([-sae.score_samples(X) for X in faults.values()])
fifth = np.full(len(spoilt), 1.0 / len(faults))
axis.hist(spoilt, bins, weights=fifth, histtype="step", color="#D55E00", label="faults")
label = f"threshold: {FALSE_ALARMS:.0%} of good rows"
axis.axvline(-threshold, color="k", linestyle="--", label=label)
axis.set_xlabel("squared error of the row, -score_samples")
axis.set_ylabel("rows (of faults a fifth)")
axis.legend(frameon=False)

panels = right.subplots(len(faults) + 1, 4, width_ratios=(1, 1, 1, 2.6))
for row, (name, X) in zip(panels, {"good": X_test, **faults}.items(), strict=True):
    scores = sae.score_samples(X)
    which = np.argsort(scores)[len(scores) // 2]
    rebuilt = sae.inverse_transform(sae.transform(X[[which]]))[0]
    error = rebuilt - X[which]
    grey = {"cmap": "gray_r", "vmin": 0.0, "vmax": 16.0}
    colour = {"cmap": "RdBu_r", "vmin": -12.0, "vmax": 12.0}
    for place, values, how in zip(
        row, (X[which], rebuilt, error), (grey, grey, colour), strict=False
    ):
        place.imshow(values.reshape(8, 8), **how)
        place.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{name}\n{-scores[which]:.0f}", fontsize=8)
    contributions = error_contributions(sae, X[[which]])[0]
    units = np.argsort(contributions)[:8]
    row[3].bar(np.arange(8), contributions[units], color="#0072B2")
    row[3].set_ylim(-160.0, 0.0)
    row[3].set_xticks(np.arange(8), units, fontsize=7)
    row[3].tick_params(axis="y", labelsize=7)
for place, text in zip(
    panels[0], ("row", "rebuilt", "error", "what units do to the error"), strict=True
):
    place.set_title(text, fontsize=9)
panels[-1, 3].set_xlabel("unit", fontsize=8)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
