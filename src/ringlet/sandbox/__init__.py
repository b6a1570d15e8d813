"""What a machine and a container are alike, to whatever uses one."""

from typing import Any, Protocol


class Sandbox(Protocol):
    """A `Machine` or a `Container`: made, started once, waited for, closed."""

    id: str

    def start(self) -> None:
        """Lets it run, beside the caller."""
        ...

    def wait(self, timeout: float | None = None) -> Any:
        """How it ended; None if that hasn't come after `timeout` seconds."""
        ...

    def pause(self) -> None:
        """Nothing of it runs from here on."""
        ...

    def resume(self) -> None:
        """It goes on."""
        ...

    def stop(self, timeout: float) -> Any:
        """Ends it, and waits for that."""
        ...

    def kill(self) -> None:
        """Ends it at once, and doesn't wait."""
        ...

    def stats(self) -> dict[str, Any]:
        """What it has used so far."""
        ...

    def fileno(self) -> int:
        """Readable once it has ended: for select, poll and asyncio."""
        ...
