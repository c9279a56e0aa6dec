"""
Topics of documents: a sparse autoencoder and NMF on TF-IDF
============================================================

A unit of a TF-IDF matrix is a topic: its atom says which words it adds to a document. With
``sparsity="topk"`` a document has three topics at most. NMF, which is what most people use on such
a matrix, gives it as many as it likes. Here both find forty topics in the documentation of five
packages, and are compared on documents that they have not seen.

It takes about 20 seconds and needs the extra ``plot``::

    python examples/text_topics.py
"""

# %%
# Documents
# ---------
# Docstrings of packages that are installed with sksae, so that nothing is downloaded. Text that
# stands in many of them is left out, and so are words that stand in more than a tenth of them. The
# matrix stays sparse: 35 of some 2100 words are in a document.

from _data import example_parser
from _sentences import package_documents

options = example_parser("Topics of documents", "text_topics.png").parse_args()

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split

from sksae import SparseAutoencoderTransformer
from sksae.inspection import AtomsDisplay

N_TOPICS, N_TOP = 40, 10

documents, packages = package_documents()
print(f"Documents: {len(documents)} docstrings of {len(np.unique(packages))} packages")
train, test = train_test_split(documents, test_size=0.3, random_state=0)
vectorizer = TfidfVectorizer(
    min_df=10,
    max_df=0.1,
    sublinear_tf=True,
    stop_words="english",
    token_pattern=r"\b[a-z]{3,}\b",
)
X_train = vectorizer.fit_transform(train)
X_test = vectorizer.transform(test)
words = vectorizer.get_feature_names_out()
print(f"{X_train.shape[1]} words, {X_train.nnz / len(train):.0f} in a document")

# %%
# Two measures that suit both
# ---------------------------
# NPMI says how much more often two of the ten top words of a topic stand in the same new document
# than by chance: 1 is always together, 0 is by chance, and -1 is never. It does not depend on how
# the topic was found. R^2 is the share of the new documents' variance that is rebuilt.

is_there = (X_test > 0).astype(float)
share = np.asarray(is_there.mean(axis=0)).ravel()
together = (is_there.T @ is_there).toarray() / len(test)


def coherence(topic):
    """Return the mean NPMI of all pairs of a topic's top words in the new documents."""
    top = np.argsort(-topic)[:N_TOP]
    first, second = (top[place] for place in np.triu_indices(N_TOP, k=1))
    both = together[first, second]
    expected = share[first] * share[second]
    value = np.full(len(both), -1.0)  # of words that never meet
    met = both > 0
    value[met] = np.log(both[met] / expected[met]) / -np.log(both[met])
    return value.mean()


def r2(rebuilt):
    """Return R^2 of what was rebuilt of the new documents."""
    X = X_test.toarray()
    return 1 - np.square(X - rebuilt).sum() / np.square(X - X_train.mean(axis=0)).sum()


def largest(codes, n):
    """Return codes with all but the n largest entries of each row set to 0."""
    return np.where(codes >= -np.sort(-codes)[:, [n - 1]], codes, 0.0)


# %%
# Forty topics
# ------------
# With so few documents a little weight decay (``alpha``, of the encoder) is worth having.
# NMF is also read by the three largest topics of each document, as the autoencoder is.

start = perf_counter()
sae = SparseAutoencoderTransformer(
    N_TOPICS, sparsity="topk", rho=3, alpha=1e-3, sparse_output=True, random_state=0
).fit(X_train)
sae_seconds = perf_counter() - start
codes = sae.transform(X_test)

start = perf_counter()
nmf = NMF(N_TOPICS, init="nndsvda", max_iter=1000, random_state=0).fit(X_train)
nmf_seconds = perf_counter() - start
loadings = nmf.transform(X_test)
three = largest(loadings, 3)

quality = {"SAE": np.array([coherence(topic) for topic in sae.components_])}
quality["NMF"] = np.array([coherence(topic) for topic in nmf.components_])
rows = (
    ("topk, 3 of 40", "SAE", codes.nnz / len(test), r2(sae.inverse_transform(codes)), sae_seconds),
    ("NMF", "NMF", (loadings > 0).sum(axis=1).mean(), r2(loadings @ nmf.components_), nmf_seconds),
    ("NMF, 3 largest", "NMF", (three > 0).sum(axis=1).mean(), r2(three @ nmf.components_), 0.0),
)
print(f"\n{'':16s}{'NPMI':>14s}{'topics a document':>20s}{'R^2':>8s}{'seconds':>9s}")
for name, key, n_active, fit, seconds in rows:
    error = quality[key].std(ddof=1) / np.sqrt(N_TOPICS)
    print(
        f"{name:16s}{quality[key].mean():8.2f} ± {error:.2f}{n_active:20.1f}{fit:8.3f}"
        + (f"{seconds:9.1f}" if seconds else "")
    )
print("NPMI: mean over topics ± its standard error")

# %%
# What they are about
# -------------------
# Every fifth of the topics, from the most coherent to the least. Those of the picture are the
# autoencoder's.

shown = {}
for name, topics in (("topk", sae.components_), ("NMF", nmf.components_)):
    values = quality["SAE" if name == "topk" else "NMF"]
    shown[name] = np.argsort(-values)[:: N_TOPICS // 8]
    print(f"\n{name}: NPMI and top words of every fifth topic")
    for topic in shown[name]:
        print(f"{values[topic]:6.2f}  {' '.join(words[np.argsort(-topics[topic])[:8]])}")

figure, axes = plt.subplots(2, 4, figsize=(11, 5.4), layout="constrained")
AtomsDisplay.from_estimator(
    sae, units=shown["topk"], kind="bar", feature_names=words, n_top=8, ax=axes
)
for axis, unit in zip(axes.ravel(), shown["topk"], strict=True):
    where = f"in {sae.active_share_[unit]:.0%} of documents"
    axis.set_title(f"unit {unit}: NPMI {quality['SAE'][unit]:.2f},\n{where}", fontsize=9)
figure.suptitle("Words that eight of forty topics add to a document, from the most coherent on")
figure.savefig(options.output, dpi=90)
print("\nSaved", options.output)
