"""A process of the host, and nothing around it: what the others are compared with."""

from __future__ import annotations

from ringlet.compare.ways import Unavailable
from ringlet.compare.ways.base import CommandWay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Spawned
    from ringlet.compare.ways import Request


class Way(CommandWay):
    """The workload as a program of the host."""

    name = "process"
    title = "process"
    about = "A process of the host: the same program, with nothing around it."

    def prepare(self) -> None:
        """It finds the disk where the host has it."""
        self.disk = str(self._lab.disk)

    def command(self, request: Request) -> list[str]:
        """The program itself."""
        if request.limited:
            raise Unavailable("a bare process has no limits of its own", "that is what it lacks")
        return [self._lab.work, *request.words]

    def launch(self, request: Request) -> Spawned:
        """The same as `spawn`: a process is made by a running one in any case."""
        return self.spawn(request)
