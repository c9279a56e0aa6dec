"""Who called: the frames of the call stack, and the packages that run fits for a user."""

from collections.abc import Iterator, Sequence
from types import FrameType

# Whose frames lie between a worker's function and the user, in this process or another one.
RUNNERS = ("concurrent", "dask", "distributed", "joblib", "multiprocessing", "ray")


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame, its caller, the caller of that, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def belongs_to(frame: FrameType, modules: Sequence[str]) -> bool:
    """Return whether the code of a frame is in one of some modules or packages."""
    name = frame.f_globals.get("__name__", "")
    spec = frame.f_globals.get("__spec__")
    if name == "__main__" and spec is not None:
        name = spec.name  # run by python -m, as joblib's workers are
    return f"{name}.".startswith(tuple(f"{module}." for module in modules))
