"""Cases of fits in several processes in one of which memory ends; see `data_parallel`."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from data_parallel import BATCHTOPK, TOPK, attributes_of, dealt, digest_of, make_rows, sae, weights
from data_parallel_faults import attempt, rows_of

from sksae.engine import (
    evaluation,
    full_batch,
    minibatch,
    parts,
    processes,
    validation_scorers,
)
from sksae.engine.codes import batchtopk
from sksae.engine.exact import passes

# As torch says it on the CPU.
ENDED = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@contextmanager
def memory_ends(places, calls):
    """Let memory end in some of the calls of all of some functions; yield in which it has."""
    ended, n_calls = [], 0

    def limited(function):
        def maybe(*args, **kwargs):
            nonlocal n_calls
            n_calls += 1
            if n_calls in calls:
                ended.append(n_calls)
                raise RuntimeError(ENDED)
            return function(*args, **kwargs)

        return maybe

    with ExitStack() as stack:
        for where, name in places:
            stack.enter_context(patch.object(where, name, limited(getattr(where, name))))
        yield ended


# What is called in the midst of work, some of it between two exchanges.
PLACES = {
    "bound": [(batchtopk, "largest_of")],
    "dictionary": [(passes.Passage, "encode"), (passes.Passage, "decode")],
    "dense": [
        *[(parts, "forward"), (parts, "backward"), (full_batch, "forward")],
        *[(full_batch, "backward"), (validation_scorers, "forward")],
    ],
    "control": [(minibatch, "_count"), (minibatch, "_where_active"), (minibatch, "_errors")],
    "total": [(evaluation.WalkedEvaluation, "_sum_of_terms")],
}
L1 = {"sparsity": "l1", "beta": "auto", "max_iter": 40, "n_components": 40}
FITS = {
    "batchtopk bound": ("bound", BATCHTOPK),
    "batchtopk bound weighted": ("bound", BATCHTOPK | {"weighted": True}),
    "batchtopk": ("dictionary", BATCHTOPK),
    "topk": ("dictionary", TOPK),
    "kl": ("dense", {}),
    "kl lbfgs auto": ("dense", {"solver": "lbfgs", "beta": "auto", "max_iter": 20}),
    "l1 auto": ("control", L1),
    "kl total": ("total", {}),
}
# At the beginning, and when there are buffers and much has been exchanged; as often as 48 rows can
# be halved.
CALLS = {1, 12, 31, 60}


def short(name):
    """Return a case in which memory ends in the second process, and where it does not at all."""
    place, params = FITS[name]
    params = dict(params)
    weight = weights() if params.pop("weighted", False) else None

    def case(rank, size):
        own = dealt(rank, size)
        model = sae(data_parallel=size > 1, **params)
        with memory_ends(PLACES[place], CALLS if rank == 1 else ()) as ended:
            model.fit(make_rows()[own], sample_weight=None if weight is None else weight[own])
        return digest_of(model), attributes_of(model), len(ended)

    return case


def exchange(rank, size):
    """There is no memory for what torch.distributed itself needs."""
    with memory_ends([(processes, "_reduce_")], {40} if rank == 1 else ()):
        return attempt(sae(data_parallel=True), rows_of(rank, size))


CASES = {name: short(name) for name in FITS} | {"exchange": exchange}
