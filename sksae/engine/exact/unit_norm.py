"""Atoms of unit norm: a gradient has no part along its atom, and a step is followed by a division.

So that activations, not the lengths of atoms, say how much of an atom a row has (Gao et al. 2024,
https://arxiv.org/abs/2406.04093; Bricken et al. 2023).
"""

import torch
from torch import Tensor

# By how much norms may differ from 1 for rounding.
ROUNDING = 1e-5


def have_unit_norm(atoms: Tensor) -> bool:
    """Return whether nothing but rounding keeps atoms of shape (n_atoms, n_features) from it."""
    norms = torch.linalg.vector_norm(atoms, dim=1)
    return bool(((norms - 1.0).abs() <= ROUNDING).all())


def remove_growth(gradient: Tensor, atoms: Tensor) -> None:
    """Take from gradients the part along their atoms, in place.

    Parameters
    ----------
    gradient, atoms : Tensor of shape (n_atoms, n_features)
        The latter of unit norm.
    """
    along = torch.linalg.vecdot(gradient, atoms).unsqueeze(1)
    gradient.addcmul_(along, atoms, value=-1.0)


def normalise(atoms: Tensor) -> None:
    """Divide atoms of shape (n_atoms, n_features) by their norms, in place."""
    norms = torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    # One that has vanished has no direction to keep.
    atoms.div_(norms.clamp_(min=torch.finfo(atoms.dtype).tiny))
