"""How rows are divided: into chunks of a walk, minibatches, or parts of nearly equal size."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

# A chunk of a walk over all rows holds about this many entries of its widest layer: large enough
# for the matrix products, small enough for the caches.
CHUNK_ENTRIES = 2**20
# It has more entries rather than fewer rows than these, but not more than 32 MB of float64.
MIN_CHUNK_ROWS = 256
MOST_CHUNK_ENTRIES = 2**22
# Rows of a large minibatch are a multiple of this.
ALIGNED_ROWS = 16


def chunk_slices(n_rows: int, widest: int, most_rows: int | None = None) -> list[slice]:
    """Cut ``n_rows`` into slices of nearly equal length for a walk over all rows.

    Parameters
    ----------
    n_rows : int
        Of 0 rows there are no slices.
    widest : int
        Entries of a row in the widest layer.
    most_rows : int, optional
        The longest that a slice may be, if there is a limit besides.
    """
    fewest = max(1, min(MIN_CHUNK_ROWS, MOST_CHUNK_ENTRIES // widest))
    length = max(fewest, CHUNK_ENTRIES // widest)
    if most_rows is not None:
        length = min(length, most_rows)
    return equal_slices(n_rows, -(-n_rows // length)) if n_rows else []


def batch_slices(n_rows: int, batch_size: int) -> list[slice]:
    """Cut ``n_rows`` into minibatches of at most ``batch_size`` rows, nearly equal in length.

    A short batch at the end would tell as much about the mean activation as a full one. Lengths
    of large batches are multiples of 16, if the size asked for is one, as products of odd lengths
    take longer; small batches would differ by too much then.
    """
    n_batches = -(-n_rows // batch_size)
    aligns = batch_size % ALIGNED_ROWS == 0 and n_rows >= 8 * ALIGNED_ROWS * n_batches
    unit = ALIGNED_ROWS if aligns else 1
    n_units, rest = divmod(n_rows, unit)
    shorter, n_longer = divmod(n_units, n_batches)
    lengths = [unit * shorter] * (n_batches - n_longer) + [unit * (shorter + 1)] * n_longer
    lengths[0] += rest
    return [slice(a, b) for a, b in pairwise([0, *accumulate(lengths)])]


def shared_batches(
    lengths: Sequence[int], rank: int, batch_size: int
) -> tuple[list[slice], list[int]]:
    """Cut the rows of one of several processes into its parts of the minibatches of all.

    Parameters
    ----------
    lengths : sequence of int
        How many rows each process has; 0 is a number too.
    rank : int
        Which process it is.
    batch_size : int
        Most rows of a minibatch, but for rounding, in all processes together.

    Returns
    -------
    slices : list of slice
        Its own rows of each minibatch, as many as all others have; some may be empty.
    counts : list of int
        How many rows each minibatch has in all processes together.
    """
    if len(lengths) == 1:
        slices = batch_slices(lengths[0], batch_size)
        return slices, [each.stop - each.start for each in slices]
    n_batches = -(-sum(lengths) // batch_size)
    of_each = [equal_slices(length, n_batches) for length in lengths]
    counts = [sum(own.stop - own.start for own in batch) for batch in zip(*of_each, strict=True)]
    return of_each[rank], counts


def within(which: slice, slices: Iterable[slice]) -> list[slice]:
    """Return slices of some rows, counted from the first of these, as slices of all rows."""
    return [slice(which.start + each.start, which.start + each.stop) for each in slices]


def equal_slices(n_rows: int, n_slices: int) -> list[slice]:
    """Cut ``n_rows`` into ``n_slices`` slices whose lengths differ by one at most."""
    bounds = [n_rows * k // n_slices for k in range(n_slices + 1)]
    return [slice(a, b) for a, b in pairwise(bounds)]
