"""
A stack before and after fine-tuning
====================================

Two sparse autoencoders, one trained on the codes of the other, with a softmax on top: the stacked
autoencoder of the UFLDL tutorial. Published is an accuracy on MNIST of 87.7 % with the codes as
they are, and 97.6 % after all layers were trained on together for the classes. This page shows what
becomes of it epoch by epoch, and what the same network does without pre-training.

MNIST is ``mnist.npz`` in the folder that ``--data`` or the environment variable ``SKSAE_DATA``
names (``X_train``, ``y_train``, ``X_test`` and ``y_test``), else it comes from OpenML.
Where there is no network, scikit-learn's 1797 digits stand in.

It takes about a minute with MNIST, ten seconds without, and needs the extra ``plot``::

    python examples/stacked_mnist.py
    python examples/stacked_mnist.py --data FOLDER
"""

# %%
# Pre-training
# ------------
# Digits without labels, of MNIST 60000. The second autoencoder learns from the codes of the first.

from _data import MNIST, example_parser, mnist_or_digits

options = example_parser(
    "A stacked autoencoder, before and after fine-tuning", "stacked_mnist.png", MNIST
).parse_args()
digits = mnist_or_digits(options.data)
print("Digits:", digits.source)

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.exceptions import ConvergenceWarning

from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)

X_train, y_train, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test

warnings.simplefilter("ignore", ConvergenceWarning)
layer = SparseAutoencoderTransformer(
    200,
    rho=0.1,
    beta=3.0,
    alpha=3e-3,
    output_activation="sigmoid",
    scale_data=False,
    max_iter=digits.epochs(5),
    tol=0,
)
greedy = StackedSparseAutoencoder([layer, layer], finetune=False, random_state=0).fit(X_train)

# For comparison the same layers as they were drawn: steps this small leave them where they were.
unmoved = layer.set_params(max_iter=1, learning_rate=1e-12)
drawn = StackedSparseAutoencoder([unmoved, unmoved], finetune=False, random_state=0).fit(X_train)

# %%
# Fine-tuning
# -----------
# ``pretrain=False`` takes autoencoders that are fitted; copies of them are trained on. ``freeze=2``
# keeps both and trains the softmax alone, which is the state before. A callback of scikit-learn's
# kind notes the accuracy on the test set after each epoch; nothing is decided by it.


class TestAccuracy:
    def setup(self, estimator, context):
        self.curve = []

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch" and context.parent.task_name == "finetune":
            self.curve.append(fitted_estimator.score(X_test, y_test))


EPOCHS = 8
curves, models = {}, {}
for name, stack in (("pre-trained", greedy), ("not pre-trained", drawn)):
    before = SparseAutoencoderClassifier(stack.autoencoders_, pretrain=False, freeze=2)
    after = SparseAutoencoderClassifier(
        stack.autoencoders_,
        pretrain=False,
        learning_rate=5e-3,
        max_iter=EPOCHS,
        tol=0,
        random_state=0,
    )
    watched = TestAccuracy()
    models[name] = after.set_callbacks(watched).fit(X_train, y_train)
    score = before.fit(X_train, y_train).score(X_test, y_test)
    curves[name] = [score, *watched.curve]
    print(f"{name}: {score:.4f} before, {curves[name][-1]:.4f} after")

# %%
# The first point of each line is the softmax on codes that stay as they are. On MNIST one epoch
# after pre-training reaches what was published, and the end is better too. Right: weights of the
# units of the first layer that fine-tuning changed most, as they were pre-trained and became.

figure = plt.figure(figsize=(9, 3.8), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.3, 1])
axis = left.subplots()
for (name, curve), color, offset in zip(curves.items(), ("tab:red", "0.4"), (7, -24), strict=True):
    axis.plot(range(EPOCHS + 1), curve, "o-", color=color, label=name)
    axis.annotate(
        f"{curve[-1]:.1%}",
        (EPOCHS, curve[-1]),
        (0, offset),
        textcoords="offset points",
        ha="right",
        color=color,
    )
if digits.is_mnist:
    start = curves["not pre-trained"][0]
    axis.annotate(f"from {start:.0%}", (0.85, 0.8825), color="0.4")
    axis.axhline(0.976, color="0.2", linestyle=":", label="published, fine-tuned")
axis.set(
    ylim=(0.88, 1) if digits.is_mnist else (None, 1.02),  # room for what is written above
    xlabel="epochs of fine-tuning",
    ylabel=f"accuracy on {len(X_test)} test digits",
)
axis.yaxis.set_major_formatter(PercentFormatter(1))
axis.grid(alpha=0.3)
axis.legend(loc="lower right")

was = greedy.autoencoders_[0].coefs_[0]
became = models["pre-trained"].autoencoders_[0].coefs_[0]
changed = np.argsort(-np.linalg.norm(became - was, axis=0))[:15]
for half, weights, title in zip(
    right.subfigures(1, 2), (was, became), ("pre-trained", "fine-tuned"), strict=True
):
    half.suptitle(title, fontsize="medium")
    for tile, unit in zip(half.subplots(5, 3).flat, changed, strict=True):
        limit = np.abs(weights[:, unit]).max()
        tile.imshow(weights[:, unit].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
        tile.set(xticks=[], yticks=[])
        tile.spines[:].set_color("0.8")
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
