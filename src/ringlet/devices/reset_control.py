"""The reset control register of a PC's chipset, which kernels try after the keyboard controller.

Source: Intel I/O Controller Hub 10 data sheet, 13.7.5 (RST_CNT, Reset Control Register); PCI Local
Bus Specification 3.0, 3.2.2.3.2. The register is the second of four ports, and takes accesses of
one byte. An access of four bytes would be PCI's CONFIG_ADDRESS, and this machine has no PCI bus.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# The kind of reset, the bit that resets now, and the bit for a power cycle.
SYSTEM_RESET, RESET, FULL_RESET = 0x02, 0x04, 0x08
_OFFSET = 1  # the register's offset from the first port
_WRITABLE = SYSTEM_RESET | RESET | FULL_RESET


class ResetControlState:
    """The value of the reset control register, which changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class ResetControl:
    """Ports 0xcf8 to 0xcfb. Calls `on_reset` when bit 2 of the register goes from 0 to 1."""

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self.state = ResetControlState()
        self._on_reset = on_reset

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        return "RST_CNT" if offset == _OFFSET else f"+{offset:#x}"

    def read(self, offset: int, size: int) -> int:
        """Returns the value that the guest wrote last."""
        return self.state.value if (offset, size) == (_OFFSET, 1) else (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Stores the value; bit 2 resets the machine, whichever kind of reset is selected."""
        if (offset, size) == (_OFFSET, 1):
            before, self.state.value = self.state.value, value & _WRITABLE
            if value & ~before & RESET:
                self._on_reset()
