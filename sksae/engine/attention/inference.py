"""A fitted network at work: codes of tokens, weights of attention, and masked tokens rebuilt."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksae.engine.attention.evaluation import TokenScorer, pre_activations
from sksae.engine.attention.modules import AttentionModule, make_module
from sksae.engine.attention.sequences import SequenceRows
from sksae.engine.attention.token_code import TokenCode
from sksae.engine.batches import Rows
from sksae.engine.device import inference_device
from sksae.engine.threads import Crew
from sksae.engine.training import torch_dtype
from sksae.model.attention import AttentionNetwork
from sksae.model.numbers import Matrix, float_dtype
from sksae.process.shortage import AT_WORK, explained_shortage


class CodesOfTokens(NamedTuple):
    """The codes of some rows' tokens.

    Attributes
    ----------
    codes : ndarray of shape (n_tokens, n_components)
        Of those that are no padding, one after another.
    is_there : ndarray of bool of shape (n_rows, length)
        Which these are.
    """

    codes: np.ndarray
    is_there: np.ndarray


class _Working(NamedTuple):
    """A network with rows, in the precision of the rows."""

    module: AttentionModule
    code: TokenCode
    rows: SequenceRows


def _at_work(
    network: AttentionNetwork,
    X: Matrix,
    device: str,
    index: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
) -> _Working:
    """Return a network ready to read rows, in their precision.

    Parameters
    ----------
    network : AttentionNetwork
        What was fitted.
    X : ndarray or CSR matrix of shape (n_samples, length * token_width)
        Rows, NaN where something is missing.
    device : str
        Where to compute.
    index : ndarray of int, optional
        The rows that count; all by default.
    sample_weight : ndarray of shape (n_samples,), optional
        Their weights; all alike by default.
    """
    architecture, dtype = network.architecture, torch_dtype(str(float_dtype(X)))
    place = inference_device(device, dtype)
    module = make_module(
        architecture,
        {
            name: torch.as_tensor(np.asarray(value), dtype=dtype, device=place)
            for name, value in network.parameters.items()
        },
    )
    rows = Rows(
        X,
        centre=np.tile(network.mean, architecture.length),
        scale=network.scale,
        dtype=dtype,
        device=place,
        index=index,
        sample_weight=sample_weight,
    )
    code = TokenCode(architecture.sparsity, network.selection)
    return _Working(module, code, SequenceRows(rows, architecture, has_missing=X.dtype.kind == "f"))


def codes_of_tokens(network: AttentionNetwork, X: Matrix, device: str) -> Iterator[CodesOfTokens]:
    """Yield the codes of some rows' tokens after the other.

    Parameters
    ----------
    network, X, device
        As in `_at_work`.

    Raises
    ------
    ValueError
        If codes overflow.
    """
    module, code, rows = _at_work(network, X, device)
    length = network.architecture.length
    for _, batch in rows.chunks():
        with explained_shortage(AT_WORK), torch.no_grad(), Crew(1):
            codes = code(pre_activations(module, batch))
        if not bool(codes.isfinite().all()):
            raise ValueError(
                f"Codes overflow in {codes.dtype}: rows of X are too far from those in fit."
            )
        is_there = np.ones((len(batch.tokens), length), dtype=bool)
        if batch.is_there is not None:
            is_there = batch.is_there.cpu().numpy()
        yield CodesOfTokens(codes.cpu().numpy(), is_there)


@explained_shortage(AT_WORK)
def attention_weights(network: AttentionNetwork, X: Matrix, device: str) -> np.ndarray:
    """Return the weights of attention, (n_samples, n_blocks, n_heads, length, length).

    Those of queries that are padding are nan.

    Parameters
    ----------
    network, X, device
        As in `_at_work`.
    """
    module, _, rows = _at_work(network, X, device)
    sizes = network.architecture
    shape = X.shape[0], sizes.n_blocks, sizes.n_heads, sizes.length, sizes.length
    found = np.empty(shape, dtype=float_dtype(X))
    for which, batch in rows.chunks():
        weights: list[Tensor] = []
        with torch.no_grad(), Crew(1):
            module(batch.tokens, batch.n_kept, batch.is_there, weights=weights)
        together = torch.stack(weights, dim=1)
        if batch.is_there is not None:
            together.masked_fill_(~batch.is_there[:, None, None, :, None], torch.nan)
        found[which] = together.cpu().numpy()
    return found


@explained_shortage(AT_WORK)
def masked_score(
    network: AttentionNetwork,
    X: Matrix,
    device: str,
    mask_fraction: float,
    *,
    index: np.ndarray | None,
    sample_weight: np.ndarray | None,
) -> float:
    """Return R^2 of tokens rebuilt while they are masked; see `TokenScorer`.

    Parameters
    ----------
    network, X, device, index, sample_weight
        As in `_at_work`; each row that counts has a token.
    mask_fraction : float
        Share of tokens that is masked in training.
    """
    module, code, rows = _at_work(network, X, device, index, sample_weight)
    with Crew(1):
        return TokenScorer(rows, mask_fraction).score(module, code)
