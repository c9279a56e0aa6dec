"""What a pickled estimator holds, and how a damaged file is told when it is loaded.

Every way that goes by pickle is meant: joblib's files, skops, workers of a search.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any, Self
from zlib import crc32

import numpy as np

from sksae.base.attributes import LAYOUT, READ_BY
from sksae.process.version import __version__

CALLBACKS, CHECKSUMS, VERSION = "_skl_callbacks", "_checksums", "_sksae_version"


class PersistentMixin:
    """An estimator whose pickle tells whether it is whole.

    A fitted one is pickled without the callbacks of its user: a class of a script or a lock among
    them would make the file of no use elsewhere. One that is not fitted keeps them, as a search
    sends it to its workers so.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all attributes, and checksums of them."""
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        if CALLBACKS in state and is_fitted(state):
            known = [each for each in state[CALLBACKS] if _is_of_scikit_learn(each)]
            if known:
                state[CALLBACKS] = known
            else:
                del state[CALLBACKS]
        return state | {CHECKSUMS: checksums(state), VERSION: __version__}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what was pickled, if it is whole.

        Parameters that the version that pickled it did not have are what they are by default.

        Raises
        ------
        ValueError
            If it is damaged, or of a version that arranged attributes otherwise, or that has
            parameters which this one does not have.
        """
        state, name, defaults = dict(state), type(self).__name__, default_parameters(type(self))
        saved, version = state.pop(CHECKSUMS, None), state.pop(VERSION, None)
        check_arrangement(name, state, version)
        check_whole(name, state, saved)
        check_parameters(name, state, defaults.keys(), version)
        given = {key: value for key, value in defaults.items() if value is not Parameter.empty}
        super().__setstate__(given | state)  # type: ignore[misc]

    def __copy__(self) -> Self:
        """Return a copy that shares all attributes."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy that shares none."""
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(deepcopy(self.__dict__, memo))
        return other


def is_fitted(state: Mapping[str, Any]) -> bool:
    """Return whether attributes are those of a fitted estimator."""
    return "n_features_in_" in state


def checksums(state: Mapping[str, Any]) -> tuple[int, int]:
    """Return the checksum of what attributes say, and that of the entries of arrays.

    Names, numbers, strings and the shapes and dtypes of arrays are the first. What is neither
    these nor in a plain container, another estimator say, answers for itself.
    """
    said = entries = 0
    for leaf in _leaves(dict(sorted(state.items()))):
        if isinstance(leaf, np.ndarray):
            entries = crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, entries)
        else:
            said = crc32(leaf.encode(), said)
    return said, entries


def default_parameters(kind: type) -> dict[str, Any]:
    """Return the parameters of a class of estimators, and what each is by default, if anything."""
    return {name: each.default for name, each in signature(kind).parameters.items()}


def check_arrangement(name: str, state: Mapping[str, Any], version: object) -> None:
    """Check that attributes are arranged as this version arranges them.

    Parameters
    ----------
    name : str
        Of the class.
    state : mapping
        Attributes.
    version : str or None
        Of sksae that saved them; None if it did not say so.

    Raises
    ------
    ValueError
        If they are not; it says which version can read them.
    """
    layout = state.get("_layout") if "coefs_" in state else LAYOUT
    if version is None or layout != LAYOUT:
        by = "an early version of sksae" if version is None else f"sksae {version}"
        raise ValueError(
            f"This {name} was saved by {by}, which arranged attributes otherwise (layout {layout}, "
            f"here {LAYOUT}), or its file is damaged: {_way_out(layout, version)}"
        )


def check_parameters(
    name: str, state: Mapping[str, Any], known: Iterable[str], version: object
) -> None:
    """Check that a file of a later version asks for nothing that this version does not know.

    Without its new parameters the model might be another one.

    Raises
    ------
    ValueError
        If it does; it says which version can read it.
    """
    if _release(version) <= _release(__version__):
        return
    public = (key for key in state if not key.startswith("_") and not key.endswith("_"))
    unknown = sorted(set(public) - set(known))
    if unknown:
        raise ValueError(
            f"This {name} was saved by sksae {version} with {', '.join(unknown)}, which sksae "
            f"{__version__} does not know: {_way_out(None, version)}"
        )


def _way_out(layout: object, version: object) -> str:
    """Return what to do with a file that this version does not read."""
    if version is not None and isinstance(layout, int) and layout in READ_BY:
        wanted = READ_BY[layout]
    elif _release(version) > _release(__version__):
        wanted = f">={version}"
    else:
        return "no release of sksae reads it. Take another copy of it, or fit it again."
    return f"pip install 'sksae{wanted}' reads it. Load it with that version, or fit it again."


def _release(version: object) -> tuple[int, ...]:
    """Return the numbers of a version in order, () where there are none."""
    return tuple(map(int, re.findall(r"\d+", re.split(r"[^\d.]", str(version))[0])))


def check_whole(name: str, state: Mapping[str, Any], saved: object) -> None:
    """Check attributes against the checksums that they were pickled with.

    Entries of memory maps are not read, as these are for files that are not to be read whole.

    Raises
    ------
    ValueError
        If they differ, or there are none.
    """
    is_mapped = any(isinstance(leaf, np.memmap) for leaf in _leaves(state))
    n_compared = 1 if is_mapped else 2
    if not isinstance(saved, tuple) or checksums(state)[:n_compared] != saved[:n_compared]:
        raise ValueError(
            f"The file of this {name} is damaged: what it holds is not what was saved. Take "
            "another copy of it, or fit again."
        )


def _leaves(value: object) -> Iterator[str | np.ndarray]:
    """Yield what a value holds: arrays, each after its shape and dtype, and all else as text."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype.str}{value.shape}"
        yield value
    elif isinstance(value, np.ndarray):
        yield from _leaves([str(value.shape), *value.ravel()])
    elif isinstance(value, Mapping):
        yield "{"
        for name, entry in value.items():
            yield repr(name)
            yield from _leaves(entry)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield f"{type(value).__name__}("
        for entry in value:
            yield from _leaves(entry)
        yield ")"
    elif isinstance(value, np.random.RandomState):
        yield from _leaves(value.get_state())
    elif value is None or isinstance(value, (bool, int, float, complex, str, np.generic)):
        yield f"{type(value).__name__} {value!r};"
    else:
        yield f"<{type(value).__qualname__}>"


def _is_of_scikit_learn(callback: object) -> bool:
    return type(callback).__module__.partition(".")[0] == "sklearn"
