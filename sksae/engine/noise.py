"""What is drawn anew for every minibatch: corrupted inputs, and units that are dropped.

A denoising autoencoder is shown a corrupted row while the clean one is its target: Vincent,
Larochelle, Bengio & Manzagol (2008), "Extracting and composing robust features with denoising
autoencoders", section 2.3 (masking); and (2010), "Stacked denoising autoencoders", section 3.3
(gaussian). Units that are dropped at random cannot rely on each other: Srivastava, Hinton,
Krizhevsky, Sutskever & Salakhutdinov (2014), "Dropout: a simple way to prevent neural networks from
overfitting", section 4.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from sksae.engine.batches import Batch, Rows
from sksae.model.settings import Dropout, Noise, TrainingConfig


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
    key : tuple of int
        Of draws beside those of other processes.
    """

    def __init__(self, noise: Noise, seed: int, blank: Tensor, key: tuple[int, ...] = ()) -> None:
        self._noise, self._seed, self._blank, self._key = noise, seed, blank, key
        self._generator = torch.Generator(device=blank.device)

    def begin(self, epoch: int) -> None:
        """Start on an epoch's draws."""
        start_draws(self._generator, self._seed, epoch, *self._key)

    def __call__(self, batch: Batch) -> Batch:
        """Return a batch whose rows are corrupted and whose target is not."""
        rows = batch.rows
        draws = torch.empty_like(rows)
        if self._noise.kind == "gaussian":
            draws.normal_(generator=self._generator)
            return batch._replace(rows=draws.mul_(self._noise.level).add_(rows))
        draws.uniform_(generator=self._generator)
        return batch._replace(rows=torch.where(draws < self._noise.level, self._blank, rows))


class Drops:
    """Draws which units are left out, the same after every `begin` with the same number.

    What is left is divided by the share that is, so that a layer above is given as much as it will
    be given of whole codes.

    Parameters
    ----------
    dropout : Dropout
        What to draw.
    seed : int
        Of all draws.
    device : torch.device
        Where masks are.
    key : tuple of int
        Of draws beside those of other processes.
    """

    def __init__(
        self, dropout: Dropout, seed: int, device: torch.device, key: tuple[int, ...] = ()
    ) -> None:
        self.layers, self._key = dropout.layers, key
        self._kept, self._seed = 1.0 - dropout.rate, seed
        self._generator = torch.Generator(device=device)

    def begin(self, epoch: int) -> None:
        """Start on an epoch's draws."""
        # Others than those of the noise that rows have.
        start_draws(self._generator, self._seed, epoch, 1, *self._key)

    def draw(self, masks: Iterable[Tensor]) -> None:
        """Write into masks what the activations of a minibatch are to be multiplied by."""
        for mask in masks:
            # Four times as fast as bernoulli_.
            mask.uniform_(generator=self._generator).lt_(self._kept).div_(self._kept)


def start_draws(generator: torch.Generator, *key: int) -> None:
    """Seed a generator by some numbers."""
    generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def corruption_of(config: TrainingConfig, rows: Rows) -> Corruption | None:
    """Return what corrupts some rows in a training, if anything does."""
    if config.noise is None:
        return None
    blank = rows.blank(at_zero=config.blanks_to_zero)
    # Numbers of two words, so that no draws are those of units that are left out.
    key = tuple(2 + each for each in rows.processes.key)
    return Corruption(config.noise, config.seed, blank, key)


def drops_of(config: TrainingConfig, rows: Rows) -> Drops | None:
    """Return what leaves units out in a training, if anything does."""
    if config.dropout is None:
        return None
    return Drops(config.dropout, config.seed, rows.device, rows.processes.key)
