"""Names of features."""

import re
from collections.abc import Sequence

import numpy as np


def are_counted(names: np.ndarray) -> bool:
    """Return whether names say no more than the number of a feature: x0, x1, ..."""
    found = [re.fullmatch(r"(\D*)(\d+)", str(name)) for name in names]
    return all(
        each is not None and int(each[2]) == feature and each[1] == found[0][1]  # type: ignore[index]
        for feature, each in enumerate(found)
    )


def check_names(names: Sequence[str] | None) -> None:
    """Raise if names of features are a single string, whose letters would pass for names."""
    if isinstance(names, str):
        raise TypeError(f"feature_names must be a sequence of strings, got {names!r}.")


def given_names(names: Sequence[str] | None, n_features: int) -> np.ndarray | None:
    """Return names that a display was made with as an array, or None if it has none.

    Raises
    ------
    ValueError
        If there are more or fewer of them than features.
    """
    if names is None:
        return None
    check_names(names)
    if len(names) != n_features:
        raise ValueError(
            f"feature_names must have one name for each of the {n_features} features that "
            f"reach the autoencoder, got {len(names)}."
        )
    return np.array([str(name) for name in names], dtype=object)
