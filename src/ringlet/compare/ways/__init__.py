"""The ways to run the workload: what each has to offer, and which there are.

A way is a class of one module here, and a line in `NAMES`. It is made with a `Lab`, in which it
makes what it needs, and closed by it.
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

# The module of each, in the order of the columns. The first four are the default; others are asked
# for by `--with`.
DEFAULT = ("process", "container", "tiny-vm", "linux-vm")
OPTIONAL = ("qemu", "runc", "crun", "bwrap", "podman")


class Unavailable(RingletError):  # noqa: N818 (an answer, not a mistake)
    """A way, or a measure of it, that can't be had here: the reason is what its cell says."""


class Request(NamedTuple):
    """One run of the workload: its words, as guests/work/work.c takes them; what it may have."""

    words: Sequence[str]
    memory: int = 64 * MIB  # bytes: a VM's RAM; a limit in a container only where `limited`
    disk: str | None = None  # a raw image of the host, which the workload finds at `Way.disk`
    limited: bool = False  # with the limits that this way has: `memory`, 64 processes, one CPU

    @property
    def reads_input(self) -> bool:
        """Whether the workload reads its descriptor 0: what it gets is `Instance.write`'s."""
        return self.words[0] == "calls"


class Instance(Protocol):
    """A run of the workload that was begun. Times are CLOCK_MONOTONIC in nanoseconds."""

    began: int  # right before it was asked for
    ended: int | None  # when its end was seen

    def read_line(self, timeout: float = 30) -> tuple[int, str]:
        """The next line of its output, without its end, and when it was there.

        Raises `Unavailable` at the end of the output or after `timeout` seconds.
        """
        ...

    def write(self, data: bytes) -> None:
        """Gives the workload input, on its descriptor 0."""
        ...

    def wait(self, timeout: float = 30) -> int:
        """Its status. Raises `Unavailable` after `timeout` seconds."""
        ...

    def processes(self) -> list[int]:
        """The host's processes that are there for it and for nothing else.

        This very process isn't among them, where it runs a VM itself.
        """
        ...

    def exits(self) -> int | None:
        """How many exits reached the VMM so far; None where there is none, or it doesn't tell."""
        ...

    def phases(self) -> dict[str, int]:
        """When each step of its start was over, in order, as far as it is known."""
        ...

    def close(self) -> None:
        """Ends it if it runs, and leaves nothing."""
        ...


class Way(Protocol):
    """A way to run the workload."""

    name: str
    title: str
    about: str  # one sentence
    own_kernel: bool  # what crashes in there isn't the host's
    disk: str  # where the workload finds `Request.disk`
    least_memory: int  # bytes: a VM that is asked for with less gets so much

    def __init__(self, lab: Lab) -> None:
        """Makes what it needs. Raises `Unavailable`, with the reason and a hint."""
        ...

    def command(self, request: Request) -> list[str]:
        """The command that does it: what a reader can repeat in a shell."""
        ...

    def spawn(self, request: Request) -> Instance:
        """Begins it as a process of its own: `command`."""
        ...

    def launch(self, request: Request) -> Instance:
        """Begins it from this process, which is already running. Raises `Unavailable`."""
        ...

    def versions(self) -> dict[str, str]:
        """Of the programs that it is made of, besides ringlet."""
        ...


def find(name: str) -> type[Way]:
    """The way of this name, which isn't made yet."""
    return import_module(_module(name)).Way  # type: ignore[no-any-return]


def _module(name: str) -> str:
    return f"{__name__}.{name.replace('-', '_')}"


def is_installed(name: str) -> bool:
    """Whether the program of this rival is there."""
    return shutil.which(import_module(_module(name)).Way.program) is not None


def load(name: str, lab: Lab) -> Way:
    """The way of this name. Raises `Unavailable` where it can't be gone here."""
    way = find(name)(lab)
    assert way.name == name
    return way
