"""
Heart beats: which strips are unusual, where, and how
======================================================

A strip of an electrocardiogram is a sequence of windows. ``TokenCodes`` learns one code for the
windows of all strips. The worst rebuilt window of a strip says whether it holds a shape that was
never seen, and where (what is missing it does not find); the codes of its windows, pooled, tell a
classifier what it is. The strips are simulated, so that it is known where each disturbance begins
and ends.

It takes some ten seconds and needs the extra ``plot``::

    python examples/heartbeats.py
"""

# %%
# Strips
# ------
# A beat is a sum of Gaussian bumps, the waves P, Q, R, S and T, as in McSharry, Clifford,
# Tarassenko and Smith (2003), "A dynamical model for generating synthetic electrocardiogram
# signals", IEEE Transactions on Biomedical Engineering 50(3). Each strip has bumps of its own
# heights, a heart rate of 60 to 95 beats a minute that varies from beat to beat, a base line that
# wanders with the breath, and noise. One of four things may happen: a wide beat comes too early, a
# beat is missing, the ST segment of three beats is elevated, or muscles make noise for a second.

from _data import example_parser

parser = example_parser("Disturbances in strips of simulated heart beats", "heartbeats.png")
parser.add_argument("--seed", type=int, default=0, help="of all strips, default %(default)s")
options = parser.parse_args()

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.sequence import TokenCodes

RATE, LENGTH = 100, 800  # values a second, values of a strip
WIDTH, STRIDE = 64, 16  # of windows, in values
FALSE_ALARMS = 0.05
KINDS = ("normal", "early wide beat", "missing beat", "ST elevation", "noise")
# Millivolts, seconds after the R wave, seconds of standard deviation: P, Q, R, S, T.
BUMPS = np.array(
    [
        [0.15, -0.20, 0.025],
        [-0.12, -0.035, 0.010],
        [1.0, 0.0, 0.012],
        [-0.25, 0.035, 0.012],
        [0.3, 0.26, 0.05],
    ]
)
WIDE = np.array([[1.1, 0.0, 0.04], [-0.4, 0.09, 0.04], [-0.35, 0.28, 0.06]])


def bumps(time, beat, shape):
    """Return what the bumps of a beat add to a strip."""
    height, delay, width = shape.T[:, :, None]
    return (height * np.exp(-0.5 * ((time - beat - delay) / width) ** 2)).sum(axis=0)


def strip(kind, rng):
    """Return a strip of some kind, and the seconds where the disturbance begins and ends."""
    time = np.arange(LENGTH) / RATE
    period = 60 / rng.uniform(60, 95)
    beats = rng.uniform(0.0, period) - period + np.cumsum(period * rng.normal(1.0, 0.04, 16))
    shape = BUMPS * np.c_[rng.uniform(0.8, 1.2, len(BUMPS)), np.ones((len(BUMPS), 2))]
    breath = np.sin(2 * np.pi * (rng.uniform(0.15, 0.3) * time + rng.uniform()))
    signal = 0.1 * breath + 0.03 * rng.standard_normal(LENGTH)
    of_beat = dict.fromkeys(range(len(beats)), shape)
    # The beat at which it happens is neither at the beginning nor at the end.
    at = rng.choice(np.flatnonzero((beats > 1.5) & (beats < 5.0)))
    where = (np.nan, np.nan)
    if kind == "early wide beat":
        beats[at] -= rng.uniform(0.3, 0.4) * period
        of_beat[at] = WIDE
        where = (beats[at] - 0.15, beats[at] + 0.5)
    elif kind == "missing beat":
        del of_beat[at]
        where = (beats[at] - 0.25, beats[at] + 0.45)
    elif kind == "ST elevation":
        lift = np.array([[rng.uniform(0.15, 0.25), 0.13, 0.05]])
        of_beat |= dict.fromkeys(range(at, at + 3), np.vstack([shape, lift]))
        where = (beats[at], beats[at + 2] + 0.3)
    elif kind == "noise":
        where = (beats[at], beats[at] + 1.0)
        is_in = (time >= where[0]) & (time < where[1])
        signal[is_in] += 0.2 * rng.standard_normal(is_in.sum())
    return signal + sum(bumps(time, beats[each], of_beat[each]) for each in of_beat), where


def strips(kinds, rng):
    """Return strips of these kinds, (n_strips, LENGTH), and where, (n_strips, 2)."""
    pairs = [strip(kind, rng) for kind in kinds]
    return np.array([signal for signal, _ in pairs]), np.array([where for _, where in pairs])


def windows(signals):
    """Return strips as rows of windows, one after another."""
    return sliding_window_view(signals, WIDTH, axis=1)[:, ::STRIDE].reshape(len(signals), -1)


rng = np.random.default_rng(options.seed)
train, _ = strips(["normal"] * 200, rng)
good, _ = strips(["normal"] * 400, rng)  # for the threshold
y = np.repeat(KINDS, 100)
signals, where = strips(y, rng)
X = windows(signals)
print("Strips: simulated, 200 to learn from, 400 for the threshold, 500 of five kinds")
print(f"Each has {LENGTH / RATE:.0f} s and {X.shape[1] // WIDTH} windows of {WIDTH} values")

# %%
# Which strips, and where
# -----------------------
# The score of a strip is the squared error of its worst window. One good strip in twenty exceeds
# the threshold, and the same holds for the other methods: the mean error of a strip's windows in
# place of the worst, PCA of windows (from 2 to 40 directions it never finds more than a fifth of
# the ST elevations, and 16 suit it), and PCA of whole strips. The last method is a rule that learns
# nothing: the longest time without an R wave. It alone finds beats that are missing, as a flat line
# is easy to rebuild: its error is small.

sae = SparseAutoencoderTransformer(
    128, sparsity="batchtopk", rho=8, max_iter=40, tol=1e-2, random_state=0
)
model = TokenCodes(sae, token_width=WIDTH, random_state=0).fit(windows(train))
pca = PCA(16).fit(windows(train).reshape(-1, WIDTH))
whole = PCA(40).fit(train)


def errors(X):
    """Return the squared error of each window, (n_strips, n_windows)."""
    rebuilt = model.inverse_tokens(model.tokens(X))
    return np.square(rebuilt - X).reshape(len(X), -1, WIDTH).sum(axis=2)


def pca_errors(X):
    """Return the same for PCA."""
    tokens = X.reshape(-1, WIDTH)
    rebuilt = pca.inverse_transform(pca.transform(tokens))
    return np.square(rebuilt - tokens).sum(axis=1).reshape(len(X), -1)


def whole_errors(signals):
    """Return the squared error of each strip for PCA of strips."""
    return np.square(whole.inverse_transform(whole.transform(signals)) - signals).sum(axis=1)


def longest_pause(signals):
    """Return the longest stretch of each strip without a value above half a millivolt."""
    padded = np.pad(signals > 0.5, ((0, 0), (1, 1)), constant_values=True)
    return np.array([np.diff(np.flatnonzero(row)).max() for row in padded])


scores = {
    "codes, worst window": lambda signals: errors(windows(signals)).max(axis=1),
    "codes, mean of windows": lambda signals: errors(windows(signals)).mean(axis=1),
    "PCA, worst window": lambda signals: pca_errors(windows(signals)).max(axis=1),
    "PCA of whole strips": whole_errors,
    "longest pause, a rule": longest_pause,
}
found, thresholds = {}, {}
for name, score in scores.items():
    thresholds[name] = np.quantile(score(good), 1 - FALSE_ALARMS)
    is_found = score(signals) > thresholds[name]
    found[name] = [is_found[y == kind].mean() for kind in KINDS]
print(f"\n{'share of strips reported':26s}" + "".join(f"{kind:>17s}" for kind in KINDS))
for name, shares in found.items():
    print(f"{name:26s}" + "".join(f"{share:17.2f}" for share in shares))

middles = (np.arange(X.shape[1] // WIDTH) * STRIDE + WIDTH / 2) / RATE
worst = {"codes": errors(X).argmax(axis=1), "PCA": pca_errors(X).argmax(axis=1)}
print(f"\n{'worst window in the place':26s}" + "".join(f"{kind:>17s}" for kind in KINDS))
for name, window in worst.items():
    # Of a window that reaches into the disturbance at least a part lies there.
    apart = np.maximum(where[:, 0] - middles[window], middles[window] - where[:, 1])
    is_right = apart < WIDTH / RATE / 2
    shares = "".join(f"{is_right[y == kind].mean():17.2f}" for kind in KINDS[1:])
    print(f"{name:26s}{'':17s}{shares}")

# %%
# What it is
# ----------
# Now a few strips of each kind have labels, and the autoencoder is still the one that has seen good
# strips alone. Its pooled codes go before a logistic regression, and so do the windows themselves,
# pooled: mean, standard deviation, least and largest of each of the 64 values. All means are over
# twenty draws of strips with labels, tested on all other strips.

tokens = X.reshape(len(X), -1, WIDTH)
features = {
    "pooled codes": model.transform(X),
    "mean, std, min, max": np.hstack(
        [how(tokens, axis=1) for how in (np.mean, np.std, np.min, np.max)]
    ),
    "strips as they are": signals,
}
few = (2, 5, 10, 20)
accuracy = {name: [] for name in features}
of_kind = {}
for n_labels in few:
    draws = np.array([rng.permutation(100) < n_labels for _ in range(20 * len(KINDS))])
    for name, values in features.items():
        right = []
        for has_label in draws.reshape(20, -1):
            behind = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            behind.fit(values[has_label], y[has_label])
            is_right = behind.predict(values[~has_label]) == y[~has_label]
            right.append([is_right[y[~has_label] == kind].mean() for kind in KINDS])
        of_kind[name] = np.mean(right, axis=0)
        means = np.mean(right, axis=1)
        accuracy[name].append((means.mean(), means.std(ddof=1)))
print(f"\n{'accuracy, labels a kind':26s}" + "".join(f"{n:>14d}" for n in few))
for name, values in accuracy.items():
    print(f"{name:26s}" + "".join(f"{mean:8.2f} ± {std:.2f}" for mean, std in values))
print(f"\n{f'recall, {few[-1]} labels a kind':26s}" + "".join(f"{kind:>17s}" for kind in KINDS))
for name, values in of_kind.items():
    print(f"{name:26s}" + "".join(f"{value:17.2f}" for value in values))
print("± is the standard deviation over draws.")

# %%
# Strips and their errors
# -----------------------
# Of each kind one strip. Below it the error of each window, from light to dark; windows above the
# threshold have a red line. The grey part is where something happens.

figure = plt.figure(figsize=(12, 7), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1.0))
panels = left.subplots(len(KINDS), 1, sharex=True)
limit = thresholds["codes, worst window"]
time = np.arange(LENGTH) / RATE
for axis, kind in zip(panels, KINDS, strict=True):
    # The strip whose worst window is the median of its kind.
    of_this = np.flatnonzero(y == kind)
    shown = of_this[np.argsort(errors(X[of_this]).max(axis=1))[len(of_this) // 2]]
    ratio = errors(X[[shown]])[0] / limit
    edges = np.r_[middles - STRIDE / RATE / 2, middles[-1] + STRIDE / RATE / 2]
    image = axis.pcolormesh(
        edges, [-1.05, -0.75], ratio[None], cmap="Blues", vmin=0.0, vmax=1.5, rasterized=True
    )
    axis.plot(time, signals[shown], color="0.25", linewidth=0.9)
    if kind != "normal":
        axis.axvspan(*where[shown], ymin=0.18, color="#CC79A7", alpha=0.25, linewidth=0)
    for middle in middles[ratio > 1]:
        half = STRIDE / RATE / 2
        axis.plot([middle - half, middle + half], [-0.68, -0.68], color="#D55E00", linewidth=3)
    axis.set(ylim=(-1.1, 1.75), xlim=(0, LENGTH / RATE), yticks=(0, 1))
    axis.set_title(kind, fontsize=10, loc="left")
panels[2].set_ylabel("millivolts")
panels[-1].set_xlabel("seconds")
left.colorbar(
    image,
    ax=panels,
    label="error of a window / threshold",
    fraction=0.03,
    aspect=40,
    pad=0.01,
    shrink=0.6,
)
upper, lower = right.subplots(2, 1, height_ratios=(1.25, 1))
colours = ("#0072B2", "#56B4E9", "#E69F00", "0.75", "0.35")
places = np.arange(len(KINDS))[::-1]
for number, (name, shares) in enumerate(found.items()):
    upper.barh(places + 0.32 - 0.16 * number, shares, 0.15, color=colours[number], label=name)
upper.axvline(FALSE_ALARMS, color="k", linestyle="--", linewidth=1)
upper.set_yticks(places, KINDS, fontsize=9)
upper.set(xlim=(0, 1), xlabel="share of strips reported")
upper.set_title("Without labels: 5 % of good strips are reported", fontsize=10)
upper.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2, frameon=False)
for (name, values), colour, marker in zip(
    accuracy.items(), ("#0072B2", "#009E73", "0.6"), "o^s", strict=True
):
    means, deviations = np.array(values).T
    lower.errorbar(few, means, deviations, color=colour, marker=marker, capsize=2, label=name)
lower.axhline(1 / len(KINDS), color="k", linestyle="--", linewidth=1, label="chance")
lower.set(xscale="log", ylim=(0, 1), xlabel="strips with a label, of each kind", ylabel="accuracy")
lower.set_xticks(few, few)
lower.minorticks_off()
lower.set_title("With a few labels: which kind it is", fontsize=10)
lower.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
figure.savefig(options.output, dpi=80)
print("\nSaved", options.output)
