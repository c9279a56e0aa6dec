"""A limit on what a process may ask for, for files that ask for more than there is."""

import contextlib
from pathlib import Path

STATISTICS = Path("/proc/self/statm")


@contextlib.contextmanager
def memory_limit(n_bytes):
    """Let no more than so many bytes be asked for within; elsewhere than on Linux do nothing.

    What is asked for counts, and not only what is then used. Beyond it Python and numpy raise a
    MemoryError.
    """
    if not STATISTICS.is_file():
        yield
        return
    import resource

    used = int(STATISTICS.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
