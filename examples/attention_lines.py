"""
Lines of digits: which line takes from which
=============================================

A picture of 8 x 8 points is a sequence of eight lines. ``SparseAttentionEncoder`` makes codes of
lines that know the other lines: some are masked in training, and must be rebuilt from the others.
Each line takes from two others only, in each head, so that it can be drawn which. A linear
classifier behind says what that is worth, beside codes of lines that know nothing of each other,
and beside attention that has learnt nothing.

It takes some 25 seconds and needs the extra ``plot``::

    python examples/attention_lines.py
"""

# %%
# Digits as lines
# ---------------

from _data import example_parser

options = example_parser("Attention between lines of digits", "attention_lines.png").parse_args()

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae.sequence import SparseAttentionEncoder, TokenCodes

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32)
print(f"Digits: scikit-learn's, {len(X)} of 8 lines of 8 points")

# %%
# What attention is worth
# -----------------------
# All codes are pooled over each quarter of a digit, two lines, and the same classifier is behind.
# Its penalty is the same for all. Cross-validation chooses 100 to 316, takes twenty seconds more,
# and gives on average .978 behind sparse attention, .979 behind full attention, .967 where it is
# not trained, .962 behind codes of lines and .937 of raw points.
# Attention that was never trained keeps its random start: it says how much of the accuracy comes
# from training. Two divisions of the digits are enough to see that all codes are better than raw
# points, and not enough to tell sparse attention from full.


def attention(**params):
    """Return an encoder of lines."""
    return SparseAttentionEncoder(token_width=8, n_segments=4, random_state=0, **params)


trained = {"max_iter": 30, "tol": 0.2}
extractors = {
    "sparse attention": attention(attention_density=0.25, **trained),
    "full attention": attention(attention_density=1.0, **trained),
    "attention, untrained": attention(max_iter=1, learning_rate=1e-12, mask_fraction=0.0),
    "codes of lines": TokenCodes(token_width=8, n_segments=4, random_state=0),
    "raw points": None,
}
accuracy = {name: [] for name in extractors}
for seed in range(2):
    train, test = train_test_split(np.arange(len(X)), test_size=0.3, random_state=seed, stratify=y)
    for name, extractor in extractors.items():
        with warnings.catch_warnings():
            if "untrained" in name:  # there is a warning that nothing was learnt
                warnings.simplefilter("ignore", ConvergenceWarning)
            features = X if extractor is None else extractor.fit(X[train]).transform(X)
        behind = make_pipeline(StandardScaler(), RidgeClassifier(alpha=200.0))
        behind.fit(features[train], y[train])
        accuracy[name].append(behind.score(features[test], y[test]))
print(f"\n{'accuracy':24s}{'first':>8s}{'second division':>18s}")
for name, (first, second) in accuracy.items():
    print(f"{name:24s}{first:8.3f}{second:18.3f}")

# %%
# Who looks at whom
# -----------------
# ``attention_weights`` has, for each digit, block and head, how much each line (a row) takes from
# each other (a column). If attention went by the place of a line alone, weights would be the same
# for all digits.

encoder = extractors["sparse attention"]
weights = encoder.attention_weights(X[test])  # digits, blocks, heads, lines, lines
by_place = weights.mean(axis=0).var() / weights.var()
itself = np.trace(weights, axis1=-2, axis2=-1).mean() / 8
print(f"\nR^2 of masked lines of new digits {encoder.score(X[test]):.2f}")
print(f"Lines are {(weights > 0).sum(axis=-1).mean():.1f} from which a line takes in each head")
print(f"A line takes {itself:.2f} from itself; by chance it is .12")
print(f"Its place alone explains {by_place:.2f} of the variance of weights")

# %%
# A picture
# ---------
# Three digits, each twice: a curve leads from a line at the left to a line at the right that it
# takes from in the first block, as thick as the weight, in the colour of the head. Weights below
# .6 are left out. Below is the mean of all new digits: heads 1 and 2 take from themselves and
# their neighbours more than from others; all take from other lines in other digits.

colours = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
figure = plt.figure(figsize=(12, 6.4), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=(1.2, 1))
s = np.linspace(0.0, 1.0, 40)
for axis, digit in zip(upper.subplots(1, 3), (0, 2, 7), strict=True):
    number = np.flatnonzero(y[test] == digit)[0]
    image = X[test][number].reshape(8, 8)
    for start in (0, 18):
        axis.imshow(image, cmap="gray_r", extent=(start, start + 8, 7.5, -0.5))
    for head, colour in enumerate(colours):
        for line, other in np.argwhere(weights[number, 0, head] >= 0.6):
            weight = weights[number, 0, head, line, other]
            # Heads leave a line side by side.
            begin, end = line + (head - 1.5) / 6, other + (head - 1.5) / 6
            bend = begin + (end - begin) * s**2 * (3 - 2 * s)
            axis.plot(8.2 + 9.6 * s, bend, color=colour, linewidth=3 * weight**2, alpha=0.9)
    axis.set(xlim=(-0.2, 26.2), ylim=(7.7, -0.7), aspect=1.8)
    axis.set_axis_off()
for head, colour in enumerate(colours):
    upper.axes[0].plot([], [], color=colour, label=f"head {head + 1}")
upper.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
upper.suptitle("Each line (left) takes from lines of the same digit (right), in the first block")

axes = lower.subplots(1, 5, width_ratios=(1, 1, 1, 1, 1.5))
for head, axis in enumerate(axes[:4]):
    axis.imshow(weights[:, 0, head].mean(axis=0), cmap="Blues", vmin=0.0, vmax=0.6)
    axis.set_title(f"head {head + 1}, mean of digits", fontsize=9, color=colours[head])
    axis.set_xticks(range(8), range(1, 9), fontsize=8)
    axis.set_yticks(range(8), range(1, 9), fontsize=8)
    axis.set_xlabel("from line", fontsize=9)
axes[0].set_ylabel("line", fontsize=9)
places = np.arange(len(accuracy))[::-1]
axes[4].barh(places, [np.mean(v) for v in accuracy.values()], color="0.8")
for place, values in zip(places, accuracy.values(), strict=True):
    axes[4].plot(values, [place] * len(values), "o", color="#0072B2", markersize=4)
axes[4].set_yticks(places, accuracy, fontsize=9)
axes[4].set(xlim=(0.9, 1.0), xlabel="accuracy (from .9 on), two divisions")
axes[4].set_title("Ridge regression behind", fontsize=9)
figure.savefig(options.output, dpi=80)
print("\nSaved", options.output)
