"""A Linux console on its way to the host: written line by line, with its last part kept.

The kernel polls the UART for each character of its log. To write each character to the host, and to
wake its reader, would take as long as the character's exits. So the console log gathers a line, and
writes it at once; an unfinished line is written after a moment. The kernel sends the output of a
program in the guest by interrupts. This may be a prompt or an echo for a person, so the console log
writes such output without delay.
"""

from __future__ import annotations

from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 256 << 10  # at least this many bytes are kept, and at most twice as many
LINE = 256  # at most this many bytes are gathered
_PANIC = b"Kernel panic - not syncing"  # Linux, kernel/panic.c


class ConsoleLog:
    """Passes the console's bytes on to `next`, and keeps the last of them."""

    def __init__(self, next: Callable[[bytes], object]) -> None:
        self._next = next
        self._data = bytearray()
        self._held = b""
        self._lock = Lock()  # guards `_held`, because several vCPUs may write and flush

    def gather(self, data: bytes) -> None:
        """Gathers `data`, and passes it on with the rest of its line."""
        with self._lock:
            self._held += data
            if data != b"\n" and len(self._held) < LINE:
                return
            self._flush()

    def transmit(self, data: bytes) -> None:
        """Passes `data` on at once, after the gathered bytes."""
        with self._lock:
            self._held += data
            self._flush()

    def flush(self) -> None:
        """Passes on the bytes that are gathered so far."""
        if self._held:
            with self._lock:
                self._flush()

    def _flush(self) -> None:
        data, self._held = self._held, b""
        kept = self._data
        kept += data
        if len(kept) > 2 * SIZE:
            del kept[:-SIZE]
        self._next(data)

    @property
    def tail(self) -> bytes:
        """The last bytes of the console, at most `SIZE`."""
        return bytes((self._data + self._held)[-SIZE:])

    @property
    def tells_of_panic(self) -> bool:
        """Whether Linux wrote that it panicked; not every kernel has a driver for pvpanic."""
        return _PANIC in self._data
