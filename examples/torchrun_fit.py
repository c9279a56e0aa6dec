"""
One model of several processes: torchrun, and each reads its own files
======================================================================

With ``data_parallel=True`` several processes make one fit, each of rows of its own, and all end
with the same model. This is a program for torchrun, which starts the processes, on one machine or
on several; started by python alone it fits in one process. Each takes its share of the files, none
has all rows in memory, and the first one saves the model and tells how well it rebuilds all rows.

It takes some seconds and needs the extra ``plot``::

    python examples/torchrun_fit.py
    torchrun --standalone --nproc-per-node=2 examples/torchrun_fit.py

On two machines, with the files in a folder that both see, the same command is started on each;
FIRST is the address of one of them::

    torchrun --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-endpoint=FIRST:29400 \\
        examples/torchrun_fit.py --rows FOLDER

Where each machine has files of its own instead, its process opens these, and ``share`` is left out.
"""

# %%
# Processes
# ---------
# torchrun tells each its number by environment variables. Where these are missing, there is one
# process, and nothing to be set up.

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from _data import example_parser

parser = example_parser("One model of several processes", "torchrun_fit.png")
parser.add_argument("--rows", type=Path, help="folder of .npy files, default digits")
options = parser.parse_args()

import joblib
import numpy as np
import torch.distributed as dist
from sklearn.datasets import load_digits

from sksae import ShardedRows, SparseAutoencoderTransformer

is_parallel = "RANK" in os.environ
if is_parallel:
    dist.init_process_group("gloo")  # "nccl" where each process has a GPU
rank, size = (dist.get_rank(), dist.get_world_size()) if is_parallel else (0, 1)

# %%
# Rows
# ----
# Files are there already, as a rule. Here the first process writes those of the digits, and tells
# the others where they are.

written = TemporaryDirectory()
folder = [options.rows or Path(written.name)]
if rank == 0 and options.rows is None:
    print("Digits: scikit-learn's, 1797 of 8x8 pixels")
    digits = load_digits().data.astype(np.float32)
    for number, part in enumerate(np.array_split(digits, 6)):
        np.save(folder[0] / f"part-{number}.npy", part)
if is_parallel:
    dist.broadcast_object_list(folder)
rows = ShardedRows.open(folder[0])
own = rows.share(rank, size)
print(f"Process {rank} of {size}: {len(own)} of {len(rows)} rows")

# %%
# The fit
# -------
# ``batch_size`` is that of all processes together. Lines and warnings come from the first one only.
# Afterwards all have the same model, and none needs the others.

sae = SparseAutoencoderTransformer(64, random_state=0, data_parallel=is_parallel).fit(own)
if is_parallel:
    dist.destroy_process_group()

# %%
# What one does for all
# ---------------------
# It is enough that one saves the model. A score is not shared: the first one reads all files for
# it, a few rows at a time. The picture shows the 64 atoms, where rows are square pictures.

if rank == 0:
    from sksae.inspection import AtomsDisplay

    model = Path(options.output).with_suffix(".joblib")
    joblib.dump(sae, model)
    print(f"R^2 of all rows: {sae.score(rows):.3f}")
    side = round(rows.shape[1] ** 0.5)
    shape = (side, side) if side**2 == rows.shape[1] else None
    display = AtomsDisplay.from_estimator(sae, image_shape=shape)
    display.figure_.savefig(options.output, dpi=80)
    print("Saved", model, "and", options.output)
written.cleanup()
