"""A trained network and the scaling around it: what inference needs to know of a model."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Codec:
    """A trained network and the scaling around it, as numpy arrays.

    It sees ``z = shift + (x - mean) / scale`` and reconstructs z. From x the centre is subtracted
    first, as in training: numbers are small then.

    Attributes
    ----------
    activations : tuple of str
        One for each layer.
    coefs, intercepts, slopes : list of ndarray
        Of each layer, from input to output; slopes are None where there are none.
    mean : ndarray of shape (n_features,)
    scale, shift : float
    centre : ndarray of shape (n_features,)
    """

    activations: tuple[str, ...]
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    slopes: list[np.ndarray | None]
    mean: np.ndarray
    scale: float
    shift: float
    centre: np.ndarray

    @property
    def n_encoder_layers(self) -> int:
        return len(self.coefs) // 2

    @cached_property
    def offset(self) -> np.ndarray:
        """What the centre is in the space of z."""
        return self.shift + (self.centre - self.mean) / self.scale
