"""Files that are written as a whole: there is never half of one."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return where a page is to be written, if a file can be.

    Raises
    ------
    OSError
        If there is no such folder, if it cannot be written to, or if there is a folder at the path.
    """
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {str(target)!r}.")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"path must lie in a folder that exists, got {str(target)!r}: make the folder "
            f"{str(folder)!r} first."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"path must lie in a folder that can be written to, got {str(target)!r}."
        )
    return target


def write_whole(text: str, target: Path) -> None:
    """Write a file; one that was there before stays as it was until all is written."""
    with NamedTemporaryFile(
        "w",
        encoding="utf-8",
        newline="\n",
        dir=target.parent,
        prefix=f".{target.name}.",
        delete=False,
    ) as file:
        written = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            file.close()
            written.unlink(missing_ok=True)
            raise
    try:
        # A temporary file is for its owner alone; a page is as any other file of the user.
        mask = os.umask(0)
        os.umask(mask)
        written.chmod(0o666 & ~mask)
        written.replace(target)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
