"""How many bytes networks take that are trained side by side."""

import numpy as np

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.epoch_loss import ADDED_TOGETHER
from sksae.model.architecture import Architecture
from sksae.model.numbers import HALF, kept_dtype
from sksae.model.slices import batch_slices, chunk_slices

# Vectors as long as the parameters: themselves, gradient, both moments of adam and its step, what
# is kept of a network that is done; and for the last evaluation two of twice the precision.
VECTORS = 10


def bytes_side_by_side(
    n_networks: int, architecture: Architecture, n_rows: int, batch_size: int, dtype: str
) -> int:
    """Return about how many bytes networks take that are trained side by side by minibatches.

    By one thread, as searches train them: each further member of a crew has a gradient of its own.
    The rows themselves, which they share, are not counted.

    Parameters
    ----------
    n_networks : int
        Networks.
    architecture : Architecture
        Layers of each.
    n_rows : int
        Training rows.
    batch_size : int
        Most rows in a minibatch.
    dtype : {"float32", "float64", "bfloat16"}
        Precision of training.
    """
    per_row = _entries_of_row(architecture)

    def working(slices: list[slice]) -> int:
        """Return the entries of the buffers for all lengths of slices, of one network."""
        return per_row * sum({which.stop - which.start for which in slices})

    batches = batch_slices(n_rows, batch_size)
    chunks = chunk_slices(n_rows, max(architecture.sizes) * n_networks)
    # Of each row its weight and its loss: as `EpochLoss` keeps them, and put together.
    kept = 4 * batch_size * min(ADDED_TOGETHER, len(batches))
    entries = VECTORS * architecture.n_parameters + kept + max(working(batches), working(chunks))
    n_bytes = n_networks * entries * np.dtype(kept_dtype(dtype)).itemsize
    if dtype == HALF:
        # What the matrices of a product are rounded into.
        largest = max(architecture.sizes) * max(batch_size, *architecture.sizes)
        n_bytes += 3 * n_networks * largest * 2
    return n_bytes


def _entries_of_row(architecture: Architecture) -> int:
    """Return how many entries a row has in the buffers of a pass."""
    if architecture.is_dictionary:
        selection, (n_features, n_components, _) = architecture.selection, architecture.sizes
        assert selection is not None
        # Pre-activations; the residuals of each reading, by turns in three places; and of each
        # active unit some numbers, in the order of rows and in that of units.
        return n_components + 3 * selection.n_readings * n_features + 12 * selection.n_active
    n_units = sum(architecture.sizes[1:])
    layers = zip(architecture.sizes[1:], architecture.activations, strict=True)
    # Of each unit an activation and its gradient, and where it is needed the pre-activation too.
    return 2 * n_units + sum(size for size, name in layers if ACTIVATIONS[name].keeps_pre)
