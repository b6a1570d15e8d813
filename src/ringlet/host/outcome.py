"""How a sandbox ends and what it uses, in words that hold for a machine and for a container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple, Protocol
else:
    from ringlet.host.named_tuple import NamedTuple

    Protocol = object


STOP_TIMEOUT = 10.0  # seconds that a sandbox has to end once it is asked to


class Usage(NamedTuple):
    """What a sandbox has used so far. None is what nobody counts for this kind of sandbox here."""

    processor: float | None = None  # seconds; of a machine, those of its vCPUs and their devices
    memory: int | None = None  # bytes, now
    memory_peak: int | None = None  # bytes
    processes: int | None = None  # how many the host has for it now, with their threads
    exits: dict[str, int] | None = None  # how many of each kind have left the guest


class Outcome(Protocol):
    """How a sandbox ended. A machine's and a container's own types tell more."""

    @property
    def reason(self) -> str:
        """Why, in one word."""

    @property
    def status(self) -> int:
        """The status for a shell."""

    @property
    def usage(self) -> Usage:
        """What the sandbox has used until its end."""
