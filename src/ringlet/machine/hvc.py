"""The guest's virtio terminal, Linux's /dev/hvc0, with the targets of a serial line."""

from __future__ import annotations

import os

from ringlet.closing import Closing
from ringlet.host.serial import open_serial
from ringlet.machine.control import OUTPUT_CLOSED, QUIT
from ringlet.virtio.console import Console
from ringlet.virtio.port import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ringlet.host.serial import SerialTarget
    from ringlet.machine.control import RunControl


class HvcLine(Closing):
    """A virtio console with one port, a terminal; the constructor opens the host's end.

    Raises `RingletError` if the host's end can't be opened.
    """

    def __init__(self, target: SerialTarget, control: RunControl, *, output_fd: int = 1) -> None:
        self.device: Console
        self.host = open_serial(
            target,
            stop_fd=control.stop_fd,
            on_quit=lambda: control.finish(QUIT),
            output_fd=output_fd,
            raw_output=True,  # the guest's terminal processes its output
            polled=True,
        )
        self.host.press_power_button = control.press_power_button
        port = Port(
            "hvc0",
            self.host.transmit if self.host.output is None else self.host.output,
            self._start,
            console=True,
            on_closed=lambda: control.finish(OUTPUT_CLOSED),
        )
        rows, columns = 25, 80
        if self.host.terminal is not None:
            columns, rows = os.get_terminal_size(0)
            self.host.terminal.on_resize = lambda *size: self.device.resize(*size)
        self.device = Console([port], rows=rows, columns=columns)

    def _start(self, port: Port) -> AbstractContextManager[object]:
        self.host.start(port)
        return self.host

    def close(self) -> None:
        """Closes the device and the host's end."""
        self.device.close()
        self.host.close()
