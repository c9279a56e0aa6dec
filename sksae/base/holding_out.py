"""Rows with a target that are held out, with classes in proportion."""

import numpy as np

from sksae.process.processes import processes_in_use


def hold_out(
    index: np.ndarray, strata: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to train on and rows held out, with classes in proportion where there are any.

    Parameters
    ----------
    index : ndarray of int
        Rows to choose from.
    strata : ndarray of shape (n_samples,) or None
        Class of each row; None where there are none.
    fraction : float
        Share of the rows to hold out.
    seed : int
        Of the draw.

    Raises
    ------
    ValueError
        If there are too few rows to hold out that share, in proportion.
    """
    if processes_in_use().are_several:
        return _hold_out_of_own(index, strata, fraction, seed)
    # Imported here: it takes a third of what `import sksae` would else take of its own.
    from sklearn.model_selection import train_test_split

    try:
        kept, held_out = train_test_split(
            index,
            test_size=fraction,
            random_state=seed,
            stratify=None if strata is None else strata[index],
        )
        if len(held_out) < 2:
            raise ValueError("one row tells too little, at least 2 must be held out.")
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True with validation_fraction={fraction} cannot hold out rows of the "
            f"{len(index)} with a target: {str(error).rstrip('.')}. Change validation_fraction, or "
            "use early_stopping=False."
        ) from error
    return np.sort(kept), np.sort(held_out)


def _hold_out_of_own(
    index: np.ndarray, strata: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Do so with the rows of one of several processes, which may be few or none.

    Parameters
    ----------
    index, strata, fraction, seed
        As in `hold_out`.
    """
    processes = processes_in_use()
    draws = np.random.default_rng([seed, *processes.key])
    order = draws.permutation(index)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    # Every so many rows one is held out, of classes one after another.
    reached = np.floor(draws.random() + fraction * np.arange(len(order) + 1))
    is_held_out = np.diff(reached) > 0.0
    n_all, n_held_out = map(processes.total, (len(order), int(is_held_out.sum())))
    if n_held_out < 2 or n_held_out == n_all:
        raise ValueError(
            f"early_stopping=True with validation_fraction={fraction} would hold out {n_held_out} "
            f"rows of the {n_all} with a target in all processes: at least 2 must be held out and "
            "1 must remain. Change validation_fraction, or use early_stopping=False."
        )
    return np.sort(order[~is_held_out]), np.sort(order[is_held_out])
