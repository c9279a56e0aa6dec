"""Two halves of the rows: on one it is chosen what to say, on the other it is measured."""

import numpy as np


def choosing_half(
    n_samples: int, random: np.random.RandomState, classes: np.ndarray | None = None
) -> np.ndarray:
    """Return which rows belong to the first half, drawn at random, as a mask.

    The first half has one row more than the second if their number is odd. Of each class it has
    as many rows as the second, give or take one.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    random : RandomState
        Draws them.
    classes : ndarray of int of shape (n_samples,), optional
        The class of each row.
    """
    order = random.permutation(n_samples)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    first = np.zeros(n_samples, dtype=bool)
    first[order[::2]] = True
    return first
