"""How well rows are reconstructed: the R^2 that the estimator's score and the metrics share."""

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from sksae.model.numbers import Extended, Matrix, r_squared, to_floats
from sksae.process.warning import warn_user
from sksae.training.moments import relative_variance

# A power of two with this exponent, positive or negative, is beyond all floats.
FAR_BELOW = 5000


def reconstruction_score(X: Matrix, distances: Extended, weight: np.ndarray | None) -> float:
    """Return 1 - squared error / squared deviation from the rows' own mean, over the whole matrix.

    Parameters
    ----------
    X : ndarray or canonical CSR matrix of shape (n_samples, n_features)
        Rows.
    distances : Extended, of shape (n_samples, 1)
        Of each row from its reconstruction.
    weight : ndarray of shape (n_samples,) or None
        Non-negative weight of each row, not all 0.

    Returns
    -------
    score : float
        At most 1. nan, with a warning, for fewer than two rows; without any deviation 1.0 if the
        error is 0 and 0.0 otherwise.

    Raises
    ------
    ValueError
        If the score is beyond the range of float64.
    """
    if X.shape[0] < 2:
        warn_user("R^2 is not well-defined with less than two rows.", UndefinedMetricWarning)
        return float("nan")
    counted = None if weight is None else np.flatnonzero(weight)
    variance, exponent = relative_variance(X, counted, weight)
    deviation = variance * X.shape[1]
    which = slice(None) if counted is None else counted
    values, exponents = distances.values[which, 0], distances.exponent[which, 0]
    largest = int(exponents.max())
    with np.errstate(all="ignore"):
        squares = np.ldexp(values, np.maximum(exponents - largest, -FAR_BELOW)) ** 2
        error = float(np.average(squares, weights=None if weight is None else weight[which]))
        shift = int(np.clip(2 * (largest - exponent), -FAR_BELOW, FAR_BELOW))
        score = r_squared(error, deviation, shift)
    if not np.isfinite(score):
        raise ValueError(
            "The reconstruction of X is so far from it, by its own deviation, that R^2 is beyond "
            "the range of float64: give rows of the size of those in fit, or use scale_data=True."
        )
    return score


def squared_errors(distances: Extended) -> np.ndarray:
    """Return the squares of distances, of shape (n_samples,), or raise if they are too large."""
    with np.errstate(all="ignore"):
        squares = np.square(to_floats(distances)[:, 0])
    if not np.isfinite(squares).all():
        raise ValueError(
            "Squared errors are beyond the range of float64, as X holds values so large: use "
            "score, which is relative, or divide X by a constant before fit."
        )
    return squares
