"""From a device's name to a ``torch.device``, or a clear error."""

import torch

from sksae.model.numbers import HALF
from sksae.process.warning import warn_user

# Compute capability of the first CUDA devices that multiply in bfloat16.
AMPERE = (8, 0)


def _why_missing(device: torch.device) -> str | None:
    """Return why a device cannot be used here, or None if it can."""
    if device.type == "cpu":
        return None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return "torch sees no CUDA device here"
        if device.index is not None and device.index >= torch.cuda.device_count():
            return f"torch sees {torch.cuda.device_count()} CUDA device(s) here"
        return None
    if device.type == "mps":
        return None if torch.backends.mps.is_available() else "torch sees no MPS device here"
    return "only 'auto', 'cpu', 'cuda', 'cuda:<index>' and 'mps' are supported"


def _parse(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={name!r} is not a device: use 'auto', 'cpu', 'cuda', 'cuda:<index>' or 'mps'."
        ) from error


def training_device(name: str, dtype: str) -> torch.device:
    """Return the device to train on.

    Parameters
    ----------
    name : str
        "auto" (CUDA when there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps".
    dtype : {"float32", "float64", "bfloat16"}
        Precision of training.

    Raises
    ------
    ValueError
        If the name is unknown, the device is not there, or it cannot do the precision.
    """
    device = _parse(name)
    reason = _why_missing(device)
    if reason is not None:
        raise ValueError(f"device={name!r} cannot be used: {reason}. Use device='auto' or 'cpu'.")
    if device.type == "mps" and dtype == "float64":
        raise ValueError("device='mps' has no float64: use dtype='float32' or device='cpu'.")
    if dtype == HALF:
        reason = _why_no_half(device)
        if reason is not None:
            raise ValueError(f"dtype={dtype!r} cannot be used: {reason}. Use dtype='float32'.")
    return device


def _why_no_half(device: torch.device) -> str | None:
    """Return why a device is no faster in bfloat16 than in float32, or None if it is."""
    if device.type == "cpu":
        if has_half_products():
            return None
        return "torch finds no products in bfloat16 (AVX-512 BF16 or AMX) in this processor"
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= AMPERE:
            return None
        return "this CUDA device has no products in bfloat16, which came with Ampere"
    return f"products in bfloat16 are not known to be any faster on device={device.type!r}"


def has_half_products() -> bool:
    """Return whether torch multiplies in bfloat16 by instructions of the processor's own."""
    if not torch.backends.mkldnn.is_available():
        return False
    # These are not for the public, and not in every torch.
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in asked)


def inference_device(name: str, dtype: torch.dtype) -> torch.device:
    """Return the device to compute codes on: the named one, or the CPU where it is missing."""
    device = _parse(name)
    reason = _why_missing(device)
    if reason is not None:
        warn_user(
            f"device={name!r} cannot be used here ({reason}): computing on the CPU instead. "
            "Set device='auto' to silence this warning."
        )
        return torch.device("cpu")
    if device.type == "mps" and dtype == torch.float64:
        return torch.device("cpu")
    return device


def to_float64(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float64 for bookkeeping; on the CPU where the device has none (mps)."""
    return tensor.to(bookkeeping_device(tensor.device)).double()


def bookkeeping_device(device: torch.device) -> torch.device:
    """Return where float64 tensors live: on the device, or on the CPU where it has none (mps)."""
    return torch.device("cpu") if device.type == "mps" else device
