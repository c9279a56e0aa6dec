"""Corrupted inputs: what a denoising autoencoder is shown while the clean row is its target.

Vincent, Larochelle, Bengio & Manzagol (2008), "Extracting and composing robust features with
denoising autoencoders", section 2.3 (masking); and (2010), "Stacked denoising autoencoders",
section 3.3 (gaussian).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Batch


@dataclass(frozen=True)
class Noise:
    """A way to corrupt rows.

    Attributes
    ----------
    kind : {"gaussian", "masking"}
        Something added to every entry, or some of the entries blanked.
    level : float
        Standard deviation of what is added, in the units of the network's input; or share of
        entries blanked.
    """

    kind: str
    level: float


class Corruption:
    """Draws noise, the same after every `begin` with the same number.

    Parameters
    ----------
    noise : Noise
        What to draw.
    seed : int
        Of all draws.
    blank : Tensor of shape (n_features,)
        What a masked row consists of.
    """

    def __init__(self, noise: Noise, seed: int, blank: Tensor) -> None:
        self._noise, self._seed, self._blank = noise, seed, blank
        self._generator = torch.Generator(device=blank.device)

    def begin(self, epoch: int) -> None:
        """Start on an epoch's draws."""
        seed = np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0]
        self._generator.manual_seed(int(seed))

    def __call__(self, batch: Batch) -> Batch:
        """Return a batch whose rows are corrupted and whose target is not."""
        rows = batch.rows
        draws = torch.empty_like(rows)
        if self._noise.kind == "gaussian":
            draws.normal_(generator=self._generator)
            return batch._replace(rows=draws.mul_(self._noise.level).add_(rows))
        draws.uniform_(generator=self._generator)
        return batch._replace(rows=torch.where(draws < self._noise.level, self._blank, rows))
