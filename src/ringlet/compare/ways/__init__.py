"""The ways to run the workload: their interface, and the list of all ways.

A way is a class `Way` in a module of this package, and an entry in `NAMES`. A way is made with a
`Lab`, and makes its files there. The lab cleans up when it is closed.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Instance, Request
    from ringlet.compare.lab import Lab

# The modules of the ways, in the order of the report's columns. The first four are the default; the
# option `--with` adds others.
DEFAULT = ("process", "container", "tiny-vm", "linux-vm")
OPTIONAL = ("qemu", "runc", "crun", "bwrap", "podman")


class Way(Protocol):
    """A way to run the workload."""

    name: str
    title: str
    about: str  # one sentence
    own_kernel: bool  # a kernel crash inside doesn't crash the host
    disk: str  # where the workload finds `Request.disk`
    least_memory: int  # bytes: a VM gets at least this much memory

    def __init__(self, lab: Lab) -> None:
        """Makes the files that the way needs. Raises `Unavailable`, with the reason and a hint."""
        ...

    def command(self, request: Request) -> list[str]:
        """Returns the command of the run, which a reader can repeat in a shell."""
        ...

    def spawn(self, request: Request) -> Instance:
        """Starts `command` as a process of its own."""
        ...

    def launch(self, request: Request) -> Instance:
        """Starts the run from this process, which is already running. Raises `Unavailable`."""
        ...

    def versions(self) -> dict[str, str]:
        """Returns the versions of the programs that the way uses, besides ringlet."""
        ...


def find(name: str) -> type[Way]:
    """Returns the class of the way `name`."""
    return import_module(_module(name)).Way  # type: ignore[no-any-return]


def _module(name: str) -> str:
    return f"{__name__}.{name.replace('-', '_')}"


def is_installed(name: str) -> bool:
    """Returns whether the program of the rival `name` is installed."""
    return shutil.which(import_module(_module(name)).Way.program) is not None


def load(name: str, lab: Lab) -> Way:
    """Makes the way `name`. Raises `Unavailable` if the way can't run here."""
    way = find(name)(lab)
    assert way.name == name
    return way
