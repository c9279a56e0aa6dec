"""How active a code is, and whether that is what rho says."""

import numpy as np
from torch import Tensor

from sksae.model.settings import TOLERANCE

# An estimate from the last minibatches that is so near is taken as a sign that all rows are within
# TOLERANCE.
NEAR = 0.07
# A unit is active in a row if it is above this share of its largest activation.
ACTIVE_FROM = 1e-3


def to_numpy(values: Tensor) -> np.ndarray:
    """Return a tensor's values in float64."""
    return values.cpu().numpy().astype(np.float64)


def share_active(
    code: Tensor, largest: Tensor, row_weights: Tensor, *, is_weighted: bool = False
) -> Tensor:
    """Return the share of some rows in which each unit is active, (n_models, n_components, 1).

    Parameters
    ----------
    code : Tensor of shape (n_models, n_components, n_rows)
        Absolute values.
    largest : Tensor of shape (n_models, n_components, 1)
        Each unit's largest activation.
    row_weights : Tensor of shape (1, n_rows, 1)
        What each row counts.
    is_weighted : bool, default=False
        If so, the shares do not add up to 1, and are divided by their sum.
    """
    active = (code > ACTIVE_FROM * largest).to(row_weights.dtype) @ row_weights
    return active / row_weights.sum(dim=1, keepdim=True) if is_weighted else active


def is_met(activity: np.ndarray, rho: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return whether the activity is rho, up to a share of rho.

    Parameters
    ----------
    activity, rho : ndarray of shape (n_models,)
        As it is, and as it should be.
    tolerance : float
        By what share of rho they may differ.
    """
    return np.abs(activity - rho) <= tolerance * rho
