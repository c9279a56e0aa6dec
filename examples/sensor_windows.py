"""
Windows of a sensor: waveforms and faults
=========================================

A signal becomes rows by cutting windows out of it. Units of a sparse code are then waveforms, and
the error of a window tells whether the machine still vibrates as it did. Here the signal is
simulated, so that it is known where each fault begins and ends, and how many of its windows are
found.

It takes some ten seconds and needs the extra ``plot``::

    python examples/sensor_windows.py
"""

# %%
# A machine and four faults
# -------------------------
# The vibration of a shaft of 18 to 32 turns a second: once and twice per turn, and the teeth of a
# gear seven times per turn, louder under load and near a resonance at 170 Hz. Speed and load change
# all the time, and noise is added, with a standard deviation of 0.25. Every six seconds something
# goes wrong for 1.5 seconds: a damaged bearing rings 4.1 times per turn, an imbalance makes the
# turns stronger, the sensor repeats one value, or 30 of 100 values are lost and sent as 0.

from _data import example_parser

parser = example_parser("Faults in windows of a simulated vibration", "sensor_windows.png")
parser.add_argument("--seed", type=int, default=0, help="of all signals, default %(default)s")
options = parser.parse_args()

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksae import SparseAutoencoderTransformer
from sksae.inspection import AtomsDisplay

RATE = 1000  # values a second
WIDTH, STRIDE = 64, 16  # of windows, in values
FALSE_ALARMS = 0.01
FAULTS = ("bearing", "imbalance", "stuck", "drop-out")


def vibration(seconds, rng):
    """Return a good signal, and how often the shaft has turned at each of its values."""
    time = np.arange(seconds * RATE) / RATE
    every_four_seconds = np.arange(0.0, seconds + 5.0, 4.0)
    speed, load = (
        np.interp(time, every_four_seconds, rng.uniform(*limits, len(every_four_seconds)))
        for limits in ((18.0, 32.0), (0.4, 1.0))
    )
    turns = np.cumsum(speed) / RATE
    ratio = 7.0 * speed / 170.0
    teeth = 0.3 * load / np.hypot(1.0 - ratio**2, 0.3 * ratio)
    signal = 0.6 * np.sin(2 * np.pi * turns) + 0.2 * np.sin(4 * np.pi * turns + 1.0)
    signal += teeth * np.sin(14 * np.pi * turns + 2.0)
    return signal + 0.25 * rng.standard_normal(len(time)), turns


def with_faults(signal, turns, rng):
    """Return the signal with faults, and for each value the fault's number or -1."""
    signal, fault = signal.copy(), np.full(len(signal), -1)
    hits = np.flatnonzero(np.diff(np.floor(4.1 * turns)))
    knocks = np.zeros(len(signal))
    knocks[hits] = rng.uniform(0.9, 1.8, len(hits))
    after = np.arange(40) / RATE
    ringing = np.exp(-after / 0.006) * np.sin(2 * np.pi * 380 * after)
    knocks = np.convolve(knocks, ringing)[: len(signal)]
    for number, start in enumerate(range(4500, len(signal) - 1500, 6000)):
        part = slice(start, start + 1500)
        fault[part] = number % len(FAULTS)
        match FAULTS[number % len(FAULTS)]:
            case "bearing":
                signal[part] += knocks[part]
            case "imbalance":
                signal[part] += 0.8 * np.sin(2 * np.pi * turns[part] + 1.0)
            case "stuck":
                signal[part] = signal[start]
            case "drop-out":
                signal[part][np.arange(1500) % 100 < 30] = 0.0
    return signal, fault


rng = np.random.default_rng(options.seed)
train, _ = vibration(120, rng)
good, _ = vibration(120, rng)  # for the threshold
signal, fault = with_faults(*vibration(240, rng), rng)
print("Signals: simulated, 120 s to learn from, 120 s for the threshold, 240 s with 39 faults")

# %%
# Windows in a pipeline
# ---------------------
# The first step cuts windows, so that the pipeline takes a signal and gives a row for each window.
# Eight of 128 units are active in a window on average. Another good signal gives the threshold: one
# of its windows in a hundred is reported. It does so for PCA as well, and for the root mean square
# (RMS) of a window, which has a lower and an upper limit. The last method is a rule that learns
# nothing: noise never repeats a value, so no good window has two equal neighbours.


def windows(signal):
    """Return windows of a signal as rows."""
    return sliding_window_view(signal, WIDTH)[::STRIDE]


sae = SparseAutoencoderTransformer(
    128, sparsity="batchtopk", rho=8, max_iter=60, tol=1e-2, random_state=0
)
pipe = make_pipeline(FunctionTransformer(windows), sae).fit(train)
pca = PCA(16).fit(windows(train))


def pca_scores(signal):
    """Return minus the squared error of windows in the space of PCA's directions."""
    X = windows(signal)
    return -np.square(pca.inverse_transform(pca.transform(X)) - X).sum(axis=1)


def rms(signal):
    """Return the root mean square of windows."""
    return np.sqrt(np.square(windows(signal)).mean(axis=1))


low, high = np.quantile(rms(good), [FALSE_ALARMS / 2, 1 - FALSE_ALARMS / 2])
thresholds = {
    scores: np.quantile(scores(good), FALSE_ALARMS) for scores in (pipe.score_samples, pca_scores)
}
reported = {
    "sparse autoencoder": pipe.score_samples(signal) < thresholds[pipe.score_samples],
    "PCA, 16 directions": pca_scores(signal) < thresholds[pca_scores],
    "moving RMS": (rms(signal) < low) | (rms(signal) > high),
    "repeated values": (np.diff(windows(signal)) == 0.0).any(axis=1),
}
# Windows that lie in a fault, or in a good part, from end to end.
first, last = windows(fault).min(axis=1), windows(fault).max(axis=1)
print(f"\n{'share of windows reported':26s}" + "".join(f"{n:>11s}" for n in ("good", *FAULTS)))
for name, is_reported in reported.items():
    shares = [
        is_reported[(first == number) & (last == number)].mean()
        for number in range(-1, len(FAULTS))
    ]
    print(f"{name:26s}" + "".join(f"{share:11.2f}" for share in shares))

# %%
# A signal, its error and its waveforms
# -------------------------------------
# The first 26 seconds: each fault once. Errors are divided by the threshold, so that 1 is the limit
# for both methods. Right the units that are active most often: waves of some frequency in some
# phase. A fully connected network needs a unit for each phase.

seconds = 26
figure = plt.figure(figsize=(12, 5.8), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1.0))
upper, lower = left.subplots(2, 1, sharex=True)
time = np.arange(seconds * RATE) / RATE
upper.plot(time, signal[: len(time)], color="0.35", linewidth=0.3)
upper.set_ylabel("signal")
upper.set_title("A signal with four faults", fontsize=10)
centres = (np.arange(len(windows(signal[: len(time)]))) * STRIDE + WIDTH / 2) / RATE
for scores, name, colour in (
    (pca_scores, "PCA, 16 directions", "#E69F00"),
    (pipe.score_samples, "sparse autoencoder", "#0072B2"),
):
    ratio = scores(signal[: len(time)]) / thresholds[scores]
    lower.plot(centres, ratio, color=colour, linewidth=0.8, label=name)
lower.axhline(1.0, color="k", linestyle="--", linewidth=1, label="threshold")
lower.set(xlabel="seconds", ylabel="error of a window / threshold", ylim=(0.0, 4.2))
lower.set_title("Its error: 99 % of good windows are below the threshold", fontsize=10)
lower.legend(frameon=False, fontsize=8, loc="upper right")
for number, name in enumerate(FAULTS):
    start = 4.5 + 6.0 * number
    for axis in (upper, lower):
        axis.axvspan(start, start + 1.5, color="#CC79A7", alpha=0.25, linewidth=0)
    upper.text(start + 0.75, 3.9, name, ha="center", va="top", fontsize=9)
upper.set_ylim(-3.2, 4.2)
upper.margins(x=0.01)
panels = right.subplots(6, 3)
often = np.argsort(sae.active_share_)[::-1][: panels.size]
AtomsDisplay.from_estimator(pipe, units=often, kind="line", ax=panels)
right.suptitle("What the 18 units used most add to a window of 64 values", fontsize=10)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
