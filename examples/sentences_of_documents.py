"""
Sentences of documents: which sentence makes a document what it is
===================================================================

A document is a sequence of sentences. ``TokenCodes`` learns one sparse code for the sentences of
all documents, and pools it by document. So a document is found by a unit, and the unit points at
the sentence that excited it. To tell which package a document comes from, pooled codes are as good
as the mean of sentence vectors, and no better.

It takes some 15 seconds and needs the extra ``plot``::

    python examples/sentences_of_documents.py
"""

# %%
# Documents
# ---------
# Docstrings of five packages that are installed with sksae, of six sentences or more, of which the
# first twenty are taken. What stands in more than three of them is left out, and so is code; some
# sentences stand in two or three, so that new documents are not all new. A sentence becomes a
# vector by latent semantic analysis: TF-IDF, of which 100 directions are kept, and length 1.
# ``pad_tokens`` makes a row of the vectors of each document. The words and the directions are those
# of training documents.

from _data import example_parser
from _sentences import sentences_of_documents

options = example_parser("Units of sentences", "sentences_of_documents.png").parse_args()

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.sequence import TokenCodes, pad_tokens

WIDTH, N_UNITS, N_ACTIVE = 100, 128, 4

sentences, of_sentence, packages = sentences_of_documents(1200)
print(f"Documents: {len(packages)} docstrings of {len(np.unique(packages))} packages")
print(f"{len(sentences)} sentences")
is_train = np.arange(len(packages)) < 800  # they are in random order
in_train = is_train[of_sentence]
vectorizer = TfidfVectorizer(
    min_df=3, sublinear_tf=True, stop_words="english", token_pattern=r"\b[a-z]{3,}\b"
)
embed = make_pipeline(vectorizer, TruncatedSVD(WIDTH, random_state=0), Normalizer())
embed.fit(sentences[in_train])
X = pad_tokens(embed.transform(sentences).astype(np.float32), of_sentence)
print(f"Rows: {X.shape[0]} of {X.shape[1] // WIDTH} vectors of {WIDTH} numbers")

# %%
# Units and their sentences
# -------------------------
# Four of 128 units are active in a sentence. A unit's words are those that are more frequent in
# sentences where it is strong than in others. Of the units that are more frequent in one package
# than in others, the most concentrated is printed for each package: where it is active in a
# document at all, it is so in more of its sentences than other units are.

model = TokenCodes(
    SparseAutoencoderTransformer(
        N_UNITS, sparsity="topk", rho=N_ACTIVE, max_iter=30, tol=1e-2, random_state=0
    ),
    token_width=WIDTH,
).fit(X[is_train])
codes = model.tokens(X)  # documents, sentences, units; NaN where a document has ended
there = ~np.isnan(codes[:, :, 0])
of_all = codes[there]  # a row for each sentence
counts = vectorizer.transform(sentences) > 0
words = vectorizer.get_feature_names_out()


def words_of(unit, n=4):
    """Return the words that tell best, by their share, where a unit is strong."""
    is_strong = of_all[:, unit] > of_all[:, unit].max() / 4
    within = np.asarray(counts[is_strong].mean(axis=0)).ravel()
    ahead = within - np.asarray(counts[~is_strong].mean(axis=0)).ravel()
    return words[np.argsort(-ahead)[:n]]


share = np.nanmean(codes > 0, axis=1, where=there[:, :, None])  # of sentences
strength = np.nanmean(codes, axis=1)
new = np.flatnonzero(~is_train)
has_unit = (share[new] > 0).mean(axis=0)
inside = share[new].sum(axis=0) / np.maximum((share[new] > 0).sum(axis=0), 1)
inside[(has_unit < 0.02) | (has_unit > 0.3)] = 0.0
names = np.unique(packages)
home = np.argmax([share[new][packages[new] == name].mean(axis=0) for name in names], axis=0)
for number in range(len(names)):
    unit = np.argmax(np.where(home == number, inside, 0.0))
    print(f"\nUnit {unit}: {', '.join(words_of(unit))}")
    print(f"in {has_unit[unit]:.0%} of new documents, and there in {inside[unit]:.0%} of sentences")
    for document in new[np.argsort(-strength[new, unit])[:2]]:
        best = np.nanargmax(codes[document, :, unit])
        text = sentences[of_sentence == document][best]
        print(f"  {packages[document]:11s}{share[document, unit]:4.0%}  {text[:76]}")

# %%
# What a document is about
# ------------------------
# Which package a new document belongs to, by ridge regression behind each kind of features.

behind = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(0, 6, 13)))
vectors = X.reshape(len(X), -1, WIDTH)
features = {
    "codes: max, mean, share": model.transform(X),
    "codes, mean alone": strength,
    "vectors, mean": np.nanmean(vectors, axis=1),
    "vectors: mean, std, min, max": np.hstack(
        [how(vectors, axis=1) for how in (np.nanmean, np.nanstd, np.nanmin, np.nanmax)]
    ),
}
print(f"\n{'accuracy on new documents':32s}{'columns':>8s}")
for name, values in features.items():
    accuracy = behind.fit(values[is_train], packages[is_train]).score(
        values[~is_train], packages[~is_train]
    )
    print(f"{name:32s}{values.shape[1]:8d}{accuracy:8.3f}")
largest = max(np.mean(packages[~is_train] == name) for name in names)
print(f"{'the largest package':40s}{largest:8.3f}")
print(f"One standard error is {0.5 / np.sqrt((~is_train).sum()):.3f} at most.")

# %%
# A document, sentence by sentence
# --------------------------------
# The new document in which the same few units explain most. Each line is a sentence, each column
# one of the units that are strongest in it, and darker is stronger.

N_SHOWN = 7
top = np.sort(np.nansum(codes[new], axis=1), axis=1)[:, -N_SHOWN:].sum(axis=1)
lengths = there[new].sum(axis=1)
explained = np.where((lengths >= 9) & (lengths <= 13), top / np.nansum(codes[new], axis=(1, 2)), 0)
document = new[explained.argmax()]
texts = sentences[of_sentence == document]
activation = codes[document, : len(texts)]
shown = np.argsort(-activation.sum(axis=0))[:N_SHOWN]
shown = shown[np.argsort(activation[:, shown].argmax(axis=0), kind="stable")]
lines = [fill(text if len(text) < 150 else text[:146] + " ...", 76) for text in texts]

figure, axis = plt.subplots(figsize=(11, 6.6), layout="constrained")
image = axis.imshow(activation[:, shown], cmap="Blues", aspect="auto", vmin=0.0)
axis.set_yticks(np.arange(len(lines)), lines, fontsize=9)
axis.set_xticks(
    np.arange(N_SHOWN), ["\n".join(words_of(unit, 3)) for unit in shown], fontsize=9, rotation=0
)
axis.xaxis.tick_top()
axis.tick_params(length=0)
axis.set_xticks(np.arange(N_SHOWN + 1) - 0.5, minor=True)
axis.set_yticks(np.arange(len(lines) + 1) - 0.5, minor=True)
axis.grid(which="minor", color="w", linewidth=3)
axis.tick_params(which="minor", length=0)
axis.spines[:].set_visible(False)
figure.colorbar(image, ax=axis, label="activation", fraction=0.03, aspect=40, pad=0.02, shrink=0.6)
figure.suptitle(
    f"A docstring of {packages[document]}: its sentences, and the units that are strongest in it",
    fontsize=11,
)
figure.savefig(options.output, dpi=85)
print("\nSaved", options.output)
