"""Handles signals for a while, by a handler or in a poll loop.

A signal that the parent process ignores (as nohup does) stays ignored. A signal that C code handles
(faulthandler) stays with the C code.

Source: signal(7); Python's signal.set_wakeup_fd.
"""

from __future__ import annotations

# The module `signal` makes many enums, which takes a tenth of the time of a `ringlet-oci run`.
import _signal  # type: ignore[import-not-found]
import os
from select import POLLIN

from ringlet.closing import Closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ringlet.host.polling import Ready


class Handlers(Closing):
    """Sets `handler` for the signals `numbers`, until closed. For the main thread only."""

    def __init__(self, numbers: Collection[int], handler: Callable[[int, object], object]) -> None:
        self._before = {
            number: _signal.signal(number, handler)
            for number in numbers
            if _signal.getsignal(number) not in (_signal.SIG_IGN, None)
        }

    def close(self) -> None:
        """Restores the earlier handlers."""
        while self._before:
            _signal.signal(*self._before.popitem())


class Signals(Closing):
    """A part (polling.py) that calls `on_signal` for each signal of `numbers`, until closed.

    For the main thread only. No signal is lost: a signal between two steps waits in a pipe.
    """

    def __init__(self, numbers: Collection[int], on_signal: Callable[[int], object]) -> None:
        self._numbers = numbers
        self._on_signal = on_signal
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._fd_before = _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = Handlers(numbers, _arrived)

    def watch(self) -> list[tuple[int, int]]:
        """Returns the descriptor that a signal makes readable."""
        return [(self._reader, POLLIN)]

    def step(self, ready: Ready) -> None:
        """Calls `on_signal` for the signals that came."""
        if self._reader in ready:
            for number in os.read(self._reader, 4096):
                if number in self._numbers:  # other signals, for example a terminal's, come, too
                    self._on_signal(number)

    def close(self) -> None:
        """Restores the earlier handlers, and closes the pipe."""
        self._handlers.close()
        _signal.set_wakeup_fd(self._fd_before)
        os.close(self._reader)
        os.close(self._writer)


def _arrived(number: int, frame: object) -> None:
    """Does nothing, because Python has written the signal's number to the pipe.

    Without a handler, the signal would end the process.
    """
