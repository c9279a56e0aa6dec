"""Random numbers of a training: a function of its seed and the epoch, on the device of training."""

import numpy as np
import torch
from torch import Tensor


class Draws:
    """What training draws besides the order of rows: masked tokens and units that drop out.

    Parameters
    ----------
    seed : int
        Of the training.
    device : torch.device
        Where numbers are drawn.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._generator = torch.Generator(device=device)

    def begin(self, epoch: int) -> None:
        """Begin with an epoch, counted from 0 over all fits that this one continues."""
        words = np.random.SeedSequence([self._seed, epoch]).generate_state(2)
        # Beyond 63 bits torch's generators differ in what they take.
        self._generator.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

    def uniform(self, *shape: int, like: Tensor) -> Tensor:
        """Return numbers from [0, 1), in the precision and on the device of a tensor."""
        return torch.rand(
            shape, generator=self._generator, dtype=like.dtype, device=self._generator.device
        )

    def dropout(self, values: Tensor, rate: float) -> Tensor:
        """Return values, a share of them 0 and the others so much larger, on average the same."""
        if rate == 0.0:
            return values
        kept = self.uniform(*values.shape, like=values) >= rate
        return values * kept * (1.0 / (1.0 - rate))
