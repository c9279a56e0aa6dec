"""Which tokens are masked: at random in training, and each in its turn in a score.

Of each row at least one token stays visible: a token is to be rebuilt from others. So the only
token of a row is never masked.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sksae.engine.attention.draws import Draws
from sksae.engine.attention.sequences import Sequences

# Rows are scored in two turns at least, or all of their tokens would be masked at once.
FEWEST_TURNS = 2


def random_mask(batch: Sequences, fraction: float, draws: Draws) -> Tensor | None:
    """Return which tokens are masked, (n_rows, length): that share of each row's on average.

    Parameters
    ----------
    batch : Sequences
        Rows.
    fraction : float
        In [0, 1); None is returned for 0.
    draws : Draws
        Random numbers.
    """
    if fraction == 0.0:
        return None
    n_rows, length = batch.tokens.shape[:2]
    luck = draws.uniform(n_rows, length, like=batch.tokens)
    if batch.is_there is not None:
        luck = luck.masked_fill(~batch.is_there, 2.0)
    wanted = fraction * batch.n_tokens + draws.uniform(n_rows, like=batch.tokens)
    n_masked = torch.minimum(wanted.long(), batch.n_tokens - 1)
    first_visible = luck.sort(dim=1).values.gather(1, n_masked.unsqueeze(1))
    return luck < first_visible


def turns(batch: Sequences, fraction: float) -> Iterator[tuple[Tensor | None, Tensor]]:
    """Yield which tokens are masked, and of which the output counts: of each token once.

    Every n-th token of a row is masked, from another one on in each of n turns, with n = 1 /
    fraction rounded, and at least 2.

    Parameters
    ----------
    batch : Sequences
        Rows.
    fraction : float
        In [0, 1); with 0 nothing is masked.

    Yields
    ------
    is_masked : Tensor of bool of shape (n_rows, length), or None for nothing
    counts : Tensor of bool of shape (n_rows, length)
    """
    n_rows, length = batch.tokens.shape[:2]
    is_there = batch.is_there
    if is_there is None:
        is_there = torch.ones(n_rows, length, dtype=torch.bool, device=batch.tokens.device)
    if fraction == 0.0:
        yield None, is_there
        return
    n_turns = max(round(1.0 / fraction), FEWEST_TURNS)
    place = is_there.cumsum(dim=1) - 1
    has_others = (batch.n_tokens > 1).unsqueeze(1)
    for turn in range(min(n_turns, length)):
        counts = is_there & (place % n_turns == turn)
        yield counts & has_others, counts
