"""
All sparsities on the same rows
===============================

``sparsity`` says in which way a code is sparse. Here seven ways learn 64 units from the same
patches of natural images. ``rho=6`` asks for 6 units of 64 in a row; with "kl" the mean activations
of all units add up to 6. "l1" and "gated" find the weight of their penalty with ``beta="auto"``.
"l2" makes activations small, and takes no number of units.

Each tile is an atom: what a unit adds to a patch. The titles have R^2 of the reconstruction,
Hoyer's sparsity of a row (0 if all units are alike, 1 if one is active; the median of the rows) and
how many units are active in a row. The last panel shows how the codes differ: the activations of a
row in falling order. "topk" ends after 6 units in every row; "batchtopk", "jumprelu" and "gated"
take more in some rows and fewer in others, and rebuild more by the same number on average. Units of
"kl" are never quite 0; its atoms are edges with ``rho=0.01`` (see the example of atoms).

It takes about half a minute and needs the extra ``plot``::

    python examples/sparsities.py
    python examples/sparsities.py --data FOLDER
"""

# %%
# Patches
# -------
# 5000 patches of 8x8 pixels from whitened images. Each loses its own mean and is divided by its
# own standard deviation, with a little added, so that flat patches stay small. Without this
# division the few patches of much contrast are nearly all that counts.

from _data import NATURAL_IMAGES, example_parser, natural_images

options = example_parser(
    "All sparsities of sksae on natural images", "sparsities.png", NATURAL_IMAGES
).parse_args()

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.image import PatchExtractor

from sksae import SparseAutoencoderTransformer
from sksae.metrics import hoyer_sparsity, is_active

SIDE, N_PATCHES, N_UNITS, N_ACTIVE = 8, 5000, 64, 6

images, source = natural_images(options.data)
print("Images:", source)
cut = PatchExtractor(patch_size=(SIDE, SIDE), max_patches=N_PATCHES // len(images), random_state=0)
X = cut.fit_transform(images).reshape(-1, SIDE * SIDE)
X -= X.mean(axis=1, keepdims=True)
X /= np.sqrt(X.var(axis=1, keepdims=True) + 0.2 * X.var())

# %%
# Seven codes
# -----------
# With ``tol=0.01`` training ends early, which is good enough for a picture. "gated" needs the most
# epochs, as it looks for beta.

ways = {
    "kl": {"rho": N_ACTIVE},
    "l1": {"rho": N_ACTIVE, "beta": "auto"},
    "l2": {},
    "topk": {"rho": N_ACTIVE},
    "batchtopk": {"rho": N_ACTIVE},
    "jumprelu": {"rho": N_ACTIVE},
    "gated": {"rho": N_ACTIVE, "beta": "auto"},
}
models, codes, titles = {}, {}, {}
print(f"\n{'':10s}{'R^2':>6s}{'Hoyer':>7s}{'active':>8s}{'dead':>6s}{'s':>6s}")
for name, parameters in ways.items():
    start = perf_counter()
    sae = SparseAutoencoderTransformer(
        N_UNITS, sparsity=name, max_iter=400, tol=0.01, random_state=0, **parameters
    ).fit(X)
    seconds = perf_counter() - start
    models[name], codes[name] = sae, sae.transform(X)
    r2, hoyer = sae.score(X), np.median(hoyer_sparsity(codes[name]))
    active = is_active(codes[name], sae).sum(axis=1).mean()
    n_dead = np.count_nonzero(sae.active_share_ == 0)
    print(f"{name:10s}{r2:6.2f}{hoyer:7.2f}{active:8.1f}{n_dead:6d}{seconds:6.1f}")
    titles[name] = f'"{name}"\nR$^2$ {r2:.2f}, Hoyer {hoyer:.2f}, {active:.1f} active'

# %%
# Atoms, and a row's activations
# ------------------------------
# Units that do the most on the rows come first. An atom is drawn by its own scale.

figure = plt.figure(figsize=(12, 7.2), layout="constrained")
panels = figure.subplots(2, 4).ravel()
for axis, (name, sae) in zip(panels, models.items(), strict=False):
    effect = codes[name].std(axis=0) * np.linalg.norm(sae.components_, axis=1)
    tiles = np.full((8 * (SIDE + 1) - 1, 8 * (SIDE + 1) - 1), np.nan)
    for place, unit in enumerate(np.argsort(-effect)):
        row, column = np.multiply(divmod(place, 8), SIDE + 1)
        atom = sae.components_[unit].reshape(SIDE, SIDE)
        tiles[row : row + SIDE, column : column + SIDE] = atom / np.abs(atom).max()
    axis.imshow(tiles, cmap="gray", vmin=-1, vmax=1)
    axis.set_axis_off()
    axis.set_title(titles[name], fontsize=10)

axis = panels[-1]
ranks = np.arange(1, N_UNITS + 1)
colours = ("#D55E00", "#0072B2", "0.5", "k", "#009E73", "#CC79A7", "#E69F00")
for (name, code), colour in zip(codes.items(), colours, strict=True):
    ordered = -np.sort(-np.abs(code), axis=1)
    mean = ordered.mean(axis=0)
    dashes = {"jumprelu": (0, (5, 5)), "gated": ":"}.get(name, "-")
    axis.plot(ranks, mean / mean[0], color=colour, linestyle=dashes, linewidth=2, label=name)
axis.axvline(N_ACTIVE, color="0.7", linestyle=":")
axis.set_xscale("log", base=2)
axis.set_xticks([1, 2, 4, 6, 16, 64], [1, 2, 4, 6, 16, 64])
axis.set_xlabel("units of a row, the most active first")
axis.set_title("mean activation of the first,\nsecond, ... unit of a row (first = 1)", fontsize=10)
axis.legend(fontsize=8)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
