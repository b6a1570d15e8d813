"""The cursor's registers of a display controller, with no display: text consoles keep it there.

Source: IBM VGA, CRT controller registers: index port, then data port; registers 0x0e and 0x0f are
the cursor's location in characters. xv6 for x86 stops where it can't be read back. The other
registers take nothing and read as all ones, as where no device is.
"""

from __future__ import annotations

LOCATION_HIGH, LOCATION_LOW = 0x0E, 0x0F


class CursorState:
    """All of it that changes."""

    __slots__ = ("index", "location")

    def __init__(self) -> None:
        self.index = 0
        self.location = 0  # both bytes of it


class Cursor:
    """Index and data port."""

    def __init__(self) -> None:
        self.state = CursorState()

    def read(self, offset: int, size: int) -> int:
        """The register that the index chooses; the index itself at the first port."""
        if size != 1:
            return (1 << 8 * size) - 1
        state = self.state
        if offset == 0:
            return state.index
        registers = {LOCATION_HIGH: state.location >> 8, LOCATION_LOW: state.location & 0xFF}
        return registers.get(state.index, 0xFF)

    def write(self, offset: int, size: int, value: int) -> None:
        """The index, the register, or with a wider access one after the other."""
        state = self.state
        if size != 1:
            for i in range(min(size, 2 - offset)):
                self.write(offset + i, 1, value >> 8 * i & 0xFF)
        elif offset == 0:
            state.index = value
        elif state.index == LOCATION_HIGH:
            state.location = value << 8 | state.location & 0xFF
        elif state.index == LOCATION_LOW:
            state.location = state.location & 0xFF00 | value
