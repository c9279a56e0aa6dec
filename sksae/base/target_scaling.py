"""The scaling of targets that are numbers, and how it follows further pieces of them."""

from typing import NamedTuple

import numpy as np

from sksae.base.targets import Numbers, exponents_of
from sksae.model.network import Layer
from sksae.model.rescaling import FURTHEST_SHIFT, FURTHEST_STRETCH
from sksae.training.seen import Seen


class TargetScaling(NamedTuple):
    """What is subtracted from each output, and what it is then divided by; both (n_outputs,)."""

    mean: np.ndarray
    scale: np.ndarray


def scaled_targets(numbers: Numbers, n_samples: int, scaling: TargetScaling) -> np.ndarray:
    """Return what is to be learnt of each of all rows; 0 of those that have no numbers.

    Parameters
    ----------
    numbers : Numbers
        As they were given.
    n_samples : int
        Number of all rows.
    scaling : TargetScaling
        Of the numbers.

    Returns
    -------
    target : ndarray of shape (n_samples, n_outputs)

    Raises
    ------
    ValueError
        If values are too far from the scaling's mean for their difference to be a float64.
    """
    target = np.zeros((n_samples, numbers.values.shape[1]))
    exponent = exponents_of(scaling.scale)
    values, mean, scale = (
        np.ldexp(each, -exponent) for each in (numbers.values, scaling.mean, scaling.scale)
    )
    target[numbers.index] = (values - mean) / scale
    if not np.isfinite(target).all():
        raise ValueError(
            "y holds values too far from those that training began with for their difference: "
            "divide y by a constant, from the first call on."
        )
    return target


def first_scaling(seen: Seen) -> TargetScaling:
    """Return the scaling of outputs: their own, and by 1 where they are constant."""
    return TargetScaling(seen.mean, np.where(seen.deviation > 0.0, seen.deviation, 1.0))


def next_scaling(so_far: Seen, piece: Seen, scaling: TargetScaling) -> tuple[Seen, TargetScaling]:
    """Return what is known after one more piece, and the scaling of outputs after it.

    Of outputs whose scaling the piece shows wrong it is found anew.

    Parameters
    ----------
    so_far, piece : Seen
        Moments of the outputs in the rows before, and in these.
    scaling : TargetScaling
        In use.

    Raises
    ------
    ValueError
        If the piece has another number of outputs.
    """
    if len(piece.mean) != len(scaling.mean):
        raise ValueError(
            f"y has {len(piece.mean)} outputs, but training began with {len(scaling.mean)}."
        )
    seen = so_far.followed_by(piece)
    about_mean = np.hypot(seen.deviation, seen.mean - scaling.mean)
    is_far = (seen.deviation < scaling.scale / seen.tolerance) | (
        about_mean > scaling.scale * seen.tolerance
    )
    if is_far.any() and so_far.is_young:
        seen = so_far.turned_into(piece)
    anew = first_scaling(seen)
    return seen, TargetScaling(
        np.where(is_far, anew.mean, scaling.mean), np.where(is_far, anew.scale, scaling.scale)
    )


def rescaled_top(top: Layer, before: TargetScaling, after: TargetScaling) -> Layer:
    """Return the layer on top for another scaling of its outputs.

    It predicts what it did, but for outputs whose scale or mean has moved too far: of those it
    predicts after scaling what it did, as weights far too long or short would not be trained.

    Parameters
    ----------
    top : Layer
        As it was trained.
    before, after : TargetScaling
        Of its outputs: in use so far, and from now on.
    """
    growth, moved = after.scale / before.scale, (before.mean - after.mean) / after.scale
    keeps = (growth <= FURTHEST_STRETCH) & (growth >= 1.0 / FURTHEST_STRETCH)
    keeps &= np.abs(moved) <= FURTHEST_SHIFT
    return top._replace(
        coef=np.where(keeps, top.coef / growth, top.coef).astype(top.coef.dtype, copy=False),
        intercept=np.where(keeps, top.intercept / growth + moved, top.intercept),
    )
