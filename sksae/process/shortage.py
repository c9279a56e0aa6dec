"""Out of memory: one error, of numpy, torch and GPUs, that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sksae.process.processes import ProcessesError
from sksae.process.warning import warn_user

OUT_OF_MEMORY = "Out of memory"
IN_TRAINING = (
    "Memory grows with n_components, hidden_layer_sizes, the number of features and batch_size: "
    "choose less of them, or another device."
)
IN_ATTENTION = (
    "Memory grows with n_components, d_model, dim_feedforward, batch_size, and with the square of "
    "the number of tokens times n_heads: choose less of them, or another device."
)
AT_WORK = "Give fewer rows at a time, or choose another device."
AS_GIVEN = (
    "Arrays and CSR matrices of float32 or float64 are not copied: give rows as such, or fewer."
)
# What tells it from other errors: of torch on the CPU (on Linux, on Windows) and on GPUs; and of
# sizes that no machine could address, for which numpy and torch raise other errors again.
SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "_alloc_failed",
    "bad_alloc",
    "bad allocation",
    "storage size calculation overflowed",
    "array is too big",
    "maximum allowed dimension exceeded",
    # Of libraries that are being loaded, of files, and of threads.
    "failed to map segment",
    "cannot allocate memory",
    "can't start new thread",
)
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@dataclass
class _Work:
    """What `explained_shortage` is wrapped around.

    Attributes
    ----------
    advice : str
        What to do where memory ends.
    has_told : bool
        Whether the user knows that rows are processed in parts.
    """

    advice: str
    has_told: bool = False


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def explained_shortage(advice: str) -> Iterator[None]:
    """Raise a MemoryError that tells how much was asked for, and what to do, where memory ends.

    A decorator, too.

    Parameters
    ----------
    advice : str
        What to do.
    """
    token = _work.set(_Work(advice))
    try:
        yield
    except (MemoryError, RuntimeError, ValueError, ImportError, OSError) as error:
        if OUT_OF_MEMORY in str(error) or not is_shortage(error):
            raise
        raise MemoryError(f"{OUT_OF_MEMORY}{_asked_for(str(error))}. {advice}") from error
    finally:
        _work.reset(token)


def tell_of_portions(number: int, of: str) -> None:
    """Warn that rows, or units, are processed in parts.

    Only once in what `explained_shortage` is wrapped around.

    Parameters
    ----------
    number : int
        With so many at once memory has ended.
    of : str
        So many what.
    """
    work = _work.get()
    if work is None or work.has_told:
        return
    work.has_told = True
    warn_user(
        f"Memory ended with {number} {of} at once. They are processed in parts, which takes longer "
        f"and gives the same result up to rounding. {work.advice}"
    )


def is_shortage(error: Exception) -> bool:
    """Return whether an error says that memory has ended."""
    if isinstance(error, ProcessesError):
        return False  # that of another process
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in SIGNS)


def _asked_for(text: str) -> str:
    """Return what an error says of the size that was wanted; nothing if it does not say."""
    found = re.search(r"allocate ([\d.]+) (bytes|[KMGTPE]iB)", text)
    if found is None:
        return ""
    size, unit = float(found[1]), UNITS.index(found[2])
    while size >= 1024.0 and unit < len(UNITS) - 1:
        size, unit = size / 1024.0, unit + 1
    return f": {size:.3g} {UNITS[unit]} were asked for at once"
