"""A plain process of the host, with which the other ways are compared."""

from __future__ import annotations

from ringlet.compare.instances import Unavailable
from ringlet.compare.ways.base import CommandWay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request
    from ringlet.compare.instances.spawned import Spawned


class Way(CommandWay):
    """The workload as a program of the host."""

    name = "process"
    title = "process"
    about = "A process of the host: the same program, with nothing around it."

    def prepare(self) -> None:
        """Sets the disk's path, which is the host's."""
        self.disk = str(self._lab.disk)

    def command(self, request: Request) -> list[str]:
        """Returns the program itself."""
        if request.limited:
            raise Unavailable("a bare process has no limits of its own", "that is what it lacks")
        return [self._lab.work, *request.words]

    def launch(self, request: Request) -> Spawned:
        """Does the same as `spawn`: a running process starts every process."""
        return self.spawn(request)
