"""How strongly a linear layer on codes is to decay, by leaving out each row in turn."""

import numpy as np

# What is tried, times the number of rows in scikit-learn's units.
DECAYS = np.logspace(-5, 1, 13)
# Each left out of all others, and so many at most: the decay hardly moves beyond.
MOST_ROWS = 10_000
# Fewer tell nothing, and the decay is this.
FEWEST_ROWS, DECAY_OF_FEW = 5, 1e-2


def best_decay(codes: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the weight decay with which a linear layer predicts rows best that it has not seen.

    Of ridge regression the errors of all rows, each left out of the fit to the others, have a
    closed form [1]_; scikit-learn's `RidgeCV` computes it.

    Parameters
    ----------
    codes : ndarray of shape (n_rows, n_components)
        What the layer is given.
    target : ndarray of shape (n_rows, n_outputs)
        What it shall give, of mean 0 and deviation 1.
    weight : ndarray of shape (n_rows,) or None
        What each row counts.

    Returns
    -------
    alpha : float
        As in the J of `SparseAutoencoderRegressor`.

    References
    ----------
    .. [1] R. Rifkin and R. Lippert, "Notes on regularized least squares", MIT-CSAIL-TR-2007-025.
    """
    # Imported here: `import sksae` must cost little.
    from sklearn.linear_model import RidgeCV

    n_rows = len(codes)
    if n_rows < FEWEST_ROWS:
        return DECAY_OF_FEW
    if n_rows > MOST_ROWS:
        some = np.linspace(0, n_rows - 1, MOST_ROWS).astype(int)
        weight = None if weight is None else weight[some]
        codes, target, n_rows = codes[some], target[some], MOST_ROWS
    if weight is not None:
        weight = weight / weight.mean()
    ridge = RidgeCV(DECAYS * n_rows).fit(codes.astype(np.float64), target, sample_weight=weight)
    return float(ridge.alpha_ / n_rows)
