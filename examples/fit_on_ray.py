"""
One model of two workers of Ray
===============================

``fit_on_ray`` divides the rows of files among workers of Ray, which fit one model together. Here
both workers are on this machine, where that gains nothing: the page shows what to write, and that
the model is as good as that of one process.

It takes about a minute on two cores, and needs the extras ``plot`` and ``ray``::

    python examples/fit_on_ray.py
"""

# %%
# Data
# ----
# 1797 pictures of digits. Three of four lie in four files, as larger data would.

from _data import example_parser

options = example_parser("One model of two workers of Ray", "fit_on_ray.png").parse_args()

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sksae import SparseAutoencoderTransformer
from sksae.distributed import fit_on_ray
from sksae.inspection import AtomsDisplay

X = load_digits().data.astype(np.float32)
print(f"Digits: scikit-learn's, {len(X)} of 8x8 pixels")
X_train, X_test = train_test_split(X, random_state=0)
rows = tempfile.TemporaryDirectory()
for k, part in enumerate(np.array_split(X_train, 4)):
    np.save(Path(rows.name) / f"part-{k}.npy", part)

# %%
# One process
# -----------
# Four of 64 units describe each picture.

sae = SparseAutoencoderTransformer(
    64, sparsity="topk", rho=4, batch_size=128, max_iter=60, tol=0.001, random_state=0
)
alone = SparseAutoencoderTransformer(**sae.get_params()).fit(X_train)
print(f"R2 of new pictures, one process: {alone.score(X_test):.3f}")

# %%
# Two workers
# -----------
# Each opens the files and reads its half of the rows. Ray is started for this call, as nobody has
# called ``ray.init``. What comes back is an ordinary model of this process; ``sae`` is not fitted.

together = fit_on_ray(sae, rows.name, num_workers=2)
print(f"R2 of new pictures, two workers: {together.score(X_test):.3f}")
rows.cleanup()

# %%
# The two take their rows in another order, so that the loss falls by a path of its own, to the same
# height. On the right are 24 of the atoms that the two workers found.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for model, label in ((alone, "one process"), (together, "two workers")):
    left.plot(model.loss_curve_, label=label)
left.set(xlabel="epoch", ylabel="J", title="the loss of all rows")
left.legend()
AtomsDisplay.from_estimator(together, units=range(24), image_shape=(8, 8), n_columns=6, ax=right)
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
