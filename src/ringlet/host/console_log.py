"""A Linux console on its way to the host: line by line, with the last of it kept.

The kernel polls the UART for each character of its log. To write each by itself, and to wake its
reader, would take as long as the exits for it do. So a line is gathered, and what has no end yet is
written after a moment. What a program in the guest writes, the kernel sends by interrupts; that
is somebody's prompt or echo, and goes on at once.
"""

from __future__ import annotations

from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 256 << 10  # bytes kept; at times twice as many are
LINE = 256  # bytes gathered at most
_PANIC = b"Kernel panic - not syncing"  # Linux, kernel/panic.c


class ConsoleLog:
    """Keeps the end of what passes through on its way to `next`."""

    def __init__(self, next: Callable[[bytes], object]) -> None:
        self._next = next
        self._data = bytearray()
        self._held = b""
        self._lock = Lock()  # over what is held: several vCPUs may write, and flush

    def gather(self, data: bytes) -> None:
        """Hands `data` on with the rest of its line."""
        with self._lock:
            self._held += data
            if data != b"\n" and len(self._held) < LINE:
                return
            self._flush()

    def transmit(self, data: bytes) -> None:
        """Hands `data` on at once."""
        with self._lock:
            self._held += data
            self._flush()

    def flush(self) -> None:
        """Hands on what has been gathered so far."""
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
        """At most `SIZE` bytes."""
        return bytes((self._data + self._held)[-SIZE:])

    @property
    def tells_of_panic(self) -> bool:
        """Whether Linux said that it panicked, which not every kernel has a device for."""
        return _PANIC in self._data
