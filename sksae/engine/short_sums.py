"""Sums and extremes of short vectors over processes, by messages in pairs.

For these gloo's own reduction takes several times as long: it cuts vectors into pieces and sends
them round in a ring, and at a short one only the number of messages counts.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

# Beyond it a ring is better, which sends each number fewer times.
LONGEST_IN_BYTES = 2**18
COMBINED: dict[object, Callable[..., Tensor]] = {
    dist.ReduceOp.SUM: torch.add,
    dist.ReduceOp.MAX: torch.maximum,
    dist.ReduceOp.MIN: torch.minimum,
}


def is_short(tensor: Tensor) -> bool:
    """Return whether `reduce_short_` is the quicker way; on CPUs only."""
    return tensor.device.type == "cpu" and tensor.nbytes <= LONGEST_IN_BYTES


def reduce_short_(tensor: Tensor, operation: dist.ReduceOp, group: dist.ProcessGroup) -> None:
    """Write the sum or extreme over a group of processes into a tensor, to the same bits in all.

    Recursive doubling: in each round a process exchanges what it has with one twice as far away as
    in the round before, so that log2(n) rounds do [1]_. Where n is no power of two, those beyond
    one leave their vectors to others, and are told the result.

    Parameters
    ----------
    tensor : Tensor
        Contiguous, of one shape and dtype in all processes.
    operation : ReduceOp
        SUM, MAX or MIN.
    group : ProcessGroup
        The processes.

    References
    ----------
    .. [1] R. Thakur, R. Rabenseifner, W. Gropp: Optimization of Collective Communication Operations
       in MPICH. International Journal of High Performance Computing Applications 19(1), 2005,
       section 4.3.
    """
    rank, size = group.rank(), group.size()
    n_doubling = 1 << (size.bit_length() - 1)
    of_other, combine = torch.empty_like(tensor), COMBINED[operation]

    def send(to: int) -> None:
        group.send([tensor], to, 0).wait()

    def receive(into: Tensor, source: int) -> None:
        group.recv([into], source, 0).wait()

    if rank >= n_doubling:
        send(rank - n_doubling)
        receive(tensor, rank - n_doubling)
        return
    has_left_over = rank + n_doubling < size
    if has_left_over:
        receive(of_other, rank + n_doubling)
        combine(tensor, of_other, out=tensor)
    distance = 1
    while distance < n_doubling:
        other = rank ^ distance
        # One speaks first and one listens: it is quicker than if both do both at once. Their
        # results have the same bits as each takes the lower rank's numbers first.
        if rank < other:
            send(other)
            receive(of_other, other)
            combine(tensor, of_other, out=tensor)
        else:
            receive(of_other, other)
            send(other)
            combine(of_other, tensor, out=tensor)
        distance *= 2
    if has_left_over:
        send(rank + n_doubling)
