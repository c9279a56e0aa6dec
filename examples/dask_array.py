"""
Dask: rows of a dask array through files to a fit, and codes as a dask array
============================================================================

A fit goes over its rows many times, and in an order of its own, which a graph of dask would compute
anew each time. So dask writes its blocks to files once, and ``ShardedRows`` reads them during the
fit. A fitted model is a function of rows: ``map_blocks`` applies it where dask has the blocks.

It takes some seconds and needs dask (``pip install "dask[array]"``) and the extra ``plot``::

    python examples/dask_array.py
"""

# %%
# An array of dask
# ----------------
# The digits, each four times with other noise: in twelve blocks, none of which is computed yet.

from pathlib import Path
from tempfile import TemporaryDirectory

from _data import example_parser

options = example_parser("Rows and codes as dask arrays", "dask_array.png").parse_args()

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sksae import ShardedRows, SparseAutoencoderTransformer

print("Digits: scikit-learn's, 1797 of 8x8 pixels, each four times with noise")
digits = da.from_array(load_digits().data.astype(np.float32), chunks=(600, 64))
noise = da.random.default_rng(0).normal(scale=2.0, size=(4, *digits.shape), chunks=(1, 600, 64))
rows = da.concatenate([digits + each for each in noise]).astype(np.float32)
print(rows)

# %%
# Through files to a fit
# ----------------------
# ``to_npy_stack`` computes and writes one block after another, so that memory holds some at a time.
# The files are those of the blocks, in their order: 0.npy, 1.npy, ..., 11.npy.

folder = TemporaryDirectory()
da.to_npy_stack(str(Path(folder.name) / "rows"), rows)
files = ShardedRows.open(Path(folder.name) / "rows")
print(files)
sae = SparseAutoencoderTransformer(64, sparsity="topk", rho=8, random_state=0).fit(files)
print(f"R^2 of all rows: {sae.score(files):.3f}")

# %%
# Codes of an array
# -----------------
# Each block of rows becomes a block of codes when dask computes it. A block must have all columns.

codes = rows.map_blocks(sae.transform, dtype=np.float32, chunks=(rows.chunks[0], (64,)))
share, mean = da.compute((codes > 0).mean(axis=0), codes.mean(axis=0))

# %%
# Or codes go to files, and these are a dask array too.

kept = files.map_to(Path(folder.name) / "codes", sae.transform)
again = da.from_array(kept, chunks=(600, 64))
print("The same codes:", np.allclose(codes.compute(), again.compute(), atol=1e-5))

# %%
# What dask has computed of the codes: how often units are active, and how strongly.

figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.plot(share, mean / np.maximum(share, 1e-9), "o", color="#0072B2")
axis.set(xlabel="share of rows in which a unit is active", ylabel="its mean code there")
axis.set_title("64 units of digits, 8 of them in each row")
figure.savefig(options.output, dpi=80)
print("Saved", options.output)
folder.cleanup()
