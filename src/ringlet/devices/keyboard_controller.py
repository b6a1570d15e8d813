"""The 8042 keyboard controller, without a keyboard, for kernels that set A20 or reset the PC.

Bit 0 of the 8042's output port is the processor's reset line, active low. Command 0xfe pulses this
line, which is the oldest way to reset a PC. Source: IBM PC/AT Technical Reference (1984), "Keyboard
Controller". The controller is the device at port 0x64 (status and commands), and its `data` is the
device at port 0x60. A byte for the keyboard gets no answer, and there are no interrupts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Status register.
OUTPUT_FULL, SYSTEM, LAST_WAS_COMMAND, NOT_LOCKED = 0x01, 0x04, 0x08, 0x10

READ_COMMAND_BYTE, WRITE_COMMAND_BYTE = 0x20, 0x60
SELF_TEST, INTERFACE_TEST = 0xAA, 0xAB
DISABLE_KEYBOARD, ENABLE_KEYBOARD = 0xAD, 0xAE
READ_OUTPUT_PORT, WRITE_OUTPUT_PORT = 0xD0, 0xD1
PULSE_RESET = 0xFE

COMMAND_BYTE_DISABLE, COMMAND_BYTE_SYSTEM = 0x10, 0x04
OUTPUT_NOT_RESET, OUTPUT_A20 = 0x01, 0x02
SELF_TEST_PASSED, INTERFACE_FINE = 0x55, 0x00


class KeyboardControllerState:
    """The values of the keyboard controller that change."""

    __slots__ = ("command_byte", "expects", "last_was_command", "output", "output_port")

    def __init__(self) -> None:
        self.command_byte = COMMAND_BYTE_DISABLE
        self.output_port = OUTPUT_NOT_RESET | OUTPUT_A20
        self.output: int | None = None  # the byte to read at the data port
        self.expects = 0  # the command whose parameter is written next, or 0
        self.last_was_command = False


class KeyboardController:
    """Port 0x64; `data` is port 0x60. Calls `on_reset` when the guest pulses the reset line."""

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self.state = KeyboardControllerState()
        self.on_reset = on_reset
        self.data = DataPort(self)

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        return "COMMAND" if write else "STATUS"

    def read(self, offset: int, size: int) -> int:
        """Returns the status register: the controller is always ready for a command or data."""
        state = self.state
        return (
            NOT_LOCKED
            | (OUTPUT_FULL if state.output is not None else 0)
            | (SYSTEM if state.command_byte & COMMAND_BYTE_SYSTEM else 0)
            | (LAST_WAS_COMMAND if state.last_was_command else 0)
        )

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes a command; commands that concern the missing keyboard do nothing."""
        state = self.state
        command = value & 0xFF
        state.last_was_command = True
        state.expects = command if command in (WRITE_COMMAND_BYTE, WRITE_OUTPUT_PORT) else 0
        if command == PULSE_RESET:
            self.on_reset()
        elif command == READ_COMMAND_BYTE:
            state.output = state.command_byte
        elif command == SELF_TEST:
            state.command_byte |= COMMAND_BYTE_SYSTEM
            state.output = SELF_TEST_PASSED
        elif command == INTERFACE_TEST:
            state.output = INTERFACE_FINE
        elif command == DISABLE_KEYBOARD:
            state.command_byte |= COMMAND_BYTE_DISABLE
        elif command == ENABLE_KEYBOARD:
            state.command_byte &= ~COMMAND_BYTE_DISABLE
        elif command == READ_OUTPUT_PORT:
            state.output = state.output_port


class DataPort:
    """Port 0x60, which uses the state of the controller."""

    def __init__(self, controller: KeyboardController) -> None:
        self._controller = controller

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        return "DATA"

    def read(self, offset: int, size: int) -> int:
        """Returns the controller's answer to a command; 0 if there is no answer."""
        state = self._controller.state
        output, state.output = state.output or 0, None
        return output

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes the parameter of a command, or a byte for the missing keyboard."""
        state = self._controller.state
        state.last_was_command = False
        command, state.expects = state.expects, 0
        if command == WRITE_COMMAND_BYTE:
            state.command_byte = value & 0xFF
        elif command == WRITE_OUTPUT_PORT:
            state.output_port = value & 0xFF
            if not value & OUTPUT_NOT_RESET:
                self._controller.on_reset()
