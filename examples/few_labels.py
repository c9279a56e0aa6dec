"""
Few labels among many rows
==========================

Many digits (60000 of MNIST), of which a handful of each kind have a label. Autoencoders learn from
all of them, the softmax and the fine-tuning from those with a label. ``unlabeled=-1`` names the
mark of the others, as scikit-learn's own semi-supervised estimators have it.

MNIST is ``mnist.npz`` in the folder that ``--data`` or the environment variable ``SKSAE_DATA``
names (``X_train``, ``y_train``, ``X_test`` and ``y_test``), else it comes from OpenML.
Where there is no network, scikit-learn's 1797 digits stand in.

It takes about a minute with MNIST, half a minute without, and needs the extra ``plot``::

    python examples/few_labels.py
    python examples/few_labels.py --data FOLDER
"""

# %%
# Rows with and without a label
# -----------------------------

from _data import MNIST, example_parser, mnist_or_digits

parser = example_parser("Few labels among many rows, with sksae", "few_labels.png", MNIST)
parser.add_argument("--draws", type=int, default=2, help="default %(default)s")
options = parser.parse_args()
digits = mnist_or_digits(options.data)
print("Digits:", digits.source)

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer

X_train, y_train, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test


def draw(per_class, seed):
    """Return labels of so many rows of each class, and -1 for all others."""
    rng = np.random.default_rng(seed)
    of_class = (np.flatnonzero(y_train == label) for label in range(10))
    kept = np.concatenate([rng.choice(rows, per_class, replace=False) for rows in of_class])
    y = np.full_like(y_train, -1)
    y[kept] = y_train[kept]
    return y


# %%
# One fit does it all
# -------------------
# Pre-training on all rows, then the softmax, then fine-tuning on the few rows with a label. The
# steps of fine-tuning are small ones: there is little to be learnt and much to be spoilt.

warnings.simplefilter("ignore", ConvergenceWarning)
autoencoder = SparseAutoencoderTransformer(
    500,
    rho=0.1,
    beta=3.0,
    alpha=3e-3,
    output_activation="sigmoid",
    scale_data=False,
    max_iter=digits.epochs(5),
    tol=0,
)
tuning = {"alpha": 1e-3, "learning_rate": 1e-3, "max_iter": 20, "tol": 0, "random_state": 0}
few = 100 if digits.is_mnist else 10
model = SparseAutoencoderClassifier([autoencoder], unlabeled=-1, **tuning)
model.fit(X_train, draw(per_class=few, seed=0))
print(f"{10 * few} labels: {model.score(X_test, y_test):.4f}")

# %%
# The fewer labels the greater the gain
# -------------------------------------
# What was pre-trained without labels is the same for any number of them, so it is done once: in a
# ``FrozenEstimator`` an autoencoder is taken as it was fitted. The others learn from the rows with
# a label alone, for they can do nothing with the rest.

pretrained = autoencoder.set_params(random_state=0).fit(X_train)
per_class = [n for n in (3, 10, 30, 100, 300) if n <= np.bincount(y_train).min()]
names = {
    f"pre-trained on {len(X_train)} rows": SparseAutoencoderClassifier(
        [FrozenEstimator(pretrained)], **tuning
    ),
    "MLPClassifier": MLPClassifier((500,), random_state=0),
    "LogisticRegression": LogisticRegression(max_iter=1000),
}
accuracy = np.empty((len(names), len(per_class), options.draws))
for column, number in enumerate(per_class):
    for seed in range(options.draws):
        y = draw(number, seed)
        X, y = X_train[y >= 0], y[y >= 0]
        for row, (name, classifier) in enumerate(names.items()):
            if name == "LogisticRegression":
                classifier.set_params(C=100 / len(X))  # the same weight decay for any number
            accuracy[row, column, seed] = classifier.fit(X, y).score(X_test, y_test)
    print(10 * number, "labels:", accuracy[:, column].mean(axis=1).round(4))

# %%
# Means over the draws, with bars from the worst to the best of them.

labels = 10 * np.array(per_class)
figure, axis = plt.subplots(figsize=(6, 3.8), layout="constrained")
for name, scores, color in zip(names, accuracy, ("tab:red", "tab:blue", "0.4"), strict=True):
    mean = scores.mean(axis=1)
    spread = [mean - scores.min(axis=1), scores.max(axis=1) - mean]
    axis.errorbar(labels, mean, spread, fmt="o-", capsize=3, color=color, label=name)
axis.set(
    xscale="log",
    xticks=labels,
    xticklabels=labels,
    xlabel=f"rows with a label, of {len(X_train)}",
    ylabel=f"accuracy on {len(X_test)} test digits",
)
axis.minorticks_off()
axis.yaxis.set_major_formatter(PercentFormatter(1))
axis.grid(alpha=0.3)
axis.legend(loc="lower right")
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
