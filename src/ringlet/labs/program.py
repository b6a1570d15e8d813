"""One run of a student's program in a container, with limits, seen from outside.

The container's root has the host's /usr and Python's own folder, read-only and without the packages
that are installed there, and in /work a copy of the student's files. What the program writes goes
to memory, counts as the container's memory, and is gone afterwards. There is no network but a
loopback device. The standard streams are pipes; what comes through them is kept up to a limit.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import time
from contextlib import ExitStack, suppress
from glob import escape, glob
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ringlet.closing import Closing
from ringlet.container.cgroups import CgroupError
from ringlet.container.container import Container
from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.printable import printable
from ringlet.host.workload import Volume, Workload
from ringlet.labs.check import Failed
from ringlet.labs.process import device_of_root, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


PYTHON = os.path.join(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
_SYSTEM_PYTHON = "/usr/bin/python3"
WORK = "/work"  # where the student's files are
MEMORY = 256 << 20  # bytes, files included
PROCESSES = 32
OUTPUT = 64 << 10  # bytes of each stream
_ADDRESS_SPACE = 1 << 30  # bytes of one process, mapped but not used memory included
_CHUNK = 1 << 16
_GRACE = 5.0  # seconds after which the container ends by itself, if the grader is stopped
_EMPTY = "empty"
_FOLDERS = ("proc", "dev", "sys", "tmp", "usr", "work", _EMPTY)
_LINKS = ("bin", "lib", "lib32", "lib64", "sbin")


class End(NamedTuple):
    """How a program ended, and what it wrote."""

    status: int
    output: bytes
    errors: bytes

    @property
    def complaint(self) -> str:
        """The last line on standard error, safe to show, or how the program ended without one."""
        return _last_line(self.errors) or f"it ended with status {self.status}"


class Program(Closing):
    """A program that runs: a context manager, which kills the program at the end.

    `seconds` is the time that the program has, all together. Raises `RingletError` if there can be
    no container.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        command: Sequence[str],
        *,
        kvm: bool,
        seconds: float,
        nesting: bool = False,
    ) -> None:
        self.output = bytearray()
        self._errors = bytearray()
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        with ExitStack() as stack:
            self._open(stack, files, command, kvm, nesting)
            self._stack = stack.pop_all()

    def _open(
        self,
        stack: ExitStack,
        files: Mapping[str, bytes],
        command: Sequence[str],
        kvm: bool,
        nesting: bool,
    ) -> None:
        rootfs = stack.enter_context(TemporaryDirectory(prefix="ringlet-lab-"))
        os.chmod(rootfs, 0o755)
        # Where the file system can't map IDs, all this belongs to nobody, so that what has to be
        # there is made now, and what has to be writable is so for everybody.
        for name in (*_FOLDERS, sys.base_prefix.lstrip("/")):
            os.makedirs(os.path.join(rootfs, name), exist_ok=True)
        for name in ("tmp", "work"):
            os.chmod(os.path.join(rootfs, name), 0o1777)
        for name in _LINKS:
            os.symlink(f"usr/{name}", os.path.join(rootfs, name))
        for name, data in files.items():
            with open(f"{rootfs}{WORK}/{name}", "wb") as file:
                file.write(data)
        volumes = [Volume("/usr", "/usr", readonly=True)]
        if nesting and _is_own_python():
            command = [_SYSTEM_PYTHON if word == PYTHON else word for word in command]
        elif not sys.base_prefix.startswith("/usr"):
            volumes.append(Volume(sys.base_prefix, sys.base_prefix, readonly=True))
        if os.geteuid() == 0 or not nesting:
            empty = os.path.join(rootfs, _EMPTY)
            volumes += [Volume(empty, place, readonly=True) for place in _installed_packages()]
        values = {
            "rootfs": rootfs,
            "command": command,
            "volumes": volumes,
            "devices": ["/dev/kvm"] if kvm else [],
            "nesting": nesting,
            "env": {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"},
            "workdir": WORK,
            "hostname": "lab",
            "timeout": self._seconds + _GRACE,
        }
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self._stderr, stderr = os.pipe()
        self._readers = {self._stdout: self.output, self._stderr: self._errors}
        stack.callback(self._close_pipes)
        stdio = (stdin, stdout, stderr)
        try:
            self._container = stack.enter_context(_container(values, stdio))
        finally:
            for fd in stdio:
                os.close(fd)
        self.notes: list[str] = []
        if self._container.config.memory is None:
            self._limit_processes()
        # As they are before the program runs.
        self.namespaces = namespaces(self.pid)
        self.root_device = device_of_root(self.pid)
        self._container.start()

    def _limit_processes(self) -> None:
        """Limits the program by limits of processes, where it can have no cgroup."""
        for limit, value in (
            (resource.RLIMIT_AS, _ADDRESS_SPACE),
            (resource.RLIMIT_NPROC, PROCESSES),
            (resource.RLIMIT_FSIZE, MEMORY),
        ):
            resource.prlimit(self._container.pid, limit, (value, value))
        self.notes.append(
            "you may make no cgroup here, so memory and the size of files are limited for each "
            "process and file alone, not for a student's program as a whole; with systemd: "
            "systemd-run --user --scope -p Delegate=yes ringlet lab check"
        )

    @property
    def pid(self) -> int:
        """The process of the program on the host."""
        return self._container.pid

    @property
    def has_ended(self) -> bool:
        """Whether the program has ended."""
        return self._container.wait(0) is not None

    @property
    def last_error(self) -> str:
        """The last line on standard error so far, safe to show; empty if there is none."""
        return _last_line(self._errors)

    def send(self, data: bytes) -> None:
        """Writes to the program's standard input; `data` is short. A closed input is no error."""
        with suppress(BrokenPipeError):
            os.write(self._stdin, data)

    def end_input(self) -> None:
        """Ends the program's standard input."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def wait_until(self, is_so: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits, and reads what the program writes, until `is_so`; False if that doesn't come.

        Without `seconds`, waits as long as the program has time.
        """
        end = self._end if seconds is None else min(self._end, time.monotonic() + seconds)
        while not is_so():
            if time.monotonic() >= end or (self.has_ended and not self._readers):
                return is_so()
            self._read(0.01)
        return True

    def finish(self, *, most: int = OUTPUT) -> End:
        """Waits for the end. Raises `Failed` if the program doesn't end well enough to be judged.

        This is so if the program takes too long or too much memory, or writes more than `most`.
        """
        while not (self.has_ended and not self._readers):
            if time.monotonic() >= self._end:
                break
            self._read(0.05, most)
        result = self._container.wait(0)
        if result is None:
            raise Failed(f"it didn't end in {self._seconds:g} seconds, and was killed")
        if result.oom_kills:
            raise Failed(f"it took more memory than the {MEMORY >> 20} MiB that it has")
        return End(result.status, bytes(self.output), bytes(self._errors))

    def _read(self, seconds: float, most: int = OUTPUT) -> None:
        interrupt.check()
        waiting = select.poll()
        for fd in self._readers:
            waiting.register(fd, select.POLLIN)
        if not self._readers:
            time.sleep(seconds)
            return
        for fd, _ in waiting.poll(seconds * 1000):
            data = os.read(fd, _CHUNK)
            if not data:
                del self._readers[fd]
                continue
            kept = self._readers[fd]
            kept += data
            limit = most if fd == self._stdout else OUTPUT
            if len(kept) > limit:
                self._container.kill()
                what = "standard output" if fd == self._stdout else "standard error"
                raise Failed(f"it wrote more than {limit} bytes to {what}, and was killed")

    def _close_pipes(self) -> None:
        self.end_input()
        os.close(self._stdout)
        os.close(self._stderr)

    def close(self) -> None:
        """Kills the program, and removes its container and its files."""
        self._stack.close()


def _last_line(errors: bytes | bytearray) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    return printable(bytes(lines[-1])) if lines else ""


def _container(values: dict[str, Any], stdio: tuple[int, int, int]) -> Container:
    """Makes a container with limits, or one without, where this user may make no cgroup."""
    try:
        return Container(Workload(**values, memory=MEMORY, pids=PROCESSES), stdio=stdio)
    except CgroupError:
        if os.geteuid() == 0:
            raise
        return Container(Workload(**values), stdio=stdio)


def _installed_packages() -> list[str]:
    """Returns the folders of packages that are installed beside Python's library.

    They would make a verdict depend on the host, and some run code at each start of Python: what
    takes 50 ms without them took 250 ms with one of them.
    """
    prefixes = dict.fromkeys((sys.base_prefix, "/usr", "/usr/local"))
    places = {
        os.path.realpath(place)
        for prefix in prefixes
        for kind in ("site", "dist")
        for place in glob(f"{escape(prefix)}/lib/python3*/{kind}-packages")
    }
    return sorted(places)


def _is_own_python() -> bool:
    """Returns whether this Python belongs to the user, who isn't root: pyenv, conda or uv.

    A container that may mount could make such a Python writable again, so it gets the system's.
    Raises `RingletError` if there is none.
    """
    if os.stat(sys.base_prefix).st_uid != os.geteuid() or os.geteuid() == 0:
        return False
    if not os.access(_SYSTEM_PYTHON, os.X_OK):
        raise RingletError(
            f"there is no {_SYSTEM_PYTHON}, which this lab needs beside the Python of your own",
            "apt install python3",
        )
    return True


def require_python() -> None:
    """Raises `RingletError` if this Python has no program that a container can run."""
    if not os.access(PYTHON, os.X_OK):
        raise RingletError(
            f"there is no {PYTHON}, which runs a student's program",
            "run ringlet with a Python that is installed as a program",
        )
