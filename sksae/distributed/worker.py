"""What each worker does: it reads its share, fits with the others, and tells the caller."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOBase
from time import monotonic, sleep
from traceback import format_exception
from typing import Any

from sksae.distributed.desk import Failure
from sksae.distributed.shares import Share
from sksae.process.processes import ProcessesError

# Of other packages, which are for their developers.
NOT_FOR_USERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
LONGEST_REASON = 2000
# How long a worker that failed as another one did waits to hear why.
SECONDS_TO_HEAR, SECONDS_BETWEEN_LOOKS = 1.0, 0.05


class Lines(TextIOBase):
    """Sends what is printed, whole lines at a time.

    Parameters
    ----------
    send : callable
        Takes a text.
    """

    def __init__(self, send: Callable[[str], Any]) -> None:
        self._send, self._begun = send, ""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take a text, and send it up to the end of its last line."""
        lines, end, begun = (self._begun + text).rpartition("\n")
        self._begun = begun
        if end:
            self._send(lines + end)
        return len(text)

    def close(self) -> None:
        """Send a line that has no end."""
        if self._begun:
            self._send(self._begun + "\n")
        self._begun = ""
        super().close()


def failure_of(error: BaseException) -> Failure:
    """Return what is told of an error."""
    return Failure(
        type(error).__name__,
        str(error)[:LONGEST_REASON],
        "".join(format_exception(error)),
        is_of_input=isinstance(error, ValueError | TypeError),
        is_of_others=isinstance(error, ProcessesError),
    )


def fit_share(estimator: Any, shares: Sequence[Share], desk: Any, folder: str) -> None:
    """Fit with all other workers, and tell the desk how it went.

    Parameters
    ----------
    estimator : estimator
        A copy of the caller's.
    shares : sequence of Share
        Of all workers, by rank.
    desk : actor
        A `Desk`.
    folder : str
        In which the caller works, which paths of theirs are relative to.
    """
    import ray
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    worker = ray.get_runtime_context().current_actor
    if not ray.get(desk.begin.remote(rank, worker)):
        return  # an error would have Ray start another worker
    try:
        if os.path.isdir(folder):
            os.chdir(folder)
        with _sent_lines(desk.tell.remote), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _fitted(estimator, shares[rank])
        if rank == 0:
            pickled = ray.cloudpickle.dumps(model)
            ray.get(desk.finish.remote(pickled, _for_users(caught)))
    except BaseException as error:
        if not _is_final(desk, rank, failure_of(error)):
            raise


def _is_final(desk: Any, rank: int, failure: Failure) -> bool:
    """Tell the desk of a failure, and return whether to end as if all were well.

    Ray would start workers anew, in vain, where rows or parameters are wrong.
    """
    import ray

    with suppress(Exception):
        is_final = ray.get(desk.fail.remote(rank, failure))
        end = monotonic() + SECONDS_TO_HEAR
        while failure.is_of_others and not is_final and monotonic() < end:
            sleep(SECONDS_BETWEEN_LOOKS)
            is_final = ray.get(desk.is_final.remote())
        return bool(is_final)
    return False


@contextmanager
def _sent_lines(send: Callable[[str], Any]) -> Iterator[None]:
    lines = Lines(send)
    try:
        with redirect_stdout(lines):
            yield
    finally:
        lines.close()


def _fitted(estimator: Any, share: Share) -> Any:
    rows, asked = share.read(), estimator.data_parallel
    # Of one worker too: then another number of them can go on from its Checkpoint.
    estimator.set_params(data_parallel=True)
    weight = {} if rows.sample_weight is None else {"sample_weight": rows.sample_weight}
    estimator.fit(rows.X, rows.y, **weight)
    return estimator.set_params(data_parallel=asked)


def _for_users(caught: Sequence[warnings.WarningMessage]) -> list[tuple[str, type[Warning]]]:
    """Return warnings, each once."""
    told = {(str(each.message), each.category): None for each in caught}
    return [each for each in told if not issubclass(each[1], NOT_FOR_USERS)]
