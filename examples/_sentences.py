"""Texts that need no download: docstrings of packages that are installed with sksae.

This module imports nothing that takes long, as `_data` does not.
"""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MODULES = (
    "numpy",
    "scipy.linalg",
    "scipy.signal",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "pandas",
    "matplotlib.pyplot",
)
# Whole docstrings are fewer than sentences, so that they are taken from more modules.
MORE_MODULES = (
    *MODULES,
    "numpy.linalg",
    "numpy.random",
    "scipy.interpolate",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.sparse",
    "scipy.spatial",
    "sklearn.decomposition",
    "sklearn.model_selection",
    "sklearn.preprocessing",
)


def package_sentences(n: int, seed: int = 0) -> tuple["np.ndarray", "np.ndarray"]:
    """Return n sentences drawn at random, and the package in which each was found first."""
    import numpy as np

    packages: dict[str, str] = {}
    for module in MODULES:
        for sentence in sentences_of(import_module(module)):
            packages.setdefault(sentence, module.split(".")[0])
    drawn = np.random.default_rng(seed).permutation(len(packages))[:n]
    return np.array(list(packages))[drawn], np.array(list(packages.values()))[drawn]


def sentences_of(module: ModuleType) -> Iterator[str]:
    """Yield the sentences in the docstrings of a module's functions, classes and methods."""
    for docstring in docstrings_of(module):
        for text in re.split(r"(?<=[.!?])\s+|\n\n", docstring):
            sentence = " ".join(text.split())
            if 40 < len(sentence) < 300 and not re.search(r">>>|^\W|[=|_]{3}", sentence):
                yield sentence


def package_documents(most_often: int = 3, shortest: int = 30) -> tuple["np.ndarray", "np.ndarray"]:
    """Return docstrings, and the package in which each was found first.

    Code is left out, and so are pieces of text that stand in more than ``most_often`` docstrings,
    which say nothing of what a docstring is about; then those of fewer words than ``shortest``.
    """
    import numpy as np

    packages: dict[tuple[str, ...], str] = {}
    for module in MORE_MODULES:
        if find_spec(module.split(".")[0]) is None:
            continue
        for docstring in docstrings_of(import_module(module)):
            packages.setdefault(pieces_of(docstring), module.split(".")[0])
    counts = Counter(piece for pieces in packages for piece in set(pieces))
    documents: dict[str, str] = {}
    for pieces, package in packages.items():
        document = " ".join(piece for piece in pieces if counts[piece] <= most_often)
        if len(document.split()) >= shortest:
            documents.setdefault(document, package)
    return np.array(list(documents)), np.array(list(documents.values()))


def pieces_of(docstring: str) -> tuple[str, ...]:
    """Return the sentences of a docstring and what else stands by itself, without its code."""
    lines = [line for line in docstring.splitlines() if not re.match(r"\s*(>>>|\.\.)", line)]
    pieces = re.split(r"(?<=[.!?])\s+|\s{2,}", " ".join(lines))
    return tuple(filter(None, (" ".join(piece.split()) for piece in pieces)))


def docstrings_of(module: ModuleType) -> Iterator[str]:
    """Yield the docstrings of what is in a module, and of the methods of its classes."""
    for name in dir(module):
        found = getattr(module, name)
        members = [found]
        if inspect.isclass(found):
            members += [getattr(found, each, None) for each in dir(found) if each[0] != "_"]
        for member in members:
            if docstring := inspect.getdoc(member):
                yield docstring
