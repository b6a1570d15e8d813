"""pvpanic: by which a kernel says that it panicked.

Source: QEMU, docs/specs/pvpanic.rst. A guest finds it by ACPI, _HID "QEMU0001".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PANICKED = 1 << 0
CRASH_LOADED = 1 << 1  # it panicked too, and a crash kernel of the guest's is to deal with it


class Pvpanic:
    """One port: reads say which events it knows; `on_panic` is called for the guest's panic."""

    def __init__(self, on_panic: Callable[[], None]) -> None:
        self._on_panic = on_panic

    def read(self, offset: int, size: int) -> int:
        """The events that can be reported."""
        return PANICKED | CRASH_LOADED

    def write(self, offset: int, size: int, value: int) -> None:
        """Reports events. With a crash kernel the guest goes on."""
        if value & PANICKED:
            self._on_panic()
