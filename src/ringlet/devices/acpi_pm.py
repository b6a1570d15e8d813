"""ACPI's fixed hardware: by it a guest powers itself off, and hears of the power button.

Source: ACPI 6.5, 4.8.2.2.1 (power button), 4.8.3.1 (PM1 event) and 4.8.3.2 (PM1 control). There is
no timer, no other button and nothing else that happens to the guest.
"""

from __future__ import annotations

from ringlet.board.acpi import SLEEP_TYPE_S5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.board.device import IrqLine

POWER_BUTTON = 1 << 8  # PWRBTN_STS, and PWRBTN_EN
SCI_EN = 1 << 0
SLP_TYP_SHIFT = 10
SLP_TYP_MASK = 7
SLP_EN = 1 << 13


class Pm1EventState:
    """All of it that changes."""

    __slots__ = ("enable", "status")

    def __init__(self) -> None:
        self.status = 0  # PM1_STS: 0 or POWER_BUTTON
        self.enable = 0  # PM1_EN


class Pm1Event:
    """The PM1a event block: PM1_STS, two bytes, then PM1_EN, two bytes. `sci` is its interrupt."""

    def __init__(self, sci: IrqLine) -> None:
        self.state = Pm1EventState()
        self._sci = sci

    def press_power_button(self) -> bool:
        """Tells the guest, if it has enabled the button; returns whether it has.

        Any thread and signal handler may call this.
        """
        if not self.state.enable & POWER_BUTTON:
            return False
        self.state.status = POWER_BUTTON
        self._set_sci()
        return True

    def read(self, offset: int, size: int) -> int:
        """The bytes of both registers."""
        registers = self.state.status | self.state.enable << 16
        return registers >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A 1 clears its bit of the status; the enable bits are kept."""
        mask = (1 << 8 * size) - 1 << 8 * offset
        value = value << 8 * offset & mask
        if value & POWER_BUTTON:
            self.state.status = 0
        self.state.enable = self.state.enable & ~(mask >> 16) & 0xFFFF | value >> 16
        self._set_sci()

    def _set_sci(self) -> None:
        """Puts the line high while an enabled event has happened. ACPI mode is always on."""
        while True:
            level = self._has_event()
            self._sci.set(level)
            if level == self._has_event():  # else another thread has changed it between the two
                return

    def _has_event(self) -> bool:
        return self.state.status & self.state.enable != 0


class Pm1ControlState:
    """All of it that changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = SCI_EN


class Pm1Control:
    """The PM1a control block, two bytes; `on_power_off` is called when the guest enters S5."""

    def __init__(self, on_power_off: Callable[[], None]) -> None:
        self.state = Pm1ControlState()
        self._on_power_off = on_power_off

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
