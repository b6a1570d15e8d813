"""Signals that a program handles for a while: by a handler, or in a loop that polls.

What our parent ignores, as nohup does, stays ignored; what C handles (faulthandler) stays with C.

Source: signal(7); Python's signal.set_wakeup_fd.
"""

from __future__ import annotations

# The module `signal` makes enums of it all, which takes a tenth of a whole `ringlet-oci run`.
import _signal  # type: ignore[import-not-found]
import os
from select import POLLIN

from ringlet.closing import Closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ringlet.host.polling import Ready


class Handlers(Closing):
    """`handler` handles `numbers`, until this is closed. On the main thread."""

    def __init__(self, numbers: Collection[int], handler: Callable[[int, object], object]) -> None:
        self._before = {
            number: _signal.signal(number, handler)
            for number in numbers
            if _signal.getsignal(number) not in (_signal.SIG_IGN, None)
        }

    def close(self) -> None:
        """Puts the handlers back that were there before."""
        while self._before:
            _signal.signal(*self._before.popitem())


class Signals(Closing):
    """A part that calls `on_signal` for each of `numbers` that comes, until closed.

    On the main thread. None is lost: what comes between two steps waits in a pipe.
    """

    def __init__(self, numbers: Collection[int], on_signal: Callable[[int], object]) -> None:
        self._numbers = numbers
        self._on_signal = on_signal
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._fd_before = _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = Handlers(numbers, _arrived)

    def watch(self) -> list[tuple[int, int]]:
        """What a signal makes readable."""
        return [(self._reader, POLLIN)]

    def step(self, ready: Ready) -> None:
        """Hands on the signals that came."""
        if self._reader in ready:
            for number in os.read(self._reader, 4096):
                if number in self._numbers:  # others have handlers, too, such as a terminal
                    self._on_signal(number)

    def close(self) -> None:
        """Puts the handlers back."""
        self._handlers.close()
        _signal.set_wakeup_fd(self._fd_before)
        os.close(self._reader)
        os.close(self._writer)


def _arrived(number: int, frame: object) -> None:
    """Python has written its number to the pipe; without a handler the signal would end us."""
