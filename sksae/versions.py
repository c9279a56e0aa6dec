"""What a report of a bug says of the machine: versions, devices, threads, and who multiplies."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from threadpoolctl import threadpool_info

PACKAGES = ("sksae", "torch", "scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl")
DEVICES = ("cpu", "cuda", "mps")
# What decides how threads work and which library multiplies, of all that the environment may hold.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "CUDA_VISIBLE_DEVICES",
    "SKSAE_PRODUCTS",
)


def show_versions() -> None:
    """Print what a report of a bug should say of the machine.

    The system; the versions of sksae and of what it stands on; the environment variables by which
    threads are set; which library does the matrix products here, and why; torch's threads and
    devices; and the libraries of threads that are loaded. It imports torch.

    Examples
    --------
    >>> import sksae
    >>> sksae.show_versions()  # doctest: +SKIP
    """
    # One after the other: where torch fails to load, what comes before it has been said.
    _print_section("System", system_facts())
    _print_section("Python dependencies", {name: installed_version(name) for name in PACKAGES})
    _print_section("Environment", {name: os.environ.get(name, "not set") for name in VARIABLES})
    _print_section("Computing", computing_facts())
    _print_section("Libraries of threads", thread_libraries())


def _print_section(title: str, facts: Mapping[str, str]) -> None:
    width = max(map(len, facts), default=0)
    print(f"\n{title}:")
    for name, fact in facts.items():
        print(f"{name:>{width}}: {fact}")


def system_facts() -> dict[str, str]:
    """Return what runs Python: its version and its place, the system, the processor's cores."""
    return {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": str(usable_cores()),
    }


def _processor() -> str:
    """Return the processor's name, as Linux gives it where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def usable_cores() -> int:
    """Return how many cores this process may use, which a container makes fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_version(package: str) -> str:
    """Return the version of an installed package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def computing_facts() -> dict[str, str]:
    """Return which library multiplies and why, torch's threads, and the devices; imports torch."""
    from sksae.engine import products
    from sksae.engine.threads import n_cores

    return {
        "products": products.describe(),
        "torch threads": str(n_cores()),
        "devices": ", ".join(name for name in DEVICES if _is_here(name)),
    }


def _is_here(device: str) -> bool:
    from sksae.engine.device import training_device

    try:
        training_device(device, "float32")
    except ValueError:
        return False
    return True


def thread_libraries() -> dict[str, str]:
    """Return the libraries with threads of their own that are loaded: kernels, number of threads.

    Each goes by the end of its path, which tells whose it is: numpy and scipy have an OpenBLAS
    each, torch and scikit-learn a libgomp.
    """
    return {
        "/".join(Path(found["filepath"]).parts[-3:]): ", ".join(
            [
                *(str(found[key]) for key in ("internal_api", "version") if found[key]),
                *(str(found[key]) for key in ("architecture", "threading_layer") if key in found),
                f"{found['num_threads']} thread" + "s" * (found["num_threads"] != 1),
            ]
        )
        for found in threadpool_info()
    }
