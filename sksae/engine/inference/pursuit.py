"""Coefficients of atoms, for each row anew: least squares on chosen ones, and their choice.

Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993) is done for many rows at once.
Batch-OMP (Rubinstein, Zibulevsky and Elad 2008) finds correlations with what is left of a row from
the Gram matrix of all atoms, of which each row reads other columns in each step: a gigabyte of
11 000 atoms, read from memory. Here what is left is there itself, and one product with all atoms
serves all rows of a step. With 384 features, 3072 atoms and 32 of them active that takes as long in
float64 and 1.8 times as long in float32, and no more memory than atoms have already.

All is float64 but for the products with all atoms, which are in the precision of the atoms.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksae.engine.device import to_float64
from sksae.engine.products import Operand, products_for

# An atom that is nearer than this to the span of others, in units of its norm, depends on them.
DEPENDENT = 1e-5
# If it is further off than this its part off them is found at once to nearly all digits.
FAR_OFF = 0.1
# A row of whose norm so little can still be explained is rebuilt.
NEGLIGIBLE = 1e-8
# Least squares whose normal equations have a pivot below this are solved by singular values.
SMALLEST_PIVOT = 1e-6


class Entries(NamedTuple):
    """The coefficients of some rows.

    Attributes
    ----------
    units : Tensor of int64 of shape (n_rows, n_most)
        Which atoms; 0 behind the last one of a row.
    values : Tensor of float64 of shape (n_rows, n_most)
        Their coefficients; 0 there.
    """

    units: Tensor
    values: Tensor


class Support(NamedTuple):
    """Which atoms some rows are made of.

    Attributes
    ----------
    units : Tensor of int64 of shape (n_rows, n_most)
        Which atoms; 0 behind the last one of a row.
    n_units : Tensor of int64 of shape (n_rows,)
        How many there are.
    """

    units: Tensor
    n_units: Tensor

    def of(self, rows: Tensor) -> "Support":
        """Return that of some of the rows."""
        n_units = self.n_units[rows]
        return Support(self.units[rows, : int(n_units.max())], n_units)


# Least squares.


def fit_coefficients(atoms: Tensor, targets: Tensor, support: Support) -> Entries:
    """Return the coefficients with which some atoms come nearest to each target.

    Where these are not the only ones, it is those of the smallest norm.

    Parameters
    ----------
    atoms : Tensor of shape (n_atoms, n_features)
        All of them, of any norm.
    targets : Tensor of float64 of shape (n_rows, n_features)
        What is to be rebuilt.
    support : Support
        The atoms of each.
    """
    units, n_units = support
    if units.shape[1] == 0:
        return Entries(units, targets[:, :0])
    is_used = torch.arange(units.shape[1], device=units.device) < n_units[:, None]
    chosen = to_float64(atoms[units]) * is_used[:, :, None]
    size = torch.linalg.vector_norm(chosen, dim=2)
    # Of what is not used, and of atoms that are 0.
    size[size == 0.0] = 1.0
    chosen /= size[:, :, None]
    gram = chosen @ chosen.mT
    gram.diagonal(dim1=1, dim2=2).add_((~is_used).double())
    factor, failed = torch.linalg.cholesky_ex(gram)
    found, left = torch.zeros_like(size)[:, :, None], targets[:, :, None]
    # The second time for what rounding has left of the first.
    for _ in range(2):
        found += torch.cholesky_solve(chosen @ left, factor)
        left = targets[:, :, None] - chosen.mT @ found
    values = found[:, :, 0] / size
    pivots = factor.diagonal(dim1=1, dim2=2).square().amin(dim=1)
    # A pivot may be nan.
    is_singular = ((failed > 0) | ~(pivots > SMALLEST_PIVOT)).cpu().numpy()
    of_rows = n_units.cpu().numpy()
    for row in np.flatnonzero(is_singular):
        own = int(of_rows[row])
        values[row] = 0.0
        values[row, :own] = _by_singular_values(atoms[units[row, :own]], targets[row])
    return Entries(units, values)


def _by_singular_values(atoms: Tensor, target: Tensor) -> Tensor:
    matrix = to_float64(atoms).cpu().numpy().T
    found = np.linalg.lstsq(matrix, target.cpu().numpy(), rcond=None)[0]
    return torch.from_numpy(found).to(target.device)


# Orthogonal matching pursuit.


def choose_atoms(atoms: Tensor, targets: Tensor, n_active: int) -> Support:
    """Return the atoms that orthogonal matching pursuit chooses for each target.

    The next one is that of the largest correlation, in size, with what the others leave over. A
    row ends sooner where that is next to nothing, or an atom that depends on the others.

    Parameters
    ----------
    atoms : Tensor of shape (n_atoms, n_features)
        Of norm 1, or 0.
    targets : Tensor of float64 of shape (n_rows, n_features)
        What is to be rebuilt.
    n_active : int
        How many atoms are wanted, of a row.
    """
    n_rows, n_features = targets.shape
    correlations = torch.empty((n_rows, len(atoms)), dtype=atoms.dtype, device=atoms.device)
    transposed, products = Operand(atoms[None]).mT, products_for(atoms.device)
    units = torch.zeros((n_rows, n_active), dtype=torch.int64, device=targets.device)
    n_units = torch.zeros_like(units[:, 0])
    basis = targets.new_zeros((n_rows, n_active, n_features))
    left, least = targets.clone(), NEGLIGIBLE * torch.linalg.vector_norm(targets, dim=1)
    goes_on = torch.ones_like(n_units, dtype=torch.bool)
    for step in range(n_active):
        rows = Operand(left.to(atoms.dtype)[None])
        products.product(rows, transposed, Operand(correlations[None]))()
        best, size = _largest_in_size(correlations)
        goes_on &= size > least
        goes_on &= (units[:, :step] != best[:, None]).all(dim=1)
        direction, distance = _off_span(to_float64(atoms[best]), basis[:, :step])
        goes_on &= distance > DEPENDENT
        if not goes_on.any():
            break
        direction *= goes_on[:, None]
        basis[:, step] = direction
        left -= (direction * left).sum(dim=1, keepdim=True) * direction
        units[:, step] = best * goes_on
        n_units += goes_on
    return Support(units, n_units)


def _largest_in_size(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the entry of each row is that is furthest from 0, and how far it is."""
    if rows.device.type != "cpu":
        size, at = rows.abs().max(dim=1)
        return at, to_float64(size)
    # numpy finds places of extremes five times as fast as torch.
    array, every = rows.numpy(), np.arange(len(rows))
    highest, lowest = array.argmax(axis=1), array.argmin(axis=1)
    high, low = array[every, highest], -array[every, lowest]
    at = np.where(high >= low, highest, lowest)
    return torch.from_numpy(at), torch.from_numpy(np.maximum(high, low).astype(np.float64))


def _off_span(atoms: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction of atoms off the span of a basis, and how far off they are.

    Parameters
    ----------
    atoms : Tensor of shape (n_rows, n_features)
        One for each row; written to.
    basis : Tensor of shape (n_rows, n_directions, n_features)
        Of each row; orthonormal, or 0.

    Returns
    -------
    direction : Tensor of shape (n_rows, n_features)
        Of norm 1, or 0.
    distance : Tensor of shape (n_rows,)
    """
    # By Gram and Schmidt; twice is enough, and mostly once.
    for _ in range(2):
        if basis.shape[1]:
            along = _matmul(basis, atoms[:, :, None])
            atoms -= _matmul(along.mT, basis)[:, 0]
        distance = torch.linalg.vector_norm(atoms, dim=1)
        if (distance > FAR_OFF).all():
            break
    return atoms / distance.clamp(min=torch.finfo(atoms.dtype).tiny)[:, None], distance


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return small products, one for each row."""
    if left.device.type != "cpu":
        return left @ right
    # torch takes twice as long for products of a matrix and a vector.
    return torch.from_numpy(np.matmul(left.numpy(), right.numpy()))
