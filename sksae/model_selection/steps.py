"""Fitted steps of pipelines: how they are recorded, and kept for candidates that share them."""

import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import joblib
import numpy as np

from sksae.model_selection.arrays import is_unchanged

# What tells a piece of work from others: what is to be done, and numbers of the data.
Key = tuple[Any, ...]


@dataclass
class StepFit:
    """What fitting a step gave.

    Attributes
    ----------
    rows : object
        Transformed.
    transformer : estimator
        Fitted.
    warned : list of tuple
        Message, category, file and line of every warning that came with it.
    in_place : bool
        Whether it wrote to the rows or targets that it was fitted on, or gave on these rows as they
        lie, so that others may write to them.
    """

    rows: Any
    transformer: Any
    warned: list[tuple[Any, type[Warning], str, int]]
    in_place: bool = False


def recorded(make: Callable[[Any, Any], tuple[Any, Any]], data: Any, before: Any) -> StepFit:
    """Return what fitting a step gives, with its warnings, which are not given.

    Parameters
    ----------
    make : callable
        Fits it.
    data : (rows, targets)
        What it is fitted on.
    before : (rows, targets)
        A copy of these, or themselves if they are not written to.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = make(*data)
    warned = [(each.message, each.category, each.filename, each.lineno) for each in caught]
    (rows, transformer), (given, _) = result, data
    in_place = _is_same_memory(rows, given) or not all(map(is_unchanged, data, before))
    return StepFit(rows, transformer, warned, in_place)


def _is_same_memory(rows: Any, given: Any) -> bool:
    if isinstance(rows, np.ndarray) and isinstance(given, np.ndarray):
        return np.may_share_memory(rows, given)
    return rows is given


class SharedSteps:
    """Fitted steps in files, for all processes of a search.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    n_bytes : float
        How much, about.
    """

    def __init__(self, folder: Path, n_bytes: float) -> None:
        self._folder, self.n_bytes = folder, n_bytes

    def find(self, key: Key) -> StepFit | None:
        """Return what fitting a step gave, if it is kept: a copy, free to be written to."""
        try:
            kept = joblib.load(self._file(key), mmap_mode="c")
        except OSError:
            return None
        return unpack(kept)[key]

    def keep(self, key: Key, fit: StepFit) -> None:
        """Keep what fitting a step gave, if there is room and it can be kept."""
        packed = pack({key: fit})
        taken = sum(file.stat().st_size for file in self._folder.glob("*.step"))
        if not packed or taken + getattr(fit.rows, "nbytes", 0) > self.n_bytes:
            return
        # Another process may look for it meanwhile, or be about to keep the same.
        try:
            descriptor, draft = mkstemp(dir=self._folder)
        except OSError:  # this is another machine
            return
        os.close(descriptor)
        try:
            joblib.dump(packed, draft)
            # Tables and sparse rows do not say before how large they are.
            if taken + os.path.getsize(draft) <= self.n_bytes:
                os.replace(draft, self._file(key))
        except Exception:  # the disk is full, or somebody's rows cannot be pickled
            pass
        finally:
            Path(draft).unlink(missing_ok=True)

    def _file(self, key: Key) -> Path:
        return self._folder / f"{joblib.hash(key)}.step"


def pack(steps: Mapping[Key, StepFit]) -> dict[Key, tuple[Any, bytes]]:
    """Return rows and all else of each step; without those that cannot go to another process.

    A transformer may be of a class that only the user's script knows.
    """
    packed = {}
    for key, fit in steps.items():
        try:
            packed[key] = (
                fit.rows,
                pickle.dumps(
                    joblib.wrap_non_picklable_objects(
                        (fit.transformer, fit.warned), keep_wrapper=False
                    )
                ),
            )
        except Exception:  # anything may happen while somebody else's object is pickled
            continue
    return packed


def unpack(packed: Mapping[Key, tuple[Any, bytes]]) -> dict[Key, StepFit]:
    """Return what was packed."""
    return {key: StepFit(rows, *pickle.loads(rest)) for key, (rows, rest) in packed.items()}
