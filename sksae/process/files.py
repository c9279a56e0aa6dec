"""Files that are written as a whole: there is never half of one."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from time import time
from typing import BinaryIO
from zlib import crc32

# What a new file may be used for, less what the user's umask takes away.
FOR_ALL = 0o666
# Seconds after which nobody is taken to write to a draft any more.
ABANDONED_AFTER = 3600.0


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written, links followed, if it can be.

    Parameters
    ----------
    path : str or path
        What the user gave.

    Raises
    ------
    TypeError
        If it is neither.
    OSError
        If there is no such folder, if it cannot be written to, or if there is something at the
        path that is no file.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, got {type(path).__name__}.")
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        kind = "the folder" if target.is_dir() else "what is no file,"
        raise IsADirectoryError(f"path must name a file, got {kind} {str(path)!r}.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path must lie in a folder that exists, got {str(path)!r}: make the folder "
            f"{str(target.parent)!r} first."
        )
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(
            f"path must lie in a folder that can be written to, got {str(path)!r}."
        )
    return target


def write_whole(contents: Mapping[Path, str | bytes | Callable[[BinaryIO], None]]) -> None:
    """Write files; those that were there before stay as they were until all are written.

    Parameters
    ----------
    contents : mapping of Path to str, bytes or callable
        What each file is to hold, text in UTF-8, or what writes to it, by paths as `checked_path`
        returns them. A file that is there hands on who may read it.
    """
    drafts: dict[Path, Path] = {}
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        for target, content in contents.items():
            mode = target.stat().st_mode & 0o777 if target.exists() else None
            draft = draft_of(target)
            drafts[draft] = target
            with open(os.open(draft, flags, FOR_ALL), "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                draft.chmod(mode)
        for draft, target in drafts.items():
            draft.replace(target)
        for folder in {target.parent for target in contents}:
            _flush_names(folder)
    except BaseException:
        for draft in drafts:
            draft.unlink(missing_ok=True)
        raise


def draft_of(target: Path) -> Path:
    """Return a new name for what is to take the place of a file."""
    return target.with_name(f"{_start_of_drafts(target)}{token_hex(8)}.draft")


def remove_old_drafts(target: Path) -> None:
    """Remove what was left of a file by processes that were killed while they wrote it."""
    for draft in target.parent.glob(f"{_start_of_drafts(target)}*.draft"):
        with suppress(OSError):
            if time() - draft.stat().st_mtime > ABANDONED_AFTER:
                draft.unlink()


def _start_of_drafts(target: Path) -> str:
    """Return how names of drafts begin; short whatever the name of the file."""
    return f".{crc32(os.fsencode(target.name)):08x}-"


def _flush_names(folder: Path) -> None:
    """Let the names of a folder's files outlast a loss of power, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    # Some file systems know no such thing, and some folders may be written to and not read.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
