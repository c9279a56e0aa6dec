"""A device that no machine has: tensors on it have shapes and no values."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

# One that any build of torch knows, and on which nothing has to be started.
DEVICE = torch.device("lazy:0")


class MadeUpValues(TorchFunctionMode):
    """Answers who asks a tensor without values for them, as the device would: from the CPU only."""

    def __init__(self, seed):
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        tensor = args[0] if args and isinstance(args[0], FakeTensor) else None
        if tensor is not None:
            if func is torch.Tensor.numpy:
                if tensor.device.type != "cpu":
                    raise TypeError(f"numpy() of a tensor on {tensor.device}")
                return self._values(tensor)
            if func is torch.Tensor.tolist:
                return self._values(tensor).tolist()
            if func in (torch.Tensor.item, torch.Tensor.__float__):
                return float(self._rng.uniform(-1.0, 1.0))
            if func is torch.Tensor.__bool__:
                return True
        return func(*args, **(kwargs or {}))

    def _values(self, tensor):
        dtype = str(tensor.dtype).removeprefix("torch.")
        return self._rng.random(tuple(tensor.shape)).astype(dtype)


@contextmanager
def on_stand_in(seed=0):
    """Let tensors be made without values meanwhile; those on two devices do not go together."""
    fake = FakeTensorMode()
    from_numpy, generator = torch.from_numpy, torch.Generator
    with pytest.MonkeyPatch.context() as patch:
        # What these make has values, or needs a device that is there.
        patch.setattr(torch, "from_numpy", lambda array: fake.from_tensor(from_numpy(array)))
        patch.setattr(torch, "Generator", lambda device: generator(device="cpu"))
        with fake, MadeUpValues(seed):
            yield
