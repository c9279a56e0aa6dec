"""Attention in which each query keeps its strongest scores (Zhao et al. 2019, arXiv:1912.11637).

"Explicit Sparse Transformer: concentrated attention through explicit selection", section 3:
M(S)_ij = S_ij where S_ij >= t_i, the k-th largest score of row i, and -inf elsewhere; the weights
are the softmax of M(S). What is not kept has weight 0, and its score no gradient.
"""

import numpy as np
import torch
from torch import Tensor

from sksae.engine.largest import SAME

# Rows of fewer scores are short: the softmax takes longer to begin with them than to be done.
SHORT = 16


def keep_strongest(scores: Tensor, n_kept: Tensor, is_there: Tensor | None = None) -> Tensor:
    """Return scores, and -inf in the place of those that are not kept.

    Scores that equal the k-th largest but for rounding are kept together with it.

    Parameters
    ----------
    scores : Tensor of shape (n_rows, n_heads, n_queries, n_keys)
        Of each query with each key.
    n_kept : Tensor of int of shape (n_rows,)
        How many a query keeps: from 1 to the row's tokens.
    is_there : Tensor of bool of shape (n_rows, n_keys), optional
        Which tokens are no padding. All are by default; others are never kept, and do not count.
        Each row has some.
    """
    if is_there is not None:
        scores = scores.masked_fill(~is_there[:, None, None, :], -torch.inf)
    most = int(n_kept.max())
    if most == scores.shape[-1] and bool((n_kept == most).all()):
        return scores
    in_order = _sorted(scores.detach())
    at = (in_order.shape[-1] - n_kept).view(-1, 1, 1, 1).expand(*in_order.shape[:-1], 1)
    bound = in_order.gather(-1, at)
    # Equal tokens have scores that differ in the last digits, by where they stand in a product.
    size = torch.maximum(in_order[..., -1:].abs(), bound.abs())
    bound = bound - SAME * torch.finfo(scores.dtype).eps * size
    return scores.masked_fill(scores.detach() < bound, -torch.inf)


def weights_of(scores: Tensor) -> Tensor:
    """Return the softmax of scores over keys, the last axis."""
    if scores.device.type == "cpu" and scores.shape[-1] < SHORT:
        # torch goes through rows one by one, and through columns many at a time.
        return scores.transpose(-1, -2).softmax(dim=-2).transpose(-1, -2)
    return scores.softmax(dim=-1)


def _sorted(scores: Tensor) -> Tensor:
    """Return scores in rising order along the last axis."""
    if scores.device.type == "cpu":
        # A tenth of the time of torch's sort and topk.
        return torch.from_numpy(np.sort(scores.numpy(), axis=-1))
    return scores.sort(dim=-1).values
