"""How a dictionary with k active units is learnt, and what comes of it."""

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Setting:
    """How a dictionary is learnt; None for a rate is the package's default."""

    width: int
    k: int
    batch: int
    epochs: int
    seed: int
    rate: float | None = None
    dead_epochs: int | None = None

    def given(self) -> dict[str, float]:
        """Return what is not left to the package."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Dictionary:
    """Codes relu(X W_enc + b_enc) of which few are kept, and rows code W_dec + b_dec.

    Attributes
    ----------
    W_enc, b_enc, W_dec, b_dec : ndarray
    threshold : float or ndarray of shape (width,)
        Of all units, or of each; nan where the k largest of each row are the code.
    seconds : float
        That training took.
    threads : int
        With which it was trained.
    version : str
        Of the package.
    """

    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray
    threshold: float | np.ndarray
    seconds: float
    threads: int
    version: str
