"""What the benchmarks of this folder share: options, data, timing, the floor, and the report."""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

# OpenMP reads it when it is loaded, with torch or scikit-learn: before any of them. Targets are for
# threads that sleep while they wait; where the user has chosen otherwise, the report says so.
WAIT_POLICY = "OMP_WAIT_POLICY"
USERS_WAIT_POLICY = os.environ.get(WAIT_POLICY)
os.environ.setdefault(WAIT_POLICY, "passive")

import numpy as np

# The examples, one folder up, have the loader.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _data import (
    MNIST,
    NATURAL_IMAGES,
    DataFile,
    Digits,
    add_data_option,
    mnist_or_digits,
    natural_images,
)
from _data import PHOTOGRAPHS as PHOTOGRAPHS
from _data import SENTENCES as SENTENCES
from _data import say as say

# Taken before the benchmark adds its own: other work on the machine spoils the ratios.
LOAD_AT_START = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
# Between runs: threads of OpenMP and of BLAS spin for a while after their last piece of work, and
# would take the cores from whoever comes next.
REST = 0.2  # seconds
PACKAGES = ("sksae", "torch", "scikit-learn", "numpy", "scipy", "skorch")
LIBRARIES = ("torch.mm", "np.dot")  # that the floor is found among


# --- options ---------------------------------------------------------------------------------


def option_parser(
    description: str, repeats: int, data: DataFile | None = None
) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has.

    Parameters
    ----------
    description : str
    repeats : int
    data : DataFile, optional
        What --data is to name; without it --data is a folder of which find_data takes files.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--repeats", type=positive_int, default=repeats, help="default %(default)s")
    parser.add_argument("--threads", type=positive_int, help="of torch and of numpy's BLAS")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    if data is None:
        parser.add_argument("--data", type=Path, help="folder of the data; default $SKSAE_DATA")
    else:
        add_data_option(parser, data)
    return parser


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def restore_wait_policy() -> None:
    """Give the environment back as the user set it, to processes that are to be a user's."""
    if USERS_WAIT_POLICY is None:
        os.environ.pop(WAIT_POLICY, None)


def set_threads(threads: int | None) -> None:
    """Give torch and numpy's BLAS the same number of threads; None leaves both as they are."""
    if threads is None:
        return
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(limits=threads)


def machine_facts() -> dict[str, object]:
    """Return what a reader needs to place the numbers: cores, threads and versions."""
    from sksae.versions import computing_facts, system_facts

    system = system_facts()
    return {
        "processor": system["processor"],
        "machine": platform.machine(),
        "cores": system["cores"],
        "load at start": LOAD_AT_START,
        WAIT_POLICY: os.environ.get(WAIT_POLICY, "not set"),
        "torch threads": computing_facts()["torch threads"],
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def kernels() -> dict[str, str]:
    """Return who computed: whose products, with which instructions, in how many threads."""
    import torch

    from sksae.versions import computing_facts, thread_libraries

    mkl = "MKL" if torch.backends.mkl.is_available() else "another library than MKL"
    return {
        "sksae's products": computing_facts()["products"],
        "torch's": f"products by {mkl}, all else by {torch.backends.cpu.get_cpu_capability()}",
        **thread_libraries(),
    }


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# --- data ------------------------------------------------------------------------------------


def find_data(given: Path | None, file: DataFile) -> Path | None:
    """Return the file in the folder of --data or SKSAE_DATA, or None where none was named."""
    named = given or os.environ.get("SKSAE_DATA")
    if not named:
        return None
    try:
        return file(named)
    except argparse.ArgumentTypeError as error:
        sys.exit(f"--data or SKSAE_DATA: {error}")


def rows_of_mnist(path: Path | None, n_samples: int) -> tuple[np.ndarray, str]:
    """Return float32 (n_samples, 784) in [0, 1], repeated where there are too few, and whose."""
    digits = mnist_or_digits(path)
    X = digits.X_train[:n_samples]
    return np.resize(X, (n_samples, X.shape[1])), noted(digits)


def noted(digits: Digits) -> str:
    """Return what to say of the digits in a report."""
    return f"Digits: {digits.source}" + ("" if digits.is_mnist else "; targets are for MNIST") + "."


def synthetic(n_samples: int, n_features: int) -> np.ndarray:
    """Return uniform noise in [0, 1], for claims in which only the shape matters."""
    return np.random.default_rng(0).random((n_samples, n_features), dtype=np.float32)


def mnist_or_synthetic(given: Path | None, n_samples: int) -> np.ndarray:
    """Return float32 (n_samples, 784) in [0, 1]: MNIST, or noise where no folder is named."""
    path = find_data(given, MNIST)
    return synthetic(n_samples, 784) if path is None else rows_of_mnist(path, n_samples)[0]


def natural_patches(path: Path | None, n_samples: int = 10_000, side: int = 8, seed: int = 0):
    """Return patches of whitened images as the UFLDL exercise makes them, float64 in [0.1, 0.9].

    Each patch's own mean is removed, the whole is clipped to +-3 standard deviations.
    """
    images, _ = natural_images(path)
    rng = np.random.RandomState(seed)
    n_images, height, width = images.shape
    which = rng.randint(n_images, size=n_samples)
    top = rng.randint(height - side + 1, size=n_samples)
    left = rng.randint(width - side + 1, size=n_samples)
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))
    patches = windows[which, top, left].reshape(n_samples, side * side)
    patches = patches - patches.mean(axis=1, keepdims=True)
    limit = 3 * patches.std()
    return 0.1 + 0.4 * (np.clip(patches, -limit, limit) / limit + 1)


def patches_or_synthetic(given: Path | None, n_samples: int) -> np.ndarray:
    """Return float32 (n_samples, 64): patches of whitened images, or noise where there are none."""
    path = find_data(given, NATURAL_IMAGES)
    if path is None:
        return synthetic(n_samples, 64)
    return natural_patches(path, n_samples).astype(np.float32)


# --- the model, as a plain user would write it -----------------------------------------------


def starting_weights(
    X: np.ndarray, n_components: int, rho: float, seed: int, output: str = "sigmoid"
) -> tuple:
    """Return W_in, b_in, W_out, b_out: UFLDL's uniform weights, biases at the trivial solution."""
    rng = np.random.RandomState(seed)
    n_features = X.shape[1]
    bound = np.sqrt(6 / (n_features + n_components + 1))
    W_in = rng.uniform(-bound, bound, (n_features, n_components))
    W_out = rng.uniform(-bound, bound, (n_components, n_features))
    mean = X.mean(axis=0, dtype=np.float64)
    b_out = logit(np.clip(mean, 0.01, 0.99)) if output == "sigmoid" else mean
    return W_in, np.full(n_components, logit(rho)), W_out, b_out


def logit(p):
    return np.log(p / (1 - p))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


OUTPUTS = {"sigmoid": sigmoid, "identity": lambda z: z}


def objective(
    X, W_in, b_in, W_out, b_out, *, rho: float, beta: float, alpha: float, output: str = "sigmoid"
) -> float:
    """Return J of a sigmoid code and a sigmoid or identity output over all rows, in float64."""
    X, W_in, b_in, W_out, b_out = (
        np.asarray(array, dtype=np.float64) for array in (X, W_in, b_in, W_out, b_out)
    )
    code = sigmoid(X @ W_in + b_in)
    error = OUTPUTS[output](code @ W_out + b_out) - X
    rho_hat = code.mean(axis=0)
    kl = np.sum(rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat)))
    decay = np.sum(W_in * W_in) + np.sum(W_out * W_out)
    return float(np.sum(error * error) / 2 / len(X) + beta * kl + alpha / 2 * decay)


def weights_of(model) -> tuple:
    """Return W_in, b_in, W_out, b_out of a fitted estimator with one hidden layer."""
    return model.coefs_[0], model.intercepts_[0], model.coefs_[1], model.intercepts_[1]


# --- timing ----------------------------------------------------------------------------------


def five_products(batch: int, n_features: int, n_components: int) -> dict[str, Callable[[], None]]:
    """Return, for each library, a function that does a step's five matrix products and no more.

    No step can do without them: two forward, one back through the decoder, two for the weights'
    gradients. They are written as one would, with rows first. The results go to memory
    allocated once, as in a tuned engine; both libraries work on the same.
    """
    import torch

    rng = np.random.default_rng(0)
    shapes = {
        "X": (batch, n_features),
        "W_in": (n_features, n_components),
        "A": (batch, n_components),
        "W_out": (n_components, n_features),
        "D": (batch, n_features),
    }
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes.values()]
    arrays += map(np.empty_like, arrays[:4])

    def all_by(multiply, X, W_in, A, W_out, D, output, grad_in, code, grad_out):
        def products() -> None:
            multiply(X, W_in, out=code)
            multiply(A, W_out, out=output)
            multiply(A.T, D, out=grad_out)
            multiply(D, W_out.T, out=code)
            multiply(X.T, A, out=grad_in)

        return products

    by_torch = all_by(torch.mm, *map(torch.from_numpy, arrays))
    return dict(zip(LIBRARIES, (by_torch, all_by(np.dot, *arrays)), strict=True))


def fastest(seconds: Mapping[str, Sequence[float]]) -> str:
    """Return the library that is the floor in all rounds: the one with the smaller median.

    The faster one of every single round would be faster than either is by chance.
    """
    return min(LIBRARIES, key=lambda name: statistics.median(seconds[name]))


def interleave(
    runs: Mapping[str, Callable[[int], object]],
    repeats: int,
    warm_up: bool = True,
    before: Callable[[str], object] = lambda name: None,
) -> tuple[dict[str, list[float]], dict[str, list]]:
    """Time the alternatives side by side: one of each, then the next round.

    Round by round and not block by block, so that a slow minute of the machine falls on all of
    them alike; and each round begins with another one, so that none always has the same
    neighbour before it.

    Parameters
    ----------
    runs : mapping of str to callable
        Each is called with the number of the round, which makes a good seed.
    repeats : int
    warm_up : bool
        Whether one round goes ahead untimed.
    before : callable
        Called with an alternative's name before each of its runs, untimed.

    Returns
    -------
    seconds, results : dict of str to list
        For each alternative one entry a round.
    """
    names = list(runs)
    if warm_up:
        for name in names:
            before(name)
            runs[name](0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    results: dict[str, list] = {name: [] for name in names}
    for round_ in range(repeats):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            before(name)
            gc.collect()  # here, or it falls due in the middle of someone's run
            time.sleep(REST)
            start = time.perf_counter()
            result = runs[name](round_)
            seconds[name].append(time.perf_counter() - start)
            results[name].append(result)
    return seconds, results


def sample(read: Callable[[], int], action: Callable[[], object], interval: float) -> list[int]:
    """Run `action`; return what `read` gave before, every so many seconds meanwhile, and after."""
    samples, done = [read()], threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            samples.append(read())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        action()
    finally:
        done.set()
        watcher.join()
    return [*samples, read()]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios of each round, steadier than the ratio of the medians."""
    return statistics.median(n / d for n, d in zip(numerators, denominators, strict=True))


def excess(ours: float, theirs: float) -> float:
    """Return by how many percent our J is above theirs."""
    return 100 * (ours / theirs - 1)


def quiet() -> None:
    """Silence ConvergenceWarning: a benchmark stops after a fixed number of passes on purpose."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)


# --- report ----------------------------------------------------------------------------------


def at_most(value: float, limit: float) -> dict[str, object]:
    return {"target": f"at most {limit:g}", "met": value <= limit}


def at_least(value: float, limit: float) -> dict[str, object]:
    return {"target": f"at least {limit:g}", "met": value >= limit}


def report(
    title: str, rows: Sequence[Mapping[str, object]], notes: Sequence[str], as_json: bool
) -> None:
    """Print the rows as one table for people, or everything as one JSON object."""
    facts, who_computed = machine_facts(), kernels()
    if USERS_WAIT_POLICY not in (None, "passive", "PASSIVE"):
        notes = [*notes, f"{WAIT_POLICY}={USERS_WAIT_POLICY}; targets are for passive."]
    if as_json:
        result = {
            "benchmark": title,
            "machine": facts,
            "kernels": who_computed,
            "rows": rows,
            "notes": notes,
        }
        print(json.dumps(result, indent=2, default=lambda value: value.item()))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[as_text(row.get(name)) for name in columns] for row in rows]
    print_table(title, columns, cells)
    for note in notes:
        print(note)
    print(", ".join(f"{name} {as_text(value)}" for name, value in facts.items()))
    for name, kernel in who_computed.items():
        print(f"{name}: {kernel}")


def as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_table(title: str, columns: list[str], cells: list[list[str]]) -> None:
    """Print with rich where it is installed, as aligned plain text otherwise."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ModuleNotFoundError:
        print(title)
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for line in (columns, *cells):
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print("  ".join(padded).rstrip())
        return
    table = Table(*columns, title=title, title_justify="left")
    for line in cells:
        table.add_row(*line)
    # In a pipe rich takes 80 columns for granted and would break the lines.
    Console(width=None if sys.stdout.isatty() else 140).print(table)
