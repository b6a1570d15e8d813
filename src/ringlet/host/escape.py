"""The escape key of the terminal: Ctrl-A and a second key is a command, other keys go to the guest.

If QEMU or minicom has the same command, ringlet uses the same key.
"""

from __future__ import annotations

from enum import Enum

ESCAPE = b"\x01"  # Ctrl-A


class EscapeCommand(Enum):
    """A command, with its key after Ctrl-A."""

    QUIT = b"x"
    POWER_BUTTON = b"p"
    BREAK = b"b"
    INQUIRE = b"i"
    SUSPEND = b"z"
    HELP = b"h"


COMMANDS = {command.value: command for command in EscapeCommand}

HELP_TEXT = (
    b"\r\n"
    b"Ctrl-A x       end the run\r\n"
    b"Ctrl-A p       press the power button: asks the guest to power off\r\n"
    b"Ctrl-A i       show what the guest's vCPUs do\r\n"
    b"Ctrl-A b       send a break\r\n"
    b"Ctrl-A z       suspend ringlet\r\n"
    b"Ctrl-A Ctrl-A  send Ctrl-A\r\n"
    b"Ctrl-A h       this help\r\n"
)
CTRL_C = b"\x03"
CTRL_C_TEXT = b"\r\nCtrl-C goes to the guest. Ctrl-A x ends the run, Ctrl-A h helps.\r\n"
NOBODY_LISTENS = b"\r\nThe guest doesn't listen for the power button. Ctrl-A x ends the run.\r\n"


class EscapeFilter:
    """Separates the guest's bytes from commands; a command may be split over two reads."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes | EscapeCommand]:
        """Returns the guest's bytes and the commands in `data`, in order; drops unknown keys."""
        parts: list[bytes | EscapeCommand] = []
        while data:
            if self._escaped:
                self._escaped = False
                key, data = data[:1], data[1:]
                if key == ESCAPE:
                    parts.append(key)
                elif key in COMMANDS:
                    parts.append(COMMANDS[key])
            else:
                plain, escape, data = data.partition(ESCAPE)
                self._escaped = escape != b""
                if plain:
                    parts.append(plain)
        return parts
