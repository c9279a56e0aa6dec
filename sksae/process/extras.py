"""Packages that extras install: whoever needs one asks for it, and is told which extra has it."""

from importlib import import_module


def check_installed(caller: str, extra: str, *packages: str) -> None:
    """Raise if a package is not installed.

    Parameters
    ----------
    caller : str
        Who needs it; the error begins with it.
    extra : str
        The extra of sksae that installs it.
    *packages : str
        What is needed, by the names by which they are imported.

    Raises
    ------
    ImportError
        Which says how to install what is missing.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f'{caller} needs {package.split(".")[0]}: pip install "sksae[{extra}]" installs it.'
            ) from error
