"""What a network comes to over all rows: its code, its threshold, and how it rebuilds tokens."""

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activity import to_numpy
from sksae.engine.attention.masks import turns
from sksae.engine.attention.modules import AttentionModule
from sksae.engine.attention.sequences import SequenceRows, Sequences
from sksae.engine.attention.token_code import TokenCode
from sksae.engine.device import to_float64
from sksae.engine.exact.threshold import LargestOfAll
from sksae.model.codes import CODES, active_above, largest_activity, largest_so_far
from sksae.model.numbers import r_squared
from sksae.model.tasks import TrainingResult

# Of a sum of squares in float64, however many.
ROUNDING = 1e-13


class WeightedMean:
    """The mean over tokens of some numbers of each, in float64."""

    def __init__(self) -> None:
        self._total: np.ndarray | float = 0.0
        self._count = 0.0

    def add(self, values: Tensor, weight: Tensor | None) -> None:
        """Take up the values of some tokens, (n_tokens, ...), and what each counts."""
        wide = to_float64(values)
        if weight is None:
            self._total = self._total + to_numpy(wide.sum(dim=0))
            self._count += len(wide)
        else:
            counted = to_float64(weight)
            self._total = self._total + to_numpy(torch.tensordot(counted, wide, dims=1))
            self._count += float(counted.sum())

    @property
    def value(self) -> np.ndarray:
        """The mean."""
        return np.asarray(self._total / self._count)


def deviation_of(rows: SequenceRows) -> float:
    """Return the mean squared deviation of tokens from their mean; 0 if they are all alike."""
    mean, square = WeightedMean(), WeightedMean()
    for _, batch in rows.chunks():
        tokens = to_float64(batch.those_there(batch.tokens))
        mean.add(tokens, batch.token_weight)
        square.add(tokens.square().sum(dim=1), batch.token_weight)
    of_all = float(square.value)
    deviation = of_all - float(np.square(mean.value).sum())
    # Less is what rounding leaves.
    return deviation if deviation > ROUNDING * of_all else 0.0


class TokenScorer:
    """R^2 of tokens that are rebuilt while they are masked, each in its turn.

    Parameters
    ----------
    rows : SequenceRows
        Rows.
    mask_fraction : float
        Share of tokens that is masked in training, which says how many turns there are.
    """

    def __init__(self, rows: SequenceRows, mask_fraction: float) -> None:
        self._rows, self._mask_fraction = rows, mask_fraction
        self.deviation = deviation_of(rows)

    @torch.no_grad()
    def error(self, module: AttentionModule, code: TokenCode) -> float:
        """Return the mean squared error of masked tokens."""
        found = WeightedMean()
        for _, batch in self._rows.chunks():
            weight = None
            if batch.weight is not None:
                weight = batch.weight.unsqueeze(1).expand(batch.tokens.shape[:2])
            for is_masked, counts in turns(batch, self._mask_fraction):
                hidden = module(batch.tokens, batch.n_kept, batch.is_there, is_masked)[counts]
                missed = module.decode(code(module.encode(hidden))) - batch.tokens[counts]
                found.add(
                    to_float64(missed).square().sum(dim=1),
                    None if weight is None else weight[counts],
                )
        return float(found.value)

    def score(self, module: AttentionModule, code: TokenCode) -> float:
        """Return R^2, about the tokens' own mean."""
        return r_squared(self.error(module, code), self.deviation)


def pre_activations(module: AttentionModule, batch: Sequences) -> Tensor:
    """Return the pre-activations of tokens that are no padding, (n_tokens, n_components)."""
    hidden = batch.those_there(module(batch.tokens, batch.n_kept, batch.is_there))
    pre: Tensor = module.encode(hidden)
    return pre


@torch.no_grad()
def find_threshold(module: AttentionModule, rows: SequenceRows, code: TokenCode) -> None:
    """Give a code that selects by the batch a threshold that keeps as many units on average.

    Parameters
    ----------
    module : AttentionModule
        The network.
    rows : SequenceRows
        All rows that count.
    code : TokenCode
        Its code, whose selection is replaced; others stay as they are.
    """
    selection = code.selection
    if selection is None or not CODES[selection.code].selects_by_batch:
        return
    largest = LargestOfAll(selection.n_active * rows.tokens_per_row() * rows.n_rows)
    for _, batch in rows.chunks():
        pre, weight = pre_activations(module, batch), batch.token_weight
        is_wanted = pre > largest.bound
        counted = None if weight is None else weight.unsqueeze(1).expand(pre.shape)[is_wanted]
        largest.add(
            pre[is_wanted].cpu().numpy(), None if counted is None else counted.cpu().numpy()
        )
    code.selection = selection._replace(threshold=largest.threshold())


@torch.no_grad()
def describe(
    module: AttentionModule,
    rows: SequenceRows,
    code: TokenCode,
    result: TrainingResult,
    largest_before: np.ndarray | None,
) -> None:
    """Fill in what codes of all tokens are like, and how they rebuild them; none is masked.

    Parameters
    ----------
    module : AttentionModule
        The network.
    rows : SequenceRows
        All rows that count.
    code : TokenCode
        Its code.
    result : TrainingResult
        Filled in.
    largest_before : ndarray of shape (n_components,) or None
        Largest activity of each unit on earlier rows that count.
    """
    mean, error = WeightedMean(), WeightedMean()
    lowest: list[np.ndarray] = []
    highest: list[np.ndarray] = []
    for _, batch in rows.chunks():
        tokens, weight = batch.those_there(batch.tokens), batch.token_weight
        codes = code(pre_activations(module, batch))
        mean.add(codes, weight)
        error.add((module.decode(codes) - tokens).square().sum(dim=1), weight)
        lowest.append(to_numpy(codes.amin(dim=0)))
        highest.append(to_numpy(codes.amax(dim=0)))
    result.mean_code, result.error = mean.value, float(error.value)
    result.deviation = deviation_of(rows)
    result.lowest, result.highest = np.min(lowest, axis=0), np.max(highest, axis=0)
    sparsity, activation = rows.architecture.sparsity, rows.architecture.activation
    now = largest_activity(result.lowest, result.highest, sparsity, activation)
    result.largest = largest_so_far(largest_before, now)
    result.active_share = _active_share(
        module, rows, code, active_above(result.largest, activation)
    )


def _active_share(
    module: AttentionModule, rows: SequenceRows, code: TokenCode, above: np.ndarray
) -> np.ndarray:
    """Return the share of tokens in which each unit is above a threshold of its own."""
    share = WeightedMean()
    for _, batch in rows.chunks():
        codes = code(pre_activations(module, batch))
        share.add(
            codes > torch.as_tensor(above, dtype=codes.dtype, device=codes.device),
            batch.token_weight,
        )
    return share.value
