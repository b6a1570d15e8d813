"""The interface that `Machine` and `Container` share.

A user of sandboxes (a comparison, a pool, an engine) needs no other interface.
"""

from __future__ import annotations

from typing import Protocol

from ringlet.host.outcome import STOP_TIMEOUT, Outcome, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ringlet.container.container import Container
    from ringlet.machine.machine import Machine

__all__ = ["STOP_TIMEOUT", "Outcome", "Sandbox", "Usage"]


class Sandbox(Protocol):
    """A sandbox, which is started once, waited for, and closed.

    Each method raises `RingletError` if it fails.
    """

    id: str

    def start(self) -> None:
        """Starts the sandbox, and returns while the sandbox runs."""

    def run(self) -> Outcome:
        """Starts the sandbox, and waits for its end."""

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Waits for the end; returns None if the sandbox still runs after `timeout` seconds."""

    def pause(self) -> None:
        """Stops everything in the sandbox until `resume`."""

    def resume(self) -> None:
        """Ends a pause."""

    def stop(self, timeout: float = STOP_TIMEOUT) -> Outcome:
        """Asks the sandbox to end, kills it after `timeout` seconds, and waits for its end."""

    def kill(self) -> None:
        """Kills the sandbox at once, and doesn't wait for its end."""

    def usage(self) -> Usage:
        """Returns the resources that the sandbox has used so far."""

    def fileno(self) -> int:
        """Returns a descriptor, for select, poll and asyncio, that is readable after the end."""

    def close(self) -> None:
        """Kills the sandbox if it runs, and releases everything that was made for it."""

    def __enter__(self) -> Self:
        """Returns the sandbox unchanged; the end of the `with` block closes the sandbox."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


if TYPE_CHECKING:

    def _are_sandboxes(machine: Machine, container: Container) -> tuple[Sandbox, Sandbox]:
        """Fails in mypy if a method of `Machine` or `Container` differs from `Sandbox`."""
        return machine, container
