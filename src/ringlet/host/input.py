"""Input: what the host sends down the guest's serial line.

A thread reads the host's descriptor and feeds the UART, never faster than the guest takes it:
while the receive FIFO is full the host isn't read, and its own flow control holds the sender.

A terminal is read a little ahead, up to READ_AHEAD bytes, or Ctrl-A x would not work on a
guest that doesn't listen.
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

    from ringlet.host.escape import Command, EscapeFilter
    from ringlet.host.terminal import Terminal
else:
    Protocol = object

READ_AHEAD = 4096  # what the kernel keeps for a terminal, too

# A shell says nothing when it brings a running job to the foreground, so we look.
_FOREGROUND_MS = 500


class Receiver(Protocol):
    """What input needs of a UART."""

    on_room: Callable[[], None]  # called when `room` was 0 and is no longer

    @property
    def room(self) -> int:
        """How many bytes `receive` would take."""

    def receive(self, data: bytes) -> int:
        """Takes the beginning of `data`; how many bytes."""

    def receive_break(self) -> None:
        """Takes a break."""


class InputPump:
    """A thread that moves bytes from the file of `fd` to `receiver`, until closed.

    `fd` stays the caller's. With a terminal, the escape key works, and `on_quit` and
    `press_power_button` are called on the pump's thread; the latter returns whether the guest
    listens. The end of input ends the thread and nothing else. With `encode`,
    what it makes of the bytes goes to the guest, also of none, at the end of input.
    """

    def __init__(
        self,
        fd: int,
        receiver: Receiver,
        on_quit: Callable[[], None],
        terminal: Terminal | None = None,
        encode: Callable[[bytes], bytes] | None = None,
        press_power_button: Callable[[], bool] = lambda: False,
    ) -> None:
        self._fd, _ = own_descriptor(fd, os.O_RDONLY)
        self._receiver = receiver
        self._on_quit = on_quit
        self._press_power_button = press_power_button
        self._terminal = terminal
        self._encode = encode or _as_it_is
        self._escape = None if terminal is None else _escape_filter()
        self._background = terminal is not None and not terminal.in_foreground()
        self._pending = b""  # read and not yet received
        self._stopping = False
        self._wake_fd = os.eventfd(0)
        self._wake_lock = threading.Lock()  # `wake` may come from a vCPU while we close
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
        """How much may be read now."""
        if self._terminal is not None:
            return READ_AHEAD - len(self._pending)
        return 0 if self._pending else self._receiver.room

    def _read(self, limit: int) -> bool:
        """Reads once; false at the end of input."""
        try:
            data = os.read(self._fd, limit)
        except BlockingIOError:
            return True
        except OSError as error:
            # A terminal answers EIO once it has hung up, and to one in the background.
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
                    self._pending += self._encode(part)
                else:
                    self._obey(part)
        return data != b""

    def _obey(self, command: Command) -> None:
        from ringlet.host.escape import HELP_TEXT, NOBODY_LISTENS, Command

        if command is Command.QUIT:
            self._on_quit()
        elif command is Command.POWER_BUTTON:
            if not self._press_power_button() and self._terminal is not None:
                self._terminal.show(NOBODY_LISTENS)
        elif command is Command.BREAK:
            self._receiver.receive_break()  # overtakes what is read ahead: it calls for attention
        elif command is Command.HELP and self._terminal is not None:
            self._terminal.show(HELP_TEXT)
        elif command is Command.SUSPEND and self._terminal is not None:
            self._terminal.suspend()


def _as_it_is(data: bytes) -> bytes:
    return data


def _escape_filter() -> EscapeFilter:
    # Its import of `enum` is for terminals alone.
    from ringlet.host.escape import EscapeFilter

    return EscapeFilter()
