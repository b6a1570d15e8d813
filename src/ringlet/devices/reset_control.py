"""The reset control register of a PC's chipset: the reset that kernels try after the keyboard's.

Source: Intel I/O Controller Hub 10 data sheet, 13.7.5 (RST_CNT, Reset Control Register); PCI Local
Bus Specification 3.0, 3.2.2.3.2. It is the second of four ports, and takes single bytes; four at
once are the address of a PCI bus's configuration, and there is no PCI bus.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM_RESET, RESET, FULL_RESET = 0x02, 0x04, 0x08  # how to reset, do it now, and power off between
_OFFSET = 1  # of the register, from the first port on
_WRITABLE = SYSTEM_RESET | RESET | FULL_RESET


class ResetControlState:
    """All of it that changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class ResetControl:
    """Ports 0xcf8 to 0xcfb. `on_reset` is called when bit 2 of the register goes from 0 to 1."""

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self.state = ResetControlState()
        self._on_reset = on_reset

    def read(self, offset: int, size: int) -> int:
        """What was written last."""
        return self.state.value if (offset, size) == (_OFFSET, 1) else (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Bit 2 resets, whatever kind of reset the others choose."""
        if (offset, size) == (_OFFSET, 1):
            before, self.state.value = self.state.value, value & _WRITABLE
            if value & ~before & RESET:
                self._on_reset()
