"""What numpy's arrays take: a context that tells the most that was allocated in it."""

import tracemalloc
from contextlib import contextmanager


class Traced:
    """Of numpy's memory, what is allocated and the most that was, in bytes beyond the start."""

    def __init__(self):
        self._before = tracemalloc.get_traced_memory()[0]

    @property
    def now(self):
        return tracemalloc.get_traced_memory()[0] - self._before

    @property
    def peak(self):
        return tracemalloc.get_traced_memory()[1] - self._before


@contextmanager
def traced():
    tracemalloc.start()
    try:
        yield Traced()
    finally:
        tracemalloc.stop()
