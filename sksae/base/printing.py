"""The lines that ``verbose`` prints of epochs: at a pace at which they can be read."""

from collections.abc import Callable
from math import ceil
from time import perf_counter

from sksae.base.stages import end_is_told, prefix
from sksae.model.tasks import Progress

# Seconds between two lines, unless every epoch has one.
PAUSE = 0.5
EVERY_EPOCH = 2


class EpochPrinter:
    """Prints how a training goes.

    Parameters
    ----------
    verbose : bool or int
        0 prints nothing, 1 a line for the first and the last epoch and for some between them, 2 a
        line for every epoch.
    score : str
        What the score of rows held out is called.
    n_before : int
        Epochs before this training, counted on from.
    is_pass : bool
        Whether it is a single pass, whose line says it all.
    clock : callable, optional
        Returns the time in seconds.
    """

    def __init__(
        self,
        verbose: bool | int,
        score: str,
        n_before: int,
        *,
        is_pass: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._verbose, self._score, self._n_before = int(verbose), score, n_before
        self._is_pass, self._clock = is_pass, clock or perf_counter
        self._start: float | None = None
        self._printed_at: float | None = None
        # The last epoch, if it has no line yet.
        self._last: Progress | None = None
        self._n_epochs = 0

    def begin(self) -> None:
        """Note when the first epoch begins."""
        if self._verbose and self._start is None:
            self._start = self._clock()

    def epoch(self, progress: Progress) -> None:
        """Print an epoch, if it is time to."""
        if not self._verbose:
            return
        now, self._n_epochs, self._last = self._clock(), progress.n_epochs, progress
        is_due = self._printed_at is None or now - self._printed_at >= PAUSE
        if is_due or self._verbose >= EVERY_EPOCH or progress.n_left == 0:
            self._print(progress, now)

    def end(self, stopped_by: str) -> None:
        """Print the last epoch, if it has no line yet, and why it was the last."""
        if not self._verbose:
            return
        now = self._clock()
        if self._last is not None:
            self._print(self._last, now)
        if not (self._is_pass or end_is_told()):
            print(
                f"{prefix()}ended by {stopped_by} after {self._n_epochs} epochs in "
                f"{self._seconds(now):.1f} s"
            )

    def _print(self, progress: Progress, now: float) -> None:
        self._printed_at, self._last = now, None
        pace = self._seconds(now) / progress.n_epochs
        print(prefix() + line_of(progress, self._score, self._n_before, pace))

    def _seconds(self, now: float) -> float:
        return 0.0 if self._start is None else now - self._start


def line_of(progress: Progress, score: str, n_before: int, pace: float) -> str:
    """Return what is told of an epoch.

    Parameters
    ----------
    progress : Progress
        How far the training has come.
    score : str
        What the score of rows held out is called.
    n_before : int
        Epochs before this training.
    pace : float
        Seconds that an epoch takes.
    """
    done = n_before + progress.n_epochs
    planned = str(done + progress.n_left)
    columns = [f"epoch {done:>{len(planned)}}/{planned}", f"loss {progress.loss.total:>#10.8g}"]
    measured = progress.measure()
    if measured is not None:
        columns.append(f"mean activation {measured.mean_activation:5.3f}")
        columns.append(f"row sparsity {measured.row_sparsity:4.2f}")
    if progress.score is not None:
        columns.append(f"{score} {progress.score:5.3f}")
    if progress.n_left:
        columns.append(f"at most {duration(pace * progress.n_left)} left")
    return "  ".join(columns)


def duration(seconds: float) -> str:
    """Return some time in whole seconds, minutes or hours, rounded up."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds > 2 * size:
            return f"{ceil(seconds / size)} {unit}"
    return f"{max(1, ceil(seconds))} s"
