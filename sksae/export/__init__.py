"""Fitted models as files that other programs read, and back; and as small ones."""

from sksae.export.numpy_source import to_numpy_source
from sksae.export.onnx_converters import register_onnx_converters
from sksae.export.onnx_files import to_onnx
from sksae.export.safetensors_files import from_safetensors, to_safetensors
from sksae.export.slim import slim
from sksae.export.torch_modules import from_torch, to_torch

__all__ = [
    "from_safetensors",
    "from_torch",
    "register_onnx_converters",
    "slim",
    "to_numpy_source",
    "to_onnx",
    "to_safetensors",
    "to_torch",
]
