"""What all tests share: threads, hypothesis, real data."""

import os
import secrets
import signal
import threading
from functools import cache
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from each_once import is_needed
from sklearn.datasets import load_digits

# Modules that a release wrote, which are data here.
collect_ignore = ["golden"]

# Tests must not pass or fail by the clock or by chance.
hypothesis.settings.register_profile("sksae", deadline=None, derandomize=True)
hypothesis.settings.load_profile("sksae")


def pytest_configure(config):
    """Give each xdist worker one thread; they inherit this process's environment."""
    if getattr(config.option, "numprocesses", None):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark slow what is not needed to have each value once, where a test asks for it."""
    for item in items:
        if item.get_closest_marker("each_once") and not is_needed(item):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def default_interrupts():
    """Let SIGINT raise KeyboardInterrupt, which it does not in a job in the background."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled in the main thread only")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


# One for the process: ray does not read another one later.
RAY_TOKEN = secrets.token_hex(32)


# What the files of real data hold, by which they can be made.
REAL_DATA = {
    "mnist.npz": "the original MNIST as uint8 arrays X_train (60000, 784), y_train, X_test, y_test",
    "natural_images_whitened.npz": "images float32 (10, 320, 320), the first ten training images of"
    " BSDS500 in grey, whitened by Olshausen's filter f exp(-(f/0.4N)^4), of variance 0.1",
    "nature_patches_10x10.npz": "X float64 (5000, 100), the training data of the CRAN package"
    " autoencoder 1.1",
    "cran_reference_25.npz": "W1, W2, b1, b2, the weights in the CRAN package autoencoder 1.1",
}


@pytest.fixture(scope="session")
def data_directory():
    """Where real data are: $SKSAE_DATA, else shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("SKSAE_DATA", beside))


@pytest.fixture(scope="session")
def load(data_directory):
    """Return the function that reads a file of real data, or skips the test."""

    @cache
    def read(name):
        path = data_directory / name
        if not path.is_file():
            pytest.skip(
                f"needs {name}, {REAL_DATA[name]}; put it into a folder and set SKSAE_DATA to that"
            )
        with np.load(path) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="session")
def digits():
    """Pictures of digits, of 64 numbers in [0, 1]."""
    return load_digits().data / 16


@pytest.fixture
def shown(monkeypatch):
    """All batches that a training corrupts, before and after, in order."""
    import torch

    from sksae.engine.noise import Corruption

    seen = []
    corrupt = Corruption.__call__

    def spy(self, batch):
        clean = batch.rows.clone()
        corrupted = corrupt(self, batch)
        # What is wanted is what it was, in its own place.
        assert corrupted.target is batch.target
        assert corrupted.weight is batch.weight
        assert torch.equal(batch.rows, clean)
        seen.append((clean[0].numpy(), corrupted.rows[0].clone().numpy()))
        return corrupted

    monkeypatch.setattr(Corruption, "__call__", spy)
    return seen


@pytest.fixture
def trainings(monkeypatch):
    """How many networks each call of the engine trained, for a search or in a fit of its own.

    As on one core: several would divide the groups among them.
    """
    from sksae import transformer
    from sksae.engine import threads
    from sksae.model_selection import groups

    sizes = {"ahead": [], "alone": []}
    train_plans = transformer.train_plans

    def counting(where):
        def count(plans, *args, **kwargs):
            sizes[where].append(len(plans))
            return train_plans(plans, *args, **kwargs)

        return count

    monkeypatch.setattr(threads, "n_cores", lambda: 1)
    monkeypatch.setattr(groups, "train_plans", counting("ahead"))
    monkeypatch.setattr(transformer, "train_plans", counting("alone"))
    return sizes


def _have_a_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", RAY_TOKEN)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def private_ray(monkeypatch):
    """Have a local ray use a token of its own, which it else writes to the home directory."""
    _have_a_token(monkeypatch)


@pytest.fixture(scope="module")
def private_ray_of_module():
    """The same for all tests of a file; the monkeypatch by which it was set."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _have_a_token(monkeypatch)
        yield monkeypatch
