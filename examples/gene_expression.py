"""
Genes that are active together
==============================

A table of gene expression has some hundred samples and some thousand genes, of which groups move
together. Here the groups, or modules, are known, since the table is simulated: do the atoms of a
sparse code find them, and does a unit say in which samples its module is active? PCA, NMF, ICA and
sparse PCA are asked the same.

It takes some fifteen seconds and needs the extra ``plot``::

    python examples/gene_expression.py
"""

# %%
# Samples with known modules
# --------------------------
# 300 samples of four tissues and 2000 genes. Each of twelve modules raises 40 to 100 genes, lowers
# some of them, and is active in few samples, in some tissues more often than in others. Three
# laboratories have shifted each gene by a little (the batch), and each gene has noise of its own.

from _data import example_parser

parser = example_parser("Modules of genes in a simulated table", "gene_expression.png")
parser.add_argument("--seed", type=int, default=0, help="of the table, default %(default)s")
options = parser.parse_args()

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF, PCA, FastICA, MiniBatchSparsePCA
from sklearn.preprocessing import StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.inspection import AtomsDisplay
from sksae.metrics import hoyer_sparsity, matched_correlation

N_SAMPLES, N_GENES, N_COMPONENTS = 300, 2000, 24
FOUND = 0.8  # correlation of an atom with a module
MODULES = [
    *("cycle", "hypoxia", "interferon", "lipid", "ribosome", "stress"),
    *("muscle", "neuron", "collagen", "insulin", "heat", "iron"),
]


def table(rng):
    """Return samples, gene names, what modules add to genes, their activity, and batches."""
    modules = np.zeros((len(MODULES), N_GENES))
    for weights in modules:
        genes = rng.choice(N_GENES, rng.integers(40, 100), replace=False)
        weights[genes] = rng.gamma(4, 0.25, len(genes)) * rng.choice(
            [1, -1], len(genes), p=[0.85, 0.15]
        )
    # A gene is named after the module that moves it most, so that bars can be read.
    strongest = np.abs(modules).argmax(axis=0)
    names = np.array([f"{MODULES[m]} {gene}" for gene, m in enumerate(strongest)], dtype=object)
    names[~modules.any(axis=0)] = [f"gene {i}" for i in np.flatnonzero(~modules.any(axis=0))]
    tissue = rng.integers(4, size=N_SAMPLES)
    share = np.where(rng.random((4, len(MODULES))) < 0.3, 0.5, 0.08)
    activity = (rng.random((N_SAMPLES, len(MODULES))) < share[tissue]) * rng.gamma(
        4, 0.5, (N_SAMPLES, len(MODULES))
    )
    batch = rng.integers(3, size=N_SAMPLES)
    X = rng.normal(6.0, 1.5, N_GENES) + activity @ modules
    X += 0.4 * rng.standard_normal((3, N_GENES))[batch]
    X += rng.gamma(4, 0.25, N_GENES) * rng.standard_normal((N_SAMPLES, N_GENES))
    return X, names, modules, activity, batch


X, names, modules, activity, batch = table(np.random.default_rng(options.seed))
share = (activity @ modules).var(axis=0).sum() / X.var(axis=0).sum()
print(
    f"Genes: simulated, {X.shape[0]} samples of {X.shape[1]} genes, {len(modules)} modules", end=""
)
print(f" with {share:.0%} of the variance")

# %%
# Atoms and modules
# -----------------
# Every gene is divided by its standard deviation, and so are the true modules. No method is told
# how many modules there are: each has 24 components, and the defaults of sksae 100. Three of 24
# units are active in a sample on average. "modules" is the mean correlation of atoms with modules,
# each with one of its own, and "activity" that of codes with the true activity over samples. NMF
# takes genes less their smallest value. The mean of its atoms is the level of the genes, and is
# subtracted.

scaler = StandardScaler().fit(X)
Z, true_atoms = scaler.transform(X), modules / scaler.scale_
sparse = SparseAutoencoderTransformer(N_COMPONENTS, sparsity="batchtopk", rho=3, random_state=0)
methods = {
    "PCA": PCA(N_COMPONENTS, random_state=0),
    "NMF": NMF(N_COMPONENTS, init="nndsvda", max_iter=1000, tol=5e-4, random_state=0),
    "ICA": FastICA(N_COMPONENTS, max_iter=1000, tol=1e-2, random_state=0),
    "sparse PCA": MiniBatchSparsePCA(N_COMPONENTS, max_iter=100, random_state=0),
    "sparse autoencoder, defaults": SparseAutoencoderTransformer(random_state=0),
    "sparse autoencoder, batchtopk": sparse,
}


def correlations(atoms):
    """Return the correlation, without its sign, of each module with each atom."""
    lengths = np.linalg.norm(true_atoms, axis=1)[:, None] * np.linalg.norm(atoms, axis=1)
    return np.abs(true_atoms @ atoms.T) / np.maximum(lengths, 1e-12)


print(f"\n{'':31s}{'modules':>9s}{'found':>7s}{'activity':>10s}{'Hoyer':>7s}{'seconds':>9s}")
atoms = {}
for name, method in methods.items():
    begun = perf_counter()
    codes = method.fit_transform(Z - Z.min(axis=0) if name == "NMF" else Z)
    seconds = perf_counter() - begun
    found = method.mixing_.T if name == "ICA" else method.components_
    atoms[name] = found - found.mean(axis=0) if name == "NMF" else found
    print(
        f"{name:31s}{matched_correlation(atoms[name], true_atoms):9.2f}"
        f"{(correlations(atoms[name]).max(axis=1) > FOUND).sum():7d}"
        f"{matched_correlation((codes - codes.mean(0)).T, (activity - activity.mean(0)).T):10.2f}"
        f"{np.median(hoyer_sparsity(codes)):7.2f}{seconds:9.1f}"
    )
print(f"found: of {len(modules)}, by an atom whose correlation exceeds {FOUND}")
print("Hoyer: of a row of codes, 0 if all are alike, 1 if one alone is not 0")

# %%
# What a unit stands for
# ----------------------
# Above, how each module correlates with each atom; atoms are in the order of the modules that they
# fit best. Below, the genes with the largest weights in two units, and the activation of one of
# them in each sample beside the activity of its module. The names of genes say which module moves
# them: the network has not seen them.

figure = plt.figure(figsize=(11.5, 7.6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.0))
for axis, name in zip(above.subplots(1, 2, sharey=True), ("PCA", list(methods)[-1]), strict=True):
    values = correlations(atoms[name])
    rows, pairs = linear_sum_assignment(-values)
    order = [*pairs, *np.setdiff1d(np.arange(N_COMPONENTS), pairs)]
    picture = axis.imshow(values[:, order], cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
    axis.set_xticks(np.arange(N_COMPONENTS), order, fontsize=7)
    axis.set_yticks(np.arange(len(MODULES)), MODULES, fontsize=8)
    axis.set_xlabel("component of PCA" if name == "PCA" else "unit")
    axis.set_title(f"{name}: mean of matched pairs {values[rows, pairs].mean():.2f}", fontsize=10)
above.colorbar(picture, ax=above.axes, label="correlation with the module's genes")

panels = below.subplots(1, 3)
best = np.argsort(values[rows, pairs])[::-1][:2]  # modules, by how well they are found
AtomsDisplay.from_estimator(
    sparse, units=pairs[best], kind="bar", feature_names=names, ax=panels[:2], n_top=14
)
for axis, module in zip(panels[:2], best, strict=True):
    axis.set_title(f'unit {pairs[module]}: "{MODULES[module]}"', fontsize=10)
    axis.set_xlabel("what it adds, in standard deviations")
module, unit = best[0], pairs[best[0]]
for number, marker, colour in zip(range(3), "o^s", ("#0072B2", "#E69F00", "#009E73"), strict=True):
    here = batch == number
    panels[2].scatter(
        activity[here, module],
        codes[here, unit],
        s=14,
        color=colour,
        marker=marker,
        label=number + 1,
    )
panels[2].set(xlabel=f'true activity of "{MODULES[module]}"', ylabel=f"activation of unit {unit}")
panels[2].set_title("Each sample", fontsize=10)
panels[2].legend(title="laboratory", frameon=False, fontsize=8)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
