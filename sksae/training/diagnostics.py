"""What is found in rows before training: dominant columns, far values, unsuitable norms."""

from collections.abc import Collection, Sequence
from math import ceil, floor, sqrt
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sksae.model.codes import BOUNDED
from sksae.model.numbers import Matrix, float_dtype
from sksae.model.scaling import BOUNDED_NORM, Columns, Scaling
from sksae.training.moments import row_chunks

# Fewer rows tell nothing of a column.
FEWEST_ROWS = 10
# One column, or a few of many, that hold this share of the variance, and each of them so many times
# what another one does on average, leave them next to no part in J. On breast_cancer and wine, each
# column scaled, one with such a share leaves the others about half of their R^2, and one with .98 a
# fifth.
DOMINANT_SHARE, DOMINANT_RATIO = 0.95, 100.0
MOST_DOMINANT = 3
# A value further from its column's median than so many times the column's range, between its 1st
# and its 99th percentile, belongs to something else.
# One that is in a column which dominates is why it does, if it is so much further.
FAR, FAR_AND_DOMINANT, PERCENTILE = 1000.0, 10.0, 0.01
# A column's range is taken from so many rows at most, and so many entries of all columns together;
# and it is no smaller than this share of its median, which may be rounding.
SAMPLE_ROWS, SAMPLE_ENTRIES = 2**12, 2**20
RANGE_OF_ROUNDING = 1e-6
# A column is centred, by a scaler, whose mean is less than this share of its deviation.
CENTRED = 1e-3
# By how much rows may have another norm than the defaults are for.
NORM_FACTOR = 100.0
# Columns that a message names.
MOST_NAMED = 3


def message_on_columns(
    X: Matrix,
    index: np.ndarray | None,
    scaling: Scaling,
    names: Sequence[str] | None = None,
    *,
    keeps_to_unit: bool = False,
) -> str | None:
    """Return what is to be said of the columns of X before training.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    scaling : Scaling
        Found from them.
    names : sequence of str, optional
        Of the columns.
    keeps_to_unit : bool, default=False
        Whether rows must stay in [0, 1].
    """
    n_rows = X.shape[0] if index is None else len(index)
    columns = scaling.columns
    if n_rows < FEWEST_ROWS or columns is None:
        return None
    dominant = dominant_columns(columns.variance)
    far = far_values(X, index, scaling.centre, columns, dominant)
    if far:
        return _message_on_far(far, names)
    if dominant:
        share = columns.variance[dominant].sum() / columns.variance.sum()
        plain, of_sparse = (
            ("MinMaxScaler", "MaxAbsScaler")
            if keeps_to_unit
            else ("StandardScaler", "StandardScaler(with_mean=False)")
        )
        scaler = of_sparse if sp.issparse(X) else plain
        return _message_on_dominant(dominant, share, columns, names, scaler)
    return None


def message_on_norm(scaling: Scaling, output_activation: str, *, may_multiply: bool) -> str | None:
    """Return what is to be said of unscaled rows whose norm the defaults are not for.

    Parameters
    ----------
    scaling : Scaling
        Found from the rows.
    output_activation : str
        Of the network's output.
    may_multiply : bool
        Whether the user can multiply the rows: not where they are codes.
    """
    columns = scaling.columns
    if scaling.scaled or columns is None:
        return None
    norm = float(np.ldexp(columns.variance.sum(), 2 * columns.exponent))
    factor = norm / BOUNDED_NORM
    if norm == 0.0 or not np.isfinite(norm) or 1.0 / NORM_FACTOR < factor < NORM_FACTOR:
        return None
    advice = [] if output_activation == "relu" else ["use scale_data=True"]
    if may_multiply and output_activation not in BOUNDED:
        advice.append(f"multiply X by {1.0 / sqrt(factor):.2g}")
    return (
        f"With scale_data=False rows have a mean squared deviation from their mean of {norm:.3g}, "
        f"and the defaults of alpha, beta and learning_rate are for {BOUNDED_NORM:.3g}: "
        f"{', or '.join([*advice, 'set all three'])}."
    )


def dominant_columns(variance: np.ndarray) -> list[int]:
    """Return the columns, one or a few of many, that hold nearly all of the variance.

    A single column does not dominate, nor does it beside columns that are constant; and of two
    columns one does only if its variance is `DOMINANT_RATIO` times the other's.
    """
    n_varying = int(np.count_nonzero(variance))
    total = variance.sum()
    if n_varying < 2 or not np.isfinite(total):
        return []
    n_most = min(max(n_varying // 10, 1), MOST_DOMINANT)
    order = np.argsort(variance)[::-1][:n_most]
    for n_taken in range(1, n_most + 1):
        taken = variance[order[:n_taken]].sum()
        of_another = (total - taken) / (n_varying - n_taken)
        smallest = variance[order[n_taken - 1]]
        if taken >= DOMINANT_SHARE * total and smallest >= DOMINANT_RATIO * of_another:
            return [int(j) for j in order[:n_taken]]
    return []


class FarValue(NamedTuple):
    """The value of a column that is far from the others, and the range of these."""

    column: int
    value: np.floating
    low: float
    high: float


def far_values(
    X: Matrix,
    index: np.ndarray | None,
    centre: np.ndarray,
    columns: Columns,
    dominant: Collection[int] = (),
) -> list[FarValue]:
    """Return what columns hold that is far from all else in them, the furthest value of each.

    Extremes are those of all rows; medians and percentiles those of a sample, of columns whose
    extremes are many standard deviations from the mean. A column of few values other than 0, or of
    a centred column than what 0 has become, is judged by these.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    index : ndarray of int or None
        Those that count; None for all.
    centre : ndarray of shape (n_features,)
        Mean of the rows that count.
    columns : Columns
        What else is known of the columns.
    dominant : collection of int
        Columns that hold nearly all of the variance.
    """
    n_rows = X.shape[0] if index is None else len(index)
    lowest, middle, highest = (
        np.ldexp(values, -columns.exponent) for values in (columns.lowest, centre, columns.highest)
    )
    reach = np.maximum(highest - middle, middle - lowest)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(columns.variance > 0.0, reach**2 / columns.variance, 0.0)
    # A share p of values far from all others lies sqrt((1 - p) / p) deviations from the mean.
    suspects = np.flatnonzero(deviations >= min(0.25 / PERCENTILE, n_rows / 4))
    n_sampled = min(n_rows, SAMPLE_ROWS)
    if len(suspects) > SAMPLE_ENTRIES // n_sampled:
        order = np.argsort(-deviations[suspects], kind="stable")
        suspects = np.sort(suspects[order[: SAMPLE_ENTRIES // n_sampled]])
    if len(suspects) == 0:
        return []
    positions = np.linspace(0, n_rows - 1, n_sampled).astype(np.intp)
    sample = _taken(X, positions if index is None else index[positions], suspects)
    found = []
    for j, values in zip(suspects.tolist(), np.sort(sample), strict=True):
        values = values.astype(np.float64)
        low, median, high = _inner(values)
        spread = high - low
        if spread == 0.0:
            is_centred = abs(middle[j]) <= CENTRED * np.sqrt(columns.variance[j])
            values = values[values != (median if is_centred else 0.0)]
            if len(values) < FEWEST_ROWS:
                continue
            low, median, high = _inner(values)
            spread = high - low or abs(median)
        spread = max(spread, RANGE_OF_ROUNDING * abs(median))
        least, most = float(columns.lowest[j]), float(columns.highest[j])
        value = most if most - median > median - least else least
        if abs(value - median) > (FAR_AND_DOMINANT if j in dominant else FAR) * spread:
            found.append(FarValue(j, float_dtype(X).type(value), low, high))
    return found


def _taken(X: Matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return some entries of X, dense, of shape (n_columns, n_rows).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    rows, columns : ndarray of int
        Which.
    """
    if sp.issparse(X):
        return X[rows][:, columns].toarray().T
    if isinstance(X, np.ndarray):
        return X[np.ix_(rows, columns)].T
    return np.concatenate([part[:, columns] for part, _ in row_chunks(X, rows)]).T


def _inner(values: np.ndarray) -> tuple[float, float, float]:
    """Return low, middle and high of sorted values, without a share of them at either end."""
    n_left_out = max(ceil(PERCENTILE * (len(values) - 1)), 1)
    low, high = values[n_left_out], values[len(values) - 1 - n_left_out]
    return float(low), float(values[len(values) // 2]), float(high)


def _message_on_far(far: Sequence[FarValue], names: Sequence[str] | None) -> str:
    entries = [
        f"{_exactly(each.value)} in column {_name(each.column, names)}, where nearly all others "
        "are "
        + (f"{each.low:.4g}" if each.low == each.high else f"{each.low:.4g} to {each.high:.4g}")
        for each in far
    ]
    return (
        f"X holds values far from all others of their column: {_listed(entries, '; ')}. If they "
        "stand for missing values, replace them "
        f"(SimpleImputer(missing_values={_exactly(far[0].value)}) say); otherwise scale by what "
        "they do not move (QuantileTransformer)."
    )


def _message_on_dominant(
    dominant: Sequence[int],
    share: float,
    columns: Columns,
    names: Sequence[str] | None,
    scaler: str,
) -> str:
    """Return what is to be said of columns that hold nearly all of the variance.

    Parameters
    ----------
    dominant : sequence of int
        The columns.
    share : float
        Of the variance, that they hold.
    columns : Columns
        What is known of all columns.
    names : sequence of str or None
        Of the columns.
    scaler : str
        What scales each column so that it may be trained on.
    """
    which = _listed([_name(j, names) for j in dominant], " and ")
    ranges = [f"{columns.lowest[j]:.6g} to {columns.highest[j]:.6g}" for j in dominant]
    who = f"column {which} of X holds" if len(dominant) == 1 else f"columns {which} of X hold"
    return (
        f"{who} {floor(1000.0 * share) / 10.0:g} % of the variance, so that the others hardly "
        f"count: scale each column before ({scaler}). Values are {_listed(ranges, ' and ')}: if "
        "one stands for missing ones, replace it (SimpleImputer)."
    )


def _name(j: int, names: Sequence[str] | None) -> str:
    return str(j) if names is None else repr(str(names[j]))


def _exactly(value: np.floating) -> str:
    """Return digits that make the same value of its dtype when they are read."""
    is_short_integer = float(value).is_integer() and abs(value) < 1e12
    return f"{value:.0f}" if is_short_integer else str(value)


def _listed(entries: Sequence[str], separator: str) -> str:
    """Return the first few entries, and how many there are besides."""
    n_more = len(entries) - MOST_NAMED
    more = f" (and {n_more} more columns)" if n_more > 0 else ""
    return separator.join(entries[:MOST_NAMED]) + more
