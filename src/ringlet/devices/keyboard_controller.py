"""The keyboard controller's command port, as far as a PC with no keyboard needs it.

The 8042's output port has the processor's reset line as bit 0, and command 0xfe pulses it:
the oldest way to reset a PC. Source: IBM PC/AT Technical Reference (1984), "Keyboard
Controller", commands F0 to FF. Claims port 0x64 alone; 0x60, the data port, would never
have anything to say.
"""

from collections.abc import Callable

PULSE_RESET = 0xFE


class KeyboardController:
    """Port 0x64: `on_reset` is called when the guest pulses the reset line."""

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self._on_reset = on_reset

    def read(self, offset: int, size: int) -> int:
        """The status register: 0, no byte to read and ready for a command."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """A command: 0xfe resets, the others have nothing to act on."""
        if value & 0xFF == PULSE_RESET:
            self._on_reset()
