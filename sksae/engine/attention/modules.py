"""The network as torch modules: tokens -> blocks of sparse attention -> codes -> tokens.

Blocks are those of Vaswani et al. (2017), "Attention is all you need", with norms before layers and
not after them (Xiong et al. 2020, "On layer normalization in the transformer architecture").
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sksae.engine.attention.draws import Draws
from sksae.engine.attention.kept_scores import keep_strongest, weights_of
from sksae.model.attention import AttentionArchitecture

# Of the sinusoids of positions, in tokens (Vaswani et al., section 3.5).
LONGEST_PERIOD = 10_000.0


class Drop:
    """Leaves out units in training, by draws of its own and not by torch's global generator."""

    def __init__(self, rate: float = 0.0, draws: Draws | None = None) -> None:
        self._rate, self._draws = rate, draws

    def __call__(self, values: Tensor) -> Tensor:
        return values if self._draws is None else self._draws.dropout(values, self._rate)


class SparseAttention(nn.Module):
    """Self-attention in several heads, in which each query keeps its strongest scores.

    Parameters
    ----------
    d_model, n_heads : int
        Units of a token, and heads that share them.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self._n_heads = n_heads
        self.project = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(
        self, tokens: Tensor, n_kept: Tensor, is_there: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what each token gathers from others, and the weights.

        Parameters
        ----------
        tokens : Tensor of shape (n_rows, length, d_model)
            Tokens.
        n_kept, is_there
            As in `keep_strongest`.

        Returns
        -------
        gathered : Tensor of shape (n_rows, length, d_model)
        weights : Tensor of shape (n_rows, n_heads, length, length)
            Of each token's query, with each key.
        """
        n_rows, length, width = tokens.shape
        heads = self.project(tokens).view(n_rows, length, 3, self._n_heads, width // self._n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        scores = (query * (width // self._n_heads) ** -0.5) @ key.transpose(-1, -2)
        weights = weights_of(keep_strongest(scores, n_kept, is_there))
        gathered = (weights @ value).transpose(1, 2).reshape(n_rows, length, width)
        return self.out(gathered), weights


class Block(nn.Module):
    """Attention, then a feed-forward layer; what each says is added to the tokens."""

    def __init__(self, architecture: AttentionArchitecture) -> None:
        super().__init__()
        width = architecture.d_model
        self.norm_attention = nn.LayerNorm(width)
        self.attention = SparseAttention(width, architecture.n_heads)
        self.norm_feedforward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, architecture.dim_feedforward)
        self.narrow = nn.Linear(architecture.dim_feedforward, width)

    def forward(
        self, tokens: Tensor, n_kept: Tensor, is_there: Tensor | None, drop: Drop
    ) -> tuple[Tensor, Tensor]:
        """Return tokens after it, and the weights of attention; see `SparseAttention`."""
        gathered, weights = self.attention(self.norm_attention(tokens), n_kept, is_there)
        tokens = tokens + drop(gathered)
        inner = F.gelu(self.widen(self.norm_feedforward(tokens)))
        return tokens + drop(self.narrow(inner)), weights


class AttentionModule(nn.Module):
    """From scaled tokens to what codes are made of, to pre-activations of codes, and to tokens.

    Its parameters have the names and shapes of ``architecture.shapes``.

    Parameters
    ----------
    architecture : AttentionArchitecture
        Sizes.
    """

    def __init__(self, architecture: AttentionArchitecture) -> None:
        super().__init__()
        width = architecture.d_model
        self.embed = nn.Linear(architecture.token_width, width)
        self.mask_vector = nn.Parameter(torch.empty(width, device="meta"))
        if architecture.positions == "learned":
            self.positions = nn.Parameter(torch.empty(architecture.length, width, device="meta"))
        self._is_learned = architecture.positions == "learned"
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.n_blocks))
        self.norm = nn.LayerNorm(width)
        self.encode = nn.Linear(width, architecture.n_components)
        self.decode = nn.Linear(architecture.n_components, architecture.token_width)

    def forward(
        self,
        tokens: Tensor,
        n_kept: Tensor,
        is_there: Tensor | None = None,
        is_masked: Tensor | None = None,
        drop: Drop | None = None,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Return tokens after all blocks, shape (n_rows, length, d_model), for `encode`.

        Padding has no meaning there.

        Parameters
        ----------
        tokens : Tensor of shape (n_rows, length, token_width)
            Centred and scaled; zeros where there is padding.
        n_kept, is_there
            As in `keep_strongest`.
        is_masked : Tensor of bool of shape (n_rows, length), optional
            Tokens in whose place the mask vector stands.
        drop : Drop, optional
            Leaves out units.
        weights : list, optional
            The weights of attention are appended to it, of one block after another.
        """
        drop, hidden = drop or Drop(), self.embed(tokens)
        if is_masked is not None:
            hidden = torch.where(is_masked.unsqueeze(-1), self.mask_vector, hidden)
        length, width = hidden.shape[1:]
        places = self.positions[:length] if self._is_learned else sinusoids(length, width, hidden)
        hidden = drop(hidden + places)
        for block in self.blocks:
            hidden, of_block = block(hidden, n_kept, is_there, drop)
            if weights is not None:
                weights.append(of_block)
        normed: Tensor = self.norm(hidden)
        return normed


def make_module(
    architecture: AttentionArchitecture, parameters: Mapping[str, Tensor]
) -> AttentionModule:
    """Return a network with these parameters, whose memory it shares."""
    # On this device nothing is drawn, which would move torch's global generator.
    with torch.device("meta"):
        module = AttentionModule(architecture)
    module.load_state_dict(dict(parameters), assign=True)
    return module


def sinusoids(length: int, width: int, like: Tensor) -> Tensor:
    """Return sines and cosines of places in a row, shape (length, width), as a tensor like one.

    Of frequency i, sin(t / 10000^(2 i / width)) and the cosine of that, one after the other.
    """
    place = torch.arange(length, dtype=torch.float64, device="cpu").unsqueeze(1)
    exponent = torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width
    angle = place / LONGEST_PERIOD**exponent
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(length, -1)
    return waves[:, :width].to(like)
