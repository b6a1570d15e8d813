"""What most ways have in common: a command that is spawned, and tried once before all else."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod

from ringlet.compare.instances import Spawned
from ringlet.compare.ways import MIB, Request, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Instance

PROCESSES = 64  # that a limited run may have
INSIDE = "/disk"  # where a container has a request's disk


class CommandWay(ABC):
    """A way that is a command: `command` is left to do, `launch` where there is one.

    `prepare` makes what the commands need, before the trial.
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
        """Makes what it needs. Raises `Unavailable`."""

    def try_out(self) -> None:
        """Runs the workload once. Raises `Unavailable` with the command's own words."""
        with self.spawn(Request(["start"])) as run:
            run.read_line()
            if status := run.wait():
                raise run.failure(f"it ended with status {status}")

    @abstractmethod
    def command(self, request: Request) -> list[str]:
        """The command that does it."""

    def spawn(self, request: Request) -> Spawned:
        """Begins it as a process of its own."""
        return Spawned(self.command(request), input=request.reads_input)

    def launch(self, request: Request) -> Instance:
        """Raises `Unavailable`, if it isn't done otherwise."""
        raise Unavailable(f"{self.title} is a program alone", "measure its whole process")

    def versions(self) -> dict[str, str]:
        """None, if nothing else is said."""
        return {}


class Rival(CommandWay):
    """A program that others have made. `package` is what installs it on Debian."""

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
        """What it says of itself."""
        with Spawned([self.program, "--version"]) as run:
            return {self.program: version_number(run.read_line()[1])}


def version_number(line: str) -> str:
    """The first word of a line that has a number: `runc version 1.1.5+ds1` is `1.1.5+ds1`."""
    numbers = (word for word in line.split() if word[:1].isdigit())
    return next(numbers, line[:40])


def size(count: int) -> str:
    """Bytes, as ringlet, QEMU and podman take them on a command line."""
    return f"{count // MIB}M" if count % MIB == 0 else f"{count // 1024}K"
