"""The law of beta="auto": a controller raises or lowers beta until a code is as active as rho says.

The activity of a code is one number for each model: the mean over units of the mean activation, or
of the share of rows in which a unit is not negligible. The controller follows its logarithm and
moves that of beta, by proportional and integral action in incremental form (Astrom & Hagglund 1995,
"PID Controllers", chapter 3). How fast, and from where, the code's law says:

- One-sided (l1, l2, gated): the larger beta, the fewer such rows. The error is
  ln(activity / target), where the target comes down to rho step by step: a beta that shoots up
  kills units which no later, smaller beta brings back to life.
- Two-sided (kl, jumprelu): with beta the activity tends to rho, from above or from below. The error
  is abs(ln(activity / rho)) - band, so that beta ends as small as it can be: where the activity is
  off rho by the band.

All quantities are of shape (n_models,), and no step branches on the values of one model. Apart from
what is measured on a code, they are numpy's: an operation on so few numbers takes torch several
times as long, and a move is some twenty of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log

import numpy as np

# Larger errors count as this.
ERROR_LIMIT = 1.0
# ln(beta) stays so near where it began.
FURTHEST = 16.0


@dataclass(frozen=True)
class ControlLaw:
    """How a code's beta is moved; measured on digits and nature patches.

    Attributes
    ----------
    start : mapping of str to float
        Where beta begins, by solver: so many times the squared error for each unit to the power of
        ``start_power``.
    start_power : float
        In what S is counted: 1 in units, 1/2 in activations, 0 in their squares. Activations grow
        with the rows, as the weights of both layers start at about the same length.
    is_per_unit : bool
        Whether S is a sum over units, which share in the error.
    integral : float
        By how much an error of 1 that lasts all the training moves ln(beta).
    max_rate : float
        In no step, however short the training, it moves by more.
    proportional : float
        By how much a change of the error by 1 moves it.
    largest_boost : float
        Toward the end the integral action grows, as the falling learning rate makes the network
        slower: with the inverse of the share of steps left, up to this factor.
    descent : float
        How far ln(target) would come down in all the training.
    ceiling : float
        beta stays below so many times the squared error for each unit, over rho.
    band : float or None
        Where the activity may be on either side of rho when beta is too small, how far off it is
        held, in ln(activity / rho); None where it is above rho then.
    """

    start: Mapping[str, float]
    start_power: float
    integral: float
    max_rate: float
    proportional: float
    largest_boost: float
    descent: float = inf
    ceiling: float = inf
    band: float | None = None
    is_per_unit: bool = True

    @property
    def is_two_sided(self) -> bool:
        """Whether the activity may be on either side of rho when beta is too small."""
        return self.band is not None

    def starting_beta(
        self,
        square: np.ndarray,
        n_components: int,
        solver: str,
        divergence: float | None = None,
    ) -> np.ndarray:
        """Return the beta to begin with, shape (n_models,).

        Parameters
        ----------
        square : ndarray of shape (n_models,)
            Mean over rows of the squared deviation from the mean row, the error of no code at all.
        n_components : int
            Units that share in S.
        solver : str
            Who moves the parameters.
        divergence : float, optional
            What the loss of no code at all is above that of a perfect one, where that is not half
            of the squared deviation: beta weighs S against the loss, and is as many times larger.
        """
        square = np.maximum(square, np.finfo(np.float32).tiny)
        share = square / n_components if self.is_per_unit else square
        beta: np.ndarray = self.start[solver] * share**self.start_power
        return beta if divergence is None else beta * (2.0 * divergence / square)

    def highest(self, log_beta: np.ndarray, rho: np.ndarray, solver: str) -> np.ndarray:
        """Return the most that ln(beta) may become, given where it began.

        Parameters
        ----------
        log_beta : ndarray of shape (n_models,)
            ln(beta) at the beginning.
        rho : ndarray of shape (n_models,)
            Activity wanted.
        solver : str
            Who moves the parameters.
        """
        if self.ceiling == inf:
            return log_beta + FURTHEST
        return log_beta + log(self.ceiling / self.start[solver]) - np.log(rho)


def control_error(
    activity: np.ndarray, target: np.ndarray, rho: np.ndarray, *, band: float | None
) -> np.ndarray:
    """Return by how much beta is too small, between -ERROR_LIMIT and ERROR_LIMIT.

    Parameters
    ----------
    activity, target, rho : ndarray of shape (n_models,)
        As it is; as it should be by now; as it should be in the end.
    band : float or None
        As in `ControlLaw`.
    """
    log_activity = np.log(np.maximum(activity, np.finfo(np.float64).eps))
    error = log_activity - np.log(target)
    if band is not None:
        error = np.maximum(error, np.log(rho) - log_activity) - band
    return np.minimum(np.maximum(error, -ERROR_LIMIT), ERROR_LIMIT)


def next_log_beta(
    log_beta: np.ndarray,
    error: np.ndarray,
    error_before: np.ndarray,
    *,
    integral: np.ndarray | float,
    proportional: float,
) -> np.ndarray:
    """Return ln(beta) after one move, by the error and by its change.

    Parameters
    ----------
    log_beta : ndarray of shape (n_models,)
        ln(beta) so far.
    error, error_before : ndarray of shape (n_models,)
        By how much beta is too small, now and at the move before (see `control_error`).
    integral : ndarray of shape (n_models,) or float
        By how much an error of 1 moves ln(beta).
    proportional : float
        By how much a change of the error by 1 does.
    """
    return log_beta + integral * error + proportional * (error - error_before)
