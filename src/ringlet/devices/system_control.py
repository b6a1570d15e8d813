"""System control port A: the fast way to reset a PC and to switch its A20 line.

Source: IBM PS/2 Hardware Interface Technical Reference (1988), "System Control Port A (Hex 0092)".
A20 is always on in this machine; the A20 bit only stores the value that the guest writes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RESET, A20 = 0x01, 0x02


class SystemControlState:
    """The value of system control port A, which changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = A20


class SystemControl:
    """Port 0x92. Calls `on_reset` when bit 0 goes from 0 to 1."""

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self.state = SystemControlState()
        self._on_reset = on_reset

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        return "PORT_A"

    def read(self, offset: int, size: int) -> int:
        """Returns the value that the guest wrote last."""
        return self.state.value

    def write(self, offset: int, size: int, value: int) -> None:
        """Stores the value; bit 0 resets the machine."""
        before, self.state.value = self.state.value, value & 0xFF
        if value & ~before & RESET:
            self._on_reset()
