"""J of one minibatch and its gradient, by autograd.

J is the weighted mean over tokens of 1/2 ||z_hat - z||^2, in which a visible token counts less than
a masked one, + beta S + alpha/2 sum_l ||W_l||^2. Where only masked tokens counted, nothing would
teach the codes of visible ones, which are those that a fitted model gives; where they counted as
much, codes would tell little of other tokens, which a visible token does without.
"""

import numpy as np
import torch
from torch import Tensor

from sksae.engine.attention.dead_units import IdleUnits
from sksae.engine.attention.draws import Draws
from sksae.engine.attention.masks import random_mask
from sksae.engine.attention.modules import Drop, make_module
from sksae.engine.attention.sequences import Sequences
from sksae.engine.attention.token_code import TokenCode
from sksae.engine.device import to_float64
from sksae.model.attention import AttentionArchitecture
from sksae.model.loss_parts import LossParts


class AttentionObjective:
    """J by one minibatch after another.

    Parameters
    ----------
    architecture : AttentionArchitecture
        Of the network.
    flat : Tensor of shape (n_parameters,)
        Its parameters, which a solver moves.
    code : TokenCode
        Its code.
    rho, beta, alpha : float
        Wanted share of active units, weight of S, and weight decay.
    draws : Draws
        Random numbers, of which the epoch has begun.
    mask_fraction, dropout : float
        Shares of tokens that are masked, and of units that drop out.
    visible_weight : float
        What a visible token counts in the error, where a masked one counts 1.
    tokens_per_row, counted_per_row : float
        What the tokens of a row count together on average, weights of rows included: in the
        sparsity term, and in the error.
    idle : IdleUnits, optional
        Teaches units that died, which is no part of J.

    Attributes
    ----------
    module : AttentionModule
        The network; its parameters are parts of ``flat``.
    gradient : Tensor of shape (n_parameters,)
        Of J, at the last minibatch.
    """

    def __init__(
        self,
        architecture: AttentionArchitecture,
        flat: Tensor,
        code: TokenCode,
        *,
        rho: float,
        beta: float,
        alpha: float,
        draws: Draws,
        mask_fraction: float,
        dropout: float,
        visible_weight: float,
        tokens_per_row: float,
        counted_per_row: float,
        idle: IdleUnits | None = None,
    ) -> None:
        self._flat, self._code = flat, code
        self._rho, self._beta, self._alpha = rho, beta, alpha
        self._draws, self._mask_fraction = draws, mask_fraction
        self._drop, self._visible_weight = Drop(dropout, draws), visible_weight
        self._tokens_per_row, self._counted_per_row = tokens_per_row, counted_per_row
        self._idle = idle
        self._decays = torch.from_numpy(architecture.decays()).to(flat)
        self.gradient = torch.zeros_like(flat)
        self.module = make_module(architecture, parts_of(architecture, flat))
        gradients = parts_of(architecture, self.gradient)
        for name, parameter in self.module.named_parameters():
            # Into which autograd adds.
            parameter.grad = gradients[name]
        self._terms: list[Tensor] = []

    def __call__(self, batch: Sequences) -> None:
        """Find J and its gradient at a minibatch."""
        weight = batch.token_weight
        n_rows = len(batch.tokens)
        is_masked = random_mask(batch, self._mask_fraction, self._draws)
        hidden = batch.those_there(
            self.module(batch.tokens, batch.n_kept, batch.is_there, is_masked, self._drop)
        )
        code = self._code(self.module.encode(hidden), weight)
        missed = batch.those_there(batch.tokens) - self.module.decode(code)
        squares = missed.square().sum(dim=1)
        counts = self._counts(batch, is_masked, weight)
        total = self._counted_per_row * n_rows
        error = _weighted_sum(squares, counts) / (2.0 * total)
        n_tokens = self._tokens_per_row * n_rows
        penalty = self._beta * self._code.penalty(code, weight, n_tokens, self._rho)
        taught = None
        if self._idle is not None:
            taught = self._idle.missed(self.module, hidden, missed)
            self._idle.watch(code)
        torch.mul(self._flat, self._decays, out=self.gradient).mul_(self._alpha)
        objective = error + penalty
        if taught is not None:
            objective = objective + _weighted_sum(taught, counts) / total
        objective.backward()
        self._terms.append(torch.stack([error.detach(), penalty.detach()]))

    def _counts(self, batch: Sequences, is_masked: Tensor | None, weight: Tensor | None) -> Tensor:
        """Return what each token counts in the error, (n_tokens,)."""
        if is_masked is None:
            is_masked = torch.zeros(
                batch.tokens.shape[:2], dtype=torch.bool, device=self._flat.device
            )
        masked = batch.those_there(is_masked).to(self._flat.dtype)
        counts = masked + (1.0 - masked) * self._visible_weight
        return counts if weight is None else counts * weight

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next minibatch depends on besides parameters and draws."""
        return {} if self._idle is None else self._idle.state()

    def epoch_loss(self) -> LossParts:
        """Return the mean of J over the minibatches since the last call, and its terms."""
        error, sparsity = to_float64(torch.stack(self._terms)).mean(dim=0).tolist()
        self._terms.clear()
        decay = self._alpha / 2.0 * float(to_float64(self._flat * self._decays).square().sum())
        return LossParts(error + sparsity + decay, error, sparsity, decay)


def _weighted_sum(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the sum over tokens of values times what each counts."""
    return (values if weight is None else values * weight).sum()


def parts_of(architecture: AttentionArchitecture, flat: Tensor) -> dict[str, Tensor]:
    """Return the parameters in a vector of all by name; they share its memory."""
    shapes = architecture.shapes
    parts = flat.split([int(np.prod(shape)) for shape in shapes.values()])
    return {
        name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
