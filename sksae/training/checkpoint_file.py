"""The file of a checkpoint: arrays in numpy's npz format, and what they are the state of."""

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sksae.model.states import as_text, from_text
from sksae.model.tasks import State
from sksae.process.files import draft_of, write_whole
from sksae.process.version import __version__

# How the arrays are arranged; another number with every change of that.
FORMAT = 1
FACTS = "checkpoint"
# What numpy, zipfile and json raise where a file is not what it should be.
UNREADABLE = (
    *(ValueError, TypeError, KeyError, AttributeError, EOFError, OSError, MemoryError),
    *(OverflowError, NotImplementedError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error),
)
# At most so many differences are told.
MOST_TOLD = 5


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds.

    Attributes
    ----------
    fit : dict of str to str
        What the fit was asked to do, and with which rows.
    random_state : list
        Of numpy's generator before the fit drew from it.
    state : dict of ndarray
        Of its trainings.
    """

    fit: dict[str, str]
    random_state: list[Any]
    state: State


def write_checkpoint(path: Path, contents: Contents, keep: int) -> None:
    """Write a checkpoint in place of the one before, as a whole or not at all.

    Parameters
    ----------
    path : Path
        As `checked_path` returns it.
    contents : Contents
        What it is to hold.
    keep : int
        How many there are to be at most: those before are ``path`` with ".1" for the last, and so
        on.

    Raises
    ------
    OSError
        If it cannot be written. The one before is still there.
    """
    try:
        _make_room(path, keep)
        write_whole({path: partial(_write, contents)})
    except OSError as error:
        told = f"The checkpoint {str(path)!r} could not be written ({error.strerror or error})."
        if path.exists():
            told += (
                " What it held before is still there: when it can be written again, fit with "
                "resume=True."
            )
        raise type(error)(error.errno, told) from error


def _write(contents: Contents, file: BinaryIO) -> None:
    facts = {
        "format": FORMAT,
        "sksae": __version__,
        "fit": contents.fit,
        "random_state": contents.random_state,
        "checksums": {name: checksum(value) for name, value in contents.state.items()},
    }
    arrays: dict[str, Any] = {FACTS: as_text(facts), **contents.state}
    np.savez(file, **arrays)


def checksum(array: np.ndarray) -> int:
    """Return the checksum of an array's dtype, shape and entries."""
    described = zlib.crc32(f"{array.dtype.str}{array.shape}".encode())
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, described)


def _make_room(path: Path, keep: int) -> None:
    """Let earlier checkpoints go one place further; the newest stays where it is, too."""
    if keep == 1 or not path.exists():
        return
    for age in range(keep - 2, 0, -1):
        if _aged(path, age).exists():
            _aged(path, age).replace(_aged(path, age + 1))
    copy = draft_of(path)
    try:
        try:
            os.link(path, copy)
        except OSError:  # the file system knows no links
            shutil.copy2(path, copy)
        copy.replace(_aged(path, 1))
    finally:
        copy.unlink(missing_ok=True)


def _aged(path: Path, age: int) -> Path:
    return path.with_name(f"{path.name}.{age}")


def read_checkpoint(path: Path) -> Contents:
    """Return what a checkpoint holds.

    Parameters
    ----------
    path : Path
        A file.

    Raises
    ------
    ValueError
        If it is damaged, no checkpoint, or one of a version that arranged it otherwise.
    PermissionError
        If it may not be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = from_text(file[FACTS])
            version, made_by = facts["format"], facts["sksae"]
            state = {name: file[name] for name in file.files if name != FACTS}
        is_whole = facts["checksums"] == {name: checksum(each) for name, each in state.items()}
        contents = Contents(dict(facts["fit"]), list(facts["random_state"]), state)
    except PermissionError:
        raise
    except UNREADABLE as error:
        raise ValueError(_damaged(path)) from error
    if version != FORMAT:
        raise ValueError(
            f"The checkpoint {str(path)!r} was written by sksae {made_by}, which arranged it "
            f"otherwise (format {version}, here {FORMAT}): resume the fit with that version, or "
            "begin it anew with resume=False."
        )
    if not is_whole:
        raise ValueError(_damaged(path))
    return contents


def _damaged(path: Path) -> str:
    return (
        f"The file {str(path)!r} is damaged, or no checkpoint: take another copy of it (with "
        f"keep=2 or more there is {_aged(path, 1).name!r}), or begin the fit anew with "
        "resume=False."
    )


def check_same_fit(path: Path, here: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Raise if a checkpoint is of another fit.

    Parameters
    ----------
    path : Path
        Of the checkpoint.
    here, there : mapping of str to str
        What this fit is, and what the one was that the checkpoint is of.

    Raises
    ------
    ValueError
        If they differ; it says in what.
    """
    names = [name for name in dict(here) | dict(there) if here.get(name) != there.get(name)]
    if not names:
        return
    told = "; ".join(
        f"{name} is {here.get(name, 'not there')} here and {there.get(name, 'not there')} in the "
        "checkpoint"
        for name in names[:MOST_TOLD]
    )
    more = "" if len(names) <= MOST_TOLD else f"; and {len(names) - MOST_TOLD} more"
    raise ValueError(
        f"The checkpoint {str(path)!r} is of another fit: {told}{more}. Fit with what it was made "
        'with, give another path (the fits of a search need a path with "{fit}" in it), or begin '
        "anew with resume=False."
    )


def fingerprint(fit: Mapping[str, str]) -> str:
    """Return 16 characters that tell this fit from others."""
    return sha256(json.dumps(fit, sort_keys=True).encode()).hexdigest()[:16]
