"""The base classes of most ways: a way is a command, which is tried once before the measuring."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod

from ringlet.compare.instances import MIB, Request, Unavailable
from ringlet.compare.instances.spawned import Spawned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Instance
    from ringlet.compare.lab import Lab

PROCESSES = 64  # the most processes of a limited run
INSIDE = "/disk"  # the path of a request's disk in a container


class CommandWay(ABC):
    """A way that is a command. A subclass defines `command`, and `launch` if the way has one.

    `prepare` makes the files that the commands need, before the trial.
    """

    name: str
    title: str
    about: str
    own_kernel = False
    disk = INSIDE
    least_memory = 0

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.prepare()
        self.try_out()

    def prepare(self) -> None:  # noqa: B027 (most need nothing)
        """Makes the files that the way needs. Raises `Unavailable`."""

    def try_out(self) -> None:
        """Runs the workload once. Raises `Unavailable` with the command's own error message."""
        with self.spawn(Request(["start"])) as run:
            run.read_line()
            if status := run.wait():
                raise run.failure(f"it ended with status {status}")

    @abstractmethod
    def command(self, request: Request) -> list[str]:
        """Returns the command of the run."""

    def spawn(self, request: Request) -> Spawned:
        """Starts the command as a process of its own."""
        return Spawned(self.command(request), input=request.reads_input)

    def launch(self, request: Request) -> Instance:
        """Raises `Unavailable`, unless a subclass overrides the method."""
        raise Unavailable(f"{self.title} is a program alone", "measure its whole process")

    def versions(self) -> dict[str, str]:
        """Returns no versions, unless a subclass overrides the method."""
        return {}


class Rival(CommandWay):
    """A program by other authors. `package` is its Debian package."""

    program: str
    package: str

    def __init__(self, lab: Lab) -> None:
        path = shutil.which(self.program)
        if path is None:
            raise Unavailable(
                f"{self.program} isn't installed", f"Debian: apt install {self.package}"
            )
        super().__init__(lab)

    def versions(self) -> dict[str, str]:
        """Returns the version that the program reports."""
        with Spawned([self.program, "--version"]) as run:
            return {self.program: version_number(run.read_line()[1])}


def version_number(line: str) -> str:
    """Returns the first word with a digit: `1.1.5+ds1` of `runc version 1.1.5+ds1`."""
    numbers = (word for word in line.split() if word[:1].isdigit())
    return next(numbers, line[:40])


def size(count: int) -> str:
    """Formats bytes as ringlet, QEMU and podman take them on a command line."""
    return f"{count // MIB}M" if count % MIB == 0 else f"{count // 1024}K"
