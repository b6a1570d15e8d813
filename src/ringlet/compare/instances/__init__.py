"""The runs of the workload: what a run is asked for, and the interface of a run.

A run is an instance of a way (ways/). The modules of this package start instances, one or many of
them, read their output, and look at their memory and at their system calls.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20


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
