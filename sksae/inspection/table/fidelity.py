"""How well a label tells in which rows a unit is active."""

from typing import NamedTuple

import numpy as np

# Below so many active rows a unit has no label, for anything may be common to a few rows.
FEWEST_ACTIVE = 5
# What another word or condition must gain of F1 at least.
LEAST_GAIN = 0.02


class Fidelity(NamedTuple):
    """Of labels, as predictions of which rows units are active in.

    Attributes
    ----------
    f1, precision, recall : ndarray of shape (n_units,)
        As scikit-learn's `f1_score` and its like tell them. Precision is nan of a label that holds
        in no row, recall of a unit that is active in none.
    base_f1 : ndarray of shape (n_units,)
        F1 of a label that always holds.
    """

    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    base_f1: np.ndarray


@np.errstate(all="ignore")
def fidelity(
    n_both: np.ndarray, n_holding: np.ndarray, n_active: np.ndarray, n_rows: int
) -> Fidelity:
    r"""Return the fidelity of labels.

    That of a label that always holds is :math:`2 p / (1 + p)` for a unit that is active in a share
    p of the rows.

    Parameters
    ----------
    n_both, n_holding, n_active : ndarray of shape (n_units,)
        In how many rows the label holds and the unit is active, the label holds, and the unit is
        active; nan for a unit without a label.
    n_rows : int
        Number of rows.
    """
    return Fidelity(
        f1_score_of(n_both, n_holding, n_active),
        n_both / n_holding,
        n_both / n_active,
        base_f1(n_active, n_rows),
    )


def base_f1(n_active: np.ndarray, n_rows: int) -> np.ndarray:
    """Return F1 of a label that holds in all rows.

    Parameters
    ----------
    n_active, n_rows
        As in `fidelity`.
    """
    return 2.0 * n_active / (n_rows + n_active)


@np.errstate(all="ignore")
def f1_score_of(n_both: np.ndarray, n_holding: np.ndarray, n_active: np.ndarray) -> np.ndarray:
    """Return 2 n_both / (n_holding + n_active), elementwise; nan for 0 / 0.

    Parameters
    ----------
    n_both, n_holding, n_active : ndarray
        As in `fidelity`.
    """
    return 2.0 * n_both / (n_holding + n_active)


def least_gain(n_active: np.ndarray) -> np.ndarray:
    """Return what another word or condition must gain of F1: what gains less is noise.

    That is as much as one more active row brings, and 0.02 besides, for long labels are not read.

    Parameters
    ----------
    n_active : ndarray
        As in `fidelity`.
    """
    return LEAST_GAIN + 1.0 / n_active
