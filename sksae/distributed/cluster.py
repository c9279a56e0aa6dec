"""Ray for the length of a call: it is started if nobody has, and asked whether it has room."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sksae.process.warning import warn_user


@contextmanager
def ray_running() -> Iterator[bool]:
    """Start or join Ray unless this process has done so, and leave it again in that case.

    Yields
    ------
    is_own : bool
        Whether it was started here, on this machine alone.
    """
    import ray

    if ray.is_initialized():
        yield False
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    # Lines of workers go through the desk, so Ray itself need not pass them on.
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options["include_dashboard"] = False
    ray.init(address=address, **options)
    try:
        yield address == "local"
    finally:
        ray.shutdown()


def check_room(bundle: Mapping[str, float], n_workers: int, seconds: float, is_own: bool) -> None:
    """Wait until there is room for all workers at once.

    Parameters
    ----------
    bundle : dict of str to float
        What one worker needs.
    n_workers : int
        How many there are.
    seconds : float
        How long to wait at most.
    is_own : bool
        Whether Ray was started here, and so nothing will be added to it.

    Raises
    ------
    RuntimeError
        If there is none.

    Warns
    -----
    UserWarning
        If the cluster would have to grow.
    """
    import ray
    from ray.util import placement_group, remove_placement_group

    there = ray.cluster_resources()
    needed = {name: n_workers * number for name, number in bundle.items()}
    lacks = any(number > there.get(name, 0.0) for name, number in needed.items())
    asked = f"num_workers={n_workers} asks for {_told(needed)}, {_told(bundle)} for each worker"
    if lacks and is_own:
        raise RuntimeError(
            f"{asked}, and this machine has {_told(there, needed)}: use fewer workers or smaller "
            "resources_per_worker, or connect to a cluster (ray.init(address=...)) before."
        )
    if lacks:
        warn_user(
            f"fit_on_ray: {asked}, and Ray has {_told(there, needed)}: it waits {seconds:g} s for "
            "the cluster to grow."
        )
    room = placement_group([dict(bundle)] * n_workers, strategy="PACK")
    try:
        if not room.wait(seconds):
            free = ray.available_resources()
            raise RuntimeError(
                f"{asked}, and Ray had no room for all of them within start_timeout="
                f"{seconds:g} s: it has {_told(ray.cluster_resources(), needed)}, of which "
                f"{_told(free, needed)} are free. Use fewer workers or smaller "
                "resources_per_worker, end what else runs there, or wait longer."
            )
    finally:
        remove_placement_group(room)


def _told(resources: Mapping[str, float], names: Mapping[str, Any] | None = None) -> str:
    """Return resources as text, those with some names."""
    return ", ".join(f"{resources.get(name, 0.0):g} {name}" for name in names or resources)
