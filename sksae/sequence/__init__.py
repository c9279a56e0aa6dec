"""Rows that are sequences of tokens: windows of a signal, sentences, patches of a picture."""

from sksae.sequence.sparse_attention import SparseAttentionEncoder
from sksae.sequence.token_codes import TokenCodes
from sksae.sequence.tokens import pad_tokens

__all__ = ["SparseAttentionEncoder", "TokenCodes", "pad_tokens"]
