"""
Denoising a photograph by patches
=================================

A denoising autoencoder is shown noisy rows in training, and has to give back clean ones. Here rows
are patches of 8x8 pixels. It learns from a clean photograph of a flower. Noise is added to another
photograph; all its overlapping patches are rebuilt, and each pixel becomes the mean of the patches
that hold it. Beside it stand a dictionary (as in scikit-learn's example of denoising), PCA and a
Gaussian filter.

``noise_level`` is the standard deviation of the noise over that of the rows. The panel on the right
shows that it should be about the level that the data have. It takes about half a minute and needs
the extra ``plot``::

    python examples/denoising.py
"""

# %%
# Patches
# -------
# The photographs are made grey and half as large. Each patch loses its own mean, and gets it back
# at the end: the mean of 64 noisy pixels is hardly noisy. The level of the noise is computed from
# the noisy rows, whose variance is that of the clean ones and that of the noise together.

from _data import example_parser

options = example_parser("A photograph denoised by patches", "denoising.png").parse_args()

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_image
from sklearn.decomposition import PCA, MiniBatchDictionaryLearning
from sklearn.feature_extraction.image import extract_patches_2d, reconstruct_from_patches_2d

from sksae import SparseAutoencoderTransformer

SIDE, SIGMA = 8, 0.1  # pixels are from 0 to 1


def photograph(name):
    """Return a grey photograph at half its size."""
    pixels = load_sample_image(name).mean(axis=-1)[:426] / 255
    return pixels.reshape(213, 2, 320, 2).mean(axis=(1, 3))


clean = photograph("china.jpg")[:, :160]
noisy = clean + SIGMA * np.random.default_rng(0).normal(size=clean.shape)
print("Images: scikit-learn's flower.jpg to learn from, half of china.jpg to denoise")


def rows_of(picture, max_patches=None):
    """Return patches as rows, each less its mean, and these means."""
    patches = extract_patches_2d(picture, (SIDE, SIDE), max_patches=max_patches, random_state=0)
    rows = patches.reshape(len(patches), -1)
    means = rows.mean(axis=1, keepdims=True)
    return rows - means, means


def picture_of(rows, means):
    """Return the picture in which each pixel is the mean of the patches that hold it."""
    return reconstruct_from_patches_2d((rows + means).reshape(-1, SIDE, SIDE), clean.shape)


def psnr(picture):
    """Return the peak signal-to-noise ratio in dB: a tenth of the squared error is 10 dB more."""
    return -10 * np.log10(np.square(picture - clean).mean())


X, _ = rows_of(photograph("flower.jpg"), max_patches=10_000)
X_noisy, means = rows_of(noisy)
level = SIGMA / np.sqrt(X_noisy.var() - SIGMA**2)
print(f"{len(X)} patches to learn from, {len(X_noisy)} to rebuild; level of the noise {level:.2f}")

# %%
# Four ways
# ---------
# A code by "l1" has exact zeros: what is weak in a patch, as noise is, activates no unit. Settings
# of the other methods are the best of a few.


def by_filter():
    return gaussian_filter(noisy, 0.7)


def by_pca():
    pca = PCA(16).fit(X)
    return picture_of(pca.inverse_transform(pca.transform(X_noisy)), means)


def by_dictionary():
    scale = X.std()
    dictionary = MiniBatchDictionaryLearning(
        128,
        batch_size=200,
        max_iter=2,
        transform_algorithm="omp",
        transform_n_nonzero_coefs=4,
        random_state=0,
    ).fit(X[:3000] / scale)
    codes = dictionary.transform(X_noisy / scale)
    return picture_of(codes @ dictionary.components_ * scale, means)


def by_autoencoder(noise_level=level):
    sae = SparseAutoencoderTransformer(
        128,
        sparsity="l1",
        beta=0.03,
        noise="gaussian",
        noise_level=noise_level,
        tol=0.01,
        random_state=0,
    ).fit(X)
    return picture_of(sae.inverse_transform(sae.transform(X_noisy)), means)


ways = {
    "Gaussian filter": by_filter,
    "PCA, 16 directions": by_pca,
    "dictionary and OMP": by_dictionary,
    "sparse autoencoder": by_autoencoder,
}
pictures = {"clean": clean, "noisy": noisy}
print(f"\n{'':20s}{'dB':>6s}{'s':>6s}\n{'noisy':20s}{psnr(noisy):6.1f}")
for name, way in ways.items():
    start = perf_counter()
    pictures[name] = way()
    print(f"{name:20s}{psnr(pictures[name]):6.1f}{perf_counter() - start:6.1f}")

# %%
# The level of the noise
# ----------------------
# An autoencoder that was trained with little noise rebuilds the noise too; one that was trained
# with much of it blurs.

levels = np.array([0.2, 0.4, 0.6, level, 1.1, 1.3])
by_level = np.array([psnr(by_autoencoder(each)) for each in levels])
print()
for each, value in zip(levels, by_level, strict=True):
    print(f"trained with noise_level={each:.2f}: {value:.1f} dB")

figure = plt.figure(figsize=(13, 5.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(3.4, 1))
shown = ("clean", "noisy", "Gaussian filter", "dictionary and OMP", "sparse autoencoder")
row, column, size = 75, 0, 70
panels = left.subplots(2, len(shown), height_ratios=(clean.shape[0] / clean.shape[1], 1))
for (whole, detail), name in zip(panels.T, shown, strict=True):
    picture = pictures[name]
    whole.imshow(picture, cmap="gray", vmin=0, vmax=1)
    whole.set_title(name if name == "clean" else f"{name}\n{psnr(picture):.1f} dB", fontsize=10)
    frame = plt.Rectangle((column, row), size, size, fill=False, color="#E69F00", linewidth=1.5)
    whole.add_patch(frame)
    detail.imshow(picture[row : row + size, column : column + size], cmap="gray", vmin=0, vmax=1)
    whole.set_axis_off()
    detail.set_axis_off()
axis = right.subplots()
axis.plot(levels, by_level, "o-", color="#0072B2", label="rebuilt picture")
axis.axvline(level, color="#D55E00", linestyle="--", label="level of its noise")
axis.set(xlabel="noise_level in training", ylabel="dB")
axis.set_title("train with about the noise\nthat the data have", fontsize=10)
axis.legend(fontsize=8, loc="lower right")
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
