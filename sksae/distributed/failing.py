"""What the caller is told when a fit on workers fails: which worker, and why."""

from collections.abc import Mapping
from typing import Any

from sksae.distributed.desk import Failure
from sksae.process.processes import ProcessesError

# The errors of worker's own that the caller gets as they are; all others are a ProcessesError.
KINDS: dict[str, type[Exception]] = {"ValueError": ValueError, "TypeError": TypeError}


def explained(
    failures: Mapping[int, Failure], error: BaseException | None, n_workers: int
) -> Exception:
    """Return an error that says which worker failed first, and why.

    Parameters
    ----------
    failures : dict of int to Failure
        What workers have said themselves, by rank.
    error : exception or None
        What Ray Train raised, if it did.
    n_workers : int
        How many workers there were.
    """
    own = {rank: each for rank, each in failures.items() if not each.is_of_others}
    dead = {
        rank: _cause(each)
        for rank, each in sorted(getattr(error, "worker_failures", {}).items())
        if rank not in failures
    }
    if own:
        rank = min(own)
        first = own[rank]
        said = f"{first.kind}: {first.text}" if first.text else first.kind
        found: Exception = (
            KINDS[first.kind](f"On rank {rank} of {n_workers} workers: {first.text}")
            if first.kind in KINDS
            else ProcessesError(f"The fit failed on rank {rank} of {n_workers} workers: {said}")
        )
        found.add_note(f"In the worker:\n{first.traceback}")
        return found
    if dead:
        who = f"Rank {', '.join(map(str, dead))}" if len(dead) == 1 else f"Ranks {list(dead)}"
        return ProcessesError(
            f"{who} of {n_workers} workers died during the fit ({next(iter(dead.values()))}): it "
            "was killed, for its memory say, or its machine is gone. With max_failures, and a "
            "Checkpoint with resume=True, the fit goes on in new workers."
        )
    if failures:
        return ProcessesError(failures[min(failures)].text)
    return ProcessesError(f"Ray could not run the fit: {_first_line(error)}")


def _cause(failure: BaseException) -> str:
    """Return the kind of error by which Ray knows that a worker is dead."""
    inner: Any = getattr(failure, "health_check_failure", failure)
    return f"{type(inner).__name__} of Ray"


def _first_line(error: BaseException | None) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3]) or type(error).__name__
