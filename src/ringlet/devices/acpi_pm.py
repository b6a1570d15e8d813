"""ACPI's fixed hardware, as much as a platform must have: by it a guest powers itself off.

Source: ACPI 6.5, 4.8.3.1 (PM1 event) and 4.8.3.2 (PM1 control). Nothing here ever happens to
the guest (no button, no timer), so no status bit is ever set and there is no SCI.
"""

from collections.abc import Callable

from ringlet.board.acpi import SLEEP_TYPE_S5

SCI_EN = 1 << 0
SLP_TYP_SHIFT = 10
SLP_TYP_MASK = 7
SLP_EN = 1 << 13


class Pm1EventState:
    """All of the event block that changes."""

    __slots__ = ("registers",)

    def __init__(self) -> None:
        self.registers = bytearray(4)


class Pm1Event:
    """The PM1a event block: PM1_STS, two bytes, then PM1_EN, two bytes."""

    def __init__(self) -> None:
        self.state = Pm1EventState()

    def read(self, offset: int, size: int) -> int:
        """Both are 0 but for what the guest enabled."""
        return int.from_bytes(self.state.registers[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """A 1 clears its bit of the status; the enable bits are kept."""
        for i, byte in enumerate(value.to_bytes(size, "little"), offset):
            if i >= 2:
                self.state.registers[i] = byte


class Pm1ControlState:
    """All of the control block that changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = SCI_EN


class Pm1Control:
    """The PM1a control block, two bytes; `on_power_off` is called when the guest enters S5."""

    def __init__(self, on_power_off: Callable[[], None]) -> None:
        self._on_power_off = on_power_off
        self.state = Pm1ControlState()

    def read(self, offset: int, size: int) -> int:
        """SCI_EN is always 1: ACPI mode. SLP_EN can only be written."""
        return self.state.value >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Keeps what is written; SLP_EN enters the sleeping state of SLP_TYP, if it is S5."""
        kept = self.state.value & ~((1 << 8 * size) - 1 << 8 * offset)
        value = (kept | value << 8 * offset) & 0xFFFF
        self.state.value = value & ~SLP_EN | SCI_EN
        if value & SLP_EN and value >> SLP_TYP_SHIFT & SLP_TYP_MASK == SLEEP_TYPE_S5:
            self._on_power_off()
