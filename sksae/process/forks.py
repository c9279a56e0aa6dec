"""Forked processes: torch keeps to one thread there, as it would wait forever for those it had.

A fork copies the thread that asks for it and no other, but the OpenMP runtime of the child does not
know that.
"""

import os
import sys

_came_with_fork = False


def watch_forks() -> None:
    """Have processes that are forked from this one learn whether they have inherited torch."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_begin_child)


def keep_inherited_torch_to_one_thread() -> None:
    """Set torch's threads to one if it came with a fork; nothing else changes."""
    # Another thread may have been in the midst of importing it.
    if _came_with_fork and hasattr(sys.modules["torch"], "set_num_threads"):
        sys.modules["torch"].set_num_threads(1)


def _begin_child() -> None:
    global _came_with_fork
    _came_with_fork = "torch" in sys.modules
    # Otherwise the engine will see to it when it is imported: who does without keeps the threads.
    if "sksae.engine" in sys.modules:
        keep_inherited_torch_to_one_thread()
