"""How much memory training takes."""

import numpy as np

from sksae.engine.batches import batch_slices
from sksae.engine.minibatch import FOLDED_TOGETHER
from sksae.engine.network import Architecture

# Vectors as long as the parameters: themselves, gradient, both moments of adam and its step, what
# is kept of a network that is done; and for the last evaluation two of twice the precision.
VECTORS = 10


def bytes_per_network(architecture: Architecture, n_rows: int, batch_size: int, dtype: str) -> int:
    """Return about how many bytes a network takes while it is trained by minibatches.

    The rows themselves, which networks trained side by side share, are not counted.
    """
    slices = batch_slices(n_rows, batch_size)
    lengths = {which.stop - which.start for which in slices}
    # Of each layer an activation and its gradient; prelu keeps its pre-activation too.
    n_units = sum(architecture.sizes[1:]) * 2 + sum(
        size
        for size, has in zip(architecture.sizes[1:], architecture.has_slopes, strict=True)
        if has
    )
    # Of each row its share and its distance, noted and joined.
    noted = 4 * sum(lengths) * min(FOLDED_TOGETHER, len(slices))
    entries = VECTORS * architecture.n_parameters + n_units * sum(lengths) + noted
    return entries * np.dtype(dtype).itemsize
