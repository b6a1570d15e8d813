"""The host's terminal as the guest's console: raw mode, and giving it back.

Raw is every key to the guest, Ctrl-C too, and no echo: the guest does its own. Output
processing stays as it is, so a bare line feed, all that many small kernels print, also
returns the carriage; a guest that sends both loses nothing by it. Where the far end is a
terminal in the guest, output is raw, too: that one processes it, and done twice, programs that
draw on the whole screen would go wrong.

A terminal belongs to the process group in the foreground. In the background ringlet
neither changes its mode nor reads from it.

Source: termios(3); credentials(7), "Process group ID"; POSIX.1-2017, 11.1.4.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
from contextlib import suppress

from ringlet.closing import Closing
from ringlet.host.descriptor import own_descriptor
from ringlet.host.signals import Handlers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

# Indices of termios.tcgetattr's list.
_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6


class Terminal(Closing):
    """Raw mode of the terminal `fd` for as long as it is entered.

    Entered on the main thread, it also handles SIGTSTP (restore, stop) and SIGCONT (raw
    again); the previous handlers come back on leaving. Signals that end the process are the
    caller's to turn into an orderly exit; a fault in C is covered.
    """

    def __init__(self, fd: int, *, raw_output: bool = False) -> None:
        self.raw_output = raw_output
        self._fd = fd
        self._saved: list[Any] | None = None  # the mode found when first in the foreground
        self._handlers: list[Handlers] = []
        # The main thread's handlers and the input thread both set the mode.
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        # A parent that ignores SIGTSTP has no job control to offer: leave it ignored.
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN
        ):
            self._handlers = [
                Handlers([signal.SIGTSTP], self._on_stop),
                Handlers([signal.SIGCONT], self._on_continue),
            ]
        self.make_raw()
        return self

    def close(self) -> None:
        """Puts mode and handlers back."""
        for handlers in self._handlers:
            handlers.close()
        self._handlers.clear()
        self.restore()
        if self._saved is not None:
            _core().ringlet_terminal_unguard()

    def make_raw(self) -> bool:
        """Sets raw mode, if the process is in the foreground; whether it is."""
        if not self.in_foreground():
            return False
        try:
            with self._lock:
                mode = termios.tcgetattr(self._fd)
                if self._saved is None:
                    _core().ringlet_terminal_guard(self._fd)
                    self._saved = termios.tcgetattr(self._fd)
                mode[_IFLAG] &= ~(
                    termios.BRKINT
                    | termios.ICRNL
                    | termios.IGNCR
                    | termios.INLCR
                    | termios.INPCK
                    | termios.ISTRIP
                    | termios.IXON
                )
                if self.raw_output:
                    mode[_OFLAG] &= ~termios.OPOST
                mode[_LFLAG] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
                mode[_CC][termios.VMIN] = 1
                mode[_CC][termios.VTIME] = 0
                termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        except termios.error:
            pass  # it hung up: there is no terminal to set
        return True

    def restore(self) -> None:
        """Puts the mode back that was found, if the process is in the foreground."""
        if self._saved is not None and self.in_foreground():
            with suppress(termios.error):  # it hung up
                termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)

    def in_foreground(self) -> bool:
        """Whether the terminal is this process's to use."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal: no job control on it

    def show(self, text: bytes) -> None:
        """Shows a line of ringlet's own, if the terminal takes it without waiting."""
        try:
            fd, _ = own_descriptor(self._fd, os.O_WRONLY)
        except OSError:
            return
        try:
            os.write(fd, text)
        except OSError:
            pass  # full, hung up, or open for reading alone
        finally:
            os.close(fd)

    def suspend(self) -> None:
        """Stops the whole job, as the terminal's own Ctrl-Z would; returns at once.

        All of the process group, or a shell would go on waiting for a `make` that isn't stopped.
        """
        if self._handlers:
            os.kill(0, signal.SIGTSTP)

    def _on_stop(self, number: int, frame: object) -> None:
        self.restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)  # returns once continued
        signal.signal(signal.SIGTSTP, self._on_stop)
        self.make_raw()

    def _on_continue(self, number: int, frame: object) -> None:
        self.make_raw()  # also after a SIGSTOP, which asks nobody


def _core() -> Any:
    from ringlet import _core

    return _core.lib
