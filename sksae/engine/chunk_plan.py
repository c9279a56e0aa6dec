"""All rows divided into chunks, each with its buffers, and the chunks among a crew; made once."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sksae.engine.batches import Batch, Rows
from sksae.engine.network import Workspace
from sksae.engine.noise import Corruption
from sksae.engine.parameters import Parameters
from sksae.engine.portions import Portions
from sksae.engine.threads import n_parts
from sksae.model.slices import chunk_slices, equal_slices, within

# On the CPU a chunk has about so many rows at most: it is to be found in the cache of its core.
MOST_CHUNK_ROWS = 2560


class Portion(NamedTuple):
    """Some rows of a chunk, counted from its first one, and the buffers they are processed with."""

    which: slice
    workspace: Workspace


class Chunk(NamedTuple):
    """Some rows of a walk over all: read, and given their noise, together.

    They are processed together too, in one portion, until memory ends.
    """

    which: slice
    portions: list[Portion]


class Lane:
    """The chunks that one member of the crew walks over, and what it leaves behind.

    Attributes
    ----------
    chunks : list of Chunk
        In order.
    total : Parameters
        Sum of the chunks' gradients, times 1 / row_weight, in float64.

    Parameters
    ----------
    rows : Rows
        All of them.
    chunks : list of Chunk
        Its own.
    gradient, total : Parameters, optional
        Memory for the gradient of a chunk, and their sum.
    """

    def __init__(
        self,
        rows: Rows,
        chunks: list[Chunk],
        gradient: Parameters | None,
        total: Parameters | None,
    ) -> None:
        self._rows, self.chunks = rows.reader(), chunks
        self.gradient, self.total = gradient, total

    def walk(self, corruption: Corruption | None = None) -> Iterator[tuple[Workspace, Batch]]:
        """Yield the rows of each portion of each chunk, and its buffers."""
        if corruption is not None:
            corruption.begin(0)
        for which, portions in self.chunks:
            batch = self._rows.batch(which)
            if corruption is not None:
                batch = corruption(batch)
            for own, workspace in portions:
                yield workspace, batch.some(own)
                if corruption is not None:
                    # All corrupted rows together may be more than memory holds.
                    workspace.forget_rows()


def chunks_of(parameters: Parameters, which: slice, most_rows: int) -> list[slice]:
    """Return the chunks in which some rows are walked over.

    Parameters
    ----------
    parameters : Parameters
        The network.
    which : slice
        The rows.
    most_rows : int
        The longest that one may be on the CPU.
    """
    widest = max(parameters.architecture.sizes) * parameters.n_models
    most = most_rows if parameters.flat.device.type == "cpu" else None
    return within(which, chunk_slices(which.stop - which.start, widest, most))


def plan_lanes(
    parameters: Parameters,
    rows: Rows,
    n_members: int,
    *,
    keeps_code: bool,
    total: Tensor | None,
    portions: Portions,
) -> list[Lane]:
    """Return the lanes in which a crew walks over all rows.

    Parameters
    ----------
    parameters : Parameters
        The network.
    rows : Rows
        All of them.
    n_members : int
        Of the crew, at most as many as there are lanes.
    keeps_code : bool
        Whether what the encoder computed for each chunk is kept from one walk to the next.
    total : Tensor or None
        One like the sum of the chunks' gradients; None where no gradient is asked for.
    portions : Portions
        How many rows of a chunk are processed at once.
    """
    n_rows = rows.n_rows
    work = 3.0 * n_rows * len(parameters.flat)
    lanes = []
    for which in equal_slices(n_rows, n_parts(work, n_rows, n_members)):
        chunks: list[Chunk] = []
        scratch: dict[int, Workspace] = {}
        for chunk in chunks_of(parameters, which, MOST_CHUNK_ROWS):
            own = []
            for portion in portions.cut(slice(0, chunk.stop - chunk.start)):
                length = portion.stop - portion.start
                if length not in scratch:
                    scratch[length] = Workspace(parameters, length, 1.0 / rows.n_of_all)
                workspace = scratch[length]
                if keeps_code:
                    workspace = Workspace(parameters, length, workspace.row_weight, workspace)
                own.append(Portion(portion, workspace))
            chunks.append(Chunk(chunk, own))
        gradient = own_total = None
        if total is not None:
            gradient = parameters.with_flat(torch.zeros_like(parameters.flat))
            own_total = parameters.with_flat(torch.zeros_like(total))
        lanes.append(Lane(rows, chunks, gradient, own_total))
    return lanes
