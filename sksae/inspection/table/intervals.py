"""Differences between two groups of rows: intervals and tests, for many pairs of groups at once."""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, stdtr, stdtrit

# Of a standard normal variable, what 95 % are within.
Z_95 = 1.959963984540054
# Tables that are as probable as the one observed, but for rounding, count with it.
TIE = 1e-7


class Difference(NamedTuple):
    """How two groups differ, for each pair of them.

    Attributes
    ----------
    difference : ndarray of shape (n_pairs,)
        Mean or share of the first less that of the second.
    low, high : ndarray of shape (n_pairs,)
        Ends of the 95 % confidence interval.
    p_value : ndarray of shape (n_pairs,)
        Two-sided, of the hypothesis that there is no difference.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


class Moments(NamedTuple):
    """Of groups of numbers.

    Attributes
    ----------
    n, mean, variance : ndarray of shape (n_groups,)
        Number, mean, and sum of squared deviations over n - 1.
    """

    n: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


@np.errstate(all="ignore")
def difference_of_means(one: Moments, other: Moments) -> Difference:
    r"""Return Welch's t-test and interval.

    .. math:: \bar y_1 - \bar y_0 \pm t_{.975, \nu} s, \quad s^2 = s_1^2 / n_1 + s_0^2 / n_0, \quad
              \nu = \frac{s^4}{(s_1^2 / n_1)^2 / (n_1 - 1) + (s_0^2 / n_0)^2 / (n_0 - 1)}

    [1]_. nan where neither group varies.

    Parameters
    ----------
    one, other : Moments
        Of the first and the second groups.

    References
    ----------
    .. [1] B. Welch, "The generalization of 'Student's' problem when several different population
           variances are involved", Biometrika 34, 1947.
    """
    squared = one.variance / one.n, other.variance / other.n
    error = np.sqrt(squared[0] + squared[1])
    freedom = error**4 / (squared[0] ** 2 / (one.n - 1) + squared[1] ** 2 / (other.n - 1))
    difference = one.mean - other.mean
    margin = stdtrit(freedom, 0.975) * error
    p_value = 2.0 * stdtr(freedom, -np.abs(difference / error))
    return Difference(difference, difference - margin, difference + margin, p_value)


@np.errstate(all="ignore")
def difference_of_shares(
    count: np.ndarray, n: np.ndarray, other_count: np.ndarray, other_n: np.ndarray
) -> Difference:
    r"""Return Newcombe's interval and Fisher's exact test.

    With Wilson's interval :math:`(l_i, u_i)` of each share :math:`p_i`, the difference
    :math:`d = p_1 - p_0` is between

    .. math:: d - \sqrt{(p_1 - l_1)^2 + (u_0 - p_0)^2}, \quad
              d + \sqrt{(u_1 - p_1)^2 + (p_0 - l_0)^2}

    the hybrid score interval, method 10 of [1]_.

    Parameters
    ----------
    count, n : ndarray of shape (n_pairs,)
        How many of how many rows of the first group have the class.
    other_count, other_n : ndarray of shape (n_pairs,)
        Likewise, of the second.

    References
    ----------
    .. [1] R. Newcombe, "Interval estimation for the difference between independent proportions:
           comparison of eleven methods", Statistics in Medicine 17, 1998.
    """
    share, other = count / n, other_count / other_n
    (l_1, u_1), (l_0, u_0) = wilson(share, n), wilson(other, other_n)
    difference = share - other
    return Difference(
        difference,
        difference - np.hypot(share - l_1, u_0 - other),
        difference + np.hypot(u_1 - share, other - l_0),
        fisher(count, n, other_count, other_n),
    )


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the ends of Wilson's 95 % score interval of a share.

    .. math:: \frac{2 n p + z^2 \mp z \sqrt{z^2 + 4 n p (1 - p)}}{2 (n + z^2)}

    Parameters
    ----------
    share, n : ndarray
        The share found, and among how many.
    """
    centre = 2.0 * n * share + Z_95**2
    margin = Z_95 * np.sqrt(Z_95**2 + 4.0 * n * share * (1.0 - share))
    return (centre - margin) / (2.0 * (n + Z_95**2)), (centre + margin) / (2.0 * (n + Z_95**2))


def fisher(
    count: np.ndarray, n: np.ndarray, other_count: np.ndarray, other_n: np.ndarray
) -> np.ndarray:
    """Return two-sided p-values of Fisher's exact test; nan where a number is.

    The sum of the probabilities of all tables with the same margins that are no more probable
    than the one observed. It is exact for few rows, and on the safe side.

    Parameters
    ----------
    count, n, other_count, other_n : ndarray of shape (n_pairs,)
        As in `difference_of_shares`.
    """
    tables = np.stack(np.broadcast_arrays(count, n, other_count, other_n), axis=-1)
    p_values = np.full(len(tables), np.nan)
    known = np.isfinite(tables).all(axis=1)
    if not known.any():
        return p_values
    most = int((tables[known, 1] + tables[known, 3]).max())
    log_factorials = gammaln(np.arange(most + 1) + 1.0)
    for which in np.flatnonzero(known):
        x, n_1, other, n_0 = tables[which].astype(np.intp)
        of_class = x + other
        lowest = max(0, of_class - n_0)
        k = np.arange(lowest, min(of_class, n_1) + 1)
        log_choices = -(
            log_factorials[k]
            + log_factorials[n_1 - k]
            + log_factorials[of_class - k]
            + log_factorials[n_0 - of_class + k]
        )
        probabilities = np.exp(log_choices - log_choices.max())
        rare = probabilities <= probabilities[x - lowest] * (1.0 + TIE)
        p_values[which] = probabilities[rare].sum() / probabilities.sum()
    return p_values
