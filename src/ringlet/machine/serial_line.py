"""A serial line of a machine: the guest's UART and the host's end of the line."""

from __future__ import annotations

import time

from ringlet.closing import Closing
from ringlet.devices.uart16550 import Uart16550
from ringlet.host.serial import open_serial
from ringlet.host.serial_port import SerialPort
from ringlet.machine.config import SerialEnd
from ringlet.machine.control import QUIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.board.device import IrqLine
    from ringlet.host.serial import SerialTarget
    from ringlet.machine.control import RunControl


class SerialLine(Closing):
    """A serial line: the constructor opens the host's end, `connect` makes the guest's UART.

    `end` describes the host's end. If `end` is `pipe`, a program uses the host's end by `port`.
    Raises `RingletError` if the host's end can't be opened.
    """

    def __init__(
        self, end: SerialTarget | SerialEnd, control: RunControl, *, output_fd: int = 1
    ) -> None:
        end = end if isinstance(end, SerialEnd) else SerialEnd(end)
        target = end.target
        self._gate = end.gate
        self.port: SerialPort | None = None
        self.first_output: int | None = None  # CLOCK_MONOTONIC in nanoseconds
        if target == "pipe":
            self.port = SerialPort()
            guest_in, guest_out = self.port.guest_end
            target = (guest_in, guest_out)
        try:
            self.host = open_serial(
                target,
                stop_fd=control.stop_fd,
                on_quit=lambda: control.finish(QUIT),
                output_fd=output_fd,
                encode=end.encode,
                raw_output=end.raw_output,
            )
            self.host.press_power_button = control.press_power_button
        except BaseException:
            if self.port is not None:
                self.port.close()
            raise
        self.transmit: Callable[[bytes], object] = self.host.transmit
        self.transmit_polled: Callable[[bytes], object] | None = None

    def connect(self, irq: IrqLine) -> Uart16550:
        """Makes the UART, which raises `irq`.

        The bytes that the UART sends go to `transmit`, or to `transmit_polled` while the UART's
        interrupt is off. The UART takes these two attributes when it sends its first byte.
        """
        self.uart = Uart16550(irq, self._transmit_first)
        self.uart.state.gate = self._gate
        return self.uart

    def _transmit_first(self, data: bytes) -> None:
        self.first_output = time.monotonic_ns()
        self.uart.transmit = self.transmit
        self.uart.transmit_polled = self.transmit_polled
        self.transmit(data)

    def start(self) -> None:
        """Begins to read the host's input, and puts a terminal into raw mode."""
        self.host.start(self.uart)

    def stop(self) -> None:
        """Ends output and input; a program that reads `port` sees the end of the output."""
        self.host.close()
        if self.port is not None:
            self.port.hang_up()

    def close(self) -> None:
        """Closes everything that the serial line opened."""
        self.host.close()
        if self.port is not None:
            self.port.close()
