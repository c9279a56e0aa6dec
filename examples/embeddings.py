"""
Embeddings: what a dictionary finds in them, and what its labels are worth
===========================================================================

A column of a matrix of embeddings means nothing by itself. A wide sparse autoencoder puts units in
its place, of which each row has few. ``feature_table`` gives each unit a label, says how well it
holds on other rows than it was made of, and what the unit has to do with a target.

It takes about 15 seconds and needs the extras ``plot`` and ``table``::

    python examples/embeddings.py
"""

# %%
# Embeddings
# ----------
# Of sentences from the docstrings of five packages. They are made on the spot, by latent semantic
# analysis: TF-IDF, of which 100 directions are kept, and rows of length 1. Any matrix with a row
# for each text does as well, such as ``np.load("embeddings.npy")`` of what a language model gave.
# The autoencoder sees numbers alone; texts are for labels.

from _data import example_parser
from _sentences import package_sentences

options = example_parser("Units of embeddings, and their labels", "embeddings.png").parse_args()

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from sksae import SparseAutoencoderTransformer
from sksae.inspection import feature_table

texts, y = package_sentences(10_000)
print(f"Sentences: {len(texts)} of {len(np.unique(y))} packages")
texts_train, texts_new, _, y_new = train_test_split(texts, y, random_state=0, stratify=y)
embed = make_pipeline(
    TfidfVectorizer(min_df=3, sublinear_tf=True, stop_words="english"),
    TruncatedSVD(100, random_state=0),
    Normalizer(),
)
X_train = embed.fit_transform(texts_train).astype(np.float32)
X_new = embed.transform(texts_new).astype(np.float32)
print(f"Embeddings: {X_train.shape[1]} numbers for each")

# %%
# Units
# -----
# Eight of 256 units are active in a row. With ``prefixes`` the first 16 units have to rebuild rows
# alone, and so do the first 64 (Matryoshka): what is general comes first.

sae = SparseAutoencoderTransformer(
    256,
    sparsity="topk",
    rho=8,
    prefixes=(16, 64),
    sparse_output=True,
    max_iter=60,
    tol=1e-2,
    random_state=0,
).fit(X_train)
table = feature_table(sae, X_new, y_new, text=texts_new)
groups = {"units 0 to 15": slice(0, 16), "16 to 63": slice(16, 64), "64 to 255": slice(64, 256)}
print(
    f"R^2 of new rows {sae.score(X_new):.2f}, by {sae.transform(X_new).nnz / len(X_new):.0f} units"
)
print(f"\n{'':15s}{'active in':>11s}{'labelled':>10s}{'label F1':>10s}{'base F1':>9s}")
for name, of_group in groups.items():
    group = table.iloc[of_group]
    print(
        f"{name:15s}{group.density.median():11.1%}{group.label.notna().mean():10.0%}"
        f"{group.label_f1.median():10.2f}{group.base_f1.median():9.2f}"
    )
print("Medians of units; base F1 is that of a label that always holds.")

# %%
# What a label is worth
# ---------------------
# Words of a label are chosen on one half of the new rows, and its F1 is that on the other half: how
# well "one of these words is in the text" tells where the unit is active. A label that always holds
# has the base F1, so that only what is far above the dashed line says anything. Units without a dot
# have no label, most of them as they are active in fewer than five of the rows it is made of.
# The separation is the share of sentences of a package where the unit is active, less that where it
# is not. The package is chosen on the first half too. The largest of many separations are larger
# here than they would be in other rows: read them with their intervals.

tells = table[(table.p_adjusted < 0.01) & (table.label_f1 > 2 * table.base_f1)]
strongest = tells.sort_values("separation", ascending=False).head(12)
columns = ["target_class", "separation", "p_adjusted", "label", "label_f1", "base_f1"]
print("\nUnits with a good label that tell a package from all others:\n")
print(strongest[columns].to_string(float_format="{:.2g}".format))

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 5.4), width_ratios=(1.35, 1), layout="constrained"
)
colours = dict(zip(groups, ("#D55E00", "#0072B2", "0.55"), strict=True))
markers = dict(zip(groups, "D^o", strict=True))
for name, of_group in groups.items():
    group = table.iloc[of_group]
    left.plot(
        group.base_f1, group.label_f1, markers[name], color=colours[name], markersize=5, label=name
    )
always = np.geomspace(table.base_f1.min(), table.base_f1.max())
left.plot(always, always, "k--", linewidth=1, label="a label that always holds")
left.set(
    xscale="log",
    ylim=(0, 1.02),
    xlabel="base F1: F1 of a label that always holds (log scale)",
    ylabel="F1 of the label on other rows",
    title="Labels of all units",
)
figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)

places = np.arange(len(strongest))[::-1]
right.axvline(0, color="0.6", linewidth=1)
for place, (unit, row) in zip(places, strongest.iterrows(), strict=True):
    name = next(each for each, part in groups.items() if unit < part.stop)
    right.plot(
        [row.separation_low, row.separation_high],
        [place, place],
        color=colours[name],
        linewidth=1.5,
    )
    right.plot(row.separation, place, markers[name], color=colours[name], markersize=5)
right.set_yticks(
    places,
    [f"{row.label}\n({row.target_class}, unit {unit})" for unit, row in strongest.iterrows()],
    fontsize=8.5,
)
right.set(
    xlim=(-0.05, 1.0),
    xlabel="separation, with 95 % interval",
    title="Units that tell a package",
)
figure.savefig(options.output, dpi=90)
print("\nSaved", options.output)
