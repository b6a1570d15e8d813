"""The virtio ports over which init runs a command: its streams and the lines of `ringlet.control`.

Source: csrc/init/control.c, which lists the lines, and csrc/init/stdio.c, which opens the ports.
"""

from __future__ import annotations

from contextlib import ExitStack

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.host.input import InputPump
from ringlet.host.output import PolledOutput
from ringlet.host.printable import printable
from ringlet.host.terminal import Terminal
from ringlet.linux.init_lines import InitLines, parse_status
from ringlet.machine.control import OUTPUT_CLOSED, QUIT, End
from ringlet.virtio.console import Console
from ringlet.virtio.port import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ringlet.machine.machine import Machine


class CommandPorts(Closing):
    """A console device for init's four ports, with `stdio` at the host's end.

    on_terminal  whether the command has a terminal, and `stdio` too, which is raw in the run
    machine      the machine that has the device; it must be set before the run
    started      whether init has started the command
    """

    machine: Machine

    def __init__(self, stdio: tuple[int, int, int], *, on_terminal: bool) -> None:
        self._stdin, stdout, stderr = stdio
        self._terminal = None
        if on_terminal:  # the command's terminal processes the output
            self._terminal = Terminal(self._stdin, raw_output=True, on_resize=self._resize)
        self._read = 0  # bytes of input
        self._ended: tuple[int, int, int] | None = None
        self.started = False
        with ExitStack() as stack:
            sinks = []
            for fd in (stdout, stderr):
                sinks.append(PolledOutput(fd))
                stack.callback(sinks[-1].close)
            self._stack = stack.pop_all()
        self._lines = InitLines(self._on_line)
        self._control = Port("ringlet.control", self._lines.feed)
        self._output, self._errors = (
            Port(name, sink, on_closed=self._close_output, on_sent=self._look_at_end)
            for name, sink in zip(("ringlet.stdout", "ringlet.stderr"), sinks, strict=True)
        )
        stdin = Port("ringlet.stdin", lambda data: None, self._read_input)
        self.device = Console([self._control, stdin, self._output, self._errors])

    def close(self) -> None:
        """Closes the device and the descriptors."""
        self.device.close()
        self._stack.close()

    @property
    def first_output(self) -> int | None:
        """When the command's first output went out: CLOCK_MONOTONIC in nanoseconds."""
        return self._output.first

    def _resize(self, rows: int, columns: int) -> None:
        self._say(f"winsize {rows} {columns}")

    def signal(self, number: int) -> bool:
        """Sends a signal to the command; returns whether the command has started."""
        if self.started:
            self._say(f"signal {number}")
        return self.started

    def _say(self, line: str) -> None:
        self._control.say(line.encode() + b"\n")

    def _read_input(self, port: Port) -> AbstractContextManager[object]:
        """Begins to read standard input."""
        stack = ExitStack()
        control = self.machine.control
        with stack:
            if self._terminal is not None:
                stack.enter_context(self._terminal)
            pump = InputPump(
                self._stdin,
                port,
                lambda: control.finish(QUIT),
                self._terminal,
                encode=self._count,
                press_power_button=control.press_power_button,
                inquire=lambda terminal: self.machine.inquire(lambda at: terminal.show(at.text())),
            )
            stack.callback(pump.close)
            return stack.pop_all()

    def _count(self, data: bytes) -> bytes:
        self._read += len(data)
        if not data:
            self._say(f"stdin-end {self._read}")
        return data

    def _close_output(self) -> None:
        self.machine.control.finish(OUTPUT_CLOSED)

    def _on_line(self, word: str, rest: str) -> None:
        if word == "started":
            self.started = True
        elif word == "failed":
            raise RingletError(
                f"the guest can't run the command: {printable(rest)}", "--verbose shows its log"
            )
        elif word == "status" and self._ended is None:
            self._ended = parse_status(rest)
            if self._ended is None:
                raise RingletError(
                    f"the guest reports a status of {printable(rest)!r}", "is it ringlet's init?"
                )
            self._look_at_end()

    def _look_at_end(self) -> None:
        """Ends the run once the command has ended and all its output is written.

        Each port is a stream of its own, so the status may arrive before the output.
        """
        if self._ended is not None:
            status, output, errors = self._ended
            if self._output.sent >= output and self._errors.sent >= errors:
                self.machine.control.finish(End("exit", status & 0xFF))
