"""How a network sees rows: the map from the units of X to those that it is trained in."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sksae.model.codes import BOUNDED
from sksae.model.numbers import nearest_positive

# Mean squared norm of a row, whose size decides what a unit of activation is worth: with much less
# a sigmoid code does best by small movements of all units, and with more it is made of fewer units.
SCALED_NORM = 36.0
# An output with a range has room for less: the standard deviation of an entry, and with it the norm
# of a row, that the UFLDL recipe gives its 8x8 patches (clipped to three deviations, then mapped to
# [0.1, 0.9]).
BOUNDED_DEVIATION = 0.4 / 3.0
BOUNDED_NORM = 64 * BOUNDED_DEVIATION**2


# What an autoencoder may be trained to make of rows: see `row_range` for what that says of scaling.
LOSSES = ("squared_error", "cross_entropy")


@dataclass(frozen=True)
class Columns:
    """What is known of each feature of the rows that count.

    Attributes
    ----------
    variance, lowest, highest : ndarray of shape (n_features,), float64
        Weighted variance, exactly 0 where nothing but rounding distinguishes the rows; smallest
        and largest value.
    exponent : int
        The variance is that of X / 2**exponent; 0 unless the values of X are extreme.
    """

    variance: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    exponent: int = 0

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation."""
        with np.errstate(all="ignore"):
            return np.ldexp(np.sqrt(self.variance), self.exponent)


@dataclass(frozen=True)
class Scaling:
    """The network sees ``z = shift + (x - mean) / scale``; it trains on z less its own mean.

    Taking the mean away is a change of coordinates only: the first layer's bias takes it up, and
    J is the same function. But steps along weights and bias no longer disturb each other, and
    training gets much further in as many steps (LeCun et al. 1998, "Efficient BackProp", 4.3).

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
    scale, shift : float
    centre : ndarray of shape (n_features,)
        Mean of the training rows; equals ``mean`` if data are scaled.
    scaled : bool
        Whether they are.
    columns : Columns or None
        What it was found from; None where it was not found from these rows.
    stretch : float
        By how much the first weights make up for a change of scale since training began.
    divergence : float or None
        Of rows whose values are probabilities, how far they are from their mean: what the cross
        entropy falls by from an output that is the mean row to one that is the row itself. None
        where it is not known, or 0.
    """

    mean: np.ndarray
    scale: float
    shift: float
    centre: np.ndarray
    scaled: bool
    columns: Columns | None = None
    stretch: float = 1.0
    divergence: float | None = None

    @cached_property
    def offset(self) -> np.ndarray:
        """What the mean training row is in the space of z."""
        return self.shift + (self.centre - self.mean) / self.scale

    def offset_at(self, rounded: np.ndarray) -> np.ndarray:
        """Return what a row at ``centre``, rounded to fewer digits, is in the space of z.

        Parameters
        ----------
        rounded : ndarray of shape (n_features,), float64
            The row.
        """
        return self.offset - (self.centre - rounded) / self.scale

    @cached_property
    def undone(self) -> "Scaling":
        """The scaling that leaves rows as they are in X, of the same mean training row."""
        return Scaling(np.zeros_like(self.centre), 1.0, 0.0, self.centre, scaled=False)


def row_range(output_activation: str, loss: str) -> str:
    """Return the name of the activation whose range scaled rows must keep to.

    It is the output's, which makes z of codes, but with the cross entropy: there the output makes
    x itself, and z is what the encoder sees and nothing else.

    Parameters
    ----------
    output_activation : str
        Of the network's output.
    loss : {"squared_error", "cross_entropy"}
        What it is trained by.
    """
    return "identity" if loss == "cross_entropy" else output_activation


def scaling_of(
    centre: np.ndarray, deviation: float, *, scale_data: bool, output_activation: str
) -> Scaling:
    """Return the scaling of rows of that mean, and of that deviation over all their entries.

    Parameters
    ----------
    centre : ndarray of shape (n_features,)
        Mean of the rows.
    deviation : float
        Over all their entries; 0 where the rows are all alike.
    scale_data : bool
        Whether to scale them at all.
    output_activation : str
        Into whose range they must fit (see `row_range`).
    """
    if not scale_data:
        return Scaling(np.zeros_like(centre), 1.0, 0.0, centre, scaled=False)
    scale = 1.0
    if deviation > 0.0:
        with np.errstate(all="ignore"):
            scale = nearest_positive(deviation / scaled_deviation(len(centre), output_activation))
    shift = 0.5 if output_activation == "sigmoid" else 0.0
    return Scaling(centre, scale, shift, centre, scaled=True)


def has_scaled_norm(output_activation: str, scale_data: bool) -> bool:
    """Return whether rows have the norm that makes codes sparse."""
    return scale_data and output_activation not in BOUNDED


def scaled_deviation(n_features: int, output_activation: str) -> float:
    """Return the standard deviation that scaled data have over all their entries.

    It is the row whose mean squared norm is fixed, not the entry: J sums the error over features,
    while the sparsity and the weights do not grow with their number, so that fixed entries would
    give weak penalties to wide data and strong ones to narrow data. Outputs with a range have no
    room for larger entries than UFLDL's.
    """
    if output_activation in BOUNDED:
        return min(float(np.sqrt(BOUNDED_NORM / n_features)), BOUNDED_DEVIATION)
    return float(np.sqrt(SCALED_NORM / n_features))


def usual_norm(n_features: int, output_activation: str, *, scaled: bool) -> float:
    """Return the norm that rows have in the space of z, less their mean: its root mean square.

    Parameters
    ----------
    n_features : int
        Number of features.
    output_activation : str
        Into whose range they must fit (see `row_range`).
    scaled : bool
        Whether they are scaled. Of others nobody knows, and it is the norm that defaults are for.
    """
    if not scaled:
        return float(np.sqrt(BOUNDED_NORM))
    return float(np.sqrt(n_features)) * scaled_deviation(n_features, output_activation)
