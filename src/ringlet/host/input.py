"""Input from the host to the guest's serial line.

A thread reads the host's descriptor and gives the bytes to the UART, as fast as the guest reads
them. While the receive FIFO is full, the thread doesn't read, so the host makes the sender wait.

From a terminal, the thread reads up to READ_AHEAD bytes ahead. Without that, Ctrl-A x would not
work on a guest that reads no input.
"""

from __future__ import annotations

import errno
import os
import select
import threading

from ringlet.host.descriptor import own_descriptor
from ringlet.host.thread import start_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ringlet.host.escape import EscapeCommand, EscapeFilter
    from ringlet.host.terminal import Terminal
else:
    Protocol = object

READ_AHEAD = 4096  # as many bytes as the kernel keeps for a terminal

# A shell sends no signal when it brings a running job to the foreground, so the thread polls.
_FOREGROUND_MS = 500


class Receiver(Protocol):
    """The part of a UART that input needs."""

    on_room: Callable[[], None]  # called when `room` changes from 0 to more

    @property
    def room(self) -> int:
        """How many bytes `receive` would take now."""

    def receive(self, data: bytes) -> int:
        """Takes as many bytes of `data` as there is room for; returns how many."""

    def receive_break(self) -> None:
        """Takes a break."""


class InputPump:
    """A thread that moves bytes from the file of `fd` to `receiver`, until the pump is closed.

    The caller keeps and closes `fd`. With a terminal, the escape key works: the pump's thread calls
    `on_quit`; `press_power_button`, which returns whether the guest listens for the power button;
    and `inquire`, which shows on the terminal what the guest does. The end of the input ends the
    thread, but not the run. If there is `encode`, the guest gets the result of `encode` instead of
    the bytes; at the end of the input, the pump calls `encode` with b"".
    """

    def __init__(
        self,
        fd: int,
        receiver: Receiver,
        on_quit: Callable[[], None],
        terminal: Terminal | None = None,
        encode: Callable[[bytes], bytes] | None = None,
        press_power_button: Callable[[], bool] = lambda: False,
        inquire: Callable[[Terminal], object] = lambda terminal: None,
    ) -> None:
        self._fd, _ = own_descriptor(fd, os.O_RDONLY)
        self._receiver = receiver
        self._on_quit = on_quit
        self._press_power_button = press_power_button
        self._inquire = inquire
        self._explains_ctrl_c = terminal is not None and not terminal.raw_output
        self._terminal = terminal
        self._encode = encode or _as_it_is
        self._escape = None if terminal is None else _escape_filter()
        self._background = terminal is not None and not terminal.in_foreground()
        self._pending = b""  # the bytes that are read and not yet received
        self._stopping = False
        self._wake_fd = os.eventfd(0)
        self._wake_lock = threading.Lock()  # a vCPU may call `_wake` during `close`
        receiver.on_room = self._wake
        self._thread = threading.Thread(target=self._run, name="ringlet-input", daemon=True)
        start_without_signals(self._thread)

    def close(self) -> None:
        """Stops the thread and waits for its end."""
        self._stopping = True
        self._wake()
        self._thread.join()
        with self._wake_lock:
            os.close(self._wake_fd)
            self._wake_fd = -1
        os.close(self._fd)

    def _wake(self) -> None:
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        wake = select.poll()
        wake.register(self._wake_fd, select.POLLIN)
        both = select.poll()
        both.register(self._wake_fd, select.POLLIN)
        both.register(self._fd, select.POLLIN)
        open_ = True
        while not self._stopping and (open_ or self._pending):
            if self._pending:
                self._pending = self._pending[self._receiver.receive(self._pending) :]
            if self._background and self._terminal is not None:
                self._background = not self._terminal.make_raw()
            limit = self._limit()
            poll = both if open_ and limit > 0 and not self._background else wake
            for fd, _ in poll.poll(_FOREGROUND_MS if self._background else None):
                if fd == self._wake_fd:
                    os.eventfd_read(fd)
                else:
                    open_ = self._read(limit)

    def _limit(self) -> int:
        """Returns how many bytes may be read now."""
        if self._terminal is not None:
            return READ_AHEAD - len(self._pending)
        return 0 if self._pending else self._receiver.room

    def _read(self, limit: int) -> bool:
        """Reads once; returns False at the end of the input."""
        try:
            data = os.read(self._fd, limit)
        except BlockingIOError:
            return True
        except OSError as error:
            # A read from a terminal fails with EIO if the terminal has hung up, or if this process
            # is in the background.
            if self._terminal is None or error.errno != errno.EIO:
                self._pending += self._encode(b"")
                return False
            self._background = not self._terminal.in_foreground()
            return self._background
        if self._escape is None:
            self._pending += self._encode(data)
        else:
            for part in self._escape.feed(data):
                if isinstance(part, bytes):
                    if self._explains_ctrl_c:
                        self._explain_ctrl_c(part)
                    self._pending += self._encode(part)
                else:
                    self._obey(part)
        return data != b""

    def _explain_ctrl_c(self, keys: bytes) -> None:
        """Says, at the first Ctrl-C, that the run ends by other keys.

        A guest that draws on the whole screen, which wants raw output, would be disturbed.
        """
        from ringlet.host.escape import CTRL_C, CTRL_C_TEXT

        if CTRL_C in keys and self._terminal is not None:
            self._explains_ctrl_c = False
            self._terminal.show(CTRL_C_TEXT)

    def _obey(self, command: EscapeCommand) -> None:
        from ringlet.host.escape import HELP_TEXT, NOBODY_LISTENS, EscapeCommand

        if command is EscapeCommand.QUIT:
            self._on_quit()
        elif command is EscapeCommand.POWER_BUTTON:
            if not self._press_power_button() and self._terminal is not None:
                self._terminal.show(NOBODY_LISTENS)
        elif command is EscapeCommand.BREAK:
            self._receiver.receive_break()  # comes before the bytes that are read ahead
        elif command is EscapeCommand.INQUIRE and self._terminal is not None:
            self._inquire(self._terminal)
        elif command is EscapeCommand.HELP and self._terminal is not None:
            self._terminal.show(HELP_TEXT)
        elif command is EscapeCommand.SUSPEND and self._terminal is not None:
            self._terminal.suspend()


def _as_it_is(data: bytes) -> bytes:
    return data


def _escape_filter() -> EscapeFilter:
    # This module imports `enum`, which only a terminal needs.
    from ringlet.host.escape import EscapeFilter

    return EscapeFilter()
