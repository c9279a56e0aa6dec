"""Rows that are sequences of tokens: windows of a signal, sentences, patches of a picture."""

from sksae.sequence.token_codes import TokenCodes
from sksae.sequence.tokens import pad_tokens

__all__ = ["TokenCodes", "pad_tokens"]
