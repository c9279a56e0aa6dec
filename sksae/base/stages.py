"""The trainings that one fit is made of: their names, in printed lines and in callbacks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Protocol, TypeVar

from sklearn.callback import CallbackContext

from sksae.process.processes import ALONE, processes_in_use, working_with

T = TypeVar("T")

_name: ContextVar[str | None] = ContextVar("sksae_stage", default=None)
_is_told: ContextVar[bool] = ContextVar("sksae_end_is_told", default=False)


class End(Protocol):
    """Who is told how a stage ended."""

    def __call__(self, stopped_by: str, n_epochs: int, loss: float) -> None:
        """Print it, if anything is printed.

        Parameters
        ----------
        stopped_by : str
            Why it ended.
        n_epochs : int
            Epochs done.
        loss : float
            J at the end.
        """


class Stages:
    """Says which of several trainings is going on.

    Parameters
    ----------
    n_stages : int
        How many there are going to be.
    verbose : bool or int
        Whether to print a line when each begins, and when it ends.
    """

    def __init__(self, n_stages: int, verbose: bool | int) -> None:
        self._n_stages, self._n_begun = n_stages, 0
        self._verbose = verbose if processes_in_use().is_first else 0

    @contextmanager
    def begin(self, name: str, what: str = "Training") -> Iterator[End]:
        """Let printed lines begin with a name meanwhile; yield whom to tell how the stage ended."""
        self._n_begun += 1
        with _set(_name, name), _set(_is_told, bool(self._verbose)):
            self._print(f"{what}, stage {self._n_begun} of {self._n_stages}")
            start = perf_counter()

            def end(stopped_by: str, n_epochs: int, loss: float) -> None:
                seconds = perf_counter() - start
                self._print(
                    f"Ended by {stopped_by} after {n_epochs} epochs in {seconds:.1f} s, "
                    f"loss = {loss:.8g}"
                )

            yield end

    def _print(self, line: str) -> None:
        if self._verbose:
            print(prefix() + line)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Have lines that are printed begin with the name of a stage."""
    with _set(_name, name):
        yield


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def end_is_told() -> bool:
    """Return whether a line is going to say how this stage ended."""
    return _is_told.get()


def prefix() -> str:
    """Return what a line begins with: "[sae0] " in a stage of that name, outside of any nothing."""
    name = _name.get()
    return "" if name is None else f"[{name}] "


def task_of(name: str) -> str:
    """Return the name of a stage's task in callbacks, in the manner of scikit-learn's pipelines."""
    return f"fit-{name}"


def tell(hear: Callable[..., object], **facts: Any) -> None:
    """Let callbacks hear of a fit: what they fit or score meanwhile is no part of it."""
    with working_with(ALONE):
        hear(**facts)


def short_named(context: CallbackContext) -> CallbackContext:
    """Return the context of a whole fit, by a name that leaves a progress bar room.

    scikit-learn names a fit within that of another estimator after both:
    "SparseAutoencoderClassifier - fit-sae0 | SparseAutoencoderTransformer - fit" fills a terminal
    of 80 columns. The name of the outer estimator is left out, as the context above has it too; a
    stage has its own name instead of "fit".
    """
    context.source_estimator_name = None
    name = _name.get()
    if name is not None and context.source_task_name == task_of(name):
        context.task_name = context.source_task_name
    return context
