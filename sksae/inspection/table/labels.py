"""Labels of units without a language model: of words, or of conditions on named features."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sksae.inspection.table.fidelity import Fidelity
from sksae.inspection.table.named_rows import NamedRows
from sksae.inspection.table.rule_labels import MOST_FEATURES, most_rows, rule_labels
from sksae.inspection.table.term_labels import (
    Incidence,
    incidence_of_features,
    incidence_of_texts,
    term_labels,
)


class Labels(NamedTuple):
    """What units stand for.

    Attributes
    ----------
    label : ndarray of object of shape (n_units,)
        A string, or None for a unit without a label.
    fidelity : Fidelity
        How well it tells in which rows the unit is active; nan without a label.
    """

    label: np.ndarray
    fidelity: Fidelity


def labels_of(
    material: np.ndarray | NamedRows,
    active: sp.csc_array,
    first: np.ndarray,
    random: np.random.RandomState,
) -> Labels | None:
    """Return labels that are made on one half of the rows and checked on the other.

    Sparse features that are never negative, such as counts of words, make labels of those that are
    not 0, as texts do of their words. Others make conditions, of some of the rows if there are
    many. None if features are too many for that.

    Parameters
    ----------
    material : ndarray of str of shape (n_samples,) or NamedRows
        Texts, or rows whose features have names.
    active : csc_array of float64 of shape (n_samples, n_units)
        1 where units are active.
    first : ndarray of bool of shape (n_samples,)
        Which rows labels are made of.
    random : RandomState
        Draws rows, if there are many.
    """
    if isinstance(material, np.ndarray):
        return _of_terms(incidence_of_texts(material, first), active, first)
    if sp.issparse(material.take(np.arange(1))):
        rows = material.take(np.arange(len(first)))
        if rows.min() >= 0.0:
            return _of_terms(incidence_of_features(material.names, rows, first), active, first)
    if len(material.names) > MOST_FEATURES:
        return None
    making, checking = (
        np.sort(random.permutation(np.flatnonzero(half))[:most])
        for half, most in zip((first, ~first), most_rows(len(material.names)), strict=True)
    )
    by_row = sp.csr_array(active)
    return Labels(
        *rule_labels(
            material.names,
            (_dense(material.take(making)), _dense(material.take(checking))),
            (sp.csc_array(by_row[making]), sp.csc_array(by_row[checking])),
        )
    )


def _of_terms(
    incidence: Incidence | None, active: sp.csc_array, first: np.ndarray
) -> Labels | None:
    """Return labels of words, None if there are no words."""
    if incidence is None:
        return None
    by_row = sp.csr_array(active)
    return Labels(
        *term_labels(incidence, sp.csc_array(by_row[first]), sp.csc_array(by_row[~first]))
    )


def _dense(rows: np.ndarray | sp.csr_array) -> np.ndarray:
    """Return rows as an array."""
    return rows if isinstance(rows, np.ndarray) else rows.toarray()
