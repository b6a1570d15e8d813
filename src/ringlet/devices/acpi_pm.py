"""ACPI's fixed hardware, by which a guest powers off and learns that the power button is pressed.

Source: ACPI 6.5, 4.8.2.2.1 (power button), 4.8.3.1 (PM1 event) and 4.8.3.2 (PM1 control). There is
no PM timer and no other button, and the power button is the only event.
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
    """The values of the PM1a event block that change."""

    __slots__ = ("enable", "status")

    def __init__(self) -> None:
        self.status = 0  # PM1_STS: 0 or POWER_BUTTON
        self.enable = 0  # PM1_EN


class Pm1Event:
    """The PM1a event block: PM1_STS, then PM1_EN, two bytes each. `sci` is its interrupt line."""

    def __init__(self, sci: IrqLine) -> None:
        self.state = Pm1EventState()
        self._sci = sci

    def press_power_button(self) -> bool:
        """Presses the button if the guest has enabled it; returns whether the guest has.

        Any thread and signal handler may call this.
        """
        if not self.state.enable & POWER_BUTTON:
            return False
        self.state.status = POWER_BUTTON
        self._set_sci()
        return True

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register, and of its upper byte."""
        name = "PM1_EN" if offset & 2 else "PM1_STS"
        return f"{name}+1" if offset & 1 else name

    def read(self, offset: int, size: int) -> int:
        """Returns bytes of the two registers."""
        registers = self.state.status | self.state.enable << 16
        return registers >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Clears each status bit that is written as 1, and stores the enable bits."""
        mask = (1 << 8 * size) - 1 << 8 * offset
        value = value << 8 * offset & mask
        if value & POWER_BUTTON:
            self.state.status = 0
        self.state.enable = self.state.enable & ~(mask >> 16) & 0xFFFF | value >> 16
        self._set_sci()

    def _set_sci(self) -> None:
        """Sets the SCI line high while an enabled event is pending. ACPI mode is always on."""
        while True:
            level = self._has_event()
            self._sci.set(level)
            if level == self._has_event():  # else another thread has changed the state meanwhile
                return

    def _has_event(self) -> bool:
        return self.state.status & self.state.enable != 0


class Pm1ControlState:
    """The value of the PM1a control block, which changes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = SCI_EN


class Pm1Control:
    """The PM1a control block, two bytes; calls `on_power_off` when the guest enters S5."""

    def __init__(self, on_power_off: Callable[[], None]) -> None:
        self.state = Pm1ControlState()
        self._on_power_off = on_power_off

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register, and of its upper byte."""
        return "PM1_CNT+1" if offset else "PM1_CNT"

    def read(self, offset: int, size: int) -> int:
        """Returns the register: SCI_EN is always 1 (ACPI mode), and SLP_EN always reads as 0."""
        return self.state.value >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Stores the value; SLP_EN with the SLP_TYP of S5 powers the machine off."""
        kept = self.state.value & ~((1 << 8 * size) - 1 << 8 * offset)
        value = (kept | value << 8 * offset) & 0xFFFF
        self.state.value = value & ~SLP_EN | SCI_EN
        if value & SLP_EN and value >> SLP_TYP_SHIFT & SLP_TYP_MASK == SLEEP_TYPE_S5:
            self._on_power_off()
