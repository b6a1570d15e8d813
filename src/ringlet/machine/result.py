"""What a run tells at its end: how the run ended, what it used, and when each step was over."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.host.outcome import Usage
    from ringlet.machine.crash import Crash
    from ringlet.machine.situation import Situation
    from ringlet.machine.unclaimed import UnclaimedAccess
else:
    from ringlet.host.named_tuple import NamedTuple


class Timings:
    """The time at which each step was over: CLOCK_MONOTONIC in nanoseconds, None before that."""

    __slots__ = ("end", "first_exit", "first_output", "image_loaded", "vm_created")

    def __init__(self) -> None:
        self.vm_created: int | None = None
        self.image_loaded: int | None = None
        self.first_exit: int | None = None
        self.first_output: int | None = None
        self.end: int | None = None


class Result(NamedTuple):
    """The result of a run: the `Outcome` of a machine."""

    reason: str
    status: int
    usage: Usage
    unclaimed: dict[str, int]  # accesses that no device claims: "reads" and "writes"
    crash: Crash | None
    situation: Situation | None = None  # what the vCPUs did at the timeout
    first_unclaimed: UnclaimedAccess | None = None  # not of Linux, which probes for devices

    @property
    def exits(self) -> dict[str, int]:
        """The number of exits of each kind."""
        return self.usage.exits or {}
