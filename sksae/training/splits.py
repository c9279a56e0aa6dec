"""Which rows a training goes by: those that count, and those that are held out."""

from typing import Protocol

import numpy as np

from sksae.model.numbers import Matrix
from sksae.process.processes import processes_in_use
from sksae.training.validation import check_probabilities


class HoldsOut(Protocol):
    """What says whether rows are held out, and how many."""

    @property
    def early_stopping(self) -> bool:
        """Whether any are."""

    @property
    def validation_fraction(self) -> float:
        """What share."""


def check_rows(loss: str, X: Matrix, sample_weight: np.ndarray | None) -> None:
    """Raise if rows that count are none that the loss can compare an output with.

    Parameters
    ----------
    loss : {"squared_error", "cross_entropy"}
        Of the output.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    """
    check_probabilities(X, _counted(sample_weight), loss)


def split_rows(
    specification: HoldsOut,
    n_samples: int,
    sample_weight: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the indices of training rows (None: all) and of rows held out (None: none).

    A function of the seed, so that a training that goes on holds out the same rows.

    Parameters
    ----------
    specification : HoldsOut
        Says whether rows are held out, and how many.
    n_samples : int
        All rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights; None where all are alike.
    seed : int
        Of the choice.

    Raises
    ------
    ValueError
        If there are too few rows for some to be held out.
    """
    index = _counted(sample_weight)
    if not specification.early_stopping:
        return index, None
    rows = np.arange(n_samples) if index is None else index
    processes = processes_in_use()
    # Each of several processes holds out its share of its own rows.
    order = np.random.default_rng([seed, *processes.key]).permutation(rows)
    n_held_out = int(np.ceil(specification.validation_fraction * len(order)))
    n_all, n_all_held_out = processes.total(len(order)), processes.total(n_held_out)
    if n_all - n_all_held_out < 1 or n_all_held_out < 2:
        raise ValueError(
            f"early_stopping=True with validation_fraction={specification.validation_fraction} "
            f"would hold out {n_all_held_out} of {n_all} rows: at least 2 must be held out and 1 "
            "must remain. Change validation_fraction, or use early_stopping=False."
        )
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def _counted(sample_weight: np.ndarray | None) -> np.ndarray | None:
    """Return the indices of rows whose weight is not 0; None is all rows."""
    if sample_weight is None or sample_weight.all():
        return None
    return np.flatnonzero(sample_weight)
