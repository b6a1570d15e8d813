"""The interface that `Machine` and `Container` share: a sandbox, whichever it is.

What uses sandboxes (a comparison, a pool, an engine) needs nothing else of them.
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
    """A sandbox that was made: it is started once, waited for, and closed.

    Each method raises `RingletError` where it can't be done.
    """

    id: str

    def start(self) -> None:
        """Starts it, and returns while it runs."""

    def run(self) -> Outcome:
        """Starts it, and waits for its end."""

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Waits for its end; returns None if it still runs after `timeout` seconds."""

    def pause(self) -> None:
        """Lets nothing of it run until `resume`."""

    def resume(self) -> None:
        """Ends a pause."""

    def stop(self, timeout: float = STOP_TIMEOUT) -> Outcome:
        """Asks it to end, and ends it itself after `timeout` seconds; waits for that."""

    def kill(self) -> None:
        """Ends it at once, and doesn't wait."""

    def usage(self) -> Usage:
        """What it has used so far."""

    def fileno(self) -> int:
        """A descriptor that is readable once it has ended: for select, poll and asyncio."""

    def close(self) -> None:
        """Ends it if it runs, and removes all that was made for it."""

    def __enter__(self) -> Self:
        """Leaves it as it is; the end of the `with` block closes it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


if TYPE_CHECKING:

    def _are_sandboxes(machine: Machine, container: Container) -> tuple[Sandbox, Sandbox]:
        """Fails in mypy where a method of one of them is no longer as `Sandbox` says."""
        return machine, container
