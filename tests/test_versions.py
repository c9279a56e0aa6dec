"""What a report of a bug says of the machine."""

import sys
from pathlib import Path

import pytest

import sksae
from sksae import versions
from sksae.engine import products, threads


def test_versions_are_told_in_sections(capsys, monkeypatch):
    monkeypatch.setattr(products, "describe", lambda: "by whom, and why")
    monkeypatch.setattr(threads, "n_cores", lambda: 3)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert sksae.show_versions() is None
    sections = dict(
        block.split(":\n", 1) for block in capsys.readouterr().out.strip("\n").split("\n\n")
    )
    told = {
        title: dict(line.strip().split(": ", 1) for line in block.splitlines())
        for title, block in sections.items()
    }
    assert list(told) == [
        "System",
        "Python dependencies",
        "Environment",
        "Computing",
        "Libraries of threads",
    ]
    assert told["System"]["executable"] == sys.executable
    assert told["Python dependencies"].keys() == set(versions.PACKAGES)
    assert told["Computing"]["products"] == "by whom, and why"
    assert told["Computing"]["torch threads"] == "3"
    assert "cpu" in told["Computing"]["devices"]
    assert told["Environment"]["OMP_WAIT_POLICY"] == "passive"
    assert told["Environment"]["GOMP_SPINCOUNT"] == "not set"
    assert all("thread" in line for line in told["Libraries of threads"].values())


def test_a_package_that_is_not_there_is_said_to_be_missing():
    assert versions.installed_version("sksae-that-nobody-made") == "not installed"
    assert versions.installed_version("numpy") != "not installed"


@pytest.mark.parametrize("missing", [False, True])
def test_only_devices_that_are_there_are_named(missing, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: not missing)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert versions.computing_facts()["devices"] == ("cpu" if missing else "cpu, cuda")


def test_libraries_of_threads_tell_their_kernels_and_whose_they_are(monkeypatch):
    blas = {
        "user_api": "blas",
        "internal_api": "openblas",
        "num_threads": 2,
        "prefix": "libscipy_openblas",
        "filepath": "/somewhere/numpy.libs/libopenblas.so",
        "version": "0.3.31",
        "threading_layer": "pthreads",
        "architecture": "SkylakeX",
    }
    openmp = {
        "user_api": "openmp",
        "internal_api": "openmp",
        "num_threads": 1,
        "prefix": "libgomp",
        "filepath": "/somewhere/torch/lib/libgomp.so.1",
        "version": None,
    }
    monkeypatch.setattr(versions, "threadpool_info", lambda: [blas, openmp])
    assert versions.thread_libraries() == {
        "somewhere/numpy.libs/libopenblas.so": "openblas, 0.3.31, SkylakeX, pthreads, 2 threads",
        "torch/lib/libgomp.so.1": "openmp, 1 thread",
    }


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [("processor\t: 0\nmodel name\t: A Fast One\nflags\t: avx\n", "A Fast One"), (None, "x86_64")],
)
def test_the_processor_is_named_where_linux_names_it(cpuinfo, name, monkeypatch):
    def read_text(self, **kwargs):
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(versions.platform, "processor", lambda: "")
    monkeypatch.setattr(versions.platform, "machine", lambda: "x86_64")
    assert versions.system_facts()["processor"] == name


def test_where_torch_fails_the_rest_has_been_told(capsys, monkeypatch):
    def fail():
        raise ImportError("no torch")

    monkeypatch.setattr(versions, "computing_facts", fail)
    with pytest.raises(ImportError, match="no torch"):
        sksae.show_versions()
    said = capsys.readouterr().out
    assert sys.executable in said
    assert "OMP_WAIT_POLICY: " in said
