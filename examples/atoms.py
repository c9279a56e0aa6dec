"""
Atoms: what 64 units learn from digits and from natural images
==============================================================

The atom of a unit is what it adds to a row when it is active. On scikit-learn's digits the defaults
find strokes; on patches of whitened natural images ``rho=0.01``, a unit active for one patch in a
hundred, gives edges, each in a direction and a place of its own. It is the one argument to try when
atoms shall be looked at: fewer active units are clearer, and rebuild less.

The images are the two photographs that come with scikit-learn, or, if ``--data`` or the environment
variable ``SKSAE_DATA`` names a folder, ``images`` of shape (n_images, height, width) in its
``natural_images_whitened.npz``. It takes some seconds and needs the extra ``plot``::

    python examples/atoms.py
    python examples/atoms.py --data FOLDER
"""

# %%
# Data
# ----
# 1797 digits, and 10000 patches from random places of the images, each less its own mean. Both are
# pictures of 8x8 pixels.

from _data import NATURAL_IMAGES, example_parser, natural_images

options = example_parser(
    "The atoms of sksae on digits and natural images", "atoms.png", NATURAL_IMAGES
).parse_args()

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.feature_extraction.image import PatchExtractor

from sksae import SparseAutoencoderTransformer
from sksae.metrics import hoyer_sparsity

SIDE, N_PATCHES = 8, 10_000

images, source = natural_images(options.data)
print("Images:", source)
cut = PatchExtractor(patch_size=(SIDE, SIDE), max_patches=N_PATCHES // len(images), random_state=0)
patches = cut.fit_transform(images).reshape(-1, SIDE * SIDE)
patches -= patches.mean(axis=1, keepdims=True)
digits = load_digits().data

# %%
# Training and drawing
# --------------------
# Units that do the most on the rows come first. An atom is drawn by its own scale: on the left red
# adds ink and blue takes it away, on the right white is brighter and black darker.

shown = (
    ("64 units on digits", digits, {}, "RdBu_r"),
    ("64 units on natural images, rho=0.01", patches, {"rho": 0.01}, "gray"),
)
figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
for axis, (title, X, parameters, colours) in zip(axes, shown, strict=True):
    model = SparseAutoencoderTransformer(64, random_state=0, **parameters).fit(X)
    codes = model.transform(X)
    hoyer = np.median(hoyer_sparsity(codes))
    print(f"{title}: Hoyer's sparsity of a row {hoyer:.2f}, R^2 {model.score(X):.2f}")
    effect = codes.std(axis=0) * np.linalg.norm(model.components_, axis=1)
    tiles = np.full((8 * (SIDE + 1) - 1, 8 * (SIDE + 1) - 1), np.nan)
    for place, unit in enumerate(np.argsort(-effect)):
        row, column = np.multiply(divmod(place, 8), SIDE + 1)
        atom = model.components_[unit].reshape(SIDE, SIDE)
        tiles[row : row + SIDE, column : column + SIDE] = atom / np.abs(atom).max()
    axis.imshow(tiles, cmap=colours, vmin=-1, vmax=1)
    axis.set_axis_off()
    axis.set_title(title, fontsize=11)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
