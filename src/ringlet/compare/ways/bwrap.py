"""Bubblewrap, the sandbox that Flatpak uses. It uses namespaces alone.

Source: bwrap(1).
"""

from __future__ import annotations

from ringlet.compare.instances import Unavailable
from ringlet.compare.ways.base import Rival

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request


class Way(Rival):
    """The workload in all of Bubblewrap's namespaces, with the same root as the containers."""

    name = "bwrap"
    title = "bubblewrap"
    about = "The sandbox below Flatpak: namespaces, and neither limits nor a filter."
    program = "bwrap"
    package = "bubblewrap"

    def command(self, request: Request) -> list[str]:
        """Returns `bwrap --unshare-all --bind ROOTFS / ... /work WORDS`."""
        if request.limited:
            raise Unavailable("bubblewrap sets no limits", "that is what it lacks")
        command = [self.program, "--unshare-all", "--hostname", "ringlet", "--clearenv"]
        command += ["--bind", str(self._lab.rootfs), "/", "--proc", "/proc", "--dev", "/dev"]
        if request.disk is not None:
            command += ["--bind", request.disk, self.disk]
        return [*command, "/work", *request.words]
