"""Warnings that point at the user's line, however deep they arise; both storeys stand on this."""

import sys
import warnings


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning in the name of the innermost caller outside sksae and scikit-learn.

    Parameters
    ----------
    message : str
        Text.
    category : type of Warning, default=UserWarning
        Kind.
    """
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("sksae", "sklearn"):
            break
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=depth)
