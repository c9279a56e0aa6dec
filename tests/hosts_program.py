"""A program that torchrun starts on hosts of `hosts`: fits what a case says, and writes of it."""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import data_parallel
import torch.distributed as dist
from data_parallel import dealt, digest_of, make_rows, sae
from sharded import in_files

from sksae import SparseAutoencoderTransformer
from sksae.engine.meeting import Meeting

TIMEOUT = 12.0
ALIKE = ("kl float32", "kl lbfgs", "topk", "batchtopk", "classifier")


def alike(rank, size, folder):
    return {name: data_parallel.CASES[name](rank, size)[1] for name in ALIKE}


def of_array(rank, size, folder):
    return {"files": digest_of(sae(data_parallel=True).fit(make_rows()[dealt(rank, size)]))}


def of_files(rank, size, folder):
    """Fit to files that no other process has."""
    own = folder / f"host {rank}"
    own.mkdir()
    X = in_files(own, make_rows()[dealt(rank, size)], 3)
    return {"files": digest_of(sae(data_parallel=True).fit(X))}


def endless(rank, size, folder):
    begun(rank, folder)
    model = sae(data_parallel=True, max_iter=10**7, n_components=40)
    return fitted(model, rank, size)


def before(rank, size, folder):
    """Fit when the cable has been pulled."""
    fitted(sae(data_parallel=True), rank, size)
    wait_for_cut(rank, folder)
    return fitted(sae(data_parallel=True), rank, size)


def met(rank, size, folder):
    """Have the cable pulled as soon as the processes have found that they fit the same."""
    agree = Meeting.begin

    def begin(self, *args):
        found = agree(self, *args)
        wait_for_cut(rank, folder)
        return found

    Meeting.begin = begin
    return fitted(sae(data_parallel=True), rank, size)


def begun(rank, folder):
    write(folder / f"begun {rank}", str(os.getpid()))


def write(path, text):
    """Write a file that is whole as soon as it is there."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.rename(path)


def wait_for_cut(rank, folder):
    begun(rank, folder)
    while not (folder / "cut").exists():
        time.sleep(0.01)


def fitted(model: SparseAutoencoderTransformer, rank, size):
    """Return what a fit raises, and how long it took to."""
    begin = time.monotonic()
    try:
        model.fit(make_rows()[dealt(rank, size)])
    except Exception as error:
        return type(error).__name__, str(error), time.monotonic() - begin
    return "", "", time.monotonic() - begin


CASES = {each.__name__: each for each in (alike, of_array, of_files, endless, before, met)}


def main(case, folder):
    dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT))
    rank, size, folder = dist.get_rank(), dist.get_world_size(), Path(folder)
    found = CASES[case](rank, size, folder)
    write(folder / f"found {rank}", json.dumps({"found": found, "at": time.time()}))
    if case not in ("alike", "of_array", "of_files"):
        sys.exit(3)  # as a program does that ends by the error
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
