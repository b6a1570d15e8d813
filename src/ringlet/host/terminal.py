"""Sets the host's terminal to raw mode for the guest's console, and restores its mode.

In raw mode, every key goes to the guest, also Ctrl-C, and the terminal doesn't echo, because the
guest echoes. Output processing stays on. So a line feed also returns the cursor to the first
column, because many small kernels print line feeds only. For a guest that prints carriage returns,
too, this makes no difference. If the guest has a terminal of its own, which processes the output,
output is raw, too: programs that draw on the whole screen fail if output is processed twice.

A terminal belongs to the process group in the foreground. In the background, ringlet neither
changes the terminal's mode nor reads from the terminal.

Source: termios(3); credentials(7), "Process group ID"; POSIX.1-2017, 11.1.4.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
import time
from contextlib import suppress

from ringlet.closing import Closing
from ringlet.host.descriptor import own_descriptor
from ringlet.host.signals import Handlers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

# Indices of termios.tcgetattr's list.
_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6

_SHOW_SECONDS = 0.2  # how long a message of ringlet waits for a terminal that is busy or full


class Terminal(Closing):
    """A context manager that keeps the terminal `fd` in raw mode.

    On the main thread, it also handles SIGTSTP (restores the mode, then stops), SIGCONT (sets raw
    mode again) and SIGWINCH (calls `on_resize` with the new rows and columns); at the end, it
    restores the earlier handlers. The caller must turn signals that
    end the process into an orderly exit. After a fault in C code, the core restores the mode.
    """

    def __init__(
        self,
        fd: int,
        *,
        raw_output: bool = False,
        on_resize: Callable[[int, int], object] | None = None,
    ) -> None:
        self.raw_output = raw_output
        self.on_resize = on_resize
        self._fd = fd
        self._saved: list[Any] | None = None  # the mode when this was first in the foreground
        self._handlers: list[Handlers] = []
        self._job_control = False
        # The main thread's handlers and the input thread both set the mode.
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        # If the parent ignores SIGTSTP, there is no job control: leave the signal ignored.
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN
        ):
            self._job_control = True
            self._handlers = [
                Handlers([signal.SIGTSTP], self._on_stop),
                Handlers([signal.SIGCONT], self._on_continue),
            ]
        if self.on_resize is not None and threading.current_thread() is threading.main_thread():
            self._handlers.append(Handlers([signal.SIGWINCH], self._on_window))
        self.make_raw()
        return self

    def close(self) -> None:
        """Restores the mode and the handlers."""
        for handlers in self._handlers:
            handlers.close()
        self._handlers.clear()
        self._job_control = False
        self.restore()
        if self._saved is not None:
            _core().ringlet_terminal_unguard()

    def make_raw(self) -> bool:
        """Sets raw mode if the process is in the foreground; returns whether it is."""
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
            pass  # the terminal has hung up
        return True

    def restore(self) -> None:
        """Restores the earlier mode if the process is in the foreground."""
        if self._saved is not None and self.in_foreground():
            with suppress(termios.error):  # the terminal has hung up
                termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)

    def in_foreground(self) -> bool:
        """Returns whether this process may use the terminal."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # not the controlling terminal of this process, so no job control

    def show(self, text: bytes) -> None:
        """Shows a message of ringlet; drops the rest if the terminal takes nothing for 0.2 seconds.

        Linux refuses a write that must not wait also while another thread writes to the terminal,
        for example the guest's output: one try is not enough.
        """
        try:
            fd, _ = own_descriptor(self._fd, os.O_WRONLY)
        except OSError:
            return
        give_up = time.monotonic() + _SHOW_SECONDS
        try:
            while text and time.monotonic() < give_up:
                try:
                    text = text[os.write(fd, text) :]
                except BlockingIOError:
                    time.sleep(0.001)
        except OSError:
            pass  # the terminal has hung up, or is open for reading only
        finally:
            os.close(fd)

    def suspend(self) -> None:
        """Stops the whole job, as Ctrl-Z at the terminal would; returns at once.

        Stops the whole process group: if ringlet runs under `make`, the shell waits until `make`
        stops, too.
        """
        if self._job_control:
            os.kill(0, signal.SIGTSTP)

    def _on_stop(self, number: int, frame: object) -> None:
        self.restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)  # returns when the process is continued
        signal.signal(signal.SIGTSTP, self._on_stop)
        self.make_raw()

    def _on_window(self, number: int, frame: object) -> None:
        if self.on_resize is not None:
            with suppress(OSError):  # the terminal has hung up
                size = os.get_terminal_size(self._fd)
                self.on_resize(size.lines, size.columns)

    def _on_continue(self, number: int, frame: object) -> None:
        self.make_raw()  # also after a SIGSTOP, which no handler can catch


def _core() -> Any:
    from ringlet import _core

    return _core.lib
