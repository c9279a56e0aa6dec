"""Rows, weights and targets that anybody might give: of all sorts, scales and containers."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
from hypothesis import strategies as st


def rarely(n: int = 16) -> st.SearchStrategy[bool]:
    """Return True once in so many times, and never in the simplest example."""
    return st.integers(1, n).map(lambda drawn: drawn == n)


# Files of memory maps; they go when the process ends.
FOLDER = tempfile.TemporaryDirectory(prefix="sksae-fuzz-")

DTYPES = ("float64", "float32", "float16", "int64", "int8", "uint8", "bool", "object", ">f8")
TRICKS = {
    "a constant column": lambda X, rng: _column(X, rng, 3.0),
    "a column of zeros": lambda X, rng: _column(X, rng, 0.0),
    "a far column": lambda X, rng: _column(X, rng, X[:, -1] + 1e6),
    "equal columns": lambda X, rng: _column(X, rng, X[:, -1]),
    "a denormal column": lambda X, rng: _column(X, rng, X[:, -1] * 1e-310),
    "rows of zeros": lambda X, rng: X * (rng.random((len(X), 1)) < 0.6),
    "equal rows": lambda X, rng: np.repeat(X[:1], len(X), axis=0),
    "pairs of rows": lambda X, rng: np.repeat(X, 2, axis=0)[: len(X)],
    "zeros": lambda X, rng: 0.0 * X,
    "minus zeros": lambda X, rng: np.where(X > 0.5, -0.0, X),
    "a huge entry": lambda X, rng: _entry(X, rng, 1e200),
    "the largest entry": lambda X, rng: _entry(X, rng, np.finfo(float).max),
    "columns of all scales": lambda X, rng: X * 10.0 ** rng.uniform(-100, 100, X.shape[1]),
    "rows of all scales": lambda X, rng: X * 10.0 ** rng.uniform(-100, 100, (len(X), 1)),
}
BAD_TRICKS = {"nan": np.nan, "infinity": np.inf, "minus infinity": -np.inf}
KINDS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "few": lambda rng, shape: rng.random(shape) * (rng.random(shape) < 0.1),
    "yes or no": lambda rng, shape: (rng.random(shape) < 0.2) * 1.0,
    "counts": lambda rng, shape: rng.poisson(1.0, shape) * 1.0,
    "of rank 2": lambda rng, shape: rng.random((shape[0], 2)) @ rng.random((2, shape[1])),
}
# Kinds of values in [0, 1], and what leaves them there.
PROBABILITIES = ("uniform", "few", "yes or no")
MODEST = ("a column of zeros", "equal columns", "rows of zeros", "equal rows", "zeros")


def _column(X: np.ndarray, rng: np.random.Generator, values: Any) -> np.ndarray:
    X[:, rng.integers(X.shape[1])] = values
    return X


def _entry(X: np.ndarray, rng: np.random.Generator, value: float) -> np.ndarray:
    X[rng.integers(X.shape[0]), rng.integers(X.shape[1])] = value
    return X


def _strided(X: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def _read_only(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X.flags.writeable = False
    return X


def _memory_map(X: np.ndarray) -> np.ndarray:
    if X.dtype == object:
        return X
    path = Path(FOLDER.name) / "X.npy"
    # The file of an earlier map may be in use: a new one takes its name.
    path.unlink(missing_ok=True)
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def _with_doubled_entries(X: np.ndarray) -> sp.csr_array:
    """Return a CSR array with unsorted indices, in which each entry is there twice, and is 0."""
    one = sp.csr_array(_of_scipy(X))
    indices = np.concatenate([one.indices[::-1], one.indices[::-1]])
    rows = np.repeat(np.arange(X.shape[0]), np.diff(one.indptr))[::-1]
    order = np.argsort(np.concatenate([rows, rows]), kind="stable")
    data = np.concatenate([one.data[::-1], np.zeros_like(one.data)])
    return sp.csr_array((data[order], indices[order], 2 * one.indptr), shape=X.shape)


def _of_scipy(X: np.ndarray) -> np.ndarray:
    """Return an array of a dtype that scipy's matrices can have."""
    if X.dtype == object or not X.dtype.isnative:
        return X.astype(np.float64)
    return X.astype(np.float32) if X.dtype == np.float16 else X


CONTAINERS: dict[str, Callable[[np.ndarray], Any]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _strided,
    "reversed": lambda X: X[::-1, ::-1],
    "read-only": _read_only,
    "list": np.ndarray.tolist,
    "memory map": _memory_map,
    "pandas": lambda X: pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])]),
    "pandas without names": lambda X: pd.DataFrame(X),
    "polars": lambda X: pl.DataFrame(
        _of_scipy(X), schema=[f"c{j}" for j in range(X.shape[1])], orient="row"
    ),
    "CSR array": lambda X: sp.csr_array(_of_scipy(X)),
    "CSR matrix": lambda X: sp.csr_matrix(_of_scipy(X)),
    "CSR of doubled entries": _with_doubled_entries,
    "CSC array": lambda X: sp.csc_array(_of_scipy(X)),
    "COO matrix": lambda X: sp.coo_matrix(_of_scipy(X)),
    "LIL array": lambda X: sp.lil_array(_of_scipy(X)),
}


@dataclass(frozen=True)
class Rows:
    """How rows are made; X is made anew by each call."""

    seed: int
    shape: tuple[int, int]
    kind: str = "normal"
    tricks: tuple[str, ...] = ()
    exponent: int = 0
    dtype: str = "float64"
    container: str = "C"

    @np.errstate(all="ignore")
    def values(self) -> np.ndarray:
        """Return the rows as an array of their dtype."""
        rng = np.random.default_rng(self.seed)
        X = KINDS[self.kind](rng, self.shape)
        for trick in self.tricks:
            if trick in TRICKS:
                X = TRICKS[trick](X, rng)
        X = X * 10.0**self.exponent
        limits = np.finfo if np.dtype(self.dtype).kind == "f" else np.iinfo
        if self.dtype not in ("object", "bool"):
            least, largest = float(limits(self.dtype).min), float(limits(self.dtype).max)
            X = np.clip(X, least, np.nextafter(largest, 0) if limits is np.iinfo else largest)
        for trick in self.tricks:
            if trick in BAD_TRICKS:
                X = _entry(X, rng, BAD_TRICKS[trick])
        return X.astype(self.dtype)

    def make(self) -> Any:
        """Return the rows in their container."""
        return CONTAINERS[self.container](self.values())


@st.composite
def rows(draw, *, are_probabilities: bool = False, n_features: int | None = None) -> Rows:
    """Rows of any sort."""
    size = st.one_of(st.integers(1, 4), st.integers(5, 40), st.sampled_from([64, 65, 150, 200]))
    tricks = draw(st.lists(st.sampled_from(sorted(TRICKS)), unique=True, max_size=2))
    kind = draw(st.sampled_from(sorted(KINDS)))
    exponent = draw(st.integers(-310, 308)) if draw(rarely(3)) else 0
    if are_probabilities:
        kind, exponent = draw(st.sampled_from(PROBABILITIES)), 0
        tricks = [trick for trick in tricks if trick in MODEST]
    if draw(rarely()):
        tricks.append(draw(st.sampled_from(sorted(BAD_TRICKS))))
    dtype = draw(st.sampled_from(DTYPES))
    if set(tricks) & set(BAD_TRICKS) and np.dtype(dtype).kind in "iub":
        dtype = "float64"
    return Rows(
        seed=draw(st.integers(0, 10**6)),
        shape=(draw(size), draw(size) if n_features is None else n_features),
        kind=kind,
        tricks=tuple(tricks),
        exponent=exponent,
        dtype=dtype,
        container=draw(st.sampled_from(sorted(CONTAINERS))),
    )


# Weights and targets: of n rows, by a generator.

WEIGHTS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "none": lambda rng, n: None,
    "ones": lambda rng, n: np.ones(n),
    "list": lambda rng, n: rng.random(n).tolist(),
    "counts": lambda rng, n: rng.integers(0, 3, n),
    "huge": lambda rng, n: rng.random(n) * 1.7e308,
    "tiny": lambda rng, n: rng.integers(0, 3, n) * 5e-324,
    "of all scales": lambda rng, n: 10.0 ** rng.uniform(-300, 300, n),
    "one row": lambda rng, n: np.eye(n)[rng.integers(n)],
    "float32": lambda rng, n: rng.random(n).astype(np.float32),
    "number": lambda rng, n: 2.5,
}
BAD_WEIGHTS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "zeros": lambda rng, n: np.zeros(n),
    "negative": lambda rng, n: rng.random(n) - 2.0,
    "nan": lambda rng, n: np.full(n, np.nan),
    "infinite": lambda rng, n: np.full(n, np.inf),
    "too many": lambda rng, n: np.ones(n + 1),
    "a table": lambda rng, n: np.ones((n, 2)),
    "text": lambda rng, n: ["a"] * n,
}
# Of two classes at least, where there are two rows.
LABELS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "two": lambda rng, n: np.arange(n) % 2,
    "three": lambda rng, n: rng.permutation(np.arange(n) % 3),
    "names": lambda rng, n: np.array(["yes", "no"])[np.arange(n) % 2],
    "objects": lambda rng, n: np.array(["a", "b"], dtype=object)[np.arange(n) % 2],
    "bool": lambda rng, n: np.arange(n) % 2 == 0,
    "floats": lambda rng, n: (np.arange(n) % 2) * 1.0,
    "marked": lambda rng, n: np.where(np.arange(n) % 4 == 3, -1, np.arange(n) % 2),
    "a rare one": lambda rng, n: (np.arange(n) == n // 2).astype(int),
    "many": lambda rng, n: np.arange(n) // 2,
    "pandas": lambda rng, n: pd.Series(np.arange(n) % 2),
    "polars": lambda rng, n: pl.Series(np.arange(n) % 2),
}
NUMBERS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "two outputs": lambda rng, n: rng.normal(size=(n, 2)),
    "constant": lambda rng, n: np.full(n, 3.0),
    "huge": lambda rng, n: rng.normal(size=n) * 1e307,
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-307,
    "denormal": lambda rng, n: rng.integers(0, 5, n) * 5e-324,
    "far": lambda rng, n: rng.normal(size=n) + 1e12,
    "of all scales": lambda rng, n: 10.0 ** rng.uniform(-300, 300, n),
    "integers": lambda rng, n: rng.integers(-9, 9, n),
    "marked": lambda rng, n: np.where(np.arange(n) % 4 == 3, np.nan, rng.normal(size=n)),
    "float16": lambda rng, n: rng.normal(size=n).astype(np.float16),
    "list": lambda rng, n: rng.normal(size=n).tolist(),
    "pandas": lambda rng, n: pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"]),
}
BAD_TARGETS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "none at all": lambda rng, n: None,
    "nan": lambda rng, n: np.full(n, np.nan),
    "infinite": lambda rng, n: np.full(n, np.inf),
    "too few": lambda rng, n: np.arange(n - 1) % 2,
    "too deep": lambda rng, n: np.ones((n, 2, 2)),
    "text": lambda rng, n: ["a"] * n,
    "mixed": lambda rng, n: np.array(["a", 1, None], dtype=object)[np.arange(n) % 3],
}
