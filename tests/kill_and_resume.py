"""Kill fits at 50 random moments, resume them, and compare what they come to with whole fits.

    python tests/kill_and_resume.py FOLDER

Checkpoints are written to the folder. It ends with an error if a checkpoint cannot be read, if a
fit cannot be resumed, or if one comes to other bits.
"""

import os
import pickle
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from sksae import Checkpoint, SparseAutoencoderClassifier, SparseAutoencoderTransformer
from sksae.training.checkpoint_file import read_checkpoint

N_KILLS = 50
rng = np.random.default_rng(0)
X = rng.random((300, 20)) @ rng.random((20, 20))
y = (X[:, 0] > np.median(X[:, 0])).astype(int)


def sae(**params):
    return SparseAutoencoderTransformer(15, random_state=0, tol=0, batch_size=10, **params)


MAKE = [
    lambda: sae(max_iter=12, early_stopping=True),
    lambda: sae(max_iter=12, sparsity="batchtopk", rho=3),
    lambda: sae(max_iter=25, sparsity="l1", beta="auto", rho=0.2),
    lambda: sae(max_iter=90, solver="lbfgs"),
    lambda: SparseAutoencoderClassifier(
        [sae(max_iter=5), sae(max_iter=5, noise="masking")], max_iter=5, random_state=0
    ),
]


def outcome(model):
    return pickle.dumps([model.transform(X).tobytes(), model.loss_curve_, model.n_iter_])


def in_a_child(make, checkpoint, result):
    """Fit in another process and return its number."""
    child = os.fork()
    if child == 0:
        try:
            model = make().set_callbacks(Checkpoint(checkpoint, every=1, keep=3, resume=True))
            result.write_bytes(outcome(model.fit(X, y)))
            os._exit(0)
        except BaseException as error:
            print(f"failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    return child


def kill_and_resume(folder):
    """Return how often a fit was killed, and how often it went on from a checkpoint."""
    checkpoint, result = folder / "checkpoint", folder / "result"
    expected, seconds = [], []
    for make in MAKE:
        begin = time.perf_counter()
        expected.append(outcome(make().fit(X, y)))
        seconds.append(time.perf_counter() - begin)
    n_killed = n_resumed = 0
    draws = random.Random(0)
    while n_killed < N_KILLS:
        which = draws.randrange(len(MAKE))
        for kept in folder.glob(f"{checkpoint.name}*"):
            kept.unlink()
        has_ended = False
        while not has_ended:
            n_resumed += checkpoint.exists()
            child = in_a_child(MAKE[which], checkpoint, result)
            time.sleep(draws.uniform(0.0, 1.2) * seconds[which])
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            for kept in folder.glob(f"{checkpoint.name}*"):
                read_checkpoint(kept)
            has_ended = not os.WIFSIGNALED(status)
            n_killed += not has_ended
        assert os.WEXITSTATUS(status) == 0
        assert result.read_bytes() == expected[which], f"other bits: {MAKE[which]()}"
    return n_killed, n_resumed


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # A process with more threads cannot be forked.
    torch.set_num_threads(1)
    print("killed {} times, resumed {} times".format(*kill_and_resume(Path(sys.argv[1]))))
