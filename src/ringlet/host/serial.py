"""The host's end of the guest's serial line: the targets of `--serial` and the Python interface.

A port of a virtio console has the same targets.

stdio        standard input and output; a terminal is set to raw mode
pty          a new pseudo-terminal, for `screen` or a similar program
none         no reader: output is dropped
FILE         output to a file, which is created or emptied
(in, out)    two descriptors of the caller; an `in` of None means no input
an object    output by calls of its method write(bytes)
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from ringlet.closing import Closing
from ringlet.errors import RingletError
from ringlet.host.input import InputPump
from ringlet.host.output import FdOutput, PolledOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ringlet.host.input import Receiver
    from ringlet.host.terminal import Terminal
else:
    Protocol = object


# Targets that are words, not paths. The machine itself handles "pipe": it makes two descriptors.
SERIAL_WORDS = ("stdio", "pty", "none", "pipe")


class Writer(Protocol):
    """A Python object as the host's end of the line; the vCPU's thread calls its `write`."""

    def write(self, data: bytes, /) -> object:
        """Takes all of `data`; an exception ends the run."""


SerialTarget = str | os.PathLike[str] | tuple[int | None, int] | Writer


class SerialHost(Closing):
    """The open host's end of a serial line. The UART calls `transmit`; `start` begins the input.

    `path` is the path of the pseudo-terminal if there is one, else None. If the end is `polled`,
    `output` takes the guest's bytes and never waits; it is None where a function takes them.
    """

    def __init__(
        self,
        transmit: Callable[[bytes], object],
        encode: Callable[[bytes], bytes] | None = None,
        *,
        polled: bool = False,
    ) -> None:
        self.transmit = transmit
        self.output: PolledOutput | None = None
        self._polled = polled
        self._encode = encode
        self.path: str | None = None
        self._input_fd: int | None = None
        self._on_quit: Callable[[], None] = lambda: None
        self.press_power_button: Callable[[], bool] = lambda: False  # for a key at the terminal
        self.inquire: Callable[[Terminal], object] = lambda terminal: None  # for another key
        self._terminal: Terminal | None = None
        self._resources = ExitStack()

    def start(self, uart: Receiver) -> None:
        """Sets the terminal, if there is one, to raw mode, and begins to read."""
        if self._terminal is not None:
            self._resources.enter_context(self._terminal)
        if self._input_fd is not None:
            pump = InputPump(
                self._input_fd,
                uart,
                self._on_quit,
                self._terminal,
                encode=self._encode,
                press_power_button=self.press_power_button,
                inquire=self.inquire,
            )
            self._resources.callback(pump.close)

    @property
    def terminal(self) -> Terminal | None:
        """The terminal, if there is one."""
        return self._terminal

    def close(self) -> None:
        """Stops reading, restores the terminal, and closes the files.

        Don't call `transmit` after that.
        """
        self._resources.close()

    def _write_to(self, fd: int, stop_fd: int) -> None:
        if self._polled:
            self.output = PolledOutput(fd)
            self._resources.callback(self.output.close)
            return
        output = FdOutput(fd, stop_fd)
        self._resources.callback(output.close)
        self.transmit = output.write

    def _read_from(self, fd: int, on_quit: Callable[[], None]) -> None:
        self._input_fd, self._on_quit = fd, on_quit


def open_serial(
    target: SerialTarget,
    *,
    stop_fd: int,
    on_quit: Callable[[], None],
    output_fd: int = 1,
    encode: Callable[[bytes], bytes] | None = None,
    raw_output: bool = False,
    polled: bool = False,
) -> SerialHost:
    """Opens a target (see the top of this file). Raises `RingletError` if it can't be opened.

    Once `stop_fd`, an eventfd, is readable, output that has to wait is dropped. The input thread
    calls `on_quit` when the user at the terminal ends the run. The target stdio writes to
    `output_fd`. `polled` is as for `SerialHost`.
    """
    if target == "none":
        return SerialHost(lambda data: None)
    if not isinstance(target, str | os.PathLike | tuple):
        return SerialHost(target.write)
    host = SerialHost(lambda data: None, encode, polled=polled)
    try:
        if isinstance(target, tuple):
            host._write_to(target[1], stop_fd)
            if target[0] is not None:
                host._read_from(target[0], on_quit)
        elif target == "stdio":
            _open_stdio(host, stop_fd, on_quit, output_fd, raw_output=raw_output)
        elif target == "pty":
            _open_pty(host, stop_fd, on_quit)
        else:
            _open_file(host, os.fspath(target), stop_fd)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        host.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise RingletError(
            f"can't open the serial line's end {str(target)!r}: {reason}",
            "name a file that can be written, or one of stdio, pty, none",
        ) from error
    return host


def _open_stdio(
    host: SerialHost,
    stop_fd: int,
    on_quit: Callable[[], None],
    output_fd: int,
    *,
    raw_output: bool,
) -> None:
    host._write_to(output_fd, stop_fd)
    # If standard input was closed when Python started, descriptor 0 is another file by now.
    if sys.__stdin__ is None:
        return
    host._read_from(0, on_quit)
    if os.isatty(0):
        from ringlet.host.terminal import Terminal

        host._terminal = Terminal(0, raw_output=raw_output)


def _open_pty(host: SerialHost, stop_fd: int, on_quit: Callable[[], None]) -> None:
    import tty

    # This process keeps the slave open: if no process has the slave open, the master fails with
    # EIO. So the first reader gets the guest's earlier output, as far as it fits.
    master, slave = os.openpty()
    host._resources.callback(os.close, master)
    host._resources.callback(os.close, slave)
    host._resources.callback(_drain, slave)
    tty.setraw(slave)
    os.set_blocking(master, False)
    host.path = os.ttyname(slave)
    host._write_to(master, stop_fd)
    host._read_from(master, on_quit)


def _drain(slave: int) -> None:
    """Waits until a reader has read the output: closing the master drops the unread bytes."""
    import fcntl
    import termios
    import time

    unread = -1
    for _ in range(20):
        time.sleep(0.01)
        left = int.from_bytes(fcntl.ioctl(slave, termios.FIONREAD, bytes(4)), sys.byteorder)
        if left in (0, unread):
            return
        unread = left


def _open_file(host: SerialHost, path: str, stop_fd: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, flags, 0o666)
    host._resources.callback(os.close, fd)
    host._write_to(fd, stop_fd)
