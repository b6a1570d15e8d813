"""The parts of the emulated machine that a run polls: its log, and its control connection."""

from __future__ import annotations

import os
import select

from ringlet.host.console_log import ConsoleLog
from ringlet.linux.init_lines import InitLines

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ringlet.host.polling import Ready

_SIZE = 4096  # bytes that are read at once


class LogTail:
    """Keeps the end of the data from `fd`. `fd` is non-blocking and stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept = ConsoleLog(lambda data: None)
        self._open = True

    def watch(self) -> list[tuple[int, int]]:
        """Returns the descriptor to poll, until its end of file."""
        return [(self._fd, select.POLLIN)] if self._open else []

    def step(self, ready: Ready) -> None:
        """Reads the data that is ready."""
        if self._fd in ready:
            self._read()

    def drain(self) -> None:
        """Reads all the data that is there already."""
        while self._read():
            pass

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        self._open = bool(data)
        self._kept.transmit(data)
        return self._open

    @property
    def tells_of_panic(self) -> bool:
        """Returns whether Linux reported a panic."""
        return self._kept.tells_of_panic

    def last_lines(self, count: int) -> list[str]:
        """Returns the last lines that aren't empty, without control characters."""
        lines = self._kept.tail.decode("ascii", "replace").splitlines()
        printable = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
        return [line.rstrip() for line in printable if line.strip()][-count:]


class Control:
    """Sends lines to the machine, and receives lines, through the connection `port`."""

    def __init__(self, port: socket.socket, on_line: Callable[[str, str], None]) -> None:
        self._port = port
        self._outgoing = bytearray()
        self._lines = InitLines(on_line)
        self.open = True

    def send(self, line: str) -> None:
        """Sends `line` as soon as the machine takes it."""
        self._outgoing += line.encode() + b"\n"

    def watch(self) -> list[tuple[int, int]]:
        """Returns the descriptor to poll, until its end of file."""
        if not self.open:
            return []
        events = select.POLLIN | select.POLLOUT if self._outgoing else select.POLLIN
        return [(self._port.fileno(), events)]

    def step(self, ready: Ready) -> None:
        """Sends and receives. `on_line` gets the first word of each received line, and the rest."""
        events = ready.get(self._port.fileno(), 0)
        data = b""
        try:
            if events & select.POLLOUT:
                del self._outgoing[: self._port.send(self._outgoing)]
            if events & ~select.POLLOUT:
                data = self._port.recv(_SIZE)
                self.open = bool(data)
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        self._lines.feed(data)
