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
            if is_sentence(sentence):
                yield sentence


def is_sentence(text: str) -> bool:
    """Return whether a piece of a docstring is neither code nor table, and no heading."""
    return 40 < len(text) < 300 and not re.search(r">>>|^\W|[=|_]{3}", text)


def package_documents(most_often: int = 3, shortest: int = 30) -> tuple["np.ndarray", "np.ndarray"]:
    """Return docstrings, and the package in which each was found first.

    Code is left out, and so are pieces of text that stand in more than ``most_often`` docstrings,
    which say nothing of what a docstring is about; then those of fewer words than ``shortest``.
    """
    import numpy as np

    packages: dict[tuple[str, ...], str] = {}
    for docstring, package in package_docstrings():
        packages.setdefault(pieces_of(docstring), package)
    counts = Counter(piece for pieces in packages for piece in set(pieces))
    documents: dict[str, str] = {}
    for pieces, package in packages.items():
        document = " ".join(piece for piece in pieces if counts[piece] <= most_often)
        if len(document.split()) >= shortest:
            documents.setdefault(document, package)
    return np.array(list(documents)), np.array(list(documents.values()))


def sentences_of_documents(
    n: int, most_often: int = 3, fewest: int = 6, most: int = 20, seed: int = 0
) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """Return sentences, the number of each one's document, and the package of each document.

    Documents are n docstrings drawn at random, without what stands in more than ``most_often`` of
    all. Those of fewer sentences than ``fewest`` are not drawn; of others the first ``most`` are
    taken.
    """
    import numpy as np

    packages: dict[tuple[str, ...], str] = {}
    for docstring, package in package_docstrings():
        packages.setdefault(tuple(whole_sentences(docstring)), package)
    counts = Counter(sentence for sentences in packages for sentence in set(sentences))
    documents: dict[tuple[str, ...], str] = {}
    for sentences, package in packages.items():
        left = tuple(each for each in sentences if counts[each] <= most_often)
        if len(left) >= fewest:
            documents.setdefault(left[:most], package)
    drawn = np.random.default_rng(seed).permutation(len(documents))[:n]
    texts = [list(documents)[number] for number in drawn]
    return (
        np.array([sentence for sentences in texts for sentence in sentences]),
        np.repeat(np.arange(len(texts)), [len(sentences) for sentences in texts]),
        np.array(list(documents.values()))[drawn],
    )


def whole_sentences(docstring: str) -> Iterator[str]:
    """Yield the sentences of a docstring in their order, without code, headings and parameters."""
    lines = [
        "" if re.match(r"\s*(>>>|\.\.|[-=~]{3})|\s*[\w*, ]+ : ", line) else line
        for line in docstring.splitlines()
    ]
    for text in re.split(r"(?<=[.!?])\s+|\n\s*\n", "\n".join(lines)):
        sentence = " ".join(text.split())
        if is_sentence(sentence) and re.match(r"[A-Z].*[.!?]$", sentence):
            yield sentence


def package_docstrings() -> Iterator[tuple[str, str]]:
    """Yield docstrings, and the package of each."""
    for module in MORE_MODULES:
        package = module.split(".")[0]
        if find_spec(package) is not None:
            for docstring in docstrings_of(import_module(module)):
                yield docstring, package


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
