"""The exit port: a write of one byte ends the run, and the byte is the status of the run.

A PC has no such device. QEMU has a similar one, isa-debug-exit, whose status is 2 * value + 1; the
status of the exit port is the value itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class ExitPort:
    """A port that calls `on_exit` with the low byte of a write as the status, 0 to 255."""

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        self._on_exit = on_exit

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        return "STATUS"

    def read(self, offset: int, size: int) -> int:
        """Returns all ones, as a port without a device does: this port can only be written."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Ends the run with the status `value & 0xff`."""
        self._on_exit(value & 0xFF)
