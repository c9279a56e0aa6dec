"""The data of the study of sequences: each row a sequence of tokens, with a label.

Eight sets: lines of digits, sentences of documents, and six sets of time series that the package
aeon ships (UCR and UEA archives: Dau et al. 2019, Bagnall et al. 2018). aeon itself is not
imported, so that it need not go together with the versions here: its files are read from where it
is installed, or from its wheel (``pip download --no-deps aeon``).
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _harness import SENTENCES, find_data
from sklearn.datasets import load_digits
from sklearn.preprocessing import LabelEncoder

from sksae.sequence import pad_tokens

# Windows of each set of time series: points of time, and how far apart they begin.
WINDOWS = {
    "BasicMotions": (10, 5),
    "JapaneseVowels": (1, 1),
    "OSULeaf": (32, 8),
    "ItalyPowerDemand": (6, 1),
    "GunPoint": (16, 4),
    "ArrowHead": (24, 6),
}
SENTENCES_OF_A_DOCUMENT = 5, 40  # at least and at most


@dataclass(frozen=True)
class Sequences:
    """Rows of tokens with labels.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_rows, length * token_width)
        Padded with tokens of NaN.
    token_width : int
    y : ndarray of shape (n_rows,)
        Labels.
    raw : ndarray of shape (n_rows, n_values) or None
        The same without windows that overlap, padded with zeros; None where that makes no sense.
    """

    name: str
    X: np.ndarray
    token_width: int
    y: np.ndarray
    raw: np.ndarray | None

    @property
    def tokens(self) -> np.ndarray:
        """The same as (n_rows, length, token_width)."""
        return self.X.reshape(len(self.X), -1, self.token_width)


def sequences(folder: Path | None, aeon: Path | None, wanted: list[str]) -> Iterator[Sequences]:
    """Yield the sets that there is data for.

    Parameters
    ----------
    folder : Path or None
        Of the sentences.
    aeon : Path or None
        The wheel of aeon, or the folder of the installed package; None looks for the latter.
    wanted : list of str
        Parts of names; all sets if there are none.
    """

    def is_wanted(name: str) -> bool:
        return not wanted or any(part.lower() in name.lower() for part in wanted)

    if is_wanted("digits"):
        X, y = load_digits(return_X_y=True)
        yield Sequences("digits, lines", X, 8, y, X)
    if is_wanted("documents") and find_data(folder, SENTENCES) is not None:
        yield documents(find_data(folder, SENTENCES))
    where = aeon_at(aeon)
    for name in WINDOWS:
        if where is not None and is_wanted(name):
            yield time_series(where, name)


def documents(path: Path) -> Sequences:
    """Return documents as sequences of sentences, of which embeddings are known."""
    with np.load(path, allow_pickle=True) as file:
        X, y, doc = file["X"].astype(np.float32), file["y"], file["doc"]
    order = np.argsort(doc, kind="stable")
    X, y, doc = X[order], y[order], doc[order]
    _, first, lengths = np.unique(doc, return_index=True, return_counts=True)
    fewest, most = SENTENCES_OF_A_DOCUMENT
    chosen = np.flatnonzero((lengths >= fewest) & (lengths <= most))
    kept = np.isin(doc, doc[first[chosen]])
    return Sequences(
        "documents", pad_tokens(X[kept], doc[kept]), X.shape[1], y[first[chosen]], None
    )


def aeon_at(given: Path | None) -> Path | None:
    """Return where aeon's files are: a wheel, or a folder; None if it is nowhere."""
    if given is not None:
        return given
    found = find_spec("aeon")
    return None if found is None or found.origin is None else Path(found.origin).parent


def read(where: Path, name: str, part: str) -> str:
    """Return the text of one of aeon's files."""
    inside = f"datasets/data/{name}/{name}_{part}.ts"
    if where.is_dir():
        return (where / inside).read_text()
    with zipfile.ZipFile(where) as wheel:
        return wheel.read(f"aeon/{inside}").decode()


def time_series(where: Path, name: str) -> Sequences:
    """Return windows of time series; the training and the test part of the archive together."""
    series, labels = [], []
    for part in ("TRAIN", "TEST"):
        for line in read(where, name, part).splitlines():
            if line and line[0] not in "#@":
                *channels, label = line.strip().split(":")
                values = [np.array(each.split(","), dtype=float) for each in channels]
                series.append(np.array(values))
                labels.append(label)
    width, step = WINDOWS[name]
    tokens, groups = [], []
    for number, each in enumerate(series):
        windows = np.lib.stride_tricks.sliding_window_view(each, width, axis=1)[:, ::step]
        tokens.append(windows.transpose(1, 0, 2).reshape(windows.shape[1], -1))
        groups += [number] * windows.shape[1]
    longest = max(each.shape[1] for each in series)
    raw = [np.pad(each, ((0, 0), (0, longest - each.shape[1]))).ravel() for each in series]
    X = pad_tokens(np.concatenate(tokens), groups)
    y = LabelEncoder().fit_transform(labels)
    return Sequences(name, X, tokens[0].shape[1], y, np.array(raw))
