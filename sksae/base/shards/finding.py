"""Which files are meant by a path, a pattern, a folder or a list, and in what order."""

import os
import re
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

SUFFIXES = (".npy", ".parquet", ".safetensors")
Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def find_files(files: Files) -> list[Path]:
    """Return absolute paths of files; those of a pattern or a folder in natural order.

    Parameters
    ----------
    files : str, path or iterable of them
        A file, a pattern, a folder, or a list of files, which keeps its order.

    Raises
    ------
    TypeError
        If it is something else.
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is of an unknown kind, or a folder holds files of several kinds.
    """
    if isinstance(files, str | os.PathLike):
        found = _found(files)
    elif isinstance(files, Iterable):
        found = [_one(path) for path in files]
        if not found:
            raise ValueError("files must name one file at least, got an empty list.")
    else:
        raise TypeError(
            "files must be a path, a pattern, a folder or a list of paths, got "
            f"{type(files).__name__}."
        )
    for path in found:
        if path.suffix not in SUFFIXES:
            raise ValueError(
                f"files must end in {', '.join(SUFFIXES)}, got {str(path)!r}: save its rows in one "
                "of these formats, by numpy.save say."
            )
    return [Path(os.path.abspath(path)) for path in found]


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Return what sorts paths such that 2 comes before 10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _found(files: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a path, a pattern or a folder stands for."""
    path, text = Path(files), os.fspath(files)
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix in SUFFIXES and _is_shown(each)]
        kinds = sorted({each.suffix for each in found})
        if len(kinds) > 1:
            raise ValueError(
                f"files must be of one kind where they are a folder, got {', '.join(kinds)} in "
                f"{text!r}: name those you mean by a pattern, {os.path.join(text, '*')}{kinds[0]}."
            )
        if not found:
            raise FileNotFoundError(
                f"files: the folder {text!r} has no file that ends in {', '.join(SUFFIXES)}."
            )
    elif has_magic(text) and not path.exists():
        found = [Path(each) for each in glob(text, recursive=True) if Path(each).is_file()]
        if not found:
            raise FileNotFoundError(f"files: no file matches the pattern {text!r}.")
    else:
        return [_one(path)]
    return sorted(found, key=natural_key)


def _is_shown(path: Path) -> bool:
    """Return whether a file of a folder holds rows: not what is hidden, or a note of a program."""
    return path.is_file() and not path.name.startswith((".", "_"))


def _one(path: str | os.PathLike[str]) -> Path:
    """Return a path that must be that of a file."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"files must hold paths, got {type(path).__name__}.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"files: there is no file {os.fspath(path)!r}.")
    return Path(path)
