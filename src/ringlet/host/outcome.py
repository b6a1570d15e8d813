"""The result and the usage of a sandbox, with the same names for a machine and a container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple, Protocol
else:
    from ringlet.host.named_tuple import NamedTuple

    Protocol = object


STOP_TIMEOUT = 10.0  # how many seconds a sandbox has to end after the request to stop


class Usage(NamedTuple):
    """The resources that a sandbox has used so far; None for a value that isn't counted."""

    processor: float | None = None  # seconds; for a machine, the time of its vCPUs and devices
    memory: int | None = None  # bytes, now
    memory_peak: int | None = None  # bytes
    processes: int | None = None  # the host's processes and threads for the sandbox now
    exits: dict[str, int] | None = None  # the number of exits of each kind from the guest


class Outcome(Protocol):
    """How a sandbox ended. The types of a machine and of a container have more fields."""

    @property
    def reason(self) -> str:
        """Why the sandbox ended, in one word."""

    @property
    def status(self) -> int:
        """The exit status for a shell."""

    @property
    def usage(self) -> Usage:
        """The resources that the sandbox used until its end."""
