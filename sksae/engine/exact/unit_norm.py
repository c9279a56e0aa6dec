"""Atoms of unit norm: a gradient has no part along its atom, and a step is followed by a division.

So that activations, not the lengths of atoms, say how much of an atom a row has (Gao et al. 2024,
https://arxiv.org/abs/2406.04093; Bricken et al. 2023).
"""

import torch
from torch import Tensor

from sksae.engine.parameters import Parameters

# By how much norms may differ from 1 for rounding.
ROUNDING = 1e-5


def have_unit_norm(atoms: Tensor) -> bool:
    """Return whether nothing but rounding keeps atoms of shape (n_atoms, n_features) from it."""
    norms = torch.linalg.vector_norm(atoms, dim=1)
    return bool(((norms - 1.0).abs() <= ROUNDING).all())


def give_unit_norm(parameters: Parameters) -> None:
    """Divide the atoms of dictionaries by their norms, and multiply activations by these.

    So relu networks make of rows what they made before; not those of tied weights, whose units
    detect what they add.
    """
    encoder, atoms = parameters.weights
    if not parameters.architecture.tied[0]:
        norms = torch.linalg.vector_norm(atoms, dim=2, keepdim=True)
        encoder.mul_(norms)
        parameters.biases[0].mul_(norms)
    normalise(atoms.view(-1, atoms.shape[2]))


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
    if norms.isinf().any():
        # Squares overflow long before a step does.
        atoms.div_(atoms.abs().amax(dim=1, keepdim=True).clamp_(min=1.0))
        norms = torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    # One that has vanished has no direction to keep.
    atoms.div_(norms.clamp_(min=torch.finfo(atoms.dtype).tiny))
