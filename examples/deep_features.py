"""
Features of one layer and of two
================================

Does a second layer make better features? Codes of one autoencoder of 200 units and of two, one upon
the other, go to the same linear classifier, on handwritten digits and on embeddings of sentences.
Without labels it hardly does, and on sentences, where raw features are good ones, no code does
better than they do. What gains on digits is fine-tuning with labels, of one layer as of two.

MNIST is ``mnist.npz`` in the folder that ``--data`` or the environment variable ``SKSAE_DATA``
names (``X_train``, ``y_train``, ``X_test`` and ``y_test``), else it comes from OpenML.
Where there is no network, scikit-learn's 1797 digits stand in.

It takes about a minute with these files, ten seconds without, and needs the extra ``plot``::

    python examples/deep_features.py
    python examples/deep_features.py --data FOLDER

Sentences are in the folder's ``sentence_embeddings.npz`` (``X``, ``y``, and ``doc``, the document
that each is from); without it the digits stand alone.
"""

# %%
# Rows
# ----
# 10000 to learn from and 10000 to be judged by, of each kind, where there are so many. Sentences
# of one document are all on one side, or the topic would give them away.

from _data import MNIST, SENTENCES, example_parser, mnist_or_digits

options = example_parser(
    "Features of one layer and of two, with sksae", "deep_features.png", MNIST
).parse_args()
digits = mnist_or_digits(options.data)
print("Digits:", digits.source)

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

N_ROWS = 10_000
sets = {"digits": (digits.X_train[:N_ROWS], digits.y_train[:N_ROWS], digits.X_test, digits.y_test)}

if sentences := SENTENCES.beside(options.data):
    print("Sentences:", sentences)
    with np.load(sentences) as file:
        X, y, documents = file["X"].astype(np.float32), file["y"], file["doc"]
    split = GroupShuffleSplit(1, test_size=1 / 3, random_state=0)
    train, test = next(split.split(X, y, documents))
    rng = np.random.default_rng(0)
    train, test = rng.permutation(train)[:N_ROWS], rng.permutation(test)[:N_ROWS]
    sets["sentences"] = X[train], y[train], X[test], y[test]

# %%
# Autoencoders
# ------------
# Digits have the settings that the UFLDL tutorial has for them, sentences the defaults. The linear
# classifier has a weight decay at which raw features are near their best.

training = {"max_iter": 20, "tol": 0, "random_state": 0}
layers = {
    "digits": SparseAutoencoderTransformer(
        200,
        rho=0.1,
        beta=3.0,
        alpha=3e-3,
        output_activation="sigmoid",
        scale_data=False,
        **training,
    ),
    "sentences": SparseAutoencoderTransformer(200, **training),
}
decay = {"digits": 3e-3, "sentences": 3e-2}
warnings.simplefilter("ignore", ConvergenceWarning)


def features(layer, X_train, y_train):
    """Yield, for each way to make features, its name and a function from rows to features."""
    yield "raw features", lambda X: X
    one = StackedSparseAutoencoder([layer], finetune=False).fit(X_train)
    yield "one layer", one.transform
    two = StackedSparseAutoencoder([layer, layer], finetune=False).fit(X_train)
    yield "two layers", two.transform
    l1 = SparseAutoencoderTransformer(200, sparsity="l1", **training)
    mixed = StackedSparseAutoencoder([layer, l1], finetune=False)
    yield "two layers,\nthe second with l1", mixed.fit(X_train).transform
    together = StackedSparseAutoencoder(
        two.autoencoders_, pretrain=False, alpha=layer.alpha, **training
    ).fit(X_train)
    yield "two layers,\ntrained on together", together.transform
    for name, stack in (("one layer", one), ("two layers", two)):
        classifier = SparseAutoencoderClassifier(
            stack.autoencoders_,
            pretrain=False,
            learning_rate=5e-3,
            max_iter=8,
            tol=0,
            random_state=0,
        ).fit(X_train, y_train)
        encoder = StackedSparseAutoencoder.from_pipeline(make_pipeline(*classifier.autoencoders_))
        yield f"{name},\nfine-tuned with labels", encoder.transform


# %%
# The same classifier for all
# ---------------------------
# The codes of a fine-tuned classifier are features too, though no longer ones made without labels.

accuracy = {}
for kind, (X_train, y_train, X_test, y_test) in sets.items():
    accuracy[kind] = {}
    for name, encode in features(layers[kind], X_train, y_train):
        linear = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=1 / (decay[kind] * len(X_train)), max_iter=1000),
        )
        score = linear.fit(encode(X_train), y_train).score(encode(X_test), y_test)
        accuracy[kind][name] = score
        print(f"{kind:10} {' '.join(name.split()):40} {score:.4f}")

# %%
# The two scales differ in their place, not in their length: a percent is as wide in both.

figure, axes = plt.subplots(
    1,
    len(sets),
    figsize=(4.2 * len(sets) + 1, 3.8),
    sharey=True,
    squeeze=False,
    layout="constrained",
)
for axis, (kind, scores) in zip(axes.flat, accuracy.items(), strict=True):
    names, values = list(scores)[::-1], list(scores.values())[::-1]
    colors = [
        "tab:red" if "labels" in name else "0.5" if "raw" in name else "tab:blue" for name in names
    ]
    axis.axvline(scores["raw features"], color="0.5", linestyle=":", zorder=0)
    axis.scatter(values, names, color=colors, s=45)
    for name, value in scores.items():
        axis.annotate(
            f"{value:.1%}",
            (value, name),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"color": "white", "pad": 0.5},
        )
    middle = (min(values) + max(values)) / 2
    axis.set(xlim=(middle - 0.045, middle + 0.045), title=kind, xlabel="accuracy")
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.grid(axis="x", alpha=0.3)
    axis.margins(y=0.12)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
