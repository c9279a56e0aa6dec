"""Where the units of a code begin, so that it is about as sparse from the start as it shall be."""

from math import log
from statistics import NormalDist
from typing import NamedTuple

from sksae.model.codes import CODES
from sksae.model.scaling import Scaling

# Units of which the gate or threshold is learnt begin with so many times as many active ones as
# are wanted: those that are needed are then among them.
START_TIMES = 2.0
# How near to a threshold pre-activations tell of it: in units of their standard deviation at the
# start, when atoms have random directions.
BANDWIDTH = 1.0


class CodeStart(NamedTuple):
    """What the units of a code begin with.

    Attributes
    ----------
    bias : float
        Pre-activation at the mean row.
    threshold : float
        Where units have one.
    """

    bias: float = 0.0
    threshold: float = 0.0


def code_start(sparsity: str | None, activation: str, rho: float, deviation: float) -> CodeStart:
    """Return what the units of a code begin with.

    Parameters
    ----------
    sparsity : str or None
        Name of the code.
    activation : str
        Of its units.
    rho : float
        Wanted share of active units.
    deviation : float
        Of pre-activations (see `deviation_at_start`).
    """
    facts = CODES[sparsity]
    if facts.aims_at_mean:
        # There the activity is rho.
        logit = log(rho / (1.0 - rho))
        return CodeStart(logit if activation == "sigmoid" else logit / 2.0)
    if not (facts.counts_units and facts.has_penalty):
        return CodeStart()
    share = min(START_TIMES * rho, 0.5)
    height = max(-NormalDist().inv_cdf(share) * deviation, 0.0)
    return CodeStart(threshold=height) if facts.aims_at_count else CodeStart(bias=-height)


def deviation_at_start(scaling: Scaling, deviation: float) -> float:
    """Return the standard deviation over rows of what atoms of random directions detect.

    Parameters
    ----------
    scaling : Scaling
        Of the rows.
    deviation : float
        Of all entries of X.

    Returns
    -------
    deviation : float
        Of z . D_j: that of an entry of z; 1 where rows are all alike.
    """
    return deviation / scaling.scale or 1.0
