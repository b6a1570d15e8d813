"""The exit port: one byte written to it ends the run and is its status.

There is no such device in a PC. QEMU's isa-debug-exit is one of the kind; its status is
2 * value + 1, ours is the value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class ExitPort:
    """A port whose low byte, once written, goes to `on_exit` as the status, 0 to 255."""

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        self._on_exit = on_exit

    def read(self, offset: int, size: int) -> int:
        """All ones, as where no device is: the port can only be written."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Ends the run with the status `value & 0xff`."""
        self._on_exit(value & 0xFF)
