"""Atoms of units: their norms, and which atoms are most alike."""

from typing import Any

import numpy as np

from sksae.inspection.atoms import added_atoms
from sksae.inspection.subject import Subject
from sksae.metrics.checks import check_matrix
from sksae.metrics.dictionaries import cosines_in_blocks, directions


def directions_of(subject: Subject) -> np.ndarray | None:
    """Return by what units are compared, shape (n_units, n_features), None if by nothing.

    They are the atoms; where there are none, the weights of an encoder of one layer.

    Parameters
    ----------
    subject : Subject
        Whose units.
    """
    atoms = added_atoms(subject)
    if atoms is None and len(subject.network.encoder) == 1:
        return subject.network.encoder[0].coef.T
    return atoms


def nearest(atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each atom the other one with the largest cosine, and that cosine.

    nan, and number -1, for atoms that are 0, or if there is but one.

    Parameters
    ----------
    atoms : ndarray of shape (n_atoms, n_features)
        Atoms.
    """
    return _largest(directions(atoms), None)


def nearest_in(atoms: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each atom the one of another dictionary with the largest cosine, and that cosine.

    nan, and number -1, for atoms that are 0.

    Parameters
    ----------
    atoms, others : ndarray of shape (n_atoms, n_features)
        Atoms; as many as each has.
    """
    return _largest(directions(atoms), directions(others))


def _largest(atoms: np.ndarray, others: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return number and cosine of the nearest of others, or among atoms themselves."""
    number, cosine = np.full(len(atoms), -1), np.full(len(atoms), np.nan)
    among = atoms if others is None else others
    is_direction = among.any(axis=1)
    for which, cosines in cosines_in_blocks(atoms, among):
        cosines[:, ~is_direction] = -np.inf
        if others is None:
            np.fill_diagonal(cosines[:, which], -np.inf)
        number[which], cosine[which] = cosines.argmax(axis=1), cosines.max(axis=1)
    unknown = ~atoms.any(axis=1) | np.isinf(cosine)
    number[unknown], cosine[unknown] = -1, np.nan
    return number, cosine


def check_compared(compare: Any, subject: Subject) -> np.ndarray:
    """Return the atoms that those of a subject are to be compared with.

    Parameters
    ----------
    compare : estimator or array-like of shape (n_atoms, n_features)
        A fitted estimator with atoms, or the atoms.
    subject : Subject
        Whose units.

    Raises
    ------
    ValueError
        If either has no atoms, or the numbers of features differ.
    """
    caller = subject.needed_by
    if added_atoms(subject) is None:
        raise ValueError(
            f"{caller}: compare needs atoms (components_) of {type(subject.autoencoder).__name__}, "
            "which has none: there are such with a decoder of one layer only."
        )
    if hasattr(compare, "fit"):
        other = Subject(compare, needed_by=f"{caller}: compare")
        atoms = added_atoms(other)
        if atoms is None:
            raise ValueError(
                f"{caller}: compare must have atoms (components_), and "
                f"{type(other.autoencoder).__name__} has none."
            )
    else:
        atoms = check_matrix(compare, "compare", accept_sparse=False)
    if atoms.shape[1] != subject.n_features:
        raise ValueError(
            f"compare must have {subject.n_features} features, as many as reach the autoencoder, "
            f"got {atoms.shape[1]}."
        )
    return atoms
