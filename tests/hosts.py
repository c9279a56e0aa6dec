"""Two hosts on one machine: network namespaces, joined by a cable that can be pulled.

A host is all processes of a namespace. It is gone when they are, and with the process that holds
it, which ends when this one does, whatever happens to it.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import which

import sksae

HERE = Path(__file__).parent
ROOT = Path(sksae.__file__).parents[1]
NEEDED = ("ip", "nsenter", "unshare")
CARD, PORT = "eth0", 29400
HELD = "ip link set lo up && echo ready && exec cat"


class Host:
    """A network namespace, held by a process that waits for the end of its input.

    Parameters
    ----------
    number : int
        Its place in its address.
    beside : Host, default=None
        Whose user namespace it is in; None makes one, in which everybody may set up a network.
    """

    def __init__(self, number, beside=None):
        self.address = f"10.83.0.{number}"
        inside = [] if beside is None else beside.entered
        new = ["unshare", "-n"] if inside else ["unshare", "-rn"]
        self.holder = subprocess.Popen(
            [*inside, *new, "sh", "-c", HELD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = self.holder.stdout.readline().strip()
        if said != "ready":
            self.end()
            raise OSError(said)
        target = f"--target={self.holder.pid}"
        self.entered = ["nsenter", target, "--user", "--preserve-credentials", "--net"]
        self._space = self._space_of(self.holder.pid)

    @staticmethod
    def _space_of(pid):
        with suppress(OSError):  # it has ended, or is another user's
            return os.readlink(f"/proc/{pid}/ns/net")

    def ip(self, *arguments, program="ip"):
        """Set up the network."""
        command = [*self.entered, program, *arguments]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)

    def start(self, *command, **environment):
        """Start a program here."""
        usual = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": CARD,
        }
        return subprocess.Popen(
            [*self.entered, *command],
            env=os.environ | usual | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def torchrun(self, program, *arguments, rank, size=2, **environment):
        """Start one process of a program by torchrun, whose store lies on host 1."""
        own = [
            "--nproc-per-node=1",
            f"--nnodes={size}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint=10.83.0.1:{PORT}",
            f"--rdzv-conf=is_host={int(rank == 0)}",
            f"--local-addr={self.address}",
        ]
        command = [sys.executable, "-m", "torch.distributed.run", *own, str(program)]
        return self.start(*command, *map(str, arguments), **environment)

    def processes(self):
        """Return the numbers of all that runs here."""
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
        others = [pid for pid in pids if pid != self.holder.pid]
        return [pid for pid in others if self._space_of(pid) == self._space]

    def kill(self):
        """Kill all that runs here, as when the power fails."""
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def end(self):
        """Give it up."""
        if hasattr(self, "_space"):
            self.kill()
        self.holder.kill()
        self.holder.communicate()


@contextmanager
def two_hosts():
    """Make two hosts that are joined by a cable, and remove them afterwards.

    Raises
    ------
    OSError
        If this system does not let us; it says why.
    """
    missing = [name for name in NEEDED if which(name) is None]
    if missing:
        raise OSError(f"there is no {', '.join(missing)}")
    with ExitStack() as stack:
        first = Host(1)
        stack.callback(first.end)
        second = Host(2, first)
        stack.callback(second.end)
        peer = ["peer", "name", CARD, "netns", str(second.holder.pid)]
        try:
            first.ip("link", "add", CARD, "type", "veth", *peer)
            for host in (first, second):
                host.ip("addr", "add", f"{host.address}/24", "dev", CARD)
                host.ip("link", "set", CARD, "up")
        except subprocess.CalledProcessError as error:
            raise OSError(error.stderr.strip()) from error
        yield first, second


def why_there_are_none():
    """Return why this system has no such hosts, or an empty text if it has."""
    try:
        with two_hosts():
            return ""
    except OSError as error:
        return f"needs network namespaces, and {error}"
