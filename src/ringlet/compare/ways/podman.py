"""podman, with a root file system instead of an image and no network, like ringlet's container.

Source: podman-run(1), conmon(8).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.processes import tree
from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.ways.base import PROCESSES, Rival, size
from ringlet.container.cgroups import Cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request

_PR_SET_CHILD_SUBREAPER = 36
_KILLED = 128 + signal.SIGKILL  # the status of a container that `close` has ended
_PATIENCE = 10  # seconds for the monitor to end after its container


class Way(Rival):
    """The workload by `podman run`, with a storage of its own in the comparison's folder."""

    name = "podman"
    title = "podman"
    about = "podman, as its users run it, with the same root and without a network."
    program = "podman"
    package = "podman"

    def prepare(self) -> None:
        """Makes the storage, the name of a cgroup, and a root that podman may write to."""
        self._folder = Path(mkdtemp(prefix="p", dir=self._lab.folder))  # podman needs a short path
        self._rootfs = self._folder / "rootfs"
        shutil.copytree(self._lab.rootfs, self._rootfs)
        self._cgroup = f"/ringlet-compare-{os.getpid()}"
        self._numbers = count(1)
        self._runtime: list[str] = []
        self._lab.on_close(self._remove_cgroups)

    def try_out(self) -> None:
        """Runs the workload once by podman's default runtime, or else by runc."""
        try:
            super().try_out()
        except Unavailable:
            if shutil.which("runc") is None:
                raise
            self._runtime = ["--runtime", "runc"]
            super().try_out()

    def command(self, request: Request) -> list[str]:
        """Returns `podman run --rm --network none --rootfs ROOTFS /work WORDS`."""
        command = [self.program]
        for option, name in ("root", "storage"), ("runroot", "run"), ("tmpdir", "tmp"):
            command += [f"--{option}", str(self._folder / name)]
        command += ["--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        command += ["--storage-driver", "vfs", *self._runtime, "run", "--rm"]
        number = next(self._numbers)
        command += ["--name", f"ringlet-compare-{number}"]
        command += ["--conmon-pidfile", str(self._folder / f"{number}.pid")]
        command += ["--cgroup-parent", self._cgroup, "--network", "none", "--hostname", "ringlet"]
        # By default podman raises these limits as high as root may, which fails in some containers.
        command += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        if request.reads_input:
            command += ["--interactive"]
        if request.disk is not None:
            command += ["--volume", f"{request.disk}:{self.disk}"]
        if request.limited:
            memory = size(request.memory).lower()
            command += ["--memory", memory, "--memory-swap", memory]
            command += ["--pids-limit", str(PROCESSES), "--cpus", "1"]
        return [*command, "--rootfs", str(self._rootfs), "/work", *request.words]

    def spawn(self, request: Request) -> Run:
        """Starts the command, whose processes include its monitor."""
        command = self.command(request)
        pidfile = Path(command[command.index("--conmon-pidfile") + 1])
        return Run(command, pidfile, input=request.reads_input)

    def _remove_cgroups(self) -> None:
        for hierarchy in Cgroups.find().hierarchies:
            for folder, _, _ in os.walk(hierarchy.mount + self._cgroup, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)


class Run(Spawned):
    """A run of podman. Its container is the child of a monitor, which is no child of podman.

    If process 1 didn't wait for orphans, the monitor would stay as a zombie. That is why our
    process adopts the monitor.
    """

    _running = 0

    def __init__(self, command: list[str], pidfile: Path, *, input: bool) -> None:
        self._pidfile = pidfile
        _adopt_orphans(True)
        try:
            super().__init__(command, input=input)
            Run._running += 1
        finally:
            if not Run._running:
                _adopt_orphans(False)

    def _roots(self) -> list[int]:
        return [*super()._roots(), *self._monitor()]

    def _monitor(self) -> list[int]:
        with suppress(OSError, ValueError):
            return [int(self._pidfile.read_text())]
        return []

    def close(self) -> None:
        """Ends the run, and waits for its monitor, which informs podman and cleans up."""
        if self.closed:
            return
        was_running = self.ended is None
        super().close()
        if was_running and self.wait() != _KILLED:  # podman was about to make the container
            options = self.command[1 : self.command.index("run")]
            words = [self.command[0], *options, "rm", "--force", "--ignore", "--time", "0"]
            name = self.command[self.command.index("--name") + 1]
            subprocess.run([*words, name], capture_output=True, check=False)
        until = time.monotonic() + _PATIENCE
        while tree(self._monitor()) and time.monotonic() < until:
            time.sleep(0.005)
        _wait_for_monitors()
        self._pidfile.unlink(missing_ok=True)
        Run._running -= 1
        if not Run._running:
            _adopt_orphans(False)


def _adopt_orphans(yes: bool) -> None:
    """Makes this process the new parent of its orphaned descendants."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def _wait_for_monitors() -> None:
    """Waits for our monitors that have ended."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if Path("/proc", name, "comm").read_text() == "conmon\n":
                    os.waitpid(int(name), os.WNOHANG)
