"""
The digits example of MATLAB, with scikit-learn
===============================================

MATLAB's documentation of ``trainAutoencoder`` trains two autoencoders of 100 and 50 units on
pictures of digits, a softmax on their codes, and then all layers together for the classes ("Train
Stacked Autoencoders for Image Classification"). This is the same from first to last line, with the
same options under their names here; docs/coming_from/matlab.md says which is which.

The pictures of MATLAB's example come with MATLAB. Here are 5000 of MNIST to learn from and 5000 to
be judged by: ``mnist.npz`` in the folder that ``--data`` or the environment variable ``SKSAE_DATA``
names (``X_train``, ``y_train``, ``X_test`` and ``y_test``), else they come from OpenML. Where there
is no network, scikit-learn's 1797 digits stand in.

It takes about half a minute with MNIST, a quarter without, and needs the extra ``plot``::

    python examples/matlab_digits.py
    python examples/matlab_digits.py --data FOLDER
"""

# %%
# The first autoencoder
# ---------------------
# ``autoenc1 = trainAutoencoder(X, 100, 'MaxEpochs', 400, 'L2WeightRegularization', 0.004,
# 'SparsityRegularization', 4, 'SparsityProportion', 0.15, 'ScaleData', false)``. MATLAB's cost is
# 2J, so that ``beta`` and ``alpha`` are half of its numbers. Its scaled conjugate gradient takes
# all rows at each step, as L-BFGS does.

from _data import MNIST, example_parser, mnist_or_digits

options = example_parser(
    "MATLAB's example of stacked autoencoders", "matlab_digits.png", MNIST
).parse_args()
digits = mnist_or_digits(options.data)
print("Digits:", digits.source)

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer

X_train, y_train = digits.X_train[:5000], digits.y_train[:5000]
X_test, y_test = digits.X_test[:5000], digits.y_test[:5000]
print(f"of which {len(X_train)} to learn from, {len(X_test)} to be judged by")

# At most 400 iterations, as in the example; L-BFGS ends sooner where J hardly falls.
warnings.simplefilter("ignore", ConvergenceWarning)
settings = {
    "scale_data": False,
    "output_activation": "sigmoid",
    "solver": "lbfgs",
    "random_state": 0,
}
autoenc1 = SparseAutoencoderTransformer(
    100, rho=0.15, beta=4 / 2, alpha=0.004 / 2, max_iter=400, **settings
)
codes1 = autoenc1.fit_transform(X_train)

# %%
# The second one, on the codes of the first
# -----------------------------------------
# ``feat1 = encode(autoenc1, X)``, and ``autoenc2 = trainAutoencoder(feat1, 50, ...)`` with
# ``SparsityProportion`` 0.1, ``L2WeightRegularization`` 0.002 and 100 epochs.

autoenc2 = SparseAutoencoderTransformer(
    50, rho=0.1, beta=4 / 2, alpha=0.002 / 2, max_iter=100, **settings
)
codes2 = autoenc2.fit_transform(codes1)
for name, autoenc, rows in (("autoenc1", autoenc1, X_train), ("autoenc2", autoenc2, codes1)):
    print(
        f"{name}: {autoenc.n_iter_} iterations, 2J = {2 * autoenc.loss_:.3f}, "
        f"mean activation {autoenc.mean_activation_.mean():.3f}, R^2 {autoenc.score(rows):.3f}"
    )

# %%
# The softmax, the stack and its fine-tuning
# ------------------------------------------
# ``softnet = trainSoftmaxLayer(feat2, T)`` and ``stack(autoenc1, autoenc2, softnet)`` are one
# estimator that keeps both layers of the encoder as they are, ``freeze=2``. Training the stack,
# ``train(deepnet, X, T)``, is one that does not keep them. ``pretrain=False`` takes
# autoencoders that are fitted; copies of them are trained on.

members = [("autoenc1", autoenc1), ("autoenc2", autoenc2)]
stacked = SparseAutoencoderClassifier(members, pretrain=False, freeze=2, random_state=0)
deepnet = SparseAutoencoderClassifier(
    members, pretrain=False, solver="lbfgs", max_iter=400, random_state=0
)
models = {"softmax alone": stacked, "fine-tuned": deepnet}
for name, model in models.items():
    model.fit(X_train, y_train)
    train, test = model.score(X_train, y_train), model.score(X_test, y_test)
    print(f"{name:14} accuracy {train:.3f} on training rows, {test:.3f} on test rows")

# %%
# For comparison: two members of as many units by the defaults, which scale rows and have units
# that are rarer. No option is set.

by_default = SparseAutoencoderClassifier([100, 50], random_state=0).fit(X_train, y_train)
print(f"{'by default':14} accuracy {by_default.score(X_test, y_test):.3f} on test rows")

# %%
# Left: ``plotWeights(autoenc1)``, what each unit looks for, ink in red and paper in blue. Right:
# ``plotconfusion`` before and after the fine-tuning, in pictures of the test set.

figure = plt.figure(figsize=(12, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.9])

tiles = autoenc1.coefs_[0].T.reshape(10, 10, 28, 28)
tiles = tiles / np.abs(tiles).max(axis=(2, 3), keepdims=True)  # each by its own largest weight
tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
axis = left.subplots()
colors = plt.get_cmap("RdBu_r").with_extremes(bad="0.7")
axis.imshow(tiles.swapaxes(1, 2).reshape(300, 300), cmap=colors, vmin=-1, vmax=1)
axis.set(xticks=[], yticks=[], title="Weights of the 100 units of autoenc1")

tables = [confusion_matrix(y_test, model.predict(X_test)) for model in models.values()]
largest_error = max((table - np.diag(np.diag(table))).max() for table in tables)
axes = right.subplots(1, 2, sharey=True)
for axis, name, table in zip(axes, models, tables, strict=True):
    ConfusionMatrixDisplay(table).plot(
        ax=axis,
        cmap="Blues",
        colorbar=False,
        # Colours tell the errors apart; what was told right is as dark as can be.
        im_kw={"vmin": 0, "vmax": 2 * largest_error},
        text_kw={"fontsize": "small"},
    )
    accuracy = np.trace(table) / table.sum()
    axis.set(title=f"{name}: {accuracy:.1%} right", xlabel="told by the network")
axes[0].set_ylabel("digit in the picture")
axes[1].set_ylabel("")
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
