"""
Quickstart: a sparse code for handwritten digits
================================================

A sparse autoencoder learns a dictionary of parts, here strokes, such that each picture is described
by a few of them. In scikit-learn's terms it is a transformer: this page puts one into a pipeline,
searches its parameters, compares what it found with raw pixels and with PCA, draws what it has
learned, and saves the model for another process to load.

It takes less than a minute on two cores and needs the extras ``plot`` and ``progress``::

    python examples/quickstart.py                    # picture and model go to the current directory
    python examples/quickstart.py --output FOLDER    # or to the folder given
"""

# %%
# Data
# ----
# 1797 pictures of 8x8 pixels. A quarter is put aside and not looked at before the last table.

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# On a busy machine, threads that spin while they wait for each other hold up small networks.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sksae import SparseAutoencoderTransformer
from sksae.metrics import hoyer_sparsity

parser = argparse.ArgumentParser(description="sksae on scikit-learn's digits")
parser.add_argument("--output", type=Path, default=Path(), help="where picture and model go")
output = parser.parse_args().output
output.mkdir(parents=True, exist_ok=True)

X, y = load_digits(return_X_y=True)
print(f"Digits: scikit-learn's, {len(X)} of 8x8 pixels")
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# Pipeline and search
# -------------------
# Pixels go through the sparse autoencoder, and a linear classifier sees nothing but the codes.
# Three parameters shape a code: ``n_components``, how many units there are; ``rho``, the share of
# them that should be active; ``beta``, how much that matters beside a faithful reconstruction.
# ``GridSearchCV`` tries all combinations in two processes. The progress bar is scikit-learn's own.


def search(features, grid, callbacks=()):
    pipeline = Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("features", features),
            ("standardize", StandardScaler()),
            ("classify", LogisticRegression(max_iter=1000)),
        ]
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    return GridSearchCV(pipeline, grid, cv=folds, n_jobs=2).set_callbacks(*callbacks)


sparse = search(
    SparseAutoencoderTransformer(max_iter=100, random_state=0),
    {
        "features__rho": [0.03, 0.05, 0.1],
        "features__beta": [1.0, 6.0],
        "features__n_components": [64, 256],
    },
    callbacks=[ProgressBar(max_propagation_depth=0)],
)
sparse.fit(X_train, y_train)
print("Best:", ", ".join(f"{k.split('__')[1]}={v}" for k, v in sparse.best_params_.items()))

# %%
# What it is worth
# ----------------
# Raw pixels and PCA get the same scaling, folds and classifier. They may choose more than the
# codes may: how strongly the classifier is regularised, and whether its input is standardised.
# Hoyer's sparsity of a row is 0 where all its entries have the same size and 1 where only one is
# not 0; the table has the median over the test rows.

choices = {"classify__C": [0.1, 1.0, 10.0], "standardize": [StandardScaler(), "passthrough"]}
raw = search("passthrough", choices).fit(X_train, y_train)
pca = search(PCA(), choices | {"features__n_components": [20, 30, 40, 50]}).fit(X_train, y_train)


def row(name, found, features, r2):
    sparsity, accuracy = np.median(hoyer_sparsity(features)), found.score(X_test, y_test)
    print(f"{name:14}{features.shape[1]:>8}{sparsity:>8.2f}", end="")
    print(f"{r2:>8}{found.best_score_:8.3f}{accuracy:8.3f}")


autoencoder, projection = (found.best_estimator_["features"] for found in (sparse, pca))
pixels = sparse.best_estimator_["scale"].transform(X_test)
projected, codes = projection.transform(pixels), autoencoder.transform(pixels)
r2_of_pca = r2_score(
    pixels, projection.inverse_transform(projected), multioutput="variance_weighted"
)

print(f"\n{'':14}{'features':>8}{'Hoyer':>8}{'R^2':>8}{'CV':>8}{'test':>8}")
row("raw pixels", raw, pixels, "")
row("PCA", pca, projected, f"{r2_of_pca:.3f}")
row("sparse codes", sparse, codes, f"{autoencoder.score(pixels):.3f}")
print(
    "Hoyer's sparsity of a row (median); R^2 of the reconstruction; accuracy in cross-validation,\n"
    f"and of the best on the test set, where one of {len(y_test)} pictures is worth "
    f"{1 / len(y_test):.3f}.\n"
)

# %%
# What it has learned
# -------------------
# ``components_`` holds what each unit adds to a picture when it is active: ink where it is red,
# none where it is blue. Shown are the units that do the most on the training pictures.

codes = autoencoder.transform(sparse.best_estimator_["scale"].transform(X_train))
effect = codes.std(axis=0) * np.linalg.norm(autoencoder.components_, axis=1)
figure, axes = plt.subplots(4, 12, figsize=(9, 3.05), layout="constrained")
for axis, unit in zip(axes.flat, np.argsort(-effect), strict=False):
    atom = autoencoder.components_[unit].reshape(8, 8)
    limit = np.abs(atom).max()
    axis.imshow(atom, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="bicubic")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color("0.8")
figure.savefig(output / "quickstart_features.png", dpi=80)
print("Features:", output / "quickstart_features.png")

# %%
# Save, and load elsewhere
# ------------------------
# A fitted model is numpy arrays and plain values, so joblib saves it as any other. A new process
# loads it and must give the same predictions.

saved = output / "quickstart_model.joblib"
joblib.dump(sparse.best_estimator_, saved)
elsewhere = """
import sys, joblib, numpy as np
model, expected = joblib.load(sys.argv[1]), np.load(sys.argv[2])
np.testing.assert_allclose(model.predict_proba(expected["X"]), expected["probability"], rtol=1e-9)
"""
with tempfile.TemporaryDirectory() as folder:
    expected = Path(folder) / "expected.npz"
    np.savez(expected, X=X_test, probability=sparse.predict_proba(X_test))
    subprocess.run([sys.executable, "-c", elsewhere, saved, expected], check=True)
print("Model:   ", saved, "(a new process loaded it: same predictions)")
