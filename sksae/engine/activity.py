"""How active a code is, and whether that is what rho says."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sksae.engine.device import to_float64
from sksae.model.codes import activity, hoyer_sparsity, mean_activation
from sksae.model.settings import TOLERANCE
from sksae.model.tasks import CodeMeasured

# An estimate from the last minibatches that is so near is taken as a sign that all rows are within
# TOLERANCE.
NEAR = 0.07
# An activation is negligible up to this share of the unit's largest. A controller of beta counts
# what is not, which tells of units that still come to rest; what is active, `active_above` says.
NEGLIGIBLE = 1e-3
# Of a code that are copied at a time, to be counted.
BLOCK_ENTRIES, BLOCK_ENTRIES_OF_DEVICES = 2**15, 2**22


def to_numpy(values: Tensor) -> np.ndarray:
    """Return a tensor's values in float64."""
    return values.cpu().numpy().astype(np.float64)


def share_not_negligible(code: Tensor, largest: Tensor, row_weights: Tensor) -> Tensor:
    """Return the share of some rows in which each unit is not negligible.

    Parameters
    ----------
    code : Tensor of shape (n_models, n_components, n_rows)
        Absolute values.
    largest : Tensor of shape (n_models, n_components, 1)
        Each unit's largest activation.
    row_weights : Tensor of shape (1, n_rows, 1)
        What each row counts.

    Returns
    -------
    share : Tensor of shape (n_models, n_components, 1)
    """
    return (code > NEGLIGIBLE * largest).to(row_weights.dtype) @ row_weights


def where_not_zero(code: Tensor) -> Tensor:
    """Return 1 where a code is not 0, and 0 elsewhere."""
    # Of signs, as sums of booleans take five times as long.
    return code.sign().square_()


def row_blocks(code: Tensor) -> Iterator[slice]:
    """Yield the rows of a code, as many at a time as may be copied without taking much memory.

    Parameters
    ----------
    code : Tensor of shape (n_models, n_components, n_rows)
        Activations.
    """
    n_models, n_components, n_rows = code.shape
    entries = BLOCK_ENTRIES if code.device.type == "cpu" else BLOCK_ENTRIES_OF_DEVICES
    length = max(1, entries // (n_models * n_components))
    for start in range(0, n_rows, length):
        yield slice(start, start + length)


def share_of_rows(active: Tensor, weight: Tensor | None, n_rows: int) -> Tensor:
    """Return what some rows add to the share of all rows in which each unit is active.

    Parameters
    ----------
    active : Tensor of shape (n_models, n_components, n_some)
        1 in those of these rows, 0 in others.
    weight : Tensor of shape (1, n_some, 1) or None
        What each weighs, relative to the mean of all; None where all weigh alike.
    n_rows : int
        All rows.

    Returns
    -------
    share : Tensor of shape (n_models, n_components, 1), float64
    """
    total = active.sum(dim=2, keepdim=True) if weight is None else active @ weight
    return to_float64(total) / n_rows


def row_sparsity(activities: Tensor) -> Tensor:
    """Return Hoyer's sparsity of each row's activities.

    Parameters
    ----------
    activities : Tensor of shape (n_models, n_components, n_rows)
        At least 0; overwritten.

    Returns
    -------
    sparsity : Tensor of shape (n_models, n_rows)
    """
    # By the largest, so that squares of very small or large ones neither vanish nor overflow.
    unit = activities.amax(dim=1, keepdim=True)
    l1 = activities.div_(torch.where(unit > 0.0, unit, 1.0)).sum(dim=1)
    return sparsity_of_norms(l1, activities.square_().sum(dim=1), activities.shape[1])


def sparsity_of_norms(l1: Tensor, square: Tensor, length: int) -> Tensor:
    """Return Hoyer's sparsity of vectors of that length, given sums of magnitudes and squares."""
    ratio = torch.where(square > 0.0, l1 / square.sqrt(), 1.0)
    return hoyer_sparsity(ratio.clamp(1.0, length**0.5), length)


def measured_by_row(code: Tensor, sparsity: str | None, activation: str) -> tuple[Tensor, Tensor]:
    """Return of each row what `measured` takes the means of, both of shape (n_models, n_rows).

    Parameters
    ----------
    code : Tensor of shape (n_models, n_components, n_rows)
        Activations.
    sparsity, activation : str or None, str
        As in `measured`.
    """
    means, sparsities = [], []
    for which in row_blocks(code):
        own = code[..., which]
        means.append(mean_activation(own, activation).mean(dim=1))
        sparsities.append(row_sparsity(activity(own, sparsity, activation).abs()))
    return torch.cat(means, dim=1), torch.cat(sparsities, dim=1)


def measured(
    code: Tensor, row_weights: Tensor, sparsity: str | None, activation: str
) -> CodeMeasured:
    """Return what one model's code of some rows is like.

    Parameters
    ----------
    code : Tensor of shape (1, n_components, n_rows)
        Activations.
    row_weights : Tensor of shape (1, n_rows, 1)
        What each row counts.
    sparsity, activation : str or None, str
        As in `model.codes.activity`.
    """
    counted = row_weights[0, :, 0] / row_weights.sum()
    mean = mean_activation(code, activation).mean(dim=1) @ counted
    of_rows = row_sparsity(activity(code, sparsity, activation).abs()) @ counted
    return CodeMeasured(float(mean), float(of_rows))


def measured_of_rows(means: Tensor, sparsities: Tensor, row_weights: Tensor) -> CodeMeasured:
    """Return the same of one model, given what `measured_by_row` says of it.

    Parameters
    ----------
    means, sparsities : Tensor of shape (n_rows,)
        Of each row.
    row_weights : Tensor of shape (1, n_rows, 1)
        What each counts.
    """
    counted = row_weights[0, :, 0] / row_weights.sum()
    return CodeMeasured(float(means @ counted), float(sparsities @ counted))


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
