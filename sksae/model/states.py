"""States of a training: arrays by name, which a file can hold; put together and taken apart."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sksae.model.tasks import State


def prefixed(prefix: str, state: Mapping[str, np.ndarray]) -> State:
    """Return a state under names of its own in a larger one."""
    return {f"{prefix}.{name}": value for name, value in state.items()}


def unprefixed(prefix: str, state: Mapping[str, np.ndarray]) -> State:
    """Return what `prefixed` was given; {} if it was nothing."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): value for name, value in state.items() if name.startswith(start)
    }


def as_text(values: object) -> np.ndarray:
    """Return numbers, strings, lists and mappings as one array; floats keep each bit."""
    return np.asarray(json.dumps(values, default=float))


def from_text(entry: np.ndarray) -> Any:
    """Return what `as_text` was given; tuples as lists."""
    return json.loads(str(entry))
