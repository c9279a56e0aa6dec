"""How well rows are reconstructed: the R^2 that the estimator's score and the metrics share."""

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from sksae.scaling import Matrix, weighted_moments
from sksae.warning import warn_user


def r_squared(X: Matrix, squared_errors: np.ndarray, weight: np.ndarray | None) -> float:
    """Return 1 - squared error / squared deviation from the rows' own mean, over the whole matrix.

    Parameters
    ----------
    X : ndarray or canonical CSR matrix of shape (n_samples, n_features)
        Rows.
    squared_errors : ndarray of shape (n_samples,), float64
        Squared error of each row's reconstruction.
    weight : ndarray of shape (n_samples,) or None
        Non-negative weight of each row, not all 0.

    Returns
    -------
    score : float
        At most 1. nan, with a warning, for fewer than two rows; without any deviation 1.0 if the
        error is 0 and 0.0 otherwise.
    """
    if X.shape[0] < 2:
        warn_user("R^2 is not well-defined with less than two rows.", UndefinedMetricWarning)
        return float("nan")
    counted = None if weight is None else np.flatnonzero(weight)
    _, variance = weighted_moments(X, counted, weight)
    error = float(np.average(squared_errors, weights=weight))
    deviation = variance * X.shape[1]
    if deviation == 0.0:
        return 1.0 if error == 0.0 else 0.0
    return 1.0 - error / deviation
