"""Where the examples and benchmarks take their data from.

A folder that ``--data`` or the environment variable ``SKSAE_DATA`` names goes first. Without it
MNIST comes from OpenML, and where that fails scikit-learn's own small pictures stand in.

This module imports nothing that takes long: a script that asks for its options before its other
imports refuses a wrong folder at once.
"""

import argparse
import os
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NETWORK_SECONDS = 5  # that the network has for an answer


@dataclass(frozen=True)
class DataFile:
    """A file of arrays, as numpy's savez writes them."""

    name: str
    arrays: tuple[str, ...]
    contents: str

    def __call__(self, text: str | Path) -> Path:
        """Return the path of the file that text names, or that lies in the folder it names."""
        named = Path(text).expanduser()
        path = named / self.name if named.is_dir() else named
        if not path.is_file():
            where = f"no {self.name} in" if named.is_dir() else "no"
            raise argparse.ArgumentTypeError(f"there is {where} {named}. {self.expected}")
        missing = sorted(set(self.arrays) - array_names(path))
        if missing:
            raise argparse.ArgumentTypeError(f"{path} lacks {', '.join(missing)}. {self.expected}")
        return path

    def beside(self, path: Path | None) -> Path | None:
        """Return the file's path if it is in the same folder as another one, else None."""
        return (
            None if path is None or not path.with_name(self.name).is_file() else self(path.parent)
        )

    @property
    def expected(self) -> str:
        return f"Expected in the folder of --data or SKSAE_DATA: {self.name} with {self.contents}."


def array_names(path: Path) -> set[str]:
    """Return the names of a file's arrays, none if it is not numpy's .npz; numpy is not needed."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as members:
        return {name.removesuffix(".npy") for name in members.namelist()}


MNIST = DataFile(
    "mnist.npz",
    ("X_train", "y_train", "X_test", "y_test"),
    "X_train (60000, 784) and X_test (10000, 784), pixels from 0 to 255, and y_train and y_test",
)
NATURAL_IMAGES = DataFile(
    "natural_images_whitened.npz",
    ("images",),
    "images (n_images, height, width), whitened",
)
SENTENCES = DataFile(
    "sentence_embeddings.npz",
    ("X", "y", "doc"),
    "X (n_sentences, n_features), y, and doc, the document of each sentence",
)


PHOTOGRAPHS = "scikit-learn's china.jpg and flower.jpg, whitened"


def add_data_option(parser: argparse.ArgumentParser, file: DataFile) -> None:
    """Add --data, whose value is the path of the file, or None where nobody named one.

    A folder that somebody named must hold the file: other data instead, in silence, would put
    their figures under its name.
    """
    parser.add_argument(
        "--data",
        type=file,
        default=os.environ.get("SKSAE_DATA") or None,
        metavar="FOLDER",
        help=f"where {file.name} is, with {file.contents}; default $SKSAE_DATA",
    )


def picture_path(text: str) -> Path:
    """Return the path of a picture to be written, in a folder that is there."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def example_parser(
    description: str, picture: str, file: DataFile | None = None
) -> argparse.ArgumentParser:
    """Return a parser with the options that every example has, and --data if it may take a file."""
    parser = argparse.ArgumentParser(description=description)
    if file is not None:
        add_data_option(parser, file)
    parser.add_argument(
        "--output", type=picture_path, default=picture, help="picture, default %(default)s"
    )
    return parser


# --- digits ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """Handwritten digits to learn from and to be judged by.

    Attributes
    ----------
    X_train, X_test : ndarray of shape (n_digits, 784)
        float32 pixels in [0, 1].
    y_train, y_test : ndarray of shape (n_digits,)
        int64 labels.
    source : str
        What they are, in a line.
    is_mnist : bool
        Whether what was published of MNIST compares.
    """

    X_train: "np.ndarray"
    y_train: "np.ndarray"
    X_test: "np.ndarray"
    y_test: "np.ndarray"
    source: str
    is_mnist: bool = True

    def epochs(self, of_mnist: int) -> int:
        """Return epochs of about as many steps as so many of MNIST have: few rows want more."""
        return of_mnist if self.is_mnist else 20 * of_mnist


def mnist_or_digits(path: Path | None) -> Digits:
    """Return MNIST from the file, else from OpenML, else scikit-learn's digits of 8x8 pixels."""
    if path is not None:
        return mnist_of_file(path)
    say("Neither --data nor SKSAE_DATA names a folder with mnist.npz: MNIST comes from the cache")
    say("of scikit-learn's fetch_openml, or from OpenML (a download of some 15 MB) ...")
    try:
        return mnist_of_openml()
    # Whatever fails there, in the network or in what it sent, is no reason to stop.
    except Exception as error:
        say(f"... which failed: {first_line(error)}")
        say("scikit-learn's digits of 8x8 pixels stand in.")
        return enlarged_digits()


def mnist_of_file(path: Path) -> Digits:
    import numpy as np

    with np.load(path) as file:
        return mnist(*(file[name] for name in MNIST.arrays), source=f"MNIST, {path}")


def mnist_of_openml() -> Digits:
    import socket
    import warnings

    from sklearn.datasets import fetch_openml

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A network error occurred")
            X, y = fetch_openml(
                "mnist_784",
                version=1,
                return_X_y=True,
                as_frame=False,
                # The other parser needs no pandas, and is slow.
                parser="auto" if find_spec("pandas") else "liac-arff",
                n_retries=1,
                delay=0.1,
            )
    finally:
        socket.setdefaulttimeout(before)
    # OpenML keeps the order of the original, where the last 10000 are for testing.
    X_train, X_test, y_train, y_test = X[:-10_000], X[-10_000:], y[:-10_000], y[-10_000:]
    return mnist(X_train, y_train, X_test, y_test, source="MNIST, OpenML's mnist_784")


def mnist(X_train, y_train, X_test, y_test, source: str) -> Digits:
    """Return MNIST with pixels in [0, 1] and numbers as labels."""
    X_train, X_test = (X.astype("float32") / 255 for X in (X_train, X_test))
    y_train, y_test = (y.astype("int64") for y in (y_train, y_test))
    return Digits(X_train, y_train, X_test, y_test, f"{source}: {count(X_train, X_test)}")


def enlarged_digits() -> Digits:
    """Return scikit-learn's digits in the manner of MNIST: 20x20 pixels in a frame of 28x28."""
    import numpy as np
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, y = load_digits(return_X_y=True)
    images = zoom(images.reshape(-1, 8, 8) / 16, (1, 2.5, 2.5), order=1)
    X = np.pad(images, ((0, 0), (4, 4), (4, 4))).reshape(-1, 784).astype(np.float32)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    source = f"scikit-learn's, enlarged from 8x8 to 28x28 pixels: {count(X_train, X_test)}"
    return Digits(X_train, y_train, X_test, y_test, source, is_mnist=False)


def count(X_train: "np.ndarray", X_test: "np.ndarray") -> str:
    return f"{len(X_train)} digits to learn from, {len(X_test)} to be judged by"


# --- natural images --------------------------------------------------------------------------


def natural_images(path: Path | None) -> tuple["np.ndarray", str]:
    """Return whitened images (n_images, height, width), and what they are in a line.

    Without a file they are the two photographs that come with scikit-learn.
    """
    import numpy as np

    if path is not None:
        with np.load(path) as file:
            images, name = file["images"].astype(float), str(path)
    else:
        from sklearn.datasets import load_sample_images

        photographs = np.stack(load_sample_images().images).mean(axis=-1)  # grey
        # Half as large: what is left has less of the blocks and the blur of a JPEG.
        photographs = photographs[:, :426].reshape(2, 213, 2, 320, 2).mean(axis=(2, 4))
        images, name = whitened(photographs), PHOTOGRAPHS
    n_images, height, width = images.shape
    return images, f"{name}: {n_images} images of {height}x{width} pixels"


def whitened(images: "np.ndarray") -> "np.ndarray":
    """Return the images with all frequencies alike, as Olshausen and Field made them.

    The amplitude of a natural image falls as 1/f. The filter f exp(-(f/f0)^4) undoes it, and
    leaves out the highest frequencies, where there is mostly noise. The variance becomes 0.1.
    """
    import numpy as np

    height, width = images.shape[-2:]
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    spectrum = np.fft.rfft2(images) * f * np.exp(-((f / 0.4) ** 4))
    white = np.fft.irfft2(spectrum, s=(height, width))
    # Each by its own scale, so that a photograph of much contrast is not all that counts.
    return white * np.sqrt(0.1 / white.var(axis=(-2, -1), keepdims=True))


# --- what is said ----------------------------------------------------------------------------


def say(line: str) -> None:
    """Print at once, and to stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
