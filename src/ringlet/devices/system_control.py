"""System control port A: the fast ways to reset a PC and to its A20 line.

Source: IBM PS/2 Hardware Interface Technical Reference (1988), "System Control Port A (Hex 0092)".
A20 is always on here; its bit is as the guest writes it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RESET, A20 = 0x01, 0x02


class SystemControlState:
    """All of it that changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = A20


class SystemControl:
    """Port 0x92. `on_reset` is called when bit 0 goes from 0 to 1."""

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self.state = SystemControlState()
        self._on_reset = on_reset

    def read(self, offset: int, size: int) -> int:
        """What was written last."""
        return self.state.value

    def write(self, offset: int, size: int, value: int) -> None:
        """Bit 0 resets."""
        before, self.state.value = self.state.value, value & 0xFF
        if value & ~before & RESET:
            self._on_reset()
