"""The matrix products, all of them, by the library that is fastest at them here.

torch's products on the CPU are MKL's, which take their AVX-512 path on Intel only: on other
processors numpy's OpenBLAS is up to twice as fast, and it has half the overhead where networks are
small. Which of them multiplies is a rule of processor and builds, not of a stopwatch: the same bits
in every process. Everywhere but on the CPU it is torch, and so it is in half precision.
"""

import os
import platform
import re
from collections.abc import Callable
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from sksae.process.warning import warn_user

# The environment variable that names the library for the CPU, for those who know better.
OVERRIDE = "SKSAE_PRODUCTS"
# Older builds of OpenBLAS are known to compute wrongly on some new processors.
KNOWN_GOOD = (0, 3, 31)
# What OpenBLAS calls its kernels for AVX-512.
AVX512_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")

# A matrix of so few entries is copied in less time than it is multiplied in an unfortunate order.
FEW_ENTRIES = 4096

# Products of fewer multiplications than these, and those with a shorter side, take as long in
# bfloat16 as in float32: their matrices have to be converted.
LEAST_HALF_WORK, LEAST_HALF_SIDE = 2**24, 32


class Operand:
    """A tensor that is multiplied, as torch sees it and, on the CPU, as numpy does.

    Parameters
    ----------
    tensor : Tensor of shape (n_models or 1, n_rows, n_columns)
        Of length 1 where all models share the matrix.
    """

    __slots__ = ("array", "tensor")

    def __init__(self, tensor: Tensor, array: np.ndarray | None = None) -> None:
        self.tensor = tensor
        if array is None and tensor.device.type == "cpu" and tensor.dtype != torch.bfloat16:
            array = tensor.numpy()
        self.array = array

    def is_same_as(self, other: "Operand") -> bool:
        """Return whether both are known to be one matrix in one memory."""
        mine, its = self.tensor, other.tensor
        if mine is its:
            return True
        return (
            self.array is not None
            and mine.data_ptr() == its.data_ptr()
            and mine.shape == its.shape
            and mine.stride() == its.stride()
        )

    @property
    def mT(self) -> "Operand":  # noqa: N802 (as torch and numpy call it)
        """The matrices transposed, in the same memory."""
        return Operand(self.tensor.mT, None if self.array is None else self.array.mT)


# What is bound to operands: writes left @ right, or that plus what it is given, which is broadcast.
Product = Callable[[], object]
Affine = Callable[[Tensor], object]


class Products(Protocol):
    """A library that multiplies matrices side by side, (n_models, a, b) by (n_models, b, c).

    Of an operand that all models share n_models is 1. Where the right one is, the left one and the
    result are contiguous. Others may be transposed; the result too, where none is shared.
    """

    def product(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Product:
        """Return what writes input_scale * (left @ right) into ``out``.

        Parameters
        ----------
        left, right : Operand
            Of shape (n_models or 1, a, b) and (n_models or 1, b, c).
        out : Operand
            Of shape (n_models, a, c).
        input_scale : float, default=1.0
            What the product is multiplied by.
        """

    def affine(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Affine:
        """Return what writes what it is given plus input_scale * (left @ right) into ``out``.

        Parameters
        ----------
        left, right, out, input_scale
            As in `product`.
        """


class TorchProducts:
    """By torch, on any device."""

    def product(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Product:
        a, b, c = left.tensor, right.tensor, out.tensor
        if len(c) == 1:
            run = partial(torch.mm, a[0], b[0], out=c[0])
        elif len(b) == 1:
            # What all models share goes through their matrices in a single product.
            run = partial(torch.mm, _stack(a), b[0], out=_stack(c))
        else:
            run = partial(torch.bmm, a.expand(len(c), -1, -1), b, out=c)
        return run if input_scale == 1.0 else _scaled(run, c, input_scale)

    def affine(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Affine:
        a, b, c = left.tensor, right.tensor, out.tensor
        if len(b) == len(c):
            shared = a.expand(len(c), -1, -1)
            return lambda added: torch.baddbmm(added, shared, b, alpha=input_scale, out=c)
        stacked, result = _stack(a), _stack(c)

        def run(added: Tensor) -> None:
            before = _stack(added.expand(*c.shape[:2], added.shape[2]))
            torch.addmm(before, stacked, b[0], alpha=input_scale, out=result)

        return run


class NumpyProducts:
    """By numpy, on the CPU. It is kept to one thread by whoever calls (see `threads`)."""

    def product(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Product:
        a, b, c = left.array, right.array, out.array
        assert a is not None
        assert b is not None
        assert c is not None
        if not c.flags.c_contiguous:
            a, b, c = b.mT, a.mT, c.mT
        run: Product
        if len(c) == 1:
            run = _dot(a[0], b[0], c[0])
        elif len(b) == 1:
            run = _dot(_stack(a), b[0], _stack(c))
        else:
            run = _matmul(np.broadcast_to(a, (len(c), *a.shape[1:])), b, c)
        return run if input_scale == 1.0 else _scaled(run, out.tensor, input_scale)

    def affine(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Affine:
        return _adding(self.product(left, right, out), out.tensor, input_scale)


def _dot(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> Product:
    """Return what writes left @ right into ``out``, of shapes (a, b), (b, c) and (a, c)."""
    # OpenBLAS is slow at a few rows by a transposed matrix, unless the rows are transposed too.
    if _is_slow(left, right):
        return lambda: np.dot(left.copy(order="F"), right, out=out)
    return partial(np.dot, left, right, out=out)


def _matmul(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> Product:
    """Return what `_dot` does, of matrices of several models."""
    # As above. One call for all models: one for each takes up to a tenth of a step longer.
    if _is_slow(left[0], right[0]):
        return lambda: np.matmul(left.mT.copy().mT, right, out=out)
    return partial(np.matmul, left, right, out=out)


def _is_slow(left: np.ndarray, right: np.ndarray) -> bool:
    few = left.size <= FEW_ENTRIES
    return few and left.flags.c_contiguous and not right.flags.c_contiguous


def _scaled(run: Product, result: Tensor, input_scale: float) -> Product:
    """Return what writes a product by ``run``, then multiplies ``result`` by ``input_scale``."""

    def run_and_scale() -> None:
        run()
        result.mul_(input_scale)

    return run_and_scale


def _adding(run: Product, result: Tensor, input_scale: float) -> Affine:
    """Return what writes a product by ``run``, then adds to ``input_scale`` times ``result``."""

    def run_and_add(added: Tensor) -> None:
        run()
        if input_scale == 1.0:
            result.add_(added)
        else:
            torch.add(added, result, alpha=input_scale, out=result)

    return run_and_add


class HalfProducts:
    """In bfloat16, by torch: float32 matrices are rounded, and so is what comes out.

    Each entry is summed up in float32 before. Small products are in float32 throughout, and so
    are those with a vector, which are sums over rows.

    Parameters
    ----------
    device : torch.device
        Where the matrices are.
    """

    def __init__(self, device: torch.device) -> None:
        self._whole, self._halves = products_for(device), TorchProducts()
        # What the matrices of a product are rounded into, by turns: fresh memory is slower.
        self._scratch = [torch.empty(0, dtype=torch.bfloat16, device=device) for _ in range(3)]

    def product(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Product:
        a, b, c = left.tensor, right.tensor, out.tensor
        sides = (a.shape[1], a.shape[2], b.shape[2])
        if prod(sides) < LEAST_HALF_WORK or min(sides) < LEAST_HALF_SIDE:
            return self._whole.product(left, right, out, input_scale)

        def run() -> None:
            halves = [self._room(index, like) for index, like in enumerate((a, b, c))]
            halves[0].copy_(a)
            halves[1].copy_(b)
            self._halves.product(Operand(halves[0]), Operand(halves[1]), Operand(halves[2]))()
            c.copy_(halves[2])

        return run if input_scale == 1.0 else _scaled(run, c, input_scale)

    def affine(
        self, left: Operand, right: Operand, out: Operand, input_scale: float = 1.0
    ) -> Affine:
        return _adding(self.product(left, right, out), out.tensor, input_scale)

    def _room(self, index: int, like: Tensor) -> Tensor:
        """Return room for a matrix that lies in memory as the one given does."""
        if len(self._scratch[index]) < like.numel():
            self._scratch[index] = self._scratch[index].new_empty(like.numel())
        return self._scratch[index].as_strided(like.shape, like.stride())


Matrices = TypeVar("Matrices", Tensor, np.ndarray)


def _stack(models: Matrices) -> Matrices:
    """View the matrices of all models as one, each below the one before."""
    assert models.is_contiguous() if isinstance(models, Tensor) else models.flags.c_contiguous
    return models.reshape(-1, models.shape[-1])


class Choice(NamedTuple):
    """Which library multiplies on the CPU, and in words which and why."""

    products: Products
    reason: str


def products_for(device: torch.device) -> Products:
    """Return who multiplies on a device."""
    return choice().products if device.type == "cpu" else TorchProducts()


def describe() -> str:
    """Return in one line which library multiplies on the CPU, and why."""
    return choice().reason


@cache
def choice() -> Choice:
    """Return who multiplies on the CPU, found once a process.

    Raises
    ------
    ValueError
        If the environment variable names another library.
    """
    wanted = os.environ.get(OVERRIDE, "")
    if wanted not in ("", "numpy", "torch"):
        raise ValueError(
            f"The environment variable {OVERRIDE}={wanted!r} names no library: set it to 'numpy' "
            "or 'torch', or unset it."
        )
    blas = _blas_of_numpy()
    vendor = _vendor()
    torchs = f"torch {torch.__version__}"
    numpys = f"numpy {np.__version__} ({blas})"
    if wanted == "torch":
        return Choice(TorchProducts(), f"{torchs}: {OVERRIDE} says so")
    if wanted == "":
        reason = _why_torch(blas, vendor)
        if reason:
            return Choice(TorchProducts(), f"{torchs}: {reason}")
    if not _multiplies_rightly():
        warn_user(
            f"The products of {numpys} are wrong on this processor: sksae multiplies by torch "
            "instead. Other computations may be wrong too: install another version of numpy."
        )
        return Choice(TorchProducts(), f"{torchs}: the products of {numpys} are wrong here")
    why = f"{OVERRIDE} says so" if wanted else f"its kernels suit {vendor} best"
    return Choice(NumpyProducts(), f"{numpys}: {why}")


class Blas(NamedTuple):
    """The library that numpy multiplies with."""

    name: str
    version: tuple[int, ...]
    kernels: str

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))} {self.kernels}".strip()


def _blas_of_numpy() -> Blas:
    """Return what numpy multiplies with; of unknown version where nobody can say."""
    libraries = ThreadpoolController().select(internal_api="openblas").lib_controllers
    # numpy and scipy each bring one of their own, or share one.
    own = [each for each in libraries if "numpy" in str(each.filepath)] or libraries
    if not own:
        return Blas("another BLAS", (), "")
    numbers = re.findall(r"\d+", own[0].version or "")[:3]
    return Blas("OpenBLAS", tuple(map(int, numbers)), getattr(own[0], "architecture", None) or "")


def _why_torch(blas: Blas, vendor: str) -> str:
    """Return why torch multiplies, or "" where numpy is faster and known to be right."""
    if vendor != "AuthenticAMD":
        return f"the fastest on {vendor or platform.machine()}"
    if blas.name != "OpenBLAS":
        return "numpy multiplies by another library than OpenBLAS"
    if blas.version < KNOWN_GOOD:
        return f"OpenBLAS before {'.'.join(map(str, KNOWN_GOOD))} is not trusted"
    if blas.kernels not in AVX512_KERNELS:
        return f"OpenBLAS runs its {blas.kernels or 'unknown'} kernels, not those for AVX-512"
    return ""


def _vendor() -> str:
    """Return who made the processor, as it says itself; "" where nobody knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = platform.processor()
    found = re.search(r"AuthenticAMD|GenuineIntel", text)
    return found[0] if found else ""


def _multiplies_rightly() -> bool:
    """Return whether numpy's products are torch's: of sizes off the kernels' own, any way round."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((67, 299), (299, 53)))
        for left, right in ((a, b), (b.T, a.T), (a.T.copy().T, b), (a, b.T.copy().T)):
            found = np.dot(left, right)
            expected = torch.from_numpy(left) @ torch.from_numpy(right)
            limit = 1e3 * np.finfo(dtype).eps
            if not np.allclose(found, expected.numpy(), rtol=limit, atol=limit):
                return False
    return True
