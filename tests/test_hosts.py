"""Fits over two hosts that torchrun brings together, and what a lost host or cable leaves behind.

The hosts are network namespaces of this machine: `hosts`.
"""

import json
import sys
import time
from pathlib import Path

import hosts
import pytest
from hosts_program import TIMEOUT

PROGRAM = hosts.HERE / "hosts_program.py"
# What torchrun takes to bring processes together, and to import torch, on a busy machine.
TO_BEGIN, TO_FIT = 120.0, 60.0
# What an end takes after the timeout of torch.distributed, on a busy machine: who has lost others
# waits five seconds for what they say, or for the store.
SOON = 20.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def why_none():
    return hosts.why_there_are_none()


@pytest.fixture
def pair(why_none):
    """Two hosts that are joined by a cable."""
    if why_none:
        pytest.skip(why_none)
    with hosts.two_hosts() as found:
        yield found


def wait(is_so, seconds, what, running=()):
    end = time.monotonic() + seconds
    while not is_so():
        for each in running:
            assert each.poll() is None, each.communicate()[0]
        assert time.monotonic() < end, f"{what} took longer than {seconds} s"
        time.sleep(0.02)


def found_on(rank, folder):
    path = folder / f"found {rank}"
    return json.loads(path.read_text()) if path.exists() else None


def started(pair, case, folder):
    """Start a case, one process on each host."""
    folder.mkdir(exist_ok=True)
    return [host.torchrun(PROGRAM, case, folder, rank=rank) for rank, host in enumerate(pair)]


def results(programs, folder):
    """Return what both processes found, once they have ended."""
    for program in programs:
        said, _ = program.communicate(timeout=TO_BEGIN + TO_FIT)
        assert program.returncode == 0, said
    return [found_on(rank, folder)["found"] for rank in (0, 1)]


def on_one_host(host, case, folder):
    """Start a case, both processes on one host."""
    folder.mkdir()
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [host.start(*run, str(PROGRAM), case, str(folder), GLOO_SOCKET_IFNAME="lo")]


def test_a_fit_over_two_hosts_is_that_of_two_processes_on_one_to_the_bit(pair, tmp_path):
    first, second = results(started(pair, "alike", tmp_path / "two"), tmp_path / "two")
    assert first == second
    alone = results(on_one_host(pair[0], "alike", tmp_path / "one"), tmp_path / "one")
    assert alone == [first, first]


def test_each_host_reads_files_of_its_own(pair, tmp_path):
    first, second = results(started(pair, "of_files", tmp_path / "two"), tmp_path / "two")
    assert first == second
    alone = results(on_one_host(pair[1], "of_array", tmp_path / "one"), tmp_path / "one")
    assert alone == [first, first]


def pull(pair, which):
    pair[which].ip("link", "set", hosts.CARD, "down")


def power_off(pair, which):
    """A host without power says nothing, not even that connections are closed."""
    pull(pair, which)
    pair[which].kill()


def kill(pair, which):
    pair[which].kill()


def is_at_work(host, rank, folder):
    """Return whether the process that fits is there: torchrun itself may wait for its store."""
    return int((folder / f"begun {rank}").read_text()) in host.processes()


def lost(pair, case, folder, how, which):
    """Return what processes say that are left after something is lost, in how many seconds.

    None stands for one that has ended without saying something.

    Parameters
    ----------
    pair : tuple of two Host
        Hosts.
    case : str
        What they do.
    folder : Path
        Where they write.
    how : callable
        What is done to a host.
    which : int
        To which.
    """
    programs = started(pair, case, folder)
    begun = [folder / f"begun {rank}" for rank in (0, 1)]
    wait(lambda: all(map(Path.exists, begun)), TO_BEGIN, "beginning", programs)
    time.sleep(1.0)
    how(pair, which)
    begin = time.time()
    (folder / "cut").touch()
    left = [rank for rank in (0, 1) if rank != which or how is pull]
    ends = TIMEOUT + SOON
    wait(lambda: not any(is_at_work(pair[rank], rank, folder) for rank in left), ends, "ending")
    found = {rank: found_on(rank, folder) for rank in left}
    return {rank: each and (*each["found"][:2], each["at"] - begin) for rank, each in found.items()}


NO_STORE = "The store of torch.distributed"
KINDS = {"ProcessesError", "LostStoreError"}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("case", ["endless", "before", "met"])
def test_when_the_cable_is_pulled_both_end_and_say_so(case, which, pair, tmp_path):
    found = lost(pair, case, tmp_path, pull, which)
    assert {kind for kind, _, _ in found.values()} <= KINDS
    # Who pulls the cable of the store's host may have taken its address from itself.
    assert "Rank 1 " in found[0][1] or (which == 0 and NO_STORE in found[0][1])
    assert NO_STORE in found[1][1]
    assert "it did not answer for" in found[1][1]


@pytest.mark.parametrize("how", [kill, power_off])
@pytest.mark.parametrize("which", [0, 1])
def test_when_a_host_dies_the_other_ends_and_says_so(which, how, pair, tmp_path):
    rank = 1 - which
    found = lost(pair, "endless", tmp_path, how, which)
    if found[rank] is None:
        # torchrun has lost the store too, and ended the process before that could say so.
        assert which == 0
        assert how is kill
        return
    kind, text, seconds = found[rank]
    assert kind in KINDS
    # Without the host of the store nobody knows who is gone.
    assert (NO_STORE if which == 0 else "Rank 1 ended without a word") in text
    if how is kill:
        assert seconds < SOON  # as connections are closed, nobody waits for the timeout
