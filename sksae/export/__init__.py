"""Fitted models as files that other programs read, and back."""

from sksae.export.safetensors_files import from_safetensors, to_safetensors

__all__ = ["from_safetensors", "to_safetensors"]
