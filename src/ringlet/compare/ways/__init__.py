"""The ways to run the workload: their interface, and the list of all ways.

A way is a class `Way` in a module of this package, and an entry in `NAMES`. A way is made with a
`Lab`, and makes its files there. The lab cleans up when it is closed.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from typing import NamedTuple, Protocol

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.compare.lab import Lab

MIB = 1 << 20

# The modules of the ways, in the order of the report's columns. The first four are the default; the
# option `--with` adds others.
DEFAULT = ("process", "container", "tiny-vm", "linux-vm")
OPTIONAL = ("qemu", "runc", "crun", "bwrap", "podman")


class Unavailable(RingletError):  # noqa: N818 (an answer, not a mistake)
    """A way, or a measure of a way, is unavailable here. Its cell shows the reason."""


class Request(NamedTuple):
    """One run of the workload: its words, as guests/work/work.c takes them, and its resources."""

    words: Sequence[str]
    memory: int = 64 * MIB  # bytes: a VM's RAM; for a container a limit, only if `limited`
    disk: str | None = None  # a raw image of the host; the workload sees it as `Way.disk`
    limited: bool = False  # with the way's limits: `memory`, 64 processes, one CPU

    @property
    def reads_input(self) -> bool:
        """Returns whether the workload reads its descriptor 0, which `Instance.write` fills."""
        return self.words[0] == "calls"


class Instance(Protocol):
    """A started run of the workload. Times are CLOCK_MONOTONIC in nanoseconds."""

    began: int  # the time right before the start
    ended: int | None  # the time when its end was seen

    def read_line(self, timeout: float = 30) -> tuple[int, str]:
        """Returns the time at which the next line of output arrived, and the line without its end.

        Raises `Unavailable` at the end of the output or after `timeout` seconds.
        """
        ...

    def write(self, data: bytes) -> None:
        """Writes input to the workload's descriptor 0."""
        ...

    def wait(self, timeout: float = 30) -> int:
        """Waits for the end; returns the status. Raises `Unavailable` after `timeout` seconds."""
        ...

    def processes(self) -> list[int]:
        """Returns the host's processes that exist for this run alone.

        Our own process isn't among them, even if it runs a VM.
        """
        ...

    def exits(self) -> int | None:
        """Returns how many exits reached the VMM so far; None if they are unknown."""
        ...

    def phases(self) -> dict[str, int]:
        """Returns when each known step of the start was over, in order."""
        ...

    def close(self) -> None:
        """Ends the run if it still goes on, and removes everything that was made for it."""
        ...


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
