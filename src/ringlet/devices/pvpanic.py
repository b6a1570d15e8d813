"""pvpanic: a device by which a kernel reports its panic.

Source: QEMU, docs/specs/pvpanic.rst. A guest finds the device by ACPI, _HID "QEMU0001".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PANICKED = 1 << 0
CRASH_LOADED = 1 << 1  # the kernel panicked, and the guest's own crash kernel handles the panic


class Pvpanic:
    """One port: a read returns the known events; a write of PANICKED calls `on_panic`."""

    def __init__(self, on_panic: Callable[[], None]) -> None:
        self._on_panic = on_panic

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        return "EVENTS"

    def read(self, offset: int, size: int) -> int:
        """Returns the events that a guest can report."""
        return PANICKED | CRASH_LOADED

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes the guest's report of events. A guest with a crash kernel goes on."""
        if value & PANICKED:
            self._on_panic()
