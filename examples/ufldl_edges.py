"""
Edges from natural images: the UFLDL exercise
=============================================

The exercise of Andrew Ng's notes on the sparse autoencoder (CS294A, later the UFLDL tutorial): 25
units learn to code 8x8 patches of whitened natural images, each of them active for 1 % of the
patches, and become detectors of oriented edges. Objective and settings are those of the notes.

The images are the two photographs that come with scikit-learn, or, if ``--data`` or the environment
variable ``SKSAE_DATA`` names a folder, ``images`` of shape (n_images, height, width) in its
``natural_images_whitened.npz``. It takes about half a minute and needs the extra ``plot``::

    python examples/ufldl_edges.py
    python examples/ufldl_edges.py --data FOLDER
"""

# %%
# Patches
# -------
# 10000 patches from random places. Each loses its own mean; then all are clipped to three standard
# deviations and mapped to [0.1, 0.9], which a sigmoid output can reach.

from _data import NATURAL_IMAGES, example_parser, natural_images

parser = example_parser("The UFLDL exercise with sksae", "ufldl_edges.png", NATURAL_IMAGES)
parser.add_argument("--starts", type=int, default=8, help="default %(default)s")
options = parser.parse_args()

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sksae import SparseAutoencoderTransformer
from sksae.metrics import dead_units

SIDE, N_PATCHES = 8, 10_000

images, source = natural_images(options.data)
print("Images:", source)

rng = np.random.default_rng(1)
places = rng.integers((len(images), *np.subtract(images.shape[1:], SIDE - 1)), size=(N_PATCHES, 3))
X = np.array([images[i, r : r + SIDE, c : c + SIDE].ravel() for i, r, c in places], dtype=float)
X -= X.mean(axis=1, keepdims=True)
limit = 3 * X.std()
X = 0.5 + 0.4 * X.clip(-limit, limit) / limit

# %%
# Training
# --------
# ``scale_data=False`` leaves the patches as they are, so that J is that of the notes to the letter:
# their lambda is ``alpha``, their hidden size ``n_components``. The exercise stops L-BFGS after 400
# iterations, converged or not: hence ``tol=0``, and no warning that more of them would gain a bit.
#
# J has many local minima, which differ mostly in how many units are dead: those learn no feature,
# and weight decay takes their weights to zero. So the best of several starts is kept.

warnings.simplefilter("ignore", ConvergenceWarning)
models = []
for seed in range(options.starts):
    model = SparseAutoencoderTransformer(
        25,
        rho=0.01,
        beta=3.0,
        alpha=1e-4,
        output_activation="sigmoid",
        scale_data=False,
        solver="lbfgs",
        max_iter=400,
        tol=0,
        random_state=seed,
    )
    models.append(model.fit(X))
    n_dead = np.count_nonzero(dead_units(model.transform(X)))
    print(f"start {seed}: J = {model.loss_:.4f}, R^2 = {model.score(X):.3f}, {n_dead} units dead")
best = min(models, key=lambda model: model.loss_)

# %%
# What excites each unit
# ----------------------
# Of all patches of length 1, the one that a unit answers to most is w / ||w||, where w are its
# weights in the encoder. Dead units come last and stay grey.

codes = best.transform(X)
activity = np.where(dead_units(codes), 0.0, codes.std(axis=0))
figure, axes = plt.subplots(5, 5, figsize=(4, 4), layout="constrained")
for axis, unit in zip(axes.flat, np.argsort(-activity), strict=True):
    weights = best.coefs_[0][:, unit] * (activity[unit] > 0)
    limit = np.abs(weights).max() or 1.0
    axis.imshow(weights.reshape(SIDE, SIDE), cmap="gray", vmin=-limit, vmax=limit)
    axis.set_axis_off()
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
