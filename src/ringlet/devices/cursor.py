"""The cursor registers of a VGA display controller, without a display.

A text console keeps the position of its cursor in these registers. Source: IBM VGA, CRT controller
registers: an index port, then a data port. Registers 0x0e and 0x0f are the cursor's location, in
characters. xv6 for x86 hangs if it can't read the location back. The other registers ignore writes
and read as all ones, as a port without a device does.
"""

from __future__ import annotations

LOCATION_HIGH, LOCATION_LOW = 0x0E, 0x0F


class CursorState:
    """The values of the cursor registers that change."""

    __slots__ = ("index", "location")

    def __init__(self) -> None:
        self.index = 0
        self.location = 0  # both bytes of the location


class Cursor:
    """The index port and the data port of the cursor registers."""

    def __init__(self) -> None:
        self.state = CursorState()

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register, for the data port with the index that is selected."""
        return f"DATA[{self.state.index:#04x}]" if offset else "INDEX"

    def read(self, offset: int, size: int) -> int:
        """Returns the index at the first port, and the selected register at the second port."""
        if size != 1:
            return (1 << 8 * size) - 1
        state = self.state
        if offset == 0:
            return state.index
        registers = {LOCATION_HIGH: state.location >> 8, LOCATION_LOW: state.location & 0xFF}
        return registers.get(state.index, 0xFF)

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes the index or the selected register; a wider access writes one, then the other."""
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
