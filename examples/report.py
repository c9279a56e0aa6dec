"""
A report: what units of sentences stand for, in one file
=========================================================

``sksae.inspection.report`` writes a page that shows what an autoencoder has learnt: curves, a table
of units that can be sorted and searched, and for each unit its words, rows in which it is active,
and a label with how well it holds. Here rows are sentences from the documentation of five packages,
and the question is what tells the packages apart.

It takes about half a minute, needs the extra ``report``, and writes ``report.html``::

    python examples/report.py
"""

# %%
# Sentences
# ---------
# Those of the docstrings of packages that are installed with sksae, so that nothing is downloaded.
# Each counts once, and belongs to the package it was found in first; 10000 are drawn at random.

import argparse
from pathlib import Path

from _sentences import package_sentences

parser = argparse.ArgumentParser(description="A report on units of sentences")
parser.add_argument("--output", type=Path, default=Path("report.html"), help="default %(default)s")
options = parser.parse_args()
if not options.output.parent.is_dir():
    parser.error(f"there is no folder {options.output.parent}")

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sksae import SparseAutoencoderTransformer
from sksae.inspection import feature_table, report

texts, y = package_sentences(10_000)
X_train, X_test, _, y_test = train_test_split(texts, y, random_state=0, stratify=y)
print(f"Sentences: {len(texts)} of {len(np.unique(y))} packages")

# %%
# Units of words
# --------------
# Eight of two hundred units are active in a sentence. The table says of each what it has to do with
# the packages and by which words it can be told, both found on one half of the rows and measured on
# the other. These rows were not trained on.

pipe = make_pipeline(
    TfidfVectorizer(min_df=5, sublinear_tf=True),
    SparseAutoencoderTransformer(
        200, sparsity="topk", rho=8, max_iter=20, tol=1e-2, random_state=0
    ),
).fit(X_train)
table = feature_table(pipe, X_test, y_test)
columns = ["target_class", "separation", "p_adjusted", "label", "label_f1", "base_f1"]
best = table.sort_values("separation", ascending=False).head(12)
print("\nUnits that tell a package from all others:\n")
print(best[columns].to_string(float_format="{:.2g}".format))
told = (table["label_f1"] > 2 * table["base_f1"]).mean()
print(f"\nLabels of {told:.0%} of units have an F1 of twice the base rate's or more.")

# %%
# The page
# --------

report(pipe, X_test, y_test, path=options.output, title="Sentences of five packages")
print("Saved", options.output)
