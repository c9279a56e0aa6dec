"""
Self-taught learning: what pictures without labels teach
========================================================

The exercise of the UFLDL tutorial: 200 units learn from the handwritten digits 5 to 9, without
labels and without ever seeing another digit. Their codes then serve to tell the digits 0 to 4
apart. Strokes are strokes: published is an accuracy of about 98.3 %, where raw pixels give 96 %.

MNIST is ``mnist.npz`` in the folder that ``--data`` or the environment variable ``SKSAE_DATA``
names (``X_train``, ``y_train``, ``X_test`` and ``y_test``), else it comes from OpenML.
Where there is no network, scikit-learn's 1797 digits stand in; so few teach no more
than raw pixels tell.

It takes about half a minute with MNIST, some seconds without, and needs the extra ``plot``::

    python examples/self_taught.py
    python examples/self_taught.py --data FOLDER
"""

# %%
# Two sets of digits
# ------------------
# The training pictures of the digits 5 to 9 (of MNIST 29404), whose labels are not looked at; and
# two halves of the digits 0 to 4: one to learn from, one to be judged by.

from _data import MNIST, example_parser, mnist_or_digits

options = example_parser("Self-taught learning with sksae", "self_taught.png", MNIST).parse_args()
digits = mnist_or_digits(options.data)
print("Digits:", digits.source)

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer

X, y = digits.X_train, digits.y_train
unlabelled, X, y = X[y >= 5], X[y < 5], y[y < 5]
half = len(X) // 2
X_train, y_train, X_test, y_test = X[:half], y[:half], X[half:], y[half:]

# %%
# Learning strokes
# ----------------
# The settings are published ones, with pixels as they are. Where the exercise takes 400 iterations
# of L-BFGS, 15 epochs of Adam do.

warnings.simplefilter("ignore", ConvergenceWarning)
sae = SparseAutoencoderTransformer(
    200,
    rho=0.1,
    beta=3.0,
    alpha=3e-3,
    output_activation="sigmoid",
    scale_data=False,
    max_iter=digits.epochs(15),
    tol=0,
    random_state=0,
).fit(unlabelled)

# %%
# Telling the other digits apart
# ------------------------------
# A softmax on the codes, which stay as they are: ``freeze=1`` keeps the only layer of the encoder.
# In a ``FrozenEstimator`` the autoencoder is taken as it was fitted. Raw pixels go to the same
# softmax, with the weight decay of 1e-5 written in scikit-learn's way.
#
# The more labels there are, the more the codes are worth beside pixels.

DECAY = 1e-5
model = SparseAutoencoderClassifier([FrozenEstimator(sae)], freeze=1, alpha=DECAY, random_state=0)
n_labels = [100, 300, 1000, 3000, half] if digits.is_mnist else [30, 100, half]
accuracy = {"codes": [], "raw pixels": []}
for n in n_labels:
    raw = LogisticRegression(C=1 / (DECAY * n), max_iter=1000)
    for name, classifier in (("codes", model), ("raw pixels", raw)):
        score = classifier.fit(X_train[:n], y_train[:n]).score(X_test, y_test)
        accuracy[name].append(score)
        print(f"{n:6} labels, {name:10} {score:.4f}")

# %%
# Left: for units that vary most from picture to picture, what each adds when it is active, ink in
# red. Right: the accuracy on the other half of the digits 0 to 4.

figure = plt.figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25])
left.suptitle("Learnt from the digits 5 to 9: 48 of 200 units", fontsize="medium")
varied = np.argsort(-sae.transform(unlabelled).std(axis=0))
for axis, unit in zip(left.subplots(6, 8).flat, varied, strict=False):
    atom = sae.components_[unit].reshape(28, 28)
    limit = np.abs(atom).max()
    axis.imshow(atom, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color("0.8")

axis = right.subplots()
codes_lead = accuracy["codes"][-1] >= accuracy["raw pixels"][-1]
for (name, scores), color, above in zip(
    accuracy.items(), ("tab:red", "0.4"), (codes_lead, not codes_lead), strict=True
):
    axis.plot(n_labels, scores, "o-", color=color, label=name)
    axis.annotate(
        f"{scores[-1]:.1%}",
        (n_labels[-1], scores[-1]),
        (0, 8 if above else -16),
        textcoords="offset points",
        ha="right",
        color=color,
    )
axis.set(
    xscale="log",
    xticks=n_labels,
    xticklabels=n_labels,
    ylim=(0.88 if digits.is_mnist else None, 1),
    xlabel="labelled digits 0 to 4",
    ylabel="accuracy on other digits 0 to 4",
)
axis.minorticks_off()
axis.yaxis.set_major_formatter(PercentFormatter(1))
axis.grid(alpha=0.3)
axis.legend(loc="lower right")
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
